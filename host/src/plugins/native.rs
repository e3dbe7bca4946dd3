//! The traces of native libraries in the process that they are mapped into, and the reasons to keep them mapped (Linux
//! with glibc).
//!
//! A library can put addresses of its own code where only the end of a thread, a signal or the end of the process
//! finds them, and it can change what all of the process shares. So the host stands in front of the few functions of
//! the C library by which that is done, and looks at the rest after every step in which plugin code has run on
//! behalf of one plugin: after mapping, `on_start` and `on_stop`.
//!
//! - [`keys`], [`signals`], [`callbacks`], [`thread_exit`]: addresses of code. What lies in a library keeps it mapped,
//!   unless the host can destroy it: thread-locals, and values under thread keys, whose destructors may abort
//!   ([`abort_guard`]).
//! - [`process_state`], [`signals`]: what the host relies on is put back, and the plugin is named.
//! - [`environment`]: variables change without a moment at which another thread reads freed memory.
//! - [`host_thread_locals`]: a constructor that hangs holds the loader's lock, which the host's own thread-locals do not need.
//! - [`exit`]: the end of the process is the host's, and no library ends it with the exit code 0.
//! - [`spawned`]: threads that a library has begun keep it mapped.
//!
//! It cannot see system calls that a library makes itself during a call, and threads that C code begins while it is
//! being mapped.

mod abort_guard;
mod callbacks;
mod environment;
mod exit;
mod host_thread_locals;
mod keys;
mod libraries;
mod original;
mod process_state;
mod signals;
mod spawned;
mod thread_exit;

use std::collections::BTreeSet;
use std::ops::Range;

pub(super) use exit::{end_process, own_exit};
pub(super) use libraries::watch;
pub(super) use thread_exit::enter_worker;
pub(super) use thread_exit::{enter_mapper, flush, run_and_flush, touch as touch_worker, while_mapping};

use super::process::ProcessChanges;
use super::process::maps::Maps;
use crate::base::Mutex;

/// Notes what the process is like before any plugin code runs in it: what [`look`] puts back. Only the first call does.
pub(super) fn prepare() {
    thread_exit::prepare();
    exit::prepare();
    abort_guard::prepare();
    keys::prepare();
    callbacks::prepare();
    spawned::prepare();
    process_state::prepare();
    signals::prepare();
    let mut settled = SETTLED.lock();
    if settled.is_empty() {
        settled.extend(Maps::read().objects().map(|(_, path)| path));
    }
}

/// Checks that the process can take one more plugin.
///
/// # Errors
/// What it has run out of, as the reason for which a library is not mapped.
pub(super) fn check_room() -> Result<(), String> {
    keys::check_room()
}

/// Puts back what the host relies on, after code of a plugin has run.
pub(super) fn look() -> ProcessChanges {
    settle_dependencies();
    let mut changed = process_state::look();
    changed.put_back.splice(..0, signals::look());
    changed
}

/// Closes a library by `close`, unless something outside of it would still call its code. On the thread that maps.
///
/// # Errors
/// Why it stays mapped.
pub(super) fn close(
    library: &Range<usize>,
    close: impl FnOnce() -> Result<(), String>,
) -> Result<(), String> {
    settle_dependencies();
    if let Some(hook) = signals::hook_in(library).or_else(|| callbacks::hook_in(library)) {
        return Err(format!("{hook} could still be called"));
    }
    thread_exit::flush_mapper(library)?;
    spawned::wait_until_all_have_begun()?;
    keys::while_closing(library, close)
}

/// Forgets a library that is no longer mapped.
pub(super) fn forget(library: &Range<usize>) {
    libraries::forget(library);
    signals::forget(library);
    keys::forget(library);
}

/// Paths of objects that stay mapped for the life of the process.
static SETTLED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Keeps the libraries that plugins brought along mapped for good, if something outside of them would call their code:
/// the system unmaps them with the last plugin that needs them, and knows nothing of it.
fn settle_dependencies() {
    let mut hooks = keys::destructors();
    hooks.extend(signals::handlers());
    hooks.extend(callbacks::functions());
    hooks.retain(|address| !original::is_of_host(*address) && !libraries::is_watched(*address));
    if hooks.is_empty() {
        return;
    }
    let mut settled = SETTLED.lock();
    for (range, path) in Maps::read().objects() {
        if settled.contains(&path) || !hooks.iter().any(|address| range.contains(address)) {
            continue;
        }
        match super::process::linker::settle(&path) {
            Ok(()) => tracing::info!(
                library = path,
                "stays mapped for the life of the process: a plugin brought it, and signals or ends of threads call its code"
            ),
            Err(reason) => tracing::warn!(library = path, reason, "cannot be kept mapped"),
        }
        settled.insert(path);
    }
}
