//! Takes `[plugins.NAME]` for that plugin, with the origin of each value.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::validator::Validator;
use crate::config::PluginSettings;
use crate::config::key::KeyPath;

impl Validator<'_> {
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
            if let Some(text) = self.sources.guessed(&key) {
                origin["text"] = text.into();
            }
            origins.push(origin);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::config::Overrides;
    use crate::config::testing::load;

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
