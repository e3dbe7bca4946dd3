//! The plugin files of the directory as they are now. A file that is as it was when it was looked at last is not read
//! again; one whose times alone are new is read, and copied only if its content is.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, Metadata};
use std::io::Seek;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::candidate::Candidate;
use super::stage::{Stager, digest, digest_of, open_original};
use super::trust;
use super::trust::signature_file::signature_path;
use crate::base::{Digest, Mutex};
use crate::config::Trust;
use crate::files::Stamp;
use crate::plugins::error::PluginError;

/// A file that holds a plugin.
pub(crate) struct Held {
    pub(crate) path: PathBuf,
    pub(crate) plugin: String,
    pub(crate) sha256: Digest,
    /// The libraries that it brings along.
    pub(crate) companions: Vec<PathBuf>,
    /// The copy, where one was made.
    pub(crate) candidate: Option<Candidate>,
}

/// The outcome of a look at a file.
pub(crate) struct Look {
    pub(crate) held: Result<Held, PluginError>,
    /// Digest of the file, as far as it could be read.
    pub(crate) sha256: Option<Digest>,
    pub(crate) stamp: Option<Stamp>,
    /// A setting that is allowed but likely not intended.
    pub(crate) warning: Option<String>,
}

/// The change of a file since the last look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Now {
    /// It is the same.
    Same,
    /// It was written to, or replaced, at that time.
    Changed(SystemTime),
    Gone,
}

/// The contents of each file at the last look.
#[derive(Debug, Default)]
pub(crate) struct OnDisk(Mutex<BTreeMap<PathBuf, Looked>>);

/// A file when it was looked at last.
#[derive(Debug, Clone)]
struct Looked {
    stamp: Stamp,
    /// A change since then shows in the stamp.
    settled: bool,
    sha256: Digest,
    /// The plugin that it holds, or why none.
    holds: Result<String, PluginError>,
    companions: Vec<PathBuf>,
    /// Of the signature beside it, and the rules that it was checked by.
    signature: Option<Stamp>,
    trust: Trust,
}

impl OnDisk {
    /// Looks at a file, and copies it if there is something new in it. Blocks on the disk.
    pub(crate) fn look(&self, path: &Path, stager: &Stager, trust: &Trust) -> Look {
        let mut opened = match Opened::open(path) {
            Ok(opened) => opened,
            Err(error) => return Look::failed(error),
        };
        let stamp = opened.stamp;
        let failed = |error| Look { stamp: Some(stamp), ..Look::failed(error) };
        let warning = match trust::check_file(trust, &opened.file, &opened.metadata) {
            Ok(warning) => warning,
            Err(error) => return failed(error),
        };
        let applies = |known: &&Looked| known.signature == opened.signature && known.trust == *trust;
        let known = self.0.lock().get(path).filter(applies).cloned();
        if let Some(mut known) = known {
            let untouched = known.settled && known.stamp == stamp;
            if untouched || digest_of(&opened.source).is_ok_and(|sha256| sha256 == known.sha256) {
                (known.stamp, known.settled) = (stamp, opened.is_settled());
                let look = known.look(path, warning);
                self.0.lock().insert(path.to_owned(), known);
                return look;
            }
            if let Err(error) = opened.source.rewind() {
                return failed(PluginError::file(&opened.file, "read")(error));
            }
        }
        let (staged, sha256) = self.copy(opened, path, stager, trust);
        let held = staged.map(|candidate| Held {
            path: path.to_owned(),
            plugin: candidate.name().to_owned(),
            sha256: candidate.staged.sha256,
            companions: candidate.companion_files(),
            candidate: Some(candidate),
        });
        Look { held, sha256, stamp: Some(stamp), warning }
    }

    /// Copies a file, whether there is something new in it or not. Blocks on the disk.
    ///
    /// # Errors
    /// As [`Candidate::stage`].
    pub(crate) fn stage(
        &self,
        path: &Path,
        stager: &Stager,
        trust: &Trust,
    ) -> Result<Candidate, PluginError> {
        self.copy(Opened::open(path)?, path, stager, trust).0
    }

    fn copy(
        &self,
        opened: Opened,
        path: &Path,
        stager: &Stager,
        trust: &Trust,
    ) -> (Result<Candidate, PluginError>, Option<Digest>) {
        let (stamp, settled, signature) = (opened.stamp, opened.is_settled(), opened.signature);
        let staged = Candidate::stage_opened(opened.source, opened.metadata, (path, path), stager, trust);
        let (sha256, holds) = match &staged {
            Ok(candidate) => (Some(candidate.staged.sha256), Ok(candidate.name().to_owned())),
            Err(error) => (digest(path), Err(error.clone())),
        };
        let of_file = holds.as_ref().map_or_else(PluginError::is_of_the_file, |_| true);
        match sha256.filter(|_| of_file) {
            Some(sha256) => {
                let companions = staged.as_ref().map(Candidate::companion_files).unwrap_or_default();
                let trust = trust.clone();
                let looked = Looked { stamp, settled, sha256, holds, companions, signature, trust };
                self.0.lock().insert(path.to_owned(), looked);
            }
            // The host's fault, and tried again by the next look.
            None => drop(self.0.lock().remove(path)),
        }
        (staged, sha256)
    }

