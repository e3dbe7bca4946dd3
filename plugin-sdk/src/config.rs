//! `[plugins.NAME]` as the author's type: which key is wrong, where it was written, and variables, which are text.

use std::collections::{BTreeMap, HashMap};

use serde::de::value::{MapAccessDeserializer, MapDeserializer, SeqDeserializer};
use serde::de::{DeserializeOwned, Deserializer, IntoDeserializer, Visitor};
use serde::{Deserialize, forward_to_deserialize_any};
use serde_json::Value;

/// The place where a value was written, from the host (`config_origins` of the ABI).
#[derive(Deserialize)]
struct Origin {
    key: Vec<String>,
    from: String,
    text: Option<String>,
}

/// Reads the table as a type; the `Err` names the key, and where it was written if the host has said so.
pub(crate) fn read<T: DeserializeOwned>(table: &[u8], origins: &[u8]) -> Result<T, String> {
    let table = if table.is_empty() { b"{}" } else { table };
    let table: Value = serde_json::from_slice(table).map_err(|error| error.to_string())?;
    // Hints: without them, values are as they look.
    let origins: Vec<Origin> = serde_json::from_slice(origins).unwrap_or_default();
    let texts = origins.iter().filter_map(|origin| Some((origin.key.as_slice(), origin.text.as_deref()?)));
    let node = Node::new(table, &mut Vec::new(), &texts.collect());
    let mut unknown = Vec::new();
    let mut track = serde_path_to_error::Track::new();
    let decoder = serde_path_to_error::Deserializer::new(node, &mut track);
    let value = serde_ignored::deserialize(decoder, |path| unknown.push(path.to_string()));
    let value = value.map_err(|error: serde_json::Error| {
        let reason = without_value(&error.to_string());
        match track.path().to_string() {
            path if path == "." => reason,
            path => {
                let from = from(&origins, &path);
                let form = if from.starts_with("variable ") { form_of_variable(&reason) } else { "" };
                format!("{from}key `{path}`: {reason}{form}")
            }
        }
    })?;
    match unknown.as_slice() {
        [] => Ok(value),
        [key] => Err(format!("{}unknown key `{key}`", from(&origins, key))),
        keys => Err(format!("unknown keys `{}`", keys.join("`, `"))),
    }
}

/// Returns the origin of the value at a path, or of its table, as the beginning of a sentence.
fn from(origins: &[Origin], path: &str) -> String {
    let is_at = |origin: &&Origin| {
        let key = origin.key.join(".");
        let (short, long) = if key.len() < path.len() { (key.as_str(), path) } else { (path, key.as_str()) };
        long.strip_prefix(short).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    origins.iter().find(is_at).map_or_else(String::new, |origin| format!("{}: ", origin.from))
}

/// Returns a hint at the form of a variable for a list or a table.
fn form_of_variable(reason: &str) -> &'static str {
    let is_for = |words: &[&str]| words.iter().any(|word| reason.contains(&format!("expected {word}")));
    if is_for(&["a sequence", "a tuple", "an array"]) {
        "; a variable has a list as in TOML, [\"a\", \"b\"]"
    } else if is_for(&["a map", "struct "]) {
        "; a variable has a table as in TOML, { a = 1 }"
    } else {
        ""
    }
}

/// Serde's sentence without the value that was found, which may be a secret:
/// "invalid type: string, expected u32", "unknown variant, expected `a` or `b`".
fn without_value(reason: &str) -> String {
    let Some(at) = reason.rfind(", expected ") else { return reason.to_owned() };
    let (found, expected) = reason.split_at(at);
    let kind = found.split(['"', '`']).next().unwrap_or_default();
    format!("{}{expected}", kind.trim_end())
}

/// A value of the table.
enum Node {
    Table(BTreeMap<String, Self>),
    List(Vec<Self>),
    /// Of a variable: a text, and what it looks like.
    Text(String, Value),
    Value(Value),
}

impl Node {
    fn new<'a>(value: Value, place: &mut Vec<String>, texts: &HashMap<&'a [String], &'a str>) -> Self {
        match value {
            Value::Object(entries) => {
                let entries = entries.into_iter().map(|(name, value)| {
                    place.push(name.clone());
                    let node = Self::new(value, place, texts);
                    place.pop();
                    (name, node)
                });
                Self::Table(entries.collect())
            }
            Value::Array(values) => Self::List(values.into_iter().map(Self::Value).collect()),
            other => match texts.get(place.as_slice()) {
                Some(text) => Self::Text((*text).to_owned(), other),
                None => Self::Value(other),
            },
        }
    }
}

impl IntoDeserializer<'_, serde_json::Error> for Node {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

