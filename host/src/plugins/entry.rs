//! What the host keeps of one plugin: the published generation, those that can come back, those still mapped.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use super::generation::{Generation, Lease};
use super::maps;
use super::report::{PluginStatus, Zombie};
use crate::base::FunctionName;

/// One plugin, by name, for as long as the host runs.
#[derive(Default)]
pub(super) struct Entry {
    /// Held for the length of a change: changes of one plugin come one after the other.
    pub(super) turn: tokio::sync::Mutex<()>,
    state: Mutex<State>,
}

/// What is known of a plugin.
#[derive(Default)]
pub(super) struct State {
    pub(super) published: Option<Published>,
    /// A generation is draining.
    pub(super) draining: bool,
    /// Last number that was given out.
    pub(super) last_generation: u64,
    /// Retired generations whose files are kept for `rollback`, newest first.
    pub(super) kept: VecDeque<Arc<Generation>>,
    /// Retired or failed generations whose libraries are mapped.
    pub(super) mapped: Vec<Mapped>,
    /// The operator's file that held it last.
    pub(super) path: Option<PathBuf>,
}

/// The generation that serves.
pub(super) struct Published {
    pub(super) generation: Arc<Generation>,
    pub(super) functions: Vec<FunctionName>,
    /// Gone once the generation drains.
    pub(super) lease: Lease,
}

/// A library that is mapped and serves nothing.
pub(super) struct Mapped {
    pub(super) generation: u64,
    pub(super) file: PathBuf,
    pub(super) reason: String,
}

impl Entry {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn next_generation(&self) -> u64 {
        let mut state = self.state();
        state.last_generation += 1;
        state.last_generation
    }

    /// Notes a library that is still mapped.
    pub(super) fn note_mapped(&self, generation: u64, file: &Path, reason: impl Into<String>) {
        let mut state = self.state();
        // Some went later than they were waited for.
        state.mapped.retain(|mapped| maps::mapped_bytes(&mapped.file) > 0);
        if maps::mapped_bytes(file) > 0 {
            state.mapped.push(Mapped { generation, file: file.to_owned(), reason: reason.into() });
        }
    }

    /// The plugin as the admin API shows it; `None` if it never got as far as being published.
    pub(super) fn status(&self) -> Option<PluginStatus> {
        let state = self.state();
        let (generation, functions, in_flight) = match &state.published {
            Some(published) => (&published.generation, published.functions.clone(), published.in_flight()),
            None => (state.kept.front()?, Vec::new(), 0),
        };
        let name = match (&state.published, state.draining) {
            (Some(_), _) => "published",
            (None, true) => "draining",
            (None, false) => "retired",
        };
        Some(PluginStatus {
            name: generation.plugin.to_string(),
            version: generation.description.version.clone(),
            state: name,
            generation: generation.number,
            sha256: generation.staged.sha256.clone(),
            file: generation.staged.file.clone(),
            functions,
            in_flight,
            direct_calls: generation.direct_calls(),
            mapped_bytes: maps::mapped_bytes(&generation.staged.path),
            published_at: generation.published_at.get().copied().unwrap_or(SystemTime::UNIX_EPOCH),
            zombies: state.zombies(),
            kept: state.kept.iter().map(|generation| generation.number).collect(),
        })
    }
}

impl State {
    pub(super) fn zombies(&self) -> Vec<Zombie> {
        let zombie = |mapped: &Mapped| Zombie {
            generation: mapped.generation,
            reason: mapped.reason.clone(),
            mapped_bytes: maps::mapped_bytes(&mapped.file),
        };
        self.mapped.iter().map(zombie).filter(|zombie| zombie.mapped_bytes > 0).collect()
    }
}

impl Published {
    /// Calls and replies that hold its code: all leases but ours, and the one that the table has for each function.
    fn in_flight(&self) -> usize {
        self.lease.downgrade().count().saturating_sub(1 + self.functions.len())
    }
}
