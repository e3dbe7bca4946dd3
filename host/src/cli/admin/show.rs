//! One plugin, for people: a row for each thing that is known, `-` where there is nothing.

use serde_json::Value;

use crate::cli::output::table;

/// What stands for nothing.
const NOTHING: &str = "-";

/// The plugin as rows, in the order of the answer.
pub(super) fn text(plugin: &Value) -> String {
    let rows = plugin.as_object().into_iter().flatten();
    let rows: Vec<_> = rows.map(|(key, value)| vec![key.replace('_', " "), cell(key, value)]).collect();
    table(&rows)
}

fn cell(key: &str, value: &Value) -> String {
    match value {
        Value::Null => NOTHING.to_owned(),
        Value::Array(values) if values.is_empty() => NOTHING.to_owned(),
        Value::Array(values) => values.iter().map(|value| cell(key, value)).collect::<Vec<_>>().join(", "),
        // Nothing is mapped of a plugin that was withdrawn.
        Value::Number(number) if key == "mapped_bytes" && number.as_u64() == Some(0) => NOTHING.to_owned(),
        Value::String(text) => text.clone(),
        Value::Object(_) => sentence(key, value),
        other => other.to_string(),
    }
}

/// What has parts of its own.
fn sentence(key: &str, value: &Value) -> String {
    let text = |name: &str| value[name].as_str().unwrap_or(NOTHING);
    match key {
        "differs_from_file" => match value["since"].as_str() {
            Some(since) => format!("since {since}: {}", text("reason")),
            None => text("reason").to_owned(),
        },
        "last_failure" => format!("at the step {}, {}: {}", text("step"), text("at"), text("reason")),
        "change" => {
            let seconds = value["ms"].as_f64().unwrap_or_default() / 1000.0;
            format!("{}, at the step {} for {seconds:.1} s", text("action"), text("step"))
        }
        "zombies" => format!(
            "generation {}: {} ({} bytes)",
            value["generation"],
            text("reason"),
            value["mapped_bytes"]
        ),
        // Of a newer host.
        _ => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nothing_is_a_dash_and_what_has_parts_is_a_sentence() {
        let plugin = json!({
            "kept": [], "mapped_bytes": 0, "functions": ["a.b", "a.c"], "in_flight": 0, "change": null,
            "last_failure": { "step": "start", "reason": "no luck", "at": "2026-11-23T00:00:00Z" },
            "zombies": [{ "generation": 1, "reason": "a thread", "mapped_bytes": 7 }],
        });
        let text = text(&plugin);
        let row = |key: &str| {
            let line = text.lines().find(|line| line.starts_with(key)).unwrap_or_default();
            line[key.len()..].trim().to_owned()
        };
        assert_eq!((row("kept"), row("mapped bytes"), row("change")), ("-".into(), "-".into(), "-".into()));
        assert_eq!((row("functions"), row("in flight")), ("a.b, a.c".into(), "0".into()));
        assert_eq!(row("last failure"), "at the step start, 2026-11-23T00:00:00Z: no luck");
        assert_eq!(row("zombies"), "generation 1: a thread (7 bytes)");
        assert!(!text.contains('{'), "{text}");
    }
}
