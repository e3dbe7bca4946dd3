//! Passes the plugin's lines of `tracing` and `log` to the host's log.
//!
//! Spans are not followed: an event carries its own fields, and the host adds plugin, generation and request id.
#![expect(unsafe_code, reason = "two calls of the host's table")]

use std::fmt::{self, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};

use framex_abi::{LogRecord, Slice};
use tracing::field::{Field, Visit};
use tracing::span;

use crate::instance;

/// Sets both facades up; called once in a plugin's library.
pub(crate) fn install() {
    // An error means that the plugin set its own: its choice.
    let _already_set = tracing::subscriber::set_global_default(ToHost);
    if log::set_logger(&ToHost).is_ok() {
        log::set_max_level(log::LevelFilter::Trace);
    }
}

/// Writes one line.
pub(crate) fn write(level: log::Level, target: &str, message: &str, fields: &str) {
    let Some(host) = instance::host() else { return };
    let record = LogRecord {
        struct_size: size_of::<LogRecord>() as u32,
        level: level as u32,
        target: Slice::new(target.as_bytes()),
        message: Slice::new(message.as_bytes()),
        fields: Slice::new(fields.as_bytes()),
        invocation: instance::invocation(),
    };
    // SAFETY: the table is the host's, and the record's texts live until the call returns.
    unsafe { (host.log)(host.instance, &raw const record) };
}

fn is_enabled(level: log::Level) -> bool {
    instance::host().is_some_and(|host| {
        // SAFETY: the table is the host's; the function only reads a level.
        let most_verbose = unsafe { (host.log_level)(host.instance) };
        level as u32 <= most_verbose
    })
}

fn level_of(level: tracing::Level) -> log::Level {
    match level {
        tracing::Level::ERROR => log::Level::Error,
        tracing::Level::WARN => log::Level::Warn,
        tracing::Level::INFO => log::Level::Info,
        tracing::Level::DEBUG => log::Level::Debug,
        tracing::Level::TRACE => log::Level::Trace,
    }
}

#[derive(Debug)]
struct ToHost;

impl log::Log for ToHost {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        is_enabled(metadata.level())
    }

    fn log(&self, record: &log::Record<'_>) {
        if is_enabled(record.level()) {
            write(record.level(), record.target(), &record.args().to_string(), "");
        }
    }

    fn flush(&self) {}
}

static NEXT_SPAN: AtomicU64 = AtomicU64::new(1);

impl tracing::Subscriber for ToHost {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.is_event() && is_enabled(level_of(*metadata.level()))
    }

    fn register_callsite(
        &self,
        metadata: &'static tracing::Metadata<'static>,
    ) -> tracing::subscriber::Interest {
        // The host's level may change while the plugin runs.
        if metadata.is_event() {
            tracing::subscriber::Interest::sometimes()
        } else {
            tracing::subscriber::Interest::never()
        }
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(NEXT_SPAN.fetch_add(1, Ordering::Relaxed))
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut texts = Texts::default();
        event.record(&mut texts);
        let metadata = event.metadata();
        write(level_of(*metadata.level()), metadata.target(), &texts.message, &texts.fields);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

#[derive(Default)]
struct Texts {
    message: String,
    fields: String,
}

impl Visit for Texts {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string cannot fail.
        let _infallible = if field.name() == "message" {
            write!(self.message, "{value:?}")
        } else {
            let separator = if self.fields.is_empty() { "" } else { " " };
            write!(self.fields, "{separator}{}={value:?}", field.name())
        };
    }
}
