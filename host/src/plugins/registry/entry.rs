//! One plugin: the published generation, the kept ones that can come back, and the retired ones still mapped.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use super::record::{Build, PluginRecord};
use crate::api::{FailedChangeView, PluginView, ProgressView, ZombieView, milliseconds_of};
use crate::base::{Digest, FunctionName, Mutex, MutexGuard, rfc3339};
use crate::files::PrivatePath;
use crate::plugins::error::PluginError;
use crate::plugins::file::stage::Staged;
use crate::plugins::load::generation::Generation;
use crate::plugins::process::maps::Maps;
use crate::plugins::run::lease::Lease;
use crate::plugins::settings::PluginConfig;

/// One plugin, by name, for as long as the host runs.
#[derive(Default)]
pub(crate) struct Entry {
    /// Held for the length of a change: changes of one plugin come one after the other.
    pub(crate) change_lock: Arc<tokio::sync::Mutex<()>>,
    state: Mutex<EntryState>,
}

/// The state of a plugin.
#[derive(Default)]
pub(crate) struct EntryState {
    pub(crate) published: Option<Published>,
    /// A generation is draining.
    pub(crate) draining: bool,
    /// Last number that was given out.
    pub(crate) last_generation: u64,
    /// Retired generations whose files are kept for `rollback`, newest first.
    pub(crate) kept: Vec<Kept>,
    /// Retired or failed generations whose libraries are mapped.
    pub(crate) mapped: Vec<Mapped>,
    /// The operator's file that held it last.
    pub(crate) path: Option<PathBuf>,
    /// Digest of that file when what is published was committed to.
    pub(crate) file_digest: Option<Digest>,
    /// Digest of a build in that file that was tried since, and refused.
    pub(crate) refused_digest: Option<Digest>,
    /// The build that was published last, and when: the admin API shows it also while the plugin is not published.
    pub(crate) shown: Option<(Kept, SystemTime)>,
    pub(crate) change: Option<(ProgressView, Instant)>,
    pub(crate) last_failure: Option<FailedChangeView>,
}

/// The generation that serves.
pub(crate) struct Published {
    pub(crate) generation: Arc<Generation>,
    pub(crate) functions: Vec<FunctionName>,
    /// `[plugins.NAME]` that it was started with.
    pub(crate) settings: PluginConfig,
    /// Gone once the generation drains.
    pub(crate) lease: Lease,
}

/// A build that `rollback` can bring back.
#[derive(Clone)]
pub(crate) struct Kept {
    pub(crate) generation: u64,
    pub(crate) version: String,
    pub(crate) staged: Arc<Staged>,
}

/// A library that is mapped and serves nothing.
pub(crate) struct Mapped {
    pub(crate) generation: u64,
    /// Name of the staged copy.
    pub(crate) copy: String,
    pub(crate) reason: String,
}

impl Entry {
    pub(crate) fn state(&self) -> MutexGuard<'_, EntryState> {
        self.state.lock()
    }

    pub(crate) fn next_generation(&self) -> u64 {
        let mut state = self.state();
        state.last_generation += 1;
        state.last_generation
    }

    /// Publishes a generation and returns the one it replaces.
    pub(crate) fn install(
        &self,
        new: Published,
        path: PathBuf,
        file_digest: Option<Digest>,
        published_at: SystemTime,
    ) -> Option<Published> {
        let mut state = self.state();
        let generation = &new.generation;
        let number = generation.number;
        state.shown = Some((Kept::of(generation), published_at));
        state.path = Some(path);
        state.file_digest = file_digest;
        state.refused_digest = None;
        state.last_failure = None;
        state.kept.retain(|kept| kept.generation != number);
        state.published.replace(new)
    }

    /// Keeps the build of a retired generation for `rollback`, and drops the oldest beyond `most`. Their copies are removed
    /// when the next record no longer names them.
    pub(crate) fn keep(&self, retired: &Generation, most: usize) {
        let mut state = self.state();
        state.kept = state.kept_with(Some(retired), most);
    }

    /// Notes a library that is still mapped.
    pub(crate) fn note_mapped(&self, generation: u64, copy: &str, reason: impl Into<String>) {
        let mut state = self.state();
        // Some went later than they were waited for.
        let maps = Maps::read();
        state.mapped.retain(|mapped| mapped.generation != generation && maps.bytes_of(&mapped.copy) > 0);
        if maps.bytes_of(copy) > 0 {
            state.mapped.push(Mapped { generation, copy: copy.to_owned(), reason: reason.into() });
        }
    }

    /// Notes a change that failed.
    pub(crate) fn note_failure(&self, error: &PluginError) {
        let (step, reason) = (error.step().as_str().to_owned(), error.to_string());
        let failure = FailedChangeView { step, reason, at: rfc3339(SystemTime::now()) };
        self.state().last_failure = Some(failure);
    }

    /// Returns the plugin as the admin API shows it; `None` if it was never published.
    pub(crate) fn status(&self, name: &str) -> Option<PluginView> {
        let maps = Maps::read();
        let state = self.state();
        let (Kept { generation, version, staged }, published_at) = state.shown.clone()?;
        let view = PluginView {
            name: name.to_owned(),
            version,
            state: if state.draining { "draining" } else { "retired" }.to_owned(),
            generation,
            sha256: staged.sha256.to_string(),
            file: staged.file.clone(),
            mapped_bytes: maps.bytes_of(&staged.copy),
            published_at: rfc3339(published_at),
            zombies: state.zombies(&maps),
            kept: state.kept.iter().map(|kept| kept.generation).collect(),
            change: state.change.clone().map(|(change, step_began)| ProgressView {
                ms: milliseconds_of(step_began.elapsed()),
                ..change
            }),
            last_failure: state.last_failure.clone(),
            ..PluginView::default()
        };
        let Some(Published { generation, functions, lease, .. }) = &state.published else {
            return Some(view);
        };
        Some(PluginView {
            state: PluginView::PUBLISHED.to_owned(),
            functions: functions.clone(),
            // All leases but ours, and the one that the table has for each function.
            in_flight: lease.downgrade().count().saturating_sub(1 + functions.len()),
            direct_calls: generation.routes.direct_calls(),
            layer_failures: generation.routes.layer_failures(),
            warnings: generation.warnings(),
            ..view
        })
    }
}

