//! Merges the layers: defaults, file, variables, flags; the later one wins.
//!
//! Tables are merged key by key; anything else is replaced as a whole.

use std::fmt;
use std::path::Path;

use figment::Figment;
use figment::providers::Serialized;
use figment::value::{Dict, Value};

use super::environment::PREFIX;
use super::schema;
use super::sources::{Sources, value_of_toml};
use crate::config::key::KeyPath;
use crate::config::keys::RawConfig;
use crate::config::{ConfigError, ConfigProblem, Environment, ValueOrigin};

/// Maximum parts of a key: no key has more, and deeper ones would cost stack.
const DEPTH_MAX: usize = 8;

/// Values of command line flags, which override variables; the later one wins.
#[derive(Clone, Default)]
pub struct Overrides(Vec<(String, KeyPath, String)>);

impl Overrides {
    /// Adds the value of a flag: its name as the user writes it, the dotted key, and the value as text, which is read like
    /// the value of a variable.
    #[must_use]
    pub fn with(mut self, flag: &str, key: &str, value: impl fmt::Display) -> Self {
        self.0.push((flag.to_owned(), KeyPath::of(key), value.to_string()));
        self
    }
}

impl fmt::Debug for Overrides {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(flag, _, _)| flag)).finish()
    }
}

/// Merges all layers into the raw document, and returns the sources of its values.
pub(in crate::config) fn merge(
    text: &str,
    path: &Path,
    environment: &Environment,
    overrides: &Overrides,
) -> Result<(RawConfig, Sources), ConfigError> {
    let (mut sources, file) = Sources::parse(text, path).map_err(ConfigError::Invalid)?;
    let mut problems = Vec::new();
    let mut variables = Dict::new();
    for name in environment.names() {
        if environment.is_no_key(name) || sources.secret_variables.contains(name) {
            continue;
        }
        let parts = name[PREFIX.len()..].split("__").map(str::to_lowercase).collect();
        let key = KeyPath::from_parts(parts);
        if key.is_like_none() {
            sources.stray_variables.push(name.to_owned());
            continue;
        }
        let origin = ValueOrigin::Variable(name.to_owned());
        let value = environment.variable(name).and_then(Result::ok);
        problems.extend(set(&mut variables, &mut sources, key, value, origin));
    }
    let mut flags = Dict::new();
    for (flag, key, value) in &overrides.0 {
        let origin = ValueOrigin::Flag(flag.clone());
        problems.extend(set(&mut flags, &mut sources, key.clone(), Some(value.clone()), origin));
    }
    if !problems.is_empty() {
        return Err(ConfigError::Invalid(problems));
    }
    // The raw types have the defaults, below all layers.
    let layers = [file, variables, flags].into_iter().map(Serialized::defaults);
    let merged = layers.fold(Figment::new(), Figment::merge).extract::<Dict>().map_err(|error| {
        let text = format!("the layers do not merge: {}", error.kind);
        ConfigError::Invalid(vec![sources.problem(&KeyPath::default(), text)])
    })?;
    let raw = schema::extract(merged, &sources).map_err(ConfigError::Invalid)?;
    Ok((raw, sources))
}

/// Adds one variable or flag; returns the problem with it.
fn set(
    dict: &mut Dict,
    sources: &mut Sources,
    key: KeyPath,
    text: Option<String>,
    origin: ValueOrigin,
) -> Option<ConfigProblem> {
    let problem = |text: String| Some(ConfigProblem { origin: origin.clone(), offset: 0, text });
    if key.parts().len() > DEPTH_MAX {
        return problem(format!("no key has more than {DEPTH_MAX} parts"));
    }
    let Some(text) = text else {
        return problem(format!("the value of `{key}` is not UTF-8 text"));
    };
    let value = read_value(&key, &text);
    if key.is_of_plugin() && matches!(value, Value::Num(..) | Value::Bool(..)) {
        sources.guessed.insert(key.clone(), text);
    }
    if !insert(dict, key.parts(), value) {
        return problem(format!("`{}` is set both as a table and as a value", key.parent()));
    }
    sources.overrides.push((key, origin));
    None
}

/// Reads the text of a variable or flag: a list, table or string in TOML; a number, true or false, if the key has that
/// form, and as a guess in the table of a plugin; otherwise the text itself.
fn read_value(key: &KeyPath, text: &str) -> Value {
    let is_scalar = |value: &Value| matches!(value, Value::Num(..) | Value::Bool(..));
    let guessed = key.is_scalar() || key.is_of_plugin();
    let read = if text.starts_with(['[', '{', '"']) {
        value_of_toml(text)
    } else if guessed {
        value_of_toml(text).filter(is_scalar)
    } else {
        None
    };
    read.unwrap_or_else(|| Value::from(text))
}

