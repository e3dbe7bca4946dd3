//! The classes of errors: the step that failed, and the errors that another try or another process may not meet.

use std::sync::Arc;

use super::PluginError;
use crate::plugins::process::STATIC_TLS;
use crate::plugins::states::LifecycleStep;

impl PluginError {
    /// Makes the error for a plugin file that could not be `action`, of an error of the system.
    pub(crate) fn file(file: &str, action: &'static str) -> impl Fn(std::io::Error) -> Self {
        let file = file.to_owned();
        move |cause| Self::File { file: file.clone(), action, cause: Arc::new(cause) }
    }

    /// Makes the error for a plugin file that is a folder, a pipe or the like.
    pub(crate) fn not_a_file(file: &str) -> Self {
        Self::NotALibrary { file: file.to_owned(), reason: "is not a regular file".to_owned() }
    }

    /// Returns true for faults of the bytes of the file alone, independent of the host and its state directory.
    pub(crate) fn is_of_the_file(&self) -> bool {
        matches!(
            self,
            Self::TooLarge { .. }
                | Self::Untrusted { .. }
                | Self::NotALibrary { .. }
                | Self::Incompatible { .. }
        )
    }

    /// Returns true if the build may start in another life of the host, or where that has more room.
    pub(crate) fn is_of_this_process(&self) -> bool {
        match self {
            Self::NoExec { .. }
            | Self::OldCompanion { .. }
            | Self::LoaderHeld { .. }
            | Self::Thread { .. }
            | Self::Record { .. } => true,
            Self::Load { reason, .. } => reason.contains(STATIC_TLS),
            _ => false,
        }
    }

    /// Names the operator's file in the error of a kept copy.
    pub(crate) fn of_file(self, original: &str) -> Self {
        match self {
            Self::Untrusted { why, .. } => Self::Untrusted { file: original.to_owned(), why },
            Self::File { action, cause, .. } => Self::File { file: original.to_owned(), action, cause },
            other => other,
        }
    }

    /// Returns the step that failed.
    #[must_use]
    pub fn step(&self) -> LifecycleStep {
        match self {
            Self::Record { step, .. } => *step,
            Self::Altered { .. }
            | Self::Tried { .. }
            | Self::EndedHost { .. }
            | Self::File { .. }
            | Self::TooLarge { .. }
            | Self::Untrusted { .. }
            | Self::WritableDirectory { .. }
            | Self::Missing { .. }
            | Self::NoFile { .. }
            | Self::Directory { .. } => LifecycleStep::Stage,
            Self::NotALibrary { .. }
            | Self::Incompatible { .. }
            | Self::NoExec { .. }
            | Self::OldCompanion { .. }
            | Self::Load { .. }
            | Self::LoaderHeld { .. }
            | Self::Duplicate { .. }
            | Self::Ambiguous { .. } => LifecycleStep::Load,
            Self::Start { .. } | Self::StartTimeout { .. } | Self::Thread { .. } => LifecycleStep::Start,
            Self::Breaking { .. } | Self::Publish { .. } => LifecycleStep::Publish,
            Self::Unknown { .. }
            | Self::NotPublished { .. }
            | Self::AlreadyLoaded { .. }
            | Self::NotAFileName { .. }
            | Self::NotAPluginFile { .. }
            | Self::NotKept { .. }
            | Self::Stopping => LifecycleStep::Request,
        }
    }
}
