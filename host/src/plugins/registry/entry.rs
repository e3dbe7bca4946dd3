//! One plugin: the published generation, the kept ones that can come back, and the retired ones still mapped.

use std::collections::VecDeque;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use super::record::{Build, PluginRecord};
use crate::api::{FailedChangeView, PluginView, ProgressView, ZombieView, milliseconds_of};
use crate::base::{Digest, FunctionName, Mutex, MutexGuard, rfc3339};
use crate::plugins::error::PluginError;
use crate::plugins::file::stage::Staged;
use crate::plugins::load::generation::Generation;
use crate::plugins::process::maps::Maps;
use crate::plugins::run::lease::Lease;
use crate::plugins::settings::PluginConfig;
use crate::plugins::states::PluginState;

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
    pub(crate) kept: VecDeque<Kept>,
    /// Retired or failed generations whose libraries are mapped.
    pub(crate) mapped: Vec<Mapped>,
    /// The operator's file that held it last.
    pub(crate) path: Option<PathBuf>,
    /// Digest of that file when what is published was committed to.
    pub(crate) file_digest: Option<Digest>,
    /// Digest of a build in that file that was tried since, and refused.
    pub(crate) refused_digest: Option<Digest>,
    /// The build that was published last.
    shown: Option<Shown>,
    pub(crate) change: Option<(ProgressView, Instant)>,
    pub(crate) last_failure: Option<FailedChangeView>,
}

/// The generation that serves.
pub(crate) struct Published {
    pub(crate) generation: Arc<Generation>,
    pub(crate) functions: Vec<FunctionName>,
    /// `[plugins.NAME]` that it was started with.
    pub(crate) config: PluginConfig,
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

/// The build that the admin API shows, also while the plugin is not published.
#[derive(Clone)]
struct Shown {
    name: String,
    build: Kept,
    published_at: SystemTime,
}

/// A library that is mapped and serves nothing.
pub(crate) struct Mapped {
    pub(crate) generation: u64,
    /// Name of the staged copy.
    pub(crate) copy: String,
    pub(crate) reason: String,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry").finish_non_exhaustive()
    }
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
        state.shown =
            Some(Shown { name: generation.plugin.to_string(), build: Kept::of(generation), published_at });
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

    /// Returns the changes of the published code to the process, one sentence each.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let state = self.state();
        state.published.as_ref().map(|published| published.generation.warnings()).unwrap_or_default()
    }

    /// Notes a change that failed.
    pub(crate) fn note_failure(&self, error: &PluginError) {
        let (step, reason) = (error.step().as_str().to_owned(), error.to_string());
        let failure = FailedChangeView { step, reason, at: rfc3339(SystemTime::now()) };
        self.state().last_failure = Some(failure);
    }

    /// Returns the plugin as the admin API shows it; `None` if it was never published.
    pub(crate) fn status(&self) -> Option<PluginView> {
        let maps = Maps::read();
        let state = self.state();
        let Shown { name, build, published_at } = state.shown.clone()?;
        let published = state.published.as_ref();
        let in_state = match (published, state.draining) {
            (Some(_), _) => PluginState::Published,
            (None, true) => PluginState::Draining,
            (None, false) => PluginState::Retired,
        };
        Some(PluginView {
            name,
            version: build.version,
            state: in_state.as_str().to_owned(),
            generation: build.generation,
            sha256: build.staged.sha256.to_string(),
            file: build.staged.file.clone(),
            functions: published.map(|published| published.functions.clone()).unwrap_or_default(),
            in_flight: published.map_or(0, Published::in_flight),
            direct_calls: published.map_or(0, |published| published.generation.routes.direct_calls()),
            layer_failures: published
                .map(|published| published.generation.routes.layer_failures())
                .unwrap_or_default(),
            mapped_bytes: maps.bytes_of(&build.staged.copy),
            published_at: rfc3339(published_at),
            warnings: published.map(|published| published.generation.warnings()).unwrap_or_default(),
            zombies: state.zombies(&maps),
            kept: state.kept.iter().map(|kept| kept.generation).collect(),
            differs_from_file: None,
            change: state.change.clone().map(|(change, step_began)| ProgressView {
                ms: milliseconds_of(step_began.elapsed()),
                ..change
            }),
            last_failure: state.last_failure.clone(),
        })
    }
}

impl EntryState {
    /// When what was published last was published.
    pub(crate) fn published_at(&self) -> Option<SystemTime> {
        self.shown.as_ref().map(|shown| shown.published_at)
    }

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
    fn kept_with(&self, retired: Option<&Generation>, most: usize) -> VecDeque<Kept> {
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
            last_generation: self.last_generation,
            committed: Some(Kept::of(new).build()),
            file_digest,
            refused_digest: None,
            kept: self.kept_with(old, most).iter().map(Kept::build).collect(),
        }
    }
}

impl Kept {
    fn of(generation: &Generation) -> Self {
        let staged = Arc::clone(&generation.staged);
        Self { generation: generation.number, version: generation.description.version.clone(), staged }
    }

    /// A build that an earlier process kept.
    pub(crate) fn recorded(build: &Build, staged: Staged) -> Self {
        Self { generation: build.generation, version: build.version.clone(), staged: Arc::new(staged) }
    }

    fn build(&self) -> Build {
        Build::of(self.generation, &self.version, &self.staged)
    }
}

impl Published {
    /// Calls and replies that hold its code: all leases but ours, and the one that the table has for each function.
    fn in_flight(&self) -> usize {
        self.lease.downgrade().count().saturating_sub(1 + self.functions.len())
    }
}