/// The text, where a type takes one; what it looks like to all others.
macro_rules! text_first {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
            match self {
                Self::Text(text, _) => visitor.visit_string(text),
                other => other.deserialize_any(visitor),
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for Node {
    type Error = serde_json::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        match self {
            Self::Table(entries) => visitor.visit_map(MapDeserializer::new(entries.into_iter())),
            Self::List(nodes) => visitor.visit_seq(SeqDeserializer::new(nodes.into_iter())),
            Self::Text(_, value) | Self::Value(value) => value.deserialize_any(visitor),
        }
    }

    text_first! {
        deserialize_str deserialize_string deserialize_char deserialize_identifier
        deserialize_bytes deserialize_byte_buf
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        match self {
            Self::Value(Value::Null) => visitor.visit_none(),
            other => visitor.visit_some(other),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        match self {
            Self::Table(entries) => {
                let entries = MapAccessDeserializer::new(MapDeserializer::new(entries.into_iter()));
                entries.deserialize_enum(name, variants, visitor)
            }
            Self::Text(text, _) => text.into_deserializer().deserialize_enum(name, variants, visitor),
            Self::Value(value) => value.deserialize_enum(name, variants, visitor),
            list @ Self::List(_) => list.deserialize_any(visitor),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 unit unit_struct seq tuple tuple_struct map struct
        ignored_any
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Mode {
        #[default]
        Fast,
        #[serde(rename = "1")]
        One,
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    struct Pool {
        #[serde(default)]
        max: u32,
        #[serde(default)]
        name: String,
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default)]
    struct Config {
        database: Option<String>,
        limit: u32,
        ratio: f64,
        fast: bool,
        path: PathBuf,
        names: Vec<String>,
        mode: Mode,
        pool: Pool,
    }

    fn check(table: &str, origins: &str, expected: Result<Config, &str>) {
        let found = read::<Config>(table.as_bytes(), origins.as_bytes());
        assert_eq!(found, expected.map_err(str::to_owned), "{table}");
    }

    /// The host's origin of a variable.
    fn said(key: &str, text: &str) -> String {
        let key: Vec<&str> = key.split('.').collect();
        serde_json::json!({ "key": key, "from": "variable FRAMEX_X", "text": text }).to_string()
    }

    #[test]
    fn config_is_typed_and_unknown_keys_are_refused() {
        check("", "", Ok(Config::default()));
        let read = Config { database: Some("x".to_owned()), limit: 3, ..Config::default() };
        check(r#"{"database": "x", "limit": 3, "mode": "fast"}"#, "", Ok(read));
        check(r#"{"limit": "three"}"#, "", Err("key `limit`: invalid type: string, expected u32"));
        let misleading = r#"{"limit": "a, expected \" at line 1"}"#;
        check(misleading, "", Err("key `limit`: invalid type: string, expected u32"));
        check(r#"{"databse": "x"}"#, "[]", Err("unknown key `databse`"));
        check(r#"{"database": 7}"#, "[]", Err("key `database`: invalid type: integer, expected a string"));
        check(r#"{"a": 1, "b": 2}"#, "[]", Err("unknown keys `a`, `b`"));
    }

    #[test]
    fn the_text_of_a_variable_reaches_the_type_that_asks_for_text() {
        let texts = [
            said("database", "0x10"),
            said("path", "1_0"),
            said("mode", "1"),
            said("pool.name", "true"),
            said("pool.max", "8"),
            said("limit", "+5"),
            said("ratio", "1"),
            said("fast", "true"),
        ];
        let table = r#"{"database": 16, "path": 10, "mode": 1, "pool": {"name": true, "max": 8}, "limit": 5, "ratio": 1, "fast": true}"#;
        let read = Config {
            database: Some("0x10".to_owned()),
            path: "1_0".into(),
            mode: Mode::One,
            pool: Pool { max: 8, name: "true".to_owned() },
            limit: 5,
            ratio: 1.0,
            fast: true,
            ..Config::default()
        };
        check(table, &format!("[{}]", texts.join(",")), Ok(read));
    }

    #[test]
    fn what_is_wrong_is_named_with_where_it_was_written() {
        let origins = r#"[{"key": ["limit"], "from": "config.toml line 3"}, {"key": ["pool", "mx"], "from": "config.toml line 5"},
                          {"key": ["names"], "from": "variable FRAMEX_PLUGINS__X__NAMES"}]"#;
        let wrong = "config.toml line 3: key `limit`: invalid type: string, expected u32";
        check(r#"{"limit": "three"}"#, origins, Err(wrong));
        check(r#"{"pool": {"mx": 1}}"#, origins, Err("config.toml line 5: unknown key `pool.mx`"));
        check(r#"{"pool": 1}"#, "[]", Err("key `pool`: invalid type: integer, expected struct Pool"));
        let list = "variable FRAMEX_PLUGINS__X__NAMES: key `names`: invalid type: string, expected a sequence; a \
                    variable has a list as in TOML, [\"a\", \"b\"]";
        check(r#"{"names": "a,b"}"#, origins, Err(list));
        let element =
            "variable FRAMEX_PLUGINS__X__NAMES: key `names[0]`: invalid type: integer, expected a string";
        check(r#"{"names": [7]}"#, origins, Err(element));
        let text = r#"[{"key": ["limit"], "from": "variable FRAMEX_X", "text": "true"}]"#;
        check(
            r#"{"limit": true}"#,
            text,
            Err("variable FRAMEX_X: key `limit`: invalid type: boolean, expected u32"),
        );
    }
}
