//! Staging off the workers: what reads or copies a plugin file may block on the disk.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::candidate::Candidate;
use super::name_of;
use super::on_disk::{Held, Look, OnDisk};
use super::stage::{Stager, digest};
use super::trust;
use crate::base::Digest;
use crate::config::{Config, Trust};
use crate::plugins::error::PluginError;

/// The files of the plugin directory, and the folder of staged copies.
#[derive(Debug)]
pub(crate) struct PluginFiles {
    pub(crate) stager: Arc<Stager>,
    pub(crate) on_disk: Arc<OnDisk>,
}

impl PluginFiles {
    /// Stages a file of the plugin directory, off the workers.
    pub(crate) async fn stage(&self, config: &Arc<Config>, path: &Path) -> Result<Candidate, PluginError> {
        trust::check_directory(&config.trust, &config.plugin_dir)?;
        let candidate = self.stage_copy(config, path).await?;
        if let Some(warning) = &candidate.warning {
            tracing::warn!("{warning}");
        }
        Ok(candidate)
    }

    async fn stage_copy(&self, config: &Arc<Config>, path: &Path) -> Result<Candidate, PluginError> {
        let (file, path) = (name_of(path), path.to_owned());
        let stage =
            move |on_disk: &OnDisk, stager: &Stager, trust: &Trust| on_disk.stage(&path, stager, trust);
        self.off_the_workers(config, file, stage).await?
    }

    /// The copy of a file that was looked at, made now if there is none.
    pub(crate) async fn candidate(&self, config: &Arc<Config>, held: Held) -> Result<Candidate, PluginError> {
        let Held { path, plugin, candidate, .. } = held;
        if let Some(candidate) = candidate {
            return Ok(candidate);
        }
        let candidate = self.stage_copy(config, &path).await?;
        if candidate.name() != plugin {
            let file = candidate.staged.file.clone();
            let reason = format!("holds plugin `{}` now, and held `{plugin}` a moment ago", candidate.name());
            return Err(PluginError::Unfit { file, reason });
        }
        Ok(candidate)
    }

    /// Stages a copy that was kept, once more; also answers the digest of the operator's file, which it stands for.
    ///
    /// # Errors
    /// As staging, and [`PluginError::Altered`].
    pub(crate) async fn stage_again(
        &self,
        config: &Arc<Config>,
        (copy, sha256): (&str, Digest),
        file: &str,
        path: PathBuf,
    ) -> Result<(Candidate, Option<Digest>), PluginError> {
        let (name, copy, original) = (copy.to_owned(), copy.to_owned(), path.clone());
        let stage = move |_: &OnDisk, stager: &Stager, trust: &Trust| {
            Candidate::stage_again(&copy, &original, stager, trust)
        };
        let candidate = self.off_the_workers(config, name, stage).await.flatten();
        let mut candidate = candidate.map_err(|error| error.of_file(file))?;
        if candidate.staged.sha256 != sha256 {
            return Err(PluginError::Altered(file.to_owned()));
        }
        file.clone_into(&mut candidate.staged.file);
        candidate.path.clone_from(&path);
        let file_digest = tokio::task::spawn_blocking(move || digest(&path)).await.unwrap_or_default();
        Ok((candidate, file_digest))
    }

    /// Looks at a file, and copies it if there is something new in it.
    pub(crate) async fn look_at(&self, config: &Arc<Config>, path: PathBuf) -> Look {
        let file = name_of(&path);
        let look = move |on_disk: &OnDisk, stager: &Stager, trust: &Trust| on_disk.look(&path, stager, trust);
        self.off_the_workers(config, file, look).await.unwrap_or_else(Look::failed)
    }

    /// Reads the files whose times alone may be new, so that what the host reports of them next is exact.
    pub(crate) async fn refresh(&self, paths: Vec<PathBuf>) {
        let on_disk = Arc::clone(&self.on_disk);
        // A file that cannot be read stays as it was looked at last.
        let _read =
            tokio::task::spawn_blocking(move || paths.iter().for_each(|path| on_disk.refresh(path))).await;
    }

    /// Runs what reads a file where it may block.
    async fn off_the_workers<T: Send + 'static>(
        &self,
        config: &Arc<Config>,
        file: String,
        read: impl FnOnce(&OnDisk, &Stager, &Trust) -> T + Send + 'static,
    ) -> Result<T, PluginError> {
        let (on_disk, stager) = (Arc::clone(&self.on_disk), Arc::clone(&self.stager));
        let config = Arc::clone(config);
        let done = tokio::task::spawn_blocking(move || read(&on_disk, &stager, &config.trust)).await;
        done.map_err(|_| PluginError::Load { file, reason: "the thread that read it died".to_owned() })
    }
}
