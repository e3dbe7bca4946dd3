//! The log of the daemon, on the error output, so that results stay alone on the standard output.
//!
//! Every line goes through [`Lines`]: one event is one line, and a terminal acts on nothing in it. [`queue`] takes it to
//! the error output, which nothing else of the host waits for.

mod queue;

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};

use framex_host::base::{FunctionName, one_line, printable_json, set_log_flush};
use framex_host::config::{Keyword, Log, LogFormat};
use queue::Queue;
pub(super) use queue::write_to;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Sets up the log, which also takes the panics of this program.
pub(super) fn start(log: Log) {
    let level = log.level.as_word().parse().unwrap_or(LevelFilter::TRACE);
    let form = match log.format {
        LogFormat::Text if io::stderr().is_terminal() => LineFormat::Coloured,
        LogFormat::Text => LineFormat::Text,
        _ => LineFormat::Json,
    };
    // A host that is to log little still says who changed it, and whom it refused.
    let of_audit = level.max(LevelFilter::INFO);
    let targets = Targets::new().with_default(level).with_target("audit", of_audit);
    let lines = move || Lines { form, to: ErrorOutput };
    // What it would say of an output that is closed, it would say with `eprintln!`, which panics then.
    let builder = tracing_subscriber::fmt().log_internal_errors(false);
    let builder = builder.with_max_level(of_audit).with_ansi(false).with_writer(lines);
    match form {
        LineFormat::Json => builder.json().flatten_event(true).finish().with(targets).init(),
        LineFormat::Text | LineFormat::Coloured => builder.finish().with(targets).init(),
    }
    set_log_flush(flush);
    std::panic::set_hook(Box::new(|panic| {
        let backtrace = std::backtrace::Backtrace::capture();
        let backtrace =
            (backtrace.status() == std::backtrace::BacktraceStatus::Captured).then_some(backtrace);
        tracing::error!(target: "panic", backtrace = backtrace.map(tracing::field::display), "{panic}");
    }));
}

/// Adds a line to what goes to the error output, after all that was logged.
pub(super) fn say(line: &str) {
    // Its error would have no reader: the command is the same.
    _ = ErrorOutput.write_all(format!("{line}\n").as_bytes());
}

/// Reports that code of a plugin ends the process: in the log, or as the error of a command.
pub(super) fn tell_exit(function: Option<FunctionName>, call: &str, code: i32) {
    if tracing::dispatcher::has_been_set() {
        let function = function.map(tracing::field::display);
        tracing::error!(function, code, "code of a plugin called `{call}`, which ends the host");
    } else {
        say(&format!("error: code of the plugin called `{call}`"));
        flush();
    }
}

/// Waits for the error output to take what was said, as long as it takes something.
pub(super) fn flush() {
    if let Some(queue) = Queue::if_used() {
        queue.flush();
    }
}

/// The error output, through the queue.
struct ErrorOutput;

impl Write for ErrorOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match Queue::of_process() {
            Some(queue) => queue.add(bytes),
            None => io::stderr().write_all(bytes)?,
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The form of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LineFormat {
    Text,
    /// As text, with its level in a colour.
    Coloured,
    Json,
}

/// Writes whole lines; the formatter hands over one line at a time.
struct Lines<W> {
    form: LineFormat,
    to: W,
}

impl<W: Write> Write for Lines<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        let text = text.strip_suffix('\n').unwrap_or(&text);
        let line = match self.form {
            LineFormat::Text => one_line(text),
            LineFormat::Coloured => coloured(one_line(text)),
            LineFormat::Json => printable_json(text),
        };
        self.to.write_all(format!("{line}\n").as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Colours the level, which is the second word of a line.
fn coloured(line: Cow<'_, str>) -> Cow<'_, str> {
    let colours = [("ERROR", 31), ("WARN", 33), ("INFO", 32), ("DEBUG", 34), ("TRACE", 35)];
    let Some((time, rest)) = line.split_once(' ') else { return line };
    let rest = rest.trim_start();
    let level = colours.into_iter().find(|(level, _)| rest.starts_with(level));
    let Some((level, colour)) = level else { return line };
    let said = &rest[level.len()..];
    Cow::Owned(format!("\x1b[2m{time}\x1b[0m \x1b[{colour}m{level:>5}\x1b[0m{said}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(form: LineFormat, text: &str) -> String {
        let mut lines = Lines { form, to: Vec::new() };
        lines.write_all(text.as_bytes()).unwrap();
        String::from_utf8(lines.to).unwrap()
    }

    #[test]
    fn one_event_is_one_line_that_no_terminal_acts_on() {
        let event = "2026-11-27T05:00:00.000000Z  WARN panic: a\n2026 INFO audit: forged \x1b[2J\u{9b}\n";
        assert_eq!(
            written(LineFormat::Text, event),
            "2026-11-27T05:00:00.000000Z  WARN panic: a\\n2026 INFO audit: forged \\u{1b}[2J\\u{9b}\n"
        );
        assert_eq!(
            written(LineFormat::Coloured, event),
            "\x1b[2m2026-11-27T05:00:00.000000Z\x1b[0m \x1b[33m WARN\x1b[0m panic: a\\n2026 INFO audit: forged \
             \\u{1b}[2J\\u{9b}\n"
        );
        assert_eq!(
            written(LineFormat::Json, "{\"message\":\"\u{9b}\u{2028}\"}\n"),
            "{\"message\":\"\\u009b\\u2028\"}\n"
        );
    }
}
