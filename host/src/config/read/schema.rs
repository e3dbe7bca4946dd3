//! Finds all unknown keys and wrong types in the merged layers.

use figment::error::Kind;
use figment::value::{Dict, Num, Value};
use serde::Deserialize;

use super::sources::Sources;
use crate::config::key::{KeyPath, redact};
use crate::config::keys::{LATER, RawConfig, number_of, suggestion};
use crate::config::{ConfigProblem, ValueOrigin};

/// Maximum number of problems that are listed.
const PROBLEMS_MAX: usize = 50;

/// Reads the merged layers; `Err` has every key that is unknown or has the wrong type.
pub(in crate::config) fn extract(merged: Dict, sources: &Sources) -> Result<RawConfig, Vec<ConfigProblem>> {
    let mut merged = Value::from(merged);
    let mut problems = Vec::new();
    loop {
        // serde stops at the first fault: the value is removed, and the rest is read again.
        let error = match RawConfig::deserialize(&merged) {
            Ok(raw) if problems.is_empty() => return Ok(raw),
            Ok(_) => break,
            Err(error) => error,
        };
        let parts = error.path;
        let (key, found) = resolve(&merged, &parts);
        let text = sentence(&key, found, &error.kind, &sources.origin(&key));
        problems.push(sources.problem(&key, text));
        let removed = !matches!(error.kind, Kind::MissingField(..)) && remove(&mut merged, &parts);
        if !removed || problems.len() == PROBLEMS_MAX {
            break;
        }
    }
    problems.sort();
    Err(problems)
}

/// Returns the value that serde's path leads to, and the path with indices marked as such.
fn resolve<'a>(merged: &'a Value, parts: &[String]) -> (KeyPath, Option<&'a Value>) {
    let mut key = KeyPath::default();
    let mut found = Some(merged);
    for part in parts {
        (key, found) = match (found, part.parse::<usize>()) {
            (Some(Value::Array(_, elements)), Ok(index)) => (key.element(index), elements.get(index)),
            (Some(Value::Dict(_, dict)), _) => (key.child(part), dict.get(part)),
            _ => (key.child(part), None),
        };
    }
    (key, found)
}

/// Removes the value at the path, or the list that it is in; returns false if there is none.
fn remove(value: &mut Value, parts: &[String]) -> bool {
    let (Value::Dict(_, dict), Some((first, rest))) = (value, parts.split_first()) else {
        return false;
    };
    match dict.get_mut(first) {
        Some(below) if !rest.is_empty() && matches!(below, Value::Dict(..)) => remove(below, rest),
        _ => dict.remove(first).is_some(),
    }
}

fn sentence(key: &KeyPath, found: Option<&Value>, kind: &Kind, origin: &ValueOrigin) -> String {
    match kind {
        Kind::UnknownField(_, here) => unknown(key, here, origin),
        Kind::MissingField(name) => format!("`{key}` needs the key `{name}`"),
        Kind::InvalidType(_, expected) | Kind::InvalidValue(_, expected) => {
            let found = found.map_or_else(|| "nothing".to_owned(), |value| described(key, value));
            format!("`{key}` must be {}, found {found}", needed(key, expected))
        }
        // The texts of other kinds may repeat the value.
        _ => format!("`{key}` has a value that cannot be read"),
    }
}

fn unknown(key: &KeyPath, here: &[&str], origin: &ValueOrigin) -> String {
    if LATER.contains(&key.dotted().as_str()) {
        return format!("`{key}` is not supported by this version yet");
    }
    let Some(nearest) = suggestion(key, here) else {
        let table = key.parent();
        let place = if table.parts().is_empty() { "at the top".to_owned() } else { format!("in `{table}`") };
        return format!("unknown key `{key}`, known {place} are {}", here.join(", "));
    };
    let variable = match origin {
        ValueOrigin::Variable(_) => {
            format!(", as a variable FRAMEX_{}", nearest.parts().join("__").to_uppercase())
        }
        _ => String::new(),
    };
    format!("unknown key `{key}`, the nearest known key is `{nearest}`{variable}")
}

/// Returns the allowed form, in the user's words.
fn needed(key: &KeyPath, expected: &str) -> String {
    if let Some(number) = number_of(key) {
        return number.needed();
    }
    let words = match expected {
        "a string" => "text",
        "a sequence" => "a list of texts",
        "a map" => "a table",
        "a boolean" => "true or false",
        _ if expected.starts_with("struct ") => "a table",
        other => other,
    };
    words.to_owned()
}

