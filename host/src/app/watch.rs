//! Watching the plugin directory, the config file and the files of secrets (`[reload] watch`): when something has
//! changed and nothing has changed any more for a moment, the host is reloaded.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, CreateKind, ModifyKind};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::reload::Host;
use crate::base::Tasks;
use crate::config::Config;
use crate::plugins::Asker;

/// How long nothing may have changed before the host is reloaded.
const QUIET: Duration = Duration::from_millis(300);
/// How long a file may be open for writing before it is taken as it is.
const WRITING_MAX: Duration = Duration::from_secs(30);
/// How long after a watcher failed the next one is made, and how often it is looked which folders are there.
const RETRY: Duration = Duration::from_secs(5);

/// What is watched, if anything is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Watched {
    /// Every file in it that could be a plugin.
    plugins: Option<PathBuf>,
    /// Single files: what they are links to is watched as well.
    files: BTreeSet<PathBuf>,
}

impl Watched {
    pub(super) fn of(config: &Config) -> Self {
        if !config.reload.watch {
            return Self::default();
        }
        let absolute = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
        let files = config.files().into_iter().map(absolute).collect();
        Self { plugins: Some(config.plugin_dir.clone()), files }
    }

    /// The folders that say when something of it changes, as far as they are there. A file is watched by its folder:
    /// editors and tools replace it.
    fn folders(&self) -> BTreeSet<PathBuf> {
        let parent = |path: &PathBuf| path.parent().map(Path::to_owned);
        let targets = self.files.iter().filter_map(|file| std::fs::canonicalize(file).ok());
        let of_files =
            self.files.iter().filter_map(parent).chain(targets.filter_map(|target| parent(&target)));
        of_files.chain(self.plugins.clone()).filter(|folder| folder.is_dir()).collect()
    }

    /// Whether a change of `path` matters. In the folder of a file, any change may: it may be a link to others there,
    /// as mounted secrets are; but those of the host itself, in a state directory there, come from elsewhere.
    fn concerns(&self, path: &Path) -> bool {
        let folder = path.parent();
        folder.is_some_and(|folder| {
            let is_plugin = self.plugins.as_deref() == Some(folder) && could_be_plugin(path);
            is_plugin || self.files.contains(path) || self.linked_from(folder)
        })
    }

    /// Whether one of the files is a link to something below `folder`, or through it.
    fn linked_from(&self, folder: &Path) -> bool {
        let is_link = |file: &&PathBuf| std::fs::canonicalize(file).is_ok_and(|target| target != **file);
        let mut links = self.files.iter().filter(is_link);
        links.any(|link| {
            let target = std::fs::canonicalize(link).unwrap_or_default();
            link.parent() == Some(folder) || target.parent() == Some(folder)
        })
    }
}

fn could_be_plugin(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // A library and its signature cannot be replaced in one step: the later of the two counts.
    let library = name.strip_suffix(".minisig").unwrap_or(&name);
    library.ends_with(std::env::consts::DLL_SUFFIX) && !library.starts_with('.')
}

/// What the watcher's thread has seen.
#[derive(Debug, Default)]
struct Seen {
    changed: bool,
    /// Files that somebody writes to at present.
    writing: BTreeSet<PathBuf>,
}

/// Reloads the host whenever something that it watches has changed, until the token of `tasks` is cancelled.
pub(super) async fn run(host: Arc<Host>, tasks: Tasks) {
    let mut plan = host.watched();
    let mut fault = String::new();
    loop {
        let watched = plan.borrow_and_update().clone();
        let watching = watch_for_a_while(&host, watched, &mut fault);
        tokio::select! {
            () = tasks.token().cancelled() => return,
            changed = plan.changed() => if changed.is_err() { return },
            () = watching => {}
        }
    }
}

/// Ends if other folders are to be watched, or after a while if they cannot be: `fault` is what was said of that last.
async fn watch_for_a_while(host: &Host, watched: Watched, fault: &mut String) {
    if watched == Watched::default() {
        return std::future::pending().await;
    }
    let seen = Arc::new(Mutex::new(Seen::default()));
    let stirred = Arc::new(Notify::new());
    let folders = watched.folders();
    let _watcher = match watcher(&watched, &folders, &seen, &stirred) {
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
    tracing::info!(?folders, "watching");
    // What changed before it was watched.
    locked(&seen).changed = true;
    stirred.notify_one();
    loop {
        if tokio::time::timeout(RETRY, stirred.notified()).await.is_ok() {
            settle(&seen, &stirred).await;
            let changed = std::mem::take(&mut locked(&seen).changed);
            if changed && let Err(refused) = host.reload(false, Asker::Watcher).await {
                tracing::error!(step = refused.step, "what was changed is not in force: {}", refused.detail);
            }
        }
        // Folders come and go, which nothing tells, and links may lead elsewhere now.
        if watched.folders() != folders {
            return;
        }
    }
}

/// Waits until nothing has changed for a moment, and nobody writes to a file.
async fn settle(seen: &Mutex<Seen>, stirred: &Notify) {
    let patience = Instant::now() + WRITING_MAX;
    loop {
        if tokio::time::timeout(QUIET, stirred.notified()).await.is_ok() && Instant::now() < patience {
            continue;
        }
        let mut seen = locked(seen);
        if seen.writing.is_empty() || Instant::now() >= patience {
            seen.writing.clear();
            return;
        }
    }
}

fn locked(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

fn watcher(
    watched: &Watched,
    folders: &BTreeSet<PathBuf>,
    seen: &Arc<Mutex<Seen>>,
    stirred: &Arc<Notify>,
) -> notify::Result<RecommendedWatcher> {
    let handler = {
        let (watched, seen, stirred) = (watched.clone(), Arc::clone(seen), Arc::clone(stirred));
        move |event: notify::Result<Event>| {
            if note(&watched, &mut locked(&seen), event) {
                stirred.notify_one();
            }
        }
    };
    let mut watcher = notify::recommended_watcher(handler)?;
    for folder in folders {
        watcher.watch(folder, RecursiveMode::NonRecursive)?;
    }
    Ok(watcher)
}

/// Notes what an event says; answers whether it matters.
fn note(watched: &Watched, seen: &mut Seen, event: notify::Result<Event>) -> bool {
    // What was missed is anybody's guess: look at everything.
    let Ok(event) = event else {
        seen.changed = true;
        return true;
    };
    if event.need_rescan() {
        seen.changed = true;
        return true;
    }
    let mut matters = false;
    for path in event.paths.iter().filter(|path| watched.concerns(path)) {
        matters |= match event.kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => {
                seen.writing.remove(path);
                true
            }
            // Closed before it is complete: by whoever opened it for writing.
            EventKind::Create(CreateKind::File) | EventKind::Modify(ModifyKind::Data(_)) => {
                // One that is a second name of a complete file is complete.
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
