//! Checks `[limits]`, and takes each `[plugins.NAME]` for that plugin, with the origin of each value.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::base::{ConcurrencyLimit, FunctionName};

use super::validator::Validator;
use crate::config::key::{KeyPath, redact};
use crate::config::keys::number::NumberRule;
use crate::config::keys::{LIMIT_IN_FLIGHT_MAX, LIMIT_QUEUE_MAX, RawLimit, RawLimits};
use crate::config::values::PluginSettings;
use crate::config::{CallLimits, FunctionLimit};

impl Validator<'_> {
    /// Checks `[limits]`.
    pub(super) fn call_limits(&mut self, raw: RawLimits) -> CallLimits {
        let table = KeyPath::of("limits.plugins");
        let mut limits = CallLimits::default();
        for (name, raw) in raw.plugins {
            let entry = table.child(&name);
            self.plugin_name(&entry, &table, &name);
            let FunctionLimit { in_flight_max, queue_max } = self.limit(&entry, raw);
            let Some(in_flight_max) = in_flight_max else {
                self.problem(&entry, "needs the key `in_flight_max`");
                continue;
            };
            let queue_max = queue_max.unwrap_or_default();
            limits.plugins.insert(name, ConcurrencyLimit { in_flight_max, queue_max });
        }
        let table = KeyPath::of("limits.functions");
        for (name, raw) in raw.functions {
            let entry = table.child(&name);
            let limit = self.limit(&entry, raw);
            if limit == FunctionLimit::default() {
                self.problem(&entry, "needs the key `in_flight_max` or `queue_max`");
            }
            match FunctionName::new(&name) {
                Ok(name) => drop(limits.functions.insert(name, limit)),
                Err(why) => self.problem_in(&table, &entry, format!("has `{}`: {why}", redact(&name))),
            }
        }
        limits
    }

    fn limit(&mut self, entry: &KeyPath, raw: RawLimit) -> FunctionLimit {
        let mut count = |key: &str, number: &NumberRule, raw: Option<i64>| {
            raw?;
            usize::try_from(self.number(&entry.child(key), number, raw)).ok()
        };
        FunctionLimit {
            in_flight_max: count("in_flight_max", &LIMIT_IN_FLIGHT_MAX, raw.in_flight_max),
            queue_max: count("queue_max", &LIMIT_QUEUE_MAX, raw.queue_max),
        }
    }

    /// Takes the tables as they are, and checks only their names.
    pub(super) fn plugin_settings(
        &mut self,
        tables: BTreeMap<String, Map<String, Value>>,
    ) -> BTreeMap<String, PluginSettings> {
        let key = KeyPath::of("plugins");
        let mut settings = BTreeMap::new();
        for (name, table) in tables {
            let entry = key.child(&name);
            self.plugin_name(&entry, &key, &name);
            let mut origins = Vec::new();
            self.note_origins(&entry, &table, &mut origins);
            settings.insert(name, PluginSettings { table: table.into(), origins: origins.into() });
        }
        settings
    }

    /// Notes the origin of each value below `entry`, and the text of a value that was guessed to be a number, true or
    /// false.
    fn note_origins(&self, entry: &KeyPath, table: &Map<String, Value>, origins: &mut Vec<Value>) {
        for (name, value) in table {
            let key = entry.child(name);
            if let Value::Object(below) = value {
                self.note_origins(&key, below, origins);
                continue;
            }
            // The plugin knows its table as the whole.
            let mut origin =
                json!({ "key": key.parts()[2..], "from": self.sources.origin(&key).to_string() });
            if let Some(text) = self.sources.guessed.get(&key) {
                origin["text"] = text.as_str().into();
            }
            origins.push(origin);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Overrides;
    use crate::config::testing::{config, load, problems};

    fn check(text: &str, expected: &str) {
        assert_eq!(problems(text), expected);
    }

    #[test]
    fn limits_are_read() {
        let text = "[limits.plugins.demo]\nin_flight_max = 8\nqueue_max = 64\n[limits.plugins.other]\nin_flight_max = 1\n\
                    [limits.functions.\"demo.some.f\"]\nqueue_max = 0\n[limits.functions]\ng = { in_flight_max = 1000000 }\n";
        let limits = config(text).limits;
        let limit = |in_flight_max, queue_max| ConcurrencyLimit { in_flight_max, queue_max };
        assert_eq!(
            limits.plugins,
            [("demo".to_owned(), limit(8, 64)), ("other".to_owned(), limit(1, 0))].into()
        );
        let name = |name: &str| FunctionName::new(name).unwrap();
        let function = |in_flight_max, queue_max| FunctionLimit { in_flight_max, queue_max };
        assert_eq!(
            limits.functions,
            [(name("demo.some.f"), function(None, Some(0))), (name("g"), function(Some(1_000_000), None))]
                .into()
        );
        assert_eq!(config("").limits, CallLimits::default());
        assert_eq!(
            config(text).dump()["limits"],
            serde_json::json!({
                "plugins": {
                    "demo": { "in_flight_max": 8, "queue_max": 64 }, "other": { "in_flight_max": 1, "queue_max": 0 },
                },
                "functions": {
                    "demo.some.f": { "in_flight_max": null, "queue_max": 0 },
                    "g": { "in_flight_max": 1_000_000, "queue_max": null },
                },
            })
        );
    }

    #[test]
    fn wrong_limits_are_refused() {
        check(
            "[limits.plugins.demo]\nin_flight_max = 0\nqueue_max = -1\n",
            "config.toml line 2: `limits.plugins.demo.in_flight_max` must be a whole number from 1 to 1000000, found 0\n\
             config.toml line 3: `limits.plugins.demo.queue_max` must be a whole number from 0 to 1000000, found -1",
        );
        check(
            "[limits.functions.\"demo.f\"]\nin_flight_max = \"many\"\n",
            "config.toml line 2: `limits.functions.\"demo.f\".in_flight_max` must be a whole number from 1 to 1000000, \
             found the text `many`",
        );
        check(
            "[limits.functions.\"demo.f\"]\nqueue_max = 1.5\n",
            "config.toml line 2: `limits.functions.\"demo.f\".queue_max` must be a whole number from 0 to 1000000, \
             found 1.5",
        );
        check(
            "[limits.plugins.demo]\nqueue_max = 1\n",
            "config.toml line 1: `limits.plugins.demo` needs the key `in_flight_max`",
        );
        check(
            "[limits.functions.f]\n",
            "config.toml line 1: `limits.functions.f` needs the key `in_flight_max` or `queue_max`",
        );
        check(
            "[limits.functions.\"no name\"]\nin_flight_max = 1\n",
            "config.toml line 1: `limits.functions` has `no name`: a function name is 1 to 255 characters of \
             A-Z a-z 0-9 _ - in parts joined by single dots",
        );
        check(
            "[limits.plugins.\"Demo\"]\nin_flight_max = 1\n",
            "config.toml line 1: `limits.plugins` must name plugins in 1 to 63 characters of a-z 0-9 _ - and not `proxy`, \
             found `Demo`",
        );
        check(
            "[limits.plugins.demo]\nin_fligt_max = 1\n",
            "config.toml line 2: unknown key `limits.plugins.demo.in_fligt_max`, the nearest known key is \
             `limits.plugins.demo.in_flight_max`",
        );
    }

    #[test]
    fn values_come_with_who_said_them() {
        let environment = [
            ("FRAMEX_PLUGINS__DEMO__PASSWORD", "0x10"),
            ("FRAMEX_PLUGINS__DEMO__POOL__MAX", "8"),
            ("FRAMEX_PLUGINS__DEMO__NAME", "text"),
            ("FRAMEX_PLUGINS__DEMO__QUOTED", "\"8\""),
        ];
        let text = "[plugins.demo]\npassword = \"of the file\"\n[plugins.demo.pool]\nmin = 1\n";
        let config = load(text, &environment.into_iter().collect(), &Overrides::default()).unwrap();
        let table = json!({ "password": 16, "pool": { "max": 8, "min": 1 }, "name": "text", "quoted": "8" });
        assert_eq!(config.plugin_settings("demo"), table);
        assert_eq!(
            config.plugin_origins("demo"),
            json!([
                { "key": ["name"], "from": "variable FRAMEX_PLUGINS__DEMO__NAME" },
                { "key": ["password"], "from": "variable FRAMEX_PLUGINS__DEMO__PASSWORD", "text": "0x10" },
                { "key": ["pool", "max"], "from": "variable FRAMEX_PLUGINS__DEMO__POOL__MAX", "text": "8" },
                { "key": ["pool", "min"], "from": "config.toml line 4" },
                { "key": ["quoted"], "from": "variable FRAMEX_PLUGINS__DEMO__QUOTED" },
            ])
        );
        assert_eq!(config.plugin_origins("other"), json!([]));
    }
}
