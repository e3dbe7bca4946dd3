//! Text for people, JSON for scripts.
//!
//! A result that cannot be written is a failure of the command, exit code 1: a script must not take an empty file for
//! it. A closed pipe is not a failure: its reader has seen enough (`framex-host functions | head -1`).

use std::fs::File;
use std::io::{self, ErrorKind, IsTerminal};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::OnceLock;

use clap::ValueEnum;
use framex_host::base::{one_line, printable, printable_json};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::command_error::CommandError;
use super::log;

/// The standard output of this process, once plugins have another one.
static KEPT: OnceLock<File> = OnceLock::new();

/// Redirects the standard output of plugins, and of what they start, to the error output. Results still go to the standard
/// output.
///
/// # Errors
/// What the system says.
pub(crate) fn keep_from_plugins() -> io::Result<()> {
    let kept = io::stdout().as_fd().try_clone_to_owned()?;
    rustix::stdio::dup2_stdout(io::stderr())?;
    KEPT.get_or_init(|| kept.into());
    Ok(())
}

/// The format of results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    Text,
    /// The same, with all columns of tables that have more than fit.
    Wide,
    /// For scripts.
    Json,
}

impl Output {
    /// Returns true for formats that people read.
    pub(crate) fn is_text(self) -> bool {
        self != Self::Json
    }

    /// Prints a result, as JSON or as `text`.
    ///
    /// # Errors
    /// The system's error for the standard output, unless its reader has closed it.
    pub(crate) fn show(self, json: &Value, text: impl FnOnce() -> String) -> Result<(), CommandError> {
        print(&if self.is_text() { line(&text()) } else { as_line(json) })
    }

    /// Prints what a host answered, as JSON or as `text`, which gets every string in one line: none can look like another
    /// row.
    ///
    /// # Errors
    /// As [`Output::show`] and [`view`].
    pub(crate) fn show_view<V: DeserializeOwned>(
        self,
        json: &Value,
        text: impl FnOnce(V) -> String,
    ) -> Result<(), CommandError> {
        if !self.is_text() {
            return print(&as_line(json));
        }
        let view = view(&in_lines(json))?;
        print(&line(&text(view)))
    }

    /// Prints the failure to the error output, and for scripts as JSON to the standard output. Returns the exit code.
    pub(crate) fn failed(self, failed: &CommandError) -> u8 {
        if !self.is_text() {
            let json = failed.json.clone().unwrap_or_else(|| serde_json::json!({ "error": failed.message }));
            // The command has failed already.
            let _unwritten = print(&as_line(&json));
        }
        self.remark(&format!("error: {}", failed.message));
        failed.code
    }

    /// Prints a remark for people.
    pub(crate) fn remark(self, text: &str) {
        log::say(&printable(text.trim_end()));
    }
}

/// Prints what was asked for, as it is.
///
/// # Errors
/// As [`Output::show`].
pub(crate) fn print(text: &str) -> Result<(), CommandError> {
    let stdout = io::stdout();
    let results: BorrowedFd<'_> = KEPT.get().map_or_else(|| stdout.as_fd(), AsFd::as_fd);
    match log::write_to(results, text.as_bytes()) {
        Err(broken) if broken.error.kind() != ErrorKind::BrokenPipe => Err(CommandError::new(format!(
            "the result cannot be written to the standard output: {}; what was asked for is done",
            broken.error
        ))),
        _ => Ok(()),
    }
}

/// Prints help, or what is wrong with the command line, as clap words it; returns the exit code.
///
/// # Errors
/// As [`Output::show`].
pub(crate) fn print_usage(error: &clap::Error) -> Result<u8, CommandError> {
    let is_terminal =
        if error.use_stderr() { io::stderr().is_terminal() } else { io::stdout().is_terminal() };
    let text = error.render();
    let text = if is_terminal { text.ansi().to_string() } else { text.to_string() };
    if error.use_stderr() {
        log::say(text.trim_end());
    } else {
        print(&text)?;
    }
    Ok(u8::try_from(error.exit_code()).unwrap_or(2))
}

/// Reads what a host answered.
///
/// # Errors
/// If it has another form than this version knows.
pub(crate) fn view<V: DeserializeOwned>(json: &Value) -> Result<V, CommandError> {
    V::deserialize(json).map_err(|error| {
        CommandError::new(format!("the host answered in a form that this version does not know: {error}"))
    })
}

fn as_line(json: &Value) -> String {
    format!("{}\n", printable_json(&json.to_string()))
}

/// The one form in which text goes to a terminal: it acts on nothing of it but its lines.
fn line(text: &str) -> String {
    format!("{}\n", printable(text.trim_end()))
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

/// A column of a table: its head, and the cell of a row.
pub(crate) type Column<T> = (&'static str, fn(&T) -> String);

/// Returns a table with a row for each item.
pub(crate) fn table_of<T>(columns: &[Column<T>], items: &[T]) -> String {
    let heads: Vec<&str> = columns.iter().map(|(head, _)| *head).collect();
    table(&heads, items.iter().map(|item| columns.iter().map(|(_, cell)| cell(item)).collect()))
}

/// Returns the rows as aligned columns below their heads.
pub(crate) fn table(heads: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let heads = (!heads.is_empty()).then(|| heads.iter().map(|head| (*head).to_owned()).collect());
    let in_line = |row: Vec<String>| row.iter().map(|cell| one_line(cell).into_owned()).collect::<Vec<_>>();
    let rows: Vec<Vec<String>> = heads.into_iter().chain(rows).map(in_line).collect();
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
        let rows = [vec!["demo.f".to_owned(), "local".to_owned()]];
        assert_eq!(table(&["NAME", "RUNS"], rows), "NAME    RUNS\ndemo.f  local");
    }

    #[test]
    fn no_text_of_elsewhere_makes_a_line() {
        assert_eq!(table(&["NAME"], [vec!["a\nfake".to_owned()]]), "NAME\na\\nfake");
        let json = serde_json::json!({"a\n": ["b\r", {"c": "d\x1b"}], "e": 1});
        assert_eq!(in_lines(&json), serde_json::json!({"a\\n": ["b\\r", {"c": "d\\u{1b}"}], "e": 1}));
        let printed = line("one\n\ttwo \x1b]0;title\x07\u{202e}\n");
        assert_eq!(printed, "one\n\ttwo \\u{1b}]0;title\\u{7}\\u{202e}\n");
    }
}
