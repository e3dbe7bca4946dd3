//! `[limits]`: how many calls of plugins and functions run here at once, and how many wait.

use crate::base::{ConcurrencyLimit, FunctionName};

use super::validator::Validator;
use crate::config::key::{KeyPath, redact};
use crate::config::keys::number::NumberRule;
use crate::config::keys::{LIMIT_IN_FLIGHT_MAX, LIMIT_QUEUE_MAX, RawLimit, RawLimits};
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
                self.problem(&entry, format!("`{entry}` needs the key `in_flight_max`"));
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
                let text = format!("`{entry}` needs the key `in_flight_max` or `queue_max`");
                self.problem(&entry, text);
            }
            match FunctionName::new(&name) {
                Ok(name) => drop(limits.functions.insert(name, limit)),
                Err(why) => self.problem(&entry, format!("`{table}` has `{}`: {why}", redact(&name))),
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::testing::{config, problems};

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
}
