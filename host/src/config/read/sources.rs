//! The sources of values: the parsed file with its lines, and the names of variables and flags.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use figment::value::{Dict, Value};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::config::key::KeyPath;
use crate::config::{ConfigProblem, ValueOrigin};

/// The sources of values, for errors.
#[derive(Debug, Default)]
pub(in crate::config) struct Sources {
    /// The file, as it was given.
    pub(in crate::config) file: PathBuf,
    /// Byte offset of each line's end in the file.
    line_ends: Vec<usize>,
    /// Byte offset of each key, and of each element of a list, in the file.
    offsets: BTreeMap<KeyPath, usize>,
    /// Names of variables that the file names as the source of a secret; they set no key.
    pub(in crate::config) secret_variables: BTreeSet<String>,
    /// The keys that variables and flags set, weakest first.
    pub(in crate::config) overrides: Vec<(KeyPath, ValueOrigin)>,
    /// The texts of variables that were guessed to be a number, true or false.
    pub(in crate::config) guessed: BTreeMap<KeyPath, String>,
    /// The variables that resemble no key.
    pub(in crate::config) stray_variables: Vec<String>,
}

impl Sources {
    /// Parses the text of the file; `Err` has all faults of syntax and of numbers.
    pub(in crate::config) fn parse(text: &str, file: &Path) -> Result<(Self, Dict), Vec<ConfigProblem>> {
        let line_ends = text.match_indices('\n').map(|(at, _)| at).collect();
        let mut sources = Self { file: file.to_owned(), line_ends, ..Self::default() };
        let table = DeTable::parse(text).map_err(|error| vec![sources.syntax(text, &error)])?;
        let mut reader = TomlReader { sources: &mut sources, faults: Vec::new() };
        let dict = reader.table(&KeyPath::default(), table.get_ref());
        let faults = reader.faults;
        if faults.is_empty() { Ok((sources, dict)) } else { Err(faults) }
    }

    /// Makes a problem of a fault of syntax. The parser's `Display` would print the line, which may hold a secret.
    fn syntax(&self, text: &str, error: &toml::de::Error) -> ConfigProblem {
        let offset = error.span().map(|span| span.start.min(text.len()));
        let line = offset.map(|offset| self.line(offset));
        let column = offset.map(|offset| {
            let before = text.get(..offset).unwrap_or_default();
            1 + before.rsplit('\n').next().unwrap_or_default().chars().count()
        });
        let origin = ValueOrigin::File { path: self.file.clone(), line, column };
        let text = format!("this is not TOML: {}", error.message());
        ConfigProblem { origin, offset: offset.unwrap_or_default(), text }
    }

    /// Makes a problem of the value at `key`.
    pub(in crate::config) fn problem(&self, key: &KeyPath, text: String) -> ConfigProblem {
        ConfigProblem { origin: self.origin(key), offset: self.offset(key), text }
    }

    /// Returns the origin of the value at `key`: the strongest source that sets it, or a table around it.
    pub(in crate::config) fn origin(&self, key: &KeyPath) -> ValueOrigin {
        let over = self.overrides.iter().rev().find(|(raw, _)| key.starts_with(raw));
        let below = self.overrides.iter().rev().find(|(raw, _)| raw.starts_with(key));
        let around = |key: &KeyPath| Some(key.parent()).filter(|parent| !parent.parts().is_empty());
        let mut tables = std::iter::successors(Some(key.clone()), around);
        let line = tables.find_map(|key| self.offsets.get(&key)).map(|offset| self.line(*offset));
        match over.or(below.filter(|_| line.is_none())) {
            Some((_, origin)) => origin.clone(),
            None => ValueOrigin::File { path: self.file.clone(), line, column: None },
        }
    }

    /// Returns the offset of `key` in the file, which sorts the entries of a table as the user wrote them.
    pub(in crate::config) fn offset(&self, key: &KeyPath) -> usize {
        self.offsets.get(key).copied().unwrap_or(usize::MAX)
    }

    fn line(&self, offset: usize) -> usize {
        1 + self.line_ends.partition_point(|end| *end < offset)
    }
}

