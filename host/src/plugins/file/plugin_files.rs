//! Staging off the workers: what reads or copies a plugin file may block on the disk.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::candidate::Candidate;
use super::on_disk::{Held, Look, OnDisk};
use super::stage::{Stager, digest};
use super::trust;
use crate::base::Digest;
use crate::config::Trust;
use crate::plugins::error::PluginError;
use crate::plugins::settings::Settings;

/// The files of the plugin directory, and the folder of staged copies.
#[derive(Debug)]
pub(crate) struct PluginFiles {
    pub(crate) stager: Arc<Stager>,
    pub(crate) on_disk: Arc<OnDisk>,
}

impl PluginFiles {
    /// Nothing was looked at yet.
    pub(crate) fn new(stager: Stager) -> Self {
        Self { stager: Arc::new(stager), on_disk: Arc::default() }
    }

    /// Stages a file of the plugin directory, off the workers.
    pub(crate) async fn stage(&self, settings: &Settings, path: &Path) -> Result<Candidate, PluginError> {
        trust::check_directory(&settings.trust, &settings.directory)?;
        let candidate = self.stage_copy(settings, path).await?;
        if let Some(warning) = &candidate.warning {
            tracing::warn!("{warning}");
        }
        Ok(candidate)
    }

    async fn stage_copy(&self, settings: &Settings, path: &Path) -> Result<Candidate, PluginError> {
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let path = path.to_owned();
        let on_disk = Arc::clone(&self.on_disk);
        self.off_the_workers(settings, file, move |stager, trust| on_disk.stage(&path, stager, trust)).await
    }

    /// The copy of a file that was looked at, made now if there is none.
    pub(crate) async fn candidate(&self, settings: &Settings, held: Held) -> Result<Candidate, PluginError> {
        let Held { path, plugin, candidate, .. } = held;
        if let Some(candidate) = candidate {
            return Ok(candidate);
        }
        let candidate = self.stage_copy(settings, &path).await?;
        if candidate.name() != plugin {
            let file = candidate.staged.file.clone();
            let reason = format!("holds plugin `{}` now, and held `{plugin}` a moment ago", candidate.name());
            return Err(PluginError::NotALibrary { file, reason });
        }
        Ok(candidate)
    }

    /// Stages a copy that was kept, once more; also answers the digest of the operator's file, which it stands for.
    ///
    /// # Errors
    /// As staging, and [`PluginError::Altered`].
    pub(crate) async fn stage_again(
        &self,
        settings: &Settings,
        (copy, sha256): (&str, Digest),
        file: &str,
        path: PathBuf,
    ) -> Result<(Candidate, Option<Digest>), PluginError> {
        let (name, copy, original) = (copy.to_owned(), copy.to_owned(), path.clone());
        let candidate = self
            .off_the_workers(settings, name, move |stager, trust| {
                Candidate::stage_again(&copy, &original, stager, trust)
            })
            .await;
        let mut candidate = candidate.map_err(|error| error.of_file(file))?;
        if candidate.staged.sha256 != sha256 {
            return Err(PluginError::Altered { file: file.to_owned() });
        }
        file.clone_into(&mut candidate.staged.file);
        candidate.path.clone_from(&path);
        let file_digest = tokio::task::spawn_blocking(move || digest(&path)).await.unwrap_or_default();
        Ok((candidate, file_digest))
    }
    /// Looks at a file, and copies it if there is something new in it.
    pub(crate) async fn look_at(&self, settings: &Settings, path: PathBuf) -> Look {
        let (on_disk, stager, trust) =
            (Arc::clone(&self.on_disk), Arc::clone(&self.stager), Arc::clone(&settings.trust));
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let looked = tokio::task::spawn_blocking(move || on_disk.look(&path, &stager, &trust)).await;
        looked.unwrap_or_else(|_| {
            let reason = "the thread that read it died".to_owned();
            Look::failed(PluginError::Load { file, reason })
        })
    }

    /// Reads the files whose times alone may be new, so that what the host reports of them next is exact.
    pub(crate) async fn refresh(&self, paths: Vec<PathBuf>) {
        let on_disk = Arc::clone(&self.on_disk);
        // A file that cannot be read stays as it was looked at last.
        let _read =
            tokio::task::spawn_blocking(move || paths.iter().for_each(|path| on_disk.refresh(path))).await;
    }

    /// Runs what stages a file where it may block.
    async fn off_the_workers(
        &self,
        settings: &Settings,
        file: String,
        stage: impl FnOnce(&Stager, &Arc<Trust>) -> Result<Candidate, PluginError> + Send + 'static,
    ) -> Result<Candidate, PluginError> {
        let (stager, trust) = (Arc::clone(&self.stager), Arc::clone(&settings.trust));
        let staged = tokio::task::spawn_blocking(move || stage(&stager, &trust)).await;
        let lost = |_| PluginError::Load { file, reason: "the thread that read it died".to_owned() };
        staged.map_err(lost)?
    }
}
