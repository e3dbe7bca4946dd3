//! Differences between the files of the plugin directory and the builds that serve.

use super::Plugins;
use crate::api::DifferenceView;
use crate::base::rfc3339;
use crate::plugins::file::on_disk::Now;
use crate::plugins::registry::entry::Entry;

impl Plugins {
    /// Returns the difference between the file of a published plugin and the build that serves, if there is one.
    pub(super) fn difference(&self, name: &str, entry: &Entry) -> Option<DifferenceView> {
        let (path, serves, file_digest, published_at) = {
            let state = entry.state();
            let staged = &state.published.as_ref()?.generation.staged;
            (state.path.clone()?, staged.sha256, state.file_digest, state.published_at())
        };
        let (sha256, now) = self.files.on_disk.now(&path);
        let of = |reason: &str, since: Option<_>| {
            Some(DifferenceView { reason: reason.to_owned(), since: since.map(rfc3339) })
        };
        match now {
            Now::Changed(at) => {
                return of("its file was written since it was looked at, and was not loaded", Some(at));
            }
            Now::Gone => return of("its file is gone", None),
            Now::Same if sha256.is_none() && path.symlink_metadata().is_err() => {
                return of("its file is gone", None);
            }
            Now::Same if sha256 == Some(serves) => return None,
            Now::Same => {}
        }
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        let failure = self.lifecycle.failures.of(name).or_else(|| self.lifecycle.failures.of(&file));
        match failure {
            Some((reason, since)) => of(&reason, Some(since)),
            None if self.files.on_disk.fault(&path).is_some() => {
                of(&self.files.on_disk.fault(&path).unwrap_or_default(), None)
            }
            None if file_digest == sha256 => {
                of("another build was brought back, and its file was not loaded since", published_at)
            }
            None => of("its file holds another build, which was not loaded", published_at),
        }
    }
}