/// Reads a value in TOML; `None` if it is not TOML.
pub(in crate::config) fn value_of_toml(text: &str) -> Option<Value> {
    let value = DeValue::parse(text).ok()?;
    let mut reader = TomlReader { sources: &mut Sources::default(), faults: Vec::new() };
    let value = reader.value(&KeyPath::default(), &value);
    reader.faults.is_empty().then_some(value)
}

/// Walks the parsed file once: values for figment, offsets for errors.
struct TomlReader<'a> {
    sources: &'a mut Sources,
    faults: Vec<ConfigProblem>,
}

impl TomlReader<'_> {
    fn table(&mut self, key: &KeyPath, table: &DeTable<'_>) -> Dict {
        let mut dict = Dict::new();
        for (name, value) in table {
            let child = key.child(name.get_ref());
            self.sources.offsets.insert(child.clone(), name.span().start);
            let value = self.value(&child, value);
            dict.insert(name.get_ref().to_string(), value);
        }
        dict
    }

    fn value(&mut self, key: &KeyPath, value: &Spanned<DeValue<'_>>) -> Value {
        match value.get_ref() {
            DeValue::String(text) => {
                if let Some(variable) = text.strip_prefix("env:") {
                    self.sources.secret_variables.insert(variable.to_owned());
                }
                Value::from(text.as_ref())
            }
            DeValue::Integer(number) => {
                let parsed = i64::from_str_radix(number.as_str(), number.radix());
                self.number(key, parsed.ok().map(Value::from))
            }
            DeValue::Float(number) => {
                let parsed = number.as_str().parse::<f64>().ok().filter(|number| number.is_finite());
                self.number(key, parsed.map(Value::from))
            }
            DeValue::Boolean(flag) => Value::from(*flag),
            DeValue::Datetime(time) => Value::from(time.to_string()),
            DeValue::Array(values) => {
                let mut elements = Vec::with_capacity(values.len());
                for (index, element) in values.iter().enumerate() {
                    let key = key.element(index);
                    self.sources.offsets.insert(key.clone(), element.span().start);
                    elements.push(self.value(&key, element));
                }
                Value::from(elements)
            }
            DeValue::Table(table) => Value::from(self.table(key, table)),
        }
    }

    fn number(&mut self, key: &KeyPath, number: Option<Value>) -> Value {
        number.unwrap_or_else(|| {
            let text = format!("`{key}` must be a finite number of at most 64 bits");
            self.faults.push(self.sources.problem(key, text));
            Value::from(0)
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::config::testing::problems;

    #[test]
    fn faults_of_syntax_have_line_and_column() {
        let check = |text: &str, expected: &str| assert_eq!(problems(text), expected);
        check(
            "host_id = \"a\"\n[server]\nport 9000\n",
            "config.toml line 3 column 6: this is not TOML: key with no value, expected `=`",
        );
        check(
            "[server]\nport = 1\nport = 2\n",
            "config.toml line 3 column 1: this is not TOML: duplicate key",
        );
        check(
            "[plugins.demo]\na = inf\nb = 99999999999999999999\n",
            "config.toml line 2: `plugins.demo.a` must be a finite number of at most 64 bits\n\
             config.toml line 3: `plugins.demo.b` must be a finite number of at most 64 bits",
        );
    }

    #[test]
    fn faults_of_syntax_do_not_repeat_the_line() {
        let secret = "canary-of-a-secret";
        for broken in [
            format!("key = \"{secret}"),
            format!("rules = {{ a = [\"{secret}\" b }}"),
            format!("key = \"\\q{secret}\""),
            format!("key = {secret}"),
        ] {
            let text = problems(&broken);
            assert!(text.contains("this is not TOML"), "{text}");
            assert!(!text.contains(secret), "{text}");
        }
    }

    #[test]
    fn deep_nesting_is_refused_and_not_a_crash() {
        let dotted = format!("{}a = 1", "a.".repeat(400_000));
        let lists = format!("a = {}", "[".repeat(900_000));
        for deep in [dotted, lists] {
            assert!(problems(&deep).contains("this is not TOML"));
        }
    }
}
