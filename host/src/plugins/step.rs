//! The steps in the life of a generation.

/// A step in the life of a generation, or of a change that leads through it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LifecycleStep {
    /// The request itself, before anything was done.
    Request,
    /// Copying and checking the file.
    Stage,
    /// Mapping the library in a process of its own.
    Probe,
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
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Stage => "stage",
            Self::Probe => "probe",
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
