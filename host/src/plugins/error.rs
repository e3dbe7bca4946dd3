//! The errors of plugins. A text has its cause in it, so no error exposes a source.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::functions::NameTaken;
use crate::plugins::file::trust::trust_error::TrustError;
use crate::plugins::process::STATIC_TLS;
use crate::plugins::step::LifecycleStep;

/// A step of a plugin's life that failed. Each text names what was found and what is needed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum PluginError {
    /// The file cannot be read or copied.
    #[error("plugin file `{file}` cannot be {action}: {cause}")]
    File {
        /// Name of the file.
        file: String,
        /// "read", "copied to the state directory", ...
        action: &'static str,
        /// The error of the system.
        cause: Arc<std::io::Error>,
    },
    /// The file is larger than a plugin may be.
    #[error("plugin file `{file}` has more than {bytes_max} bytes, the most that a plugin may have")]
    TooLarge {
        /// Name of the file.
        file: String,
        /// The limit.
        bytes_max: u64,
    },
    /// The file is not trusted by the config.
    #[error("plugin file `{file}` {}", .why.sentence(.file))]
    Untrusted {
        /// Name of the file.
        file: String,
        /// The reason.
        why: TrustError,
    },
    /// Every user of the machine may put files where trusted ones are expected.
    #[error(
        "plugin directory {} can be changed by every user of this machine, which [trust] rules out: `chmod o-w {}`",
        .0.display(), .0.display()
    )]
    WritableDirectory(PathBuf),
    /// The probe showed that its code does not leave the process alone.
    #[error("plugin file `{file}` is not let into the host, as its probe shows: {reason}")]
    Probe {
        /// Name of the file.
        file: String,
        /// The harm, in words.
        reason: String,
    },
    /// The probe could not be made.
    #[error(
        "plugin file `{file}` cannot be probed: {cause}; try again, or set probe = \"off\" in [reload], which lets every build \
         into the host"
    )]
    NotProbed {
        /// Name of the file.
        file: String,
        /// The reason.
        cause: Arc<std::io::Error>,
    },
    /// The file is not a library that this host can map, or one for another version of the ABI or against its rules.
    #[error("plugin file `{file}` {reason}")]
    Unfit {
        /// Name of the file.
        file: String,
        /// Completes the sentence.
        reason: String,
    },
    /// The file system of the state directory lets no library be mapped.
    #[error(
        "plugin `{plugin}` cannot be loaded: {} lies on {}, which is mounted with `noexec`, so no library can be mapped from it; set `state_dir` to a directory on another file system, or mount this one with `exec`",
        .directory.display(), .mount.display()
    )]
    NoExec {
        /// The plugin.
        plugin: String,
        /// The folder of copies.
        directory: PathBuf,
        /// The mount point of the file system.
        mount: PathBuf,
    },
    /// Another build of a library that it brings along is mapped, and the system's loader would use that.
    #[error(
        "plugin file `{file}` cannot be loaded: it needs the `{soname}` in {}, and another build of that is mapped, which plugin `{plugin}` brought, so the system would use that one; restart the host, or give the new build another SONAME",
        .folder.display()
    )]
    OldCompanion {
        /// Name of the file.
        file: String,
        /// Of the library.
        soname: String,
        /// The folder of the new build.
        folder: PathBuf,
        /// The plugin that brought the old build.
        plugin: String,
    },
    /// The system's loader refused it.
    #[error("plugin file `{file}` cannot be loaded: {reason}")]
    Load {
        /// Name of the file.
        file: String,
        /// The loader's words.
        reason: String,
    },
    /// Two files hold plugins of one name, and the other one is the plugin's, by the record of what served.
    #[error(
        "plugin file `{file}`{} holds plugin `{plugin}`, as `{other}` does, which is the one on record: remove `{file}`",
        more_text(*more)
    )]
    Duplicate {
        /// Name of the file.
        file: String,
        /// The number of such files that no error names.
        more: usize,
        /// The plugin.
        plugin: Arc<str>,
        /// The file that counts.
        other: String,
    },
    /// Several files hold plugins of one name, and no record says which one counts.
    #[error(
        "plugin file `{file}` holds plugin `{plugin}`, as {others} does, and no record says which one counts, so none is loaded: keep one of them"
    )]
    Ambiguous {
        /// Name of the file.
        file: String,
        /// The plugin.
        plugin: Arc<str>,
        /// The names of the other files, not more than fit a sentence.
        others: String,
    },
    /// `on_start` returned an error.
    #[error("plugin `{plugin}` failed to start: {reason}")]
    Start {
        /// The plugin.
        plugin: Arc<str>,
        /// In its own words.
        reason: String,
    },
    /// `on_start` did not end.
    #[error(
        "plugin `{plugin}` did not start within {} ms ([reload] start_timeout_ms){}",
        .after.as_millis(), early_text(.called.as_deref())
    )]
    StartTimeout {
        /// The plugin.
        plugin: Arc<str>,
        /// The deadline.
        after: Duration,
        /// The function of another plugin that it called meanwhile.
        called: Option<String>,
    },
    /// It registered a name that is not its own.
    #[error("plugin `{plugin}` is not published: {cause}")]
    Publish {
        /// The plugin.
        plugin: Arc<str>,
        /// The name and its owner.
        cause: NameTaken,
    },
    /// No file holds a plugin that the config requires.
    #[error(
        "plugin `{plugin}` is required by load_plugins, but no file in {} holds it{}",
        .directory.display(), near_text(.near)
    )]
    Missing {
        /// The plugin.
        plugin: String,
        /// The plugin directory.
        directory: PathBuf,
        /// The nearest name of a plugin that is there and not required; empty without one.
        near: String,
    },
    /// The file of a plugin that is to be reloaded is gone.
    #[error("plugin `{plugin}` has no file any more: none in {} holds it", .directory.display())]
    NoFile {
        /// The plugin.
        plugin: String,
        /// The plugin directory.
        directory: PathBuf,
    },
    /// The plugin directory cannot be read.
    #[error("plugin directory {} cannot be read: {cause}; create it, or set plugin_dir", .directory.display())]
    Directory {
        /// The directory.
        directory: PathBuf,
        /// The error of the system.
        cause: Arc<std::io::Error>,
    },
    /// Callers of the old build could not go on.
    #[error("plugin `{plugin}` is not reloaded, as callers would break: {}; reload it with --allow-breaking if that is meant", .breaks.join("; "))]
    Breaking {
        /// The plugin.
        plugin: Arc<str>,
        /// One sentence each.
        breaks: Vec<String>,
    },
    /// No plugin of that name was ever loaded.
    #[error("there is no plugin `{plugin}`{}", near_text(.near))]
    Unknown {
        /// Asked for.
        plugin: String,
        /// The nearest names, joined.
        near: String,
    },
    /// The plugin does not serve.
    #[error("plugin `{0}` is not loaded")]
    NotPublished(String),
    /// The plugin serves already.
    #[error("plugin `{0}` is loaded already: reload it instead")]
    AlreadyLoaded(String),
    /// A path, where only files of the plugin directory may be named.
    #[error("`{0}` is not the name of a file in the plugin directory")]
    NotAFileName(String),
    /// A file that the host would not look at when it starts.
    #[error(
        "`{}` is not loaded: the name of a plugin file ends in {} and begins with no dot",
        .0, std::env::consts::DLL_SUFFIX
    )]
    NotAPluginFile(String),
    /// No such generation is kept.
    #[error(
        "plugin `{plugin}` has no such generation to roll back to; kept are {kept:?} ([reload] keep_generations)"
    )]
    NotKept {
        /// The plugin.
        plugin: String,
        /// The generations that are kept.
        kept: Vec<u64>,
    },
    /// The change cannot be recorded, so a restart would bring back something else.
    #[error("plugin `{plugin}` is not published, as the state directory cannot be written to: {cause}")]
    Record {
        /// The plugin.
        plugin: Arc<str>,
        /// The step that it was at.
        step: LifecycleStep,
        /// The error of the system.
        cause: Arc<std::io::Error>,
    },
    /// A copy in the state directory is not what it was.
    #[error("the kept copy of plugin file `{0}` was altered or is damaged: reload the plugin from its file")]
    Altered(String),
    /// The build in the plugin directory was tried when the host ended or refused it.
    #[error(
        "plugin file `{file}` holds a build that was tried and did not get as far as being published; generation {generation} serves: reload the plugin to try it again, or put another file there"
    )]
    Tried {
        /// Name of the file.
        file: String,
        /// The generation that serves.
        generation: u64,
    },
    /// The host ended while it loaded this build, most likely by its doing.
    #[error(
        "plugin file `{file}` holds a build of `{plugin}` that was being loaded when the host ended, so it is left out: put another build there, or try it again with `framex-host plugins {}`",
        if *.serves { format!("reload {plugin}") } else { format!("load {file}") }
    )]
    EndedHost {
        /// Name of the file.
        file: String,
        /// The plugin.
        plugin: String,
        /// Another build of the plugin serves.
        serves: bool,
    },
    /// The host is being stopped.
    #[error("the host is stopping: plugins are not changed any more")]
    Stopping,
    /// An earlier constructor or destructor has not returned.
    #[error(
        "plugin `{plugin}` cannot be loaded now: a constructor or destructor of plugin `{by}` has not returned since \
         {since}, and the system's loader lets no other library through until then; restart the host if it never does"
    )]
    LoaderHeld {
        /// The plugin that was to be mapped or closed.
        plugin: Arc<str>,
        /// The plugin whose code runs.
        by: Arc<str>,
        /// Since when, as RFC 3339.
        since: String,
    },
    /// A thread cannot be had.
    #[error("plugin `{plugin}` cannot be started: no thread for it: {cause}")]
    Thread {
        /// The plugin.
        plugin: Arc<str>,
        /// The error of the system.
        cause: Arc<std::io::Error>,
    },
}

