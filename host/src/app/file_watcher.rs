//! Watches the plugin directory, the config file and the files of secrets (`[reload] watch`), and reloads the host once
//! they have changed and rested for a moment.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, CreateKind, ModifyKind};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::reloader::Reloader;
use super::watched_paths::{ResolvedPaths, WatchedPaths};
use crate::base::{Mutex, Tasks};
use crate::plugins::Asker;

/// The time without changes before a reload.
const QUIET: Duration = Duration::from_millis(300);
/// The longest time for which a file may stay open for writing before it is taken as it is.
const WRITING_MAX: Duration = Duration::from_secs(30);
/// The pause before a failed watcher is made again, and between two searches for new folders.
const RETRY: Duration = Duration::from_secs(5);

/// The changes that the watcher's thread has seen.
#[derive(Debug, Default)]
struct SeenChanges {
    changed: bool,
    /// Files that are being written.
    writing: BTreeSet<PathBuf>,
}

/// Reloads the host when something that it watches has changed, until the token of `tasks` is cancelled.
pub(super) async fn run(reloader: Arc<Reloader>, tasks: Tasks) {
    let mut plan = reloader.watched();
    let mut fault = String::new();
    loop {
        let watched = plan.borrow_and_update().clone();
        let watching = watch_for_a_while(&reloader, watched, &mut fault);
        tokio::select! {
            () = tasks.token().cancelled() => return,
            changed = plan.changed() => if changed.is_err() { return },
            () = watching => {}
        }
    }
}

/// Ends when other folders must be watched, or after a pause if watching fails. `fault` is the last error that was
/// logged.
async fn watch_for_a_while(reloader: &Reloader, watched: WatchedPaths, fault: &mut String) {
    if watched == WatchedPaths::default() {
        return std::future::pending().await;
    }
    let seen = Arc::new(Mutex::new(SeenChanges::default()));
    let stirred = Arc::new(Notify::new());
    let ways = watched.ways();
    let folders = ways.folders();
    let _watcher = match watcher(&ways, &folders, &seen, &stirred) {
        Ok(watcher) => watcher,
        Err(error) => {
            let text = error.to_string();
            if *fault != text {
                tracing::error!("the plugin directory and the config cannot be watched: {text}");
                *fault = text;
            }
            return sleep_until(Instant::now() + RETRY).await;
        }
    };
    fault.clear();
    tracing::info!(folders = ?folders.keys().collect::<Vec<_>>(), "watching");
    // Catches changes from before it was watched.
    seen.lock().changed = true;
    stirred.notify_one();
    loop {
        if tokio::time::timeout(RETRY, stirred.notified()).await.is_ok() {
            settle(&seen, &stirred).await;
            let changed = std::mem::take(&mut seen.lock().changed);
            if changed && let Err(refused) = reloader.reload(false, Asker::Watcher).await {
                tracing::error!(step = refused.step, "what was changed is not in force: {}", refused.detail);
            }
        }
        // Folders appear and vanish without an event, and links may lead elsewhere now.
        let now = watched.ways();
        if now != ways || now.folders() != folders {
            return;
        }
    }
}

/// Waits until nothing has changed for a moment, and no file is being written.
async fn settle(seen: &Mutex<SeenChanges>, stirred: &Notify) {
    let patience = Instant::now() + WRITING_MAX;
    loop {
        if tokio::time::timeout(QUIET, stirred.notified()).await.is_ok() && Instant::now() < patience {
            continue;
        }
        let mut seen = seen.lock();
        if seen.writing.is_empty() || Instant::now() >= patience {
            seen.writing.clear();
            return;
        }
    }
}

fn watcher(
    ways: &ResolvedPaths,
    folders: &BTreeMap<PathBuf, (u64, u64)>,
    seen: &Arc<Mutex<SeenChanges>>,
    stirred: &Arc<Notify>,
) -> notify::Result<RecommendedWatcher> {
    let handler = {
        let (ways, seen, stirred) = (ways.clone(), Arc::clone(seen), Arc::clone(stirred));
        move |event: notify::Result<Event>| {
            if note(&ways, &mut seen.lock(), event) {
                stirred.notify_one();
            }
        }
    };
    let mut watcher = notify::recommended_watcher(handler)?;
    for folder in folders.keys() {
        watcher.watch(folder, RecursiveMode::NonRecursive)?;
    }
    Ok(watcher)
}

/// Records an event, and returns true if it matters.
fn note(ways: &ResolvedPaths, seen: &mut SeenChanges, event: notify::Result<Event>) -> bool {
    // Events were lost: anything may have changed.
    let Ok(event) = event else {
        seen.changed = true;
        return true;
    };
    if event.need_rescan() {
        seen.changed = true;
        return true;
    }
    let mut matters = false;
    for path in event.paths.iter().filter(|path| ways.concerns(path)) {
        matters |= match event.kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => {
                seen.writing.remove(path);
                true
            }
            // It is complete when its writer has closed it.
            EventKind::Create(CreateKind::File) | EventKind::Modify(ModifyKind::Data(_)) => {
                // A second name of a complete file is complete.
                if std::fs::symlink_metadata(path)
                    .is_ok_and(|metadata| metadata.is_file() && metadata.nlink() == 1)
                {
                    seen.writing.insert(path.clone());
                }
                true
            }
            EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_)) => {
                seen.writing.remove(path);
                true
            }
            EventKind::Create(_) => true,
            _ => false,
        };
    }
    seen.changed |= matters;
    matters
}
