//! Text for people, JSON for scripts.

use std::io::Write;

use framex_host::base::{one_line, printable, printable_json};
use serde_json::Value;

use super::Failed;
use super::arguments::Format;

/// Where results go. Failing to print, to a closed pipe for example, ends nothing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output(Format);

impl Output {
    pub(crate) fn new(format: Format) -> Self {
        Self(format)
    }

    /// Whether people read it.
    pub(crate) fn is_text(self) -> bool {
        self.0 != Format::Json
    }

    /// Whether tables have all their columns.
    pub(crate) fn is_wide(self) -> bool {
        self.0 == Format::Wide
    }

    /// Prints a result. `text` gets the JSON with every text of it in one line: none can look like another row.
    pub(crate) fn show(self, json: &Value, text: impl FnOnce(&Value) -> String) {
        match self.0 {
            Format::Json => show_json(json),
            Format::Text | Format::Wide => line(&mut std::io::stdout().lock(), &text(&in_lines(json))),
        }
    }

    /// Prints why there is no result: to the error output, and as JSON to where a script reads.
    pub(crate) fn failed(self, failed: &Failed) {
        if self.0 == Format::Json {
            let json = failed.json.clone().unwrap_or_else(|| serde_json::json!({ "error": failed.message }));
            show_json(&json);
        }
        line(&mut std::io::stderr().lock(), &format!("error: {}", failed.message));
    }

    /// Prints a remark for people.
    pub(crate) fn remark(self, text: &str) {
        line(&mut std::io::stderr().lock(), text);
    }
}

fn show_json(json: &Value) {
    let _closed = writeln!(std::io::stdout().lock(), "{}", printable_json(&json.to_string()));
}

/// The one way to a terminal: it acts on nothing of the text but its lines.
fn line(to: &mut impl Write, text: &str) {
    let _closed = writeln!(to, "{}", printable(text.trim_end()));
}

/// The same JSON, with each text in one line.
fn in_lines(json: &Value) -> Value {
    match json {
        Value::String(text) => Value::String(one_line(text).into_owned()),
        Value::Array(values) => values.iter().map(in_lines).collect(),
        Value::Object(entries) => {
            entries.iter().map(|(key, value)| (one_line(key).into_owned(), in_lines(value))).collect()
        }
        other => other.clone(),
    }
}

/// Rows as columns, the first row as their heads.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let in_line = |row: &Vec<String>| row.iter().map(|cell| one_line(cell).into_owned()).collect::<Vec<_>>();
    let rows: Vec<Vec<String>> = rows.iter().map(in_line).collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let padded = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(padded).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows =
            [vec!["NAME".to_owned(), "RUNS".to_owned()], vec!["demo.f".to_owned(), "local".to_owned()]];
        assert_eq!(table(&rows), "NAME    RUNS\ndemo.f  local");
    }

    #[test]
    fn no_text_of_elsewhere_makes_a_line() {
        let rows = [vec!["NAME".to_owned()], vec!["a\nfake".to_owned()]];
        assert_eq!(table(&rows), "NAME\na\\nfake");
        let json = serde_json::json!({"a\n": ["b\r", {"c": "d\x1b"}], "e": 1});
        assert_eq!(in_lines(&json), serde_json::json!({"a\\n": ["b\\r", {"c": "d\\u{1b}"}], "e": 1}));
        let mut printed = Vec::new();
        line(&mut printed, "one\n\ttwo \x1b]0;title\x07\u{202e}\n");
        assert_eq!(printed, b"one\n\ttwo \\u{1b}]0;title\\u{7}\\u{202e}\n");
    }
}