impl PluginError {
    /// Makes the error for a plugin file that could not be `action`, of an error of the system.
    pub(crate) fn file(file: &str, action: &'static str) -> impl Fn(std::io::Error) -> Self {
        let file = file.to_owned();
        move |cause| Self::File { file: file.clone(), action, cause: cause.into() }
    }

    /// Returns true for faults of the bytes of the file alone, independent of the host and its state directory.
    pub(crate) fn is_of_the_file(&self) -> bool {
        matches!(self, Self::TooLarge { .. } | Self::Untrusted { .. } | Self::Unfit { .. })
    }

    /// Returns true if the build may start in another life of the host, or where that has more room.
    pub(crate) fn is_of_this_process(&self) -> bool {
        match self {
            Self::NoExec { .. }
            | Self::OldCompanion { .. }
            | Self::LoaderHeld { .. }
            | Self::NotProbed { .. }
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
            Self::Probe { .. } | Self::NotProbed { .. } => LifecycleStep::Probe,
            Self::Unfit { .. }
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

fn early_text(called: Option<&str>) -> String {
    called.map_or_else(String::new, |function| {
        format!(
            ": it called `{function}`, and calls of other plugins are refused until on_start has returned"
        )
    })
}

fn near_text(near: &str) -> String {
    match near {
        "" => String::new(),
        one if !one.contains(',') => format!("; the nearest is `{one}`"),
        several => format!("; the nearest are `{several}`"),
    }
}

fn more_text(more: usize) -> String {
    if more == 0 { String::new() } else { format!(" (and {more} more files)") }
}
