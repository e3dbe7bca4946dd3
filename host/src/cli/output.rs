//! Text for people, JSON for scripts.

use std::io::Write;

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
        self.0 == Format::Text
    }

    /// Prints a result.
    pub(crate) fn show(self, json: &Value, text: impl FnOnce() -> String) {
        match self.0 {
            Format::Json => line(&mut std::io::stdout().lock(), &json.to_string()),
            Format::Text => line(&mut std::io::stdout().lock(), &text()),
        }
    }

    /// Prints why there is no result: to the error output, and as JSON to where a script reads.
    pub(crate) fn failed(self, failed: &Failed) {
        if self.0 == Format::Json {
            let json = failed.json.clone().unwrap_or_else(|| serde_json::json!({ "error": failed.message }));
            line(&mut std::io::stdout().lock(), &json.to_string());
        }
        line(&mut std::io::stderr().lock(), &format!("error: {}", failed.message));
    }

    /// Prints a remark for people.
    pub(crate) fn remark(self, text: &str) {
        line(&mut std::io::stderr().lock(), text);
    }
}

fn line(to: &mut impl Write, text: &str) {
    let _closed = writeln!(to, "{}", text.trim_end());
}

/// Rows as columns, the first row as their heads.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
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
}