/// Puts a value into nested tables; returns false if a table would replace a value, or a value a table.
fn insert(dict: &mut Dict, parts: &[String], value: Value) -> bool {
    let Some((first, rest)) = parts.split_first() else {
        return false;
    };
    if rest.is_empty() {
        let before = dict.insert(first.clone(), value);
        return !matches!(before, Some(Value::Dict(..)));
    }
    let below = dict.entry(first.clone()).or_insert_with(|| Value::from(Dict::new()));
    if let Value::Dict(_, dict) = below { insert(dict, rest, value) } else { false }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::keys::KEYS;
    use crate::config::testing::{config, load, problems_of};

    fn check(variables: &[(&str, &str)], expected: &str) {
        let environment = variables.iter().copied().collect();
        assert_eq!(problems_of("", &environment, &Overrides::default()), expected);
    }

    #[test]
    fn the_later_layer_wins() {
        let port = |text: &str, variable: Option<&str>, flag: Option<u16>| {
            let environment = variable.map(|port| ("FRAMEX_SERVER__PORT", port)).into_iter().collect();
            let overrides = flag.map(|port| Overrides::default().with("--port", "server.port", port));
            load(text, &environment, &overrides.unwrap_or_default()).unwrap().server.port
        };
        let file = "[server]\nport = 1\nqueue_max = 5\n";
        assert_eq!(port("", None, None), 8080);
        assert_eq!(port(file, None, None), 1);
        assert_eq!(port(file, Some("2"), None), 2);
        assert_eq!(port(file, Some("2"), Some(3)), 3);
        let environment = [("FRAMEX_SERVER__PORT", "2")].into_iter().collect();
        let config = load(file, &environment, &Overrides::default()).unwrap();
        assert_eq!(config.server.queue_max, 5, "a variable replaces one key, not the table");
    }

    #[test]
    fn values_of_variables_are_read_by_their_key() {
        let environment = [
            ("FRAMEX_HOST_ID", "1234"),
            ("FRAMEX_LOAD_PLUGINS", "[\"demo\"]"),
            ("FRAMEX_PLUGINS__DEMO__POOL", "8"),
            ("FRAMEX_PLUGINS__DEMO__FAST", "true"),
            ("FRAMEX_PLUGINS__DEMO__NAME", "8 pools"),
            ("FRAMEX_PLUGINS__PROXY__AUTH__RULES", "{\"/api/v1/proxy/remote\" = [\"9\"]}"),
            ("FRAMEX_RELOAD__START_TIMEOUT_MS", "7"),
            ("FRAMEX_SERVER__HOST", "[::1]"),
        ];
        let config = load("", &environment.into_iter().collect(), &Overrides::default()).unwrap();
        assert_eq!(&*config.host_id, "1234");
        assert_eq!(config.load_plugins.as_deref(), Some(&["demo".to_owned()][..]));
        let expected = serde_json::json!({"pool": 8, "fast": true, "name": "8 pools"});
        assert_eq!(config.plugin_settings("demo"), expected);
        assert_eq!(config.sealing_secrets()[0].expose(), "9");
        assert_eq!(config.reload.start_timeout, Duration::from_millis(7));
        assert_eq!(config.server.listen().to_string(), "[::1]:8080");
    }

    #[test]
    fn every_key_of_one_value_can_be_a_variable() {
        let defaults = config("").dump();
        for key in KEYS.iter() {
            let value = key.split('.').fold(&defaults, |table, part| &table[part]);
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            if !value.is_string() && !value.is_number() && !value.is_boolean() {
                continue;
            }
            let variable = format!("FRAMEX_{}", key.replace('.', "__").to_uppercase());
            let environment = [(variable, text)].into_iter().collect();
            assert_eq!(problems_of("", &environment, &Overrides::default()), "", "{key}");
        }
    }

    #[test]
    fn wrong_variables_are_named() {
        check(
            &[("FRAMEX_SERVER__PORT", "70000")],
            "variable FRAMEX_SERVER__PORT: `server.port` must be a whole number from 0 to 65535, found 70000",
        );
        check(
            &[("FRAMEX_SERVER__PORT", "nine")],
            "variable FRAMEX_SERVER__PORT: `server.port` must be a whole number from 0 to 65535, found the text `nine`",
        );
        check(
            &[("FRAMEX_SERVER_PORT", "9000")],
            "variable FRAMEX_SERVER_PORT: unknown key `server_port`, the nearest known key is `server.port`, \
             as a variable FRAMEX_SERVER__PORT",
        );
        check(
            &[("FRAMEX_LOAD_PLUGINS", "[demo")],
            "variable FRAMEX_LOAD_PLUGINS: `load_plugins` must be a list of texts, found the text `[demo`",
        );
        check(
            &[("FRAMEX_SERVER", "1"), ("FRAMEX_SERVER__PORT", "1")],
            "variable FRAMEX_SERVER__PORT: `server` is set both as a table and as a value",
        );
        check(
            &[("FRAMEX_PLUGINS__B__C__D__E__F__G__H__I", "1")],
            "variable FRAMEX_PLUGINS__B__C__D__E__F__G__H__I: no key has more than 8 parts",
        );
    }

    #[test]
    fn wrong_flags_are_named() {
        let overrides = Overrides::default().with("--port", "server.port", 70_000);
        assert_eq!(
            problems_of("", &Environment::default(), &overrides),
            "flag --port: `server.port` must be a whole number from 0 to 65535, found 70000"
        );
    }
}
