//! The life of a plugin: its states, the steps that lead through them, and the changes that an operator asks for.

/// A step in the life of a generation, or of a change that leads through it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LifecycleStep {
    /// The request itself, before anything was done.
    Request,
    /// Copying and checking the file.
    Stage,
    /// Checking and mapping the library.
    Load,
    /// Running `on_start`.
    Start,
    /// Recording the change on disk.
    Commit,
    /// Swapping the functions of the table.
    Publish,
    /// Waiting for the last calls.
    Drain,
    /// Running `on_stop`.
    Stop,
    /// Unmapping the library.
    Retire,
}

impl LifecycleStep {
    /// Returns the word of the admin API and the log.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Stage => "stage",
            Self::Load => "load",
            Self::Start => "start",
            Self::Commit => "commit",
            Self::Publish => "publish",
            Self::Drain => "drain",
            Self::Stop => "stop",
            Self::Retire => "retire",
        }
    }
}

/// A change of one plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PluginAction {
    /// Loads a file that no plugin serves from.
    Load,
    /// Replaces the build that serves.
    Reload,
    /// Brings a kept generation back.
    Rollback,
    /// Withdraws the plugin.
    Unload,
    /// Stops the plugin with the host.
    Stop,
}

impl PluginAction {
    /// Returns the word of the admin API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Load => "load",
            Self::Reload => "reload",
            Self::Rollback => "rollback",
            Self::Unload => "unload",
            Self::Stop => "stop",
        }
    }
}

/// The state of a plugin that was published at least once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PluginState {
    /// A generation serves.
    Published,
    /// No generation serves, and the last one still has calls.
    Draining,
    /// No generation serves.
    Retired,
}

impl PluginState {
    /// Returns the word of the admin API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Published => "published",
            Self::Draining => "draining",
            Self::Retired => "retired",
        }
    }
}
