//! The failure of a command, for people and for scripts.

use std::fmt::Display;

use framex_host::base::one_line;
use framex_host::config::ConfigError;

/// The failure of a command.
#[derive(Debug)]
pub(crate) struct CommandError {
    /// 1 failed, 2 bad usage or config, 128 + N by signal N.
    pub(crate) code: u8,
    /// For people.
    pub(crate) message: String,
    /// For scripts, if there is more to say than the message.
    pub(crate) json: Option<serde_json::Value>,
}

impl CommandError {
    /// The command could not do what was asked. The message becomes one line.
    pub(crate) fn new(message: impl Display) -> Self {
        Self { code: 1, message: one_line(&message.to_string()).into_owned(), json: None }
    }

    /// The command could not do what was asked, for several reasons, each of which becomes a line.
    pub(crate) fn several(messages: impl IntoIterator<Item = String>) -> Self {
        let lines = messages.into_iter().map(|message| one_line(&message).into_owned());
        Self { message: lines.collect::<Vec<_>>().join("\nerror: "), ..Self::new("") }
    }

    /// Bad usage. The message becomes one line.
    pub(crate) fn usage(message: impl Display) -> Self {
        Self { code: 2, ..Self::new(message) }
    }

    /// Adds what scripts get to read.
    pub(crate) fn with_json(mut self, json: serde_json::Value) -> Self {
        self.json = Some(json);
        self
    }
}

impl From<ConfigError> for CommandError {
    /// The config is wrong, perhaps in several lines, in none of which more is repeated of it than fits into one.
    fn from(error: ConfigError) -> Self {
        Self { message: error.to_string(), ..Self::usage("") }
    }
}
