//! The config in force, compared with the one on disk: the result of the last reload, and whether a file of the config
//! was written since it was read.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use crate::base::Mutex;
use crate::files::Stamp;

/// The config in force, and how the one on disk differs.
#[derive(Debug)]
pub struct InForce {
    state: Mutex<LastReload>,
    /// Held while a thread looks at the disk: a disk that hangs holds only one.
    looking: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Debug)]
struct LastReload {
    /// When the config came into force.
    since: SystemTime,
    refused: Option<ReloadRefusal>,
    /// Keys that say something else than what is in force until the host is started again.
    restart_required: Vec<String>,
    files: ConfigFiles,
}

/// The last reload was refused.
#[derive(Debug, Clone)]
struct ReloadRefusal {
    /// When the first of such reloads in a row was.
    since: SystemTime,
    /// The reason for the last one.
    reason: String,
    /// The config itself is wrong, and not a plugin.
    is_of_config: bool,
}

/// The files of a config, as they were when it was read.
#[derive(Debug, Clone, Default)]
pub struct ConfigFiles(Vec<(PathBuf, Option<Stamp>)>);

impl ConfigFiles {
    /// Notes how files are now.
    pub fn look(paths: impl IntoIterator<Item = PathBuf>) -> Self {
        let look = |path: PathBuf| {
            let stamp = Stamp::at(&path);
            (path, stamp)
        };
        Self(paths.into_iter().map(look).collect())
    }

    /// Keeps the stamps of listed files, and notes new files as they are now.
    #[must_use]
    pub fn with(mut self, paths: impl IntoIterator<Item = PathBuf>) -> Self {
        let new = Self::look(paths);
        let is_listed = |path: &PathBuf| new.0.iter().any(|(listed, _)| listed == path);
        self.0.retain(|(path, _)| is_listed(path));
        for (path, stamp) in new.0 {
            if !self.0.iter().any(|(listed, _)| *listed == path) {
                self.0.push((path, stamp));
            }
        }
        self
    }

    /// The first file that is another one now, and since when, if it is there.
    fn changed(&self) -> Option<(&PathBuf, Option<SystemTime>)> {
        self.0.iter().find_map(|(path, stamp)| {
            let now = Stamp::at(path);
            (now != *stamp).then(|| (path, now.map(|now| now.changed_at())))
        })
    }
}

/// The config on disk is not in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConfigGap {
    /// Since when, if that is known.
    pub(crate) since: Option<SystemTime>,
    /// The difference, in a sentence, with paths.
    pub(crate) reason: String,
}

impl InForce {
    /// A config came into force at the start, read from `files`.
    pub fn new(files: ConfigFiles) -> Self {
        let state =
            LastReload { since: SystemTime::now(), refused: None, restart_required: Vec::new(), files };
        Self { state: Mutex::new(state), looking: Arc::default() }
    }

    /// The turn to look at the disk, for the thread that does.
    pub(crate) async fn turn(&self) -> tokio::sync::OwnedMutexGuard<()> {
        Arc::clone(&self.looking).lock_owned().await
    }

    /// The files that the config in force was read from, as they are now.
    pub fn files_now(&self) -> ConfigFiles {
        let paths: Vec<PathBuf> = self.state.lock().files.0.iter().map(|(path, _)| path.clone()).collect();
        ConfigFiles::look(paths)
    }

    /// A reload was done.
    pub fn taken(&self, files: ConfigFiles, restart_required: Vec<String>) {
        *self.state.lock() = LastReload { since: SystemTime::now(), refused: None, restart_required, files };
    }

    /// A reload was refused.
    pub fn refused(&self, reason: &str, is_of_config: bool) {
        let mut state = self.state.lock();
        let since = state.refused.as_ref().map_or_else(SystemTime::now, |refusal| refusal.since);
        state.refused = Some(ReloadRefusal { since, reason: reason.to_owned(), is_of_config });
    }

    /// Returns whether the last reload succeeded, and the time of the last success; the start counts as one.
    pub(crate) fn last(&self) -> (bool, SystemTime) {
        let state = self.state.lock();
        (state.refused.is_none(), state.since)
    }

    /// Returns the difference between the config on disk and the one in force. Blocks on the disk.
    pub(crate) fn gap(&self) -> Option<ConfigGap> {
        let (files, refused) = {
            let state = self.state.lock();
            (state.files.clone(), state.refused.clone())
        };
        let changed = files.changed();
        // A plugin that failed leaves a config in force that has not changed.
        if let Some(refusal) = refused.filter(|refusal| refusal.is_of_config || changed.is_some()) {
            let reason = format!("the last reload was refused: {}", refusal.reason);
            return Some(ConfigGap { since: Some(refusal.since), reason });
        }
        let (path, since) = changed?;
        let path = path.display();
        let reason = match since {
            Some(_) => format!("{path} was written since it was read: reload the host"),
            None => format!("{path} is gone, or cannot be looked at"),
        };
        Some(ConfigGap { since, reason })
    }

    /// Keys that say something else than what is in force until the host is started again.
    pub(crate) fn restart_required(&self) -> Vec<String> {
        self.state.lock().restart_required.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_refused_reload_and_a_written_file_are_gaps() {
        let scratch = tempfile::tempdir().unwrap();
        let file = scratch.path().join("config.toml");
        fs::write(&file, "a").unwrap();
        let in_force = InForce::new(ConfigFiles::look([file.clone()]));
        assert_eq!((in_force.gap(), in_force.last().0), (None, true));
        fs::write(&file, "ab").unwrap();
        let gap = in_force.gap().unwrap();
        assert!(gap.since.is_some() && gap.reason.contains("was written since it was read"), "{gap:?}");
        in_force.refused("first", false);
        let since = in_force.gap().unwrap().since;
        in_force.refused("second", true);
        let gap = in_force.gap().unwrap();
        assert_eq!((gap.since, in_force.last().0), (since, false));
        assert!(gap.reason.ends_with("refused: second"), "{gap:?}");
        let key = scratch.path().join("key");
        let files = in_force.files_now().with([file.clone(), key.clone()]);
        in_force.taken(files, vec!["host_id".to_owned()]);
        assert_eq!((in_force.gap(), in_force.last().0), (None, true));
        in_force.refused("a plugin", false);
        assert_eq!((in_force.gap(), in_force.last().0), (None, false), "the config is in force");
        fs::write(&key, "a").unwrap();
        assert!(in_force.gap().unwrap().reason.ends_with("refused: a plugin"));
        in_force.taken(in_force.files_now(), Vec::new());
        fs::write(&key, "ab").unwrap();
        assert!(in_force.gap().unwrap().reason.starts_with(&key.display().to_string()));
    }
}