/// Returns the value if it cannot be a secret, otherwise only its type.
fn described(key: &KeyPath, value: &Value) -> String {
    let is_sensitive = key.is_sensitive();
    match value {
        Value::String(_, text) if !is_sensitive => format!("the text `{}`", redact(text)),
        Value::Num(_, number) if !is_sensitive => number_text(*number),
        Value::Bool(_, flag) if !is_sensitive => flag.to_string(),
        Value::String(..) => "a text".to_owned(),
        Value::Num(..) => "a number".to_owned(),
        Value::Bool(..) => "true or false".to_owned(),
        Value::Dict(..) => "a table".to_owned(),
        Value::Array(..) => "a list".to_owned(),
        _ => "something else".to_owned(),
    }
}

fn number_text(number: Num) -> String {
    number
        .to_i128()
        .map_or_else(|| number.to_f64().unwrap_or_default().to_string(), |whole| whole.to_string())
}

#[cfg(test)]
mod tests {
    use crate::config::testing::problems;

    fn check(text: &str, expected: &str) {
        assert_eq!(problems(text), expected);
    }

    #[test]
    fn unknown_keys_name_the_nearest() {
        check(
            "host_id = \"a\"\n[server]\nprot = 1\n",
            "config.toml line 3: unknown key `server.prot`, the nearest known key is `server.port`",
        );
        check("port = 1\n", "config.toml line 1: unknown key `port`, the nearest known key is `server.port`");
        check(
            "[plugins.proxy.proxy_urls.\"http://a\"]\nenabel = []\n",
            "config.toml line 2: unknown key `plugins.proxy.proxy_urls.\"http://a\".enabel`, the nearest known \
             key is `plugins.proxy.proxy_urls.\"http://a\".enable`",
        );
        check(
            "[log]\nzzz = 1\n",
            "config.toml line 2: unknown key `log.zzz`, known in `log` are level, format",
        );
        check(
            "zzz = 1\n",
            "config.toml line 1: unknown key `zzz`, known at the top are host_id, plugin_dir, state_dir, \
             load_plugins, server, admin, auth, plugins, limits, reload, trust, log",
        );
    }

    #[test]
    fn several_problems_come_in_the_order_of_the_file() {
        check(
            "[server]\nqueue_max = \"x\"\n[log]\nlevle = \"info\"\nformat = 1\n[reload]\nstart_timeout_ms = 1.5\n",
            "config.toml line 2: `server.queue_max` must be a whole number from 0 to 1000000, found the text `x`\n\
             config.toml line 4: unknown key `log.levle`, the nearest known key is `log.level`\n\
             config.toml line 5: `log.format` must be text, found 1\n\
             config.toml line 7: `reload.start_timeout_ms` must be a whole number from 1 to 3600000, found 1.5",
        );
    }

    #[test]
    fn keys_of_later_versions_are_refused() {
        for later in super::LATER {
            let (table, key) = later.rsplit_once('.').unwrap_or(("", later));
            let header = if table.is_empty() { String::new() } else { format!("[{table}]") };
            let text = format!("{header}\n{key} = {{}}\n");
            check(&text, &format!("config.toml line 2: `{later}` is not supported by this version yet"));
        }
    }

    #[test]
    fn wrong_types_are_named_without_their_secrets() {
        check("server = 1\n", "config.toml line 1: `server` must be a table, found 1");
        check(
            "load_plugins = \"demo\"\n",
            "config.toml line 1: `load_plugins` must be a list of texts, found the text `demo`",
        );
        check(
            "load_plugins = [\"demo\",\n 1]\n",
            "config.toml line 2: `load_plugins[1]` must be text, found 1",
        );
        check(
            "[auth.rules]\n\"/x\" = \"canary\"\n",
            "config.toml line 2: `auth.rules.\"/x\"` must be a list of texts, found a text",
        );
        check(
            "[auth.rules]\n\"/x\" = [\n4711]\n",
            "config.toml line 3: `auth.rules.\"/x\"[0]` must be text, found a number",
        );
        check(
            "[plugins.proxy]\nproxy_urls = \"http://user:canary@host\"\n",
            "config.toml line 2: `plugins.proxy.proxy_urls` must be a list of URLs, or a table of URL to \
             { enable, disable, key, priority, weight, discover, host_id, bind }, found a text",
        );
        check(
            "plugins.demo = true\n",
            "config.toml line 1: `plugins.demo` must be a table, found true or false",
        );
        check(
            "[reload]\nwatch = \"yes\"\n",
            "config.toml line 2: `reload.watch` must be true or false, found the text `yes`",
        );
        check("[plugins.proxy.auth]\n", "config.toml line 1: `plugins.proxy.auth` needs the key `rules`");
    }
}