impl EntryState {
    /// Returns true for the build that serves, and for kept builds that served.
    pub(crate) fn has_served(&self, sha256: Digest) -> bool {
        let published = self.published.as_ref().map(|published| &published.generation.staged);
        let kept = self.kept.iter().map(|kept| &kept.staged);
        published.into_iter().chain(kept).any(|staged| staged.sha256 == sha256)
    }

    pub(crate) fn zombies(&self, maps: &Maps) -> Vec<ZombieView> {
        let zombie = |mapped: &Mapped| ZombieView {
            generation: mapped.generation,
            reason: mapped.reason.clone(),
            mapped_bytes: maps.bytes_of(&mapped.copy),
        };
        self.mapped.iter().map(zombie).filter(|zombie| zombie.mapped_bytes > 0).collect()
    }

    /// Returns the builds that are kept once `retired` is one of them.
    fn kept_with(&self, retired: Option<&Generation>, most: usize) -> Vec<Kept> {
        retired.map(Kept::of).into_iter().chain(self.kept.iter().cloned()).take(most).collect()
    }

    /// Returns the record of the published generation.
    pub(crate) fn record(&self, most: usize) -> PluginRecord {
        PluginRecord {
            last_generation: self.last_generation,
            committed: self.published.as_ref().map(|published| Kept::of(&published.generation).build()),
            file_digest: self.file_digest,
            refused_digest: self.refused_digest,
            kept: self.kept_with(None, most).iter().map(Kept::build).collect(),
        }
    }

    /// Returns the record once `new` is published.
    pub(crate) fn record_with(
        &self,
        new: &Generation,
        file_digest: Option<Digest>,
        most: usize,
    ) -> PluginRecord {
        let old = self.published.as_ref().map(|old| &*old.generation);
        PluginRecord {
            committed: Some(Kept::of(new).build()),
            file_digest,
            refused_digest: None,
            kept: self.kept_with(old, most).iter().map(Kept::build).collect(),
            ..self.record(most)
        }
    }
}

impl Kept {
    fn of(generation: &Generation) -> Self {
        let staged = Arc::clone(&generation.staged);
        Self { generation: generation.number, version: generation.description.version.clone(), staged }
    }

    /// Finds a build that an earlier process kept, in the folder of staged files.
    pub(crate) fn recorded(build: &Build, folder: &PrivatePath) -> io::Result<Self> {
        let Build { generation, version, sha256, file, copy } = build;
        let staged = Arc::new(Staged::recorded(folder, copy, file, *sha256)?);
        Ok(Self { generation: *generation, version: version.clone(), staged })
    }

    fn build(&self) -> Build {
        let Staged { sha256, ref file, ref copy, .. } = *self.staged;
        let (version, file, copy) = (self.version.clone(), file.clone(), copy.clone());
        Build { generation: self.generation, version, sha256, file, copy }
    }
}