    /// Forgets the files that are not in the directory any more.
    pub(crate) fn keep(&self, present: &[PathBuf]) {
        let present: BTreeSet<&PathBuf> = present.iter().collect();
        self.0.lock().retain(|path, _| present.contains(path));
    }

    /// Digest of a file when it was looked at last, and how it is now. Reads nothing of it.
    pub(crate) fn now(&self, path: &Path) -> (Option<Digest>, Now) {
        let known = self.0.lock().get(path).map(|looked| (looked.stamp, looked.sha256));
        let (stamp, sha256) = known.unzip();
        (sha256, stamp.map_or(Now::Same, |stamp| now(path, stamp)))
    }

    /// Returns the reason why a file held no plugin at the last look.
    pub(crate) fn fault(&self, path: &Path) -> Option<String> {
        self.0.lock().get(path)?.holds.as_ref().err().map(ToString::to_string)
    }

    /// Reads a file whose times are new since it was looked at, and notes them if its content is the same. Blocks on the
    /// disk.
    pub(crate) fn refresh(&self, path: &Path) {
        let Some(known) = self.0.lock().get(path).cloned() else { return };
        let moment = SystemTime::now();
        let Some(stamp) = Stamp::at(path).filter(|stamp| *stamp != known.stamp) else { return };
        if digest(path).is_some_and(|sha256| sha256 == known.sha256)
            && let Some(looked) = self.0.lock().get_mut(path)
        {
            (looked.stamp, looked.settled) = (stamp, stamp.was_settled(moment));
        }
    }
}

/// A file that is open, and all that is known of it without reading it.
struct Opened {
    file: String,
    source: File,
    metadata: Metadata,
    stamp: Stamp,
    signature: Option<Stamp>,
    at: SystemTime,
}

impl Opened {
    fn open(path: &Path) -> Result<Self, PluginError> {
        let (at, signature) = (SystemTime::now(), Stamp::at(&signature_path(path)));
        let (file, source, metadata) = open_original(path)?;
        let stamp = Stamp::of(&metadata);
        Ok(Self { file, source, metadata, stamp, signature, at })
    }

    fn is_settled(&self) -> bool {
        self.stamp.was_settled(self.at)
    }
}

/// Compares a file with its earlier stamp.
pub(crate) fn now(path: &Path, stamp: Stamp) -> Now {
    match Stamp::at(path) {
        None => Now::Gone,
        Some(now) if now == stamp => Now::Same,
        Some(now) => Now::Changed(now.changed_at()),
    }
}

impl Looked {
    /// The same once more, without a copy.
    fn look(&self, path: &Path, warning: Option<String>) -> Look {
        let held = self.holds.clone().map(|plugin| Held {
            path: path.to_owned(),
            plugin,
            sha256: self.sha256,
            companions: self.companions.clone(),
            candidate: None,
        });
        Look { held, sha256: Some(self.sha256), stamp: Some(self.stamp), warning }
    }
}

impl Look {
    pub(crate) fn failed(error: PluginError) -> Self {
        Self { held: Err(error), sha256: None, stamp: None, warning: None }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::plugins::file::stage::tests::stager;

    #[test]
    fn a_file_is_read_again_only_where_it_may_be_another() {
        let scratch = tempfile::tempdir().unwrap();
        let (stager, trust, on_disk) = (stager(scratch.path()), Trust::default(), OnDisk::default());
        let file = scratch.path().join("libx.so");
        let look = || {
            let look = on_disk.look(&file, &stager, &trust);
            (look.held.err().map(|error| error.to_string()).unwrap_or_default(), look.sha256)
        };
        assert!(look().0.contains("cannot be opened"));
        fs::write(&file, "no library").unwrap();
        let first = look();
        assert!(first.0.contains("is not a library") && first.1.is_some(), "{first:?}");
        assert_eq!(on_disk.now(&file), (first.1, Now::Same));
        assert_eq!(look(), first);
        // Written within the step of the clock, with the same size.
        fs::write(&file, "no LIBRARY").unwrap();
        let second = look();
        assert_ne!(second.1, first.1);
        fs::write(&file, "no LIBRARY").unwrap();
        on_disk.refresh(&file);
        assert_eq!(on_disk.now(&file), (second.1, Now::Same));
        fs::write(&file, "").unwrap();
        assert!(matches!(on_disk.now(&file), (_, Now::Changed(_))));
        fs::remove_file(&file).unwrap();
        assert_eq!(on_disk.now(&file), (second.1, Now::Gone));
        on_disk.keep(&[]);
        assert_eq!(on_disk.now(&file), (None, Now::Same));
    }
}
