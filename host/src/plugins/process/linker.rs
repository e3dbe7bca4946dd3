//! The system's loader (`dlopen`), beyond the mapping of plugins themselves, and the libraries that plugins brought along.
//! Those stay mapped until the host ends. One of the files with hand-written `unsafe`.
#![expect(unsafe_code, reason = "asks the system's loader")]

use std::collections::BTreeMap;
use std::error::Error as _;
use std::mem::ManuallyDrop;
use std::path::Path;

use libloading::os::unix::{Library as Handle, RTLD_LAZY, RTLD_LOCAL, RTLD_NOW};

use super::STATIC_TLS;
use crate::base::{Digest, Mutex};

/// A library that a plugin brought along.
#[derive(Debug, Clone)]
pub(crate) struct Brought {
    pub(crate) sha256: Digest,
    /// The plugin that brought it.
    pub(crate) plugin: String,
}

/// The libraries of all plugins, by SONAME.
static BROUGHT: Mutex<BTreeMap<String, Brought>> = Mutex::new(BTreeMap::new());

/// Keeps a library that is mapped already mapped for the life of the process.
///
/// # Errors
/// What the loader says.
pub(crate) fn settle(path: &str) -> Result<(), String> {
    // SAFETY: nothing is mapped and nothing runs: the library is there, or this fails.
    let found = unsafe { Handle::open(Some(path), RTLD_LAZY | libc::RTLD_NOLOAD | libc::RTLD_NODELETE) };
    let found = found.map_err(|error| in_words(&error))?;
    let _kept = ManuallyDrop::new(found);
    Ok(())
}

/// Makes the system's loader look again at libraries that were closed while something pinned them.
///
/// It does so when a library is really unmapped, so this needs one that is mapped nowhere else: glibc still ships
/// some that are empty since their functions moved into `libc.so.6`.
pub(crate) fn nudge() {
    // SAFETY: an empty library of glibc; opening it runs nothing.
    let opened = unsafe { Handle::open(Some("libutil.so.1"), RTLD_NOW | RTLD_LOCAL) };
    // Where it cannot be opened, the next reload does the same.
    let _closed = opened.map(Handle::close);
}

/// Returns the library of this SONAME, if a plugin brought one.
pub(crate) fn find(soname: &str) -> Option<Brought> {
    BROUGHT.lock().get(soname).cloned()
}

/// Returns true for a library that is mapped, and that no plugin brought.
pub(crate) fn is_of_the_system(soname: &str) -> bool {
    // SAFETY: opens only what is mapped, and runs nothing.
    let opened = || unsafe { Handle::open(Some(soname), RTLD_NOW | libc::RTLD_NOLOAD) };
    find(soname).is_none() && opened().is_ok()
}

/// Maps the copy of a library that a plugin needs, until the host ends. Its constructors run. The caller is on the thread
/// that maps.
///
/// # Errors
/// What the loader says.
pub(crate) fn map(soname: String, copy: &Path, library: Brought) -> Result<(), String> {
    // Without the lock, as constructors may hang. The thread that maps does one thing at a time.
    // SAFETY: as of the plugin that needs it: a private copy, whole, and never written to again.
    let handle = unsafe { Handle::open(Some(copy), RTLD_NOW | RTLD_LOCAL) };
    let handle = handle.map_err(|error| words_about(copy, &error))?;
    let _stays = ManuallyDrop::new(handle);
    BROUGHT.lock().insert(soname, library);
    Ok(())
}

/// Returns the loader's words without the path of the copy, which they begin with and which means nothing to a reader, and
/// with the way out where they have none.
pub(crate) fn words_about(copy: &Path, error: &libloading::Error) -> String {
    let words = in_words(error);
    let words = words.strip_prefix(&format!("{}: ", copy.display())).unwrap_or(&words);
    if !words.contains(STATIC_TLS) {
        return words.to_owned();
    }
    format!(
        "{words}: it was built to keep thread-locals in the static block (initial-exec), of which a process has little and \
         of which each load takes a part that unmapping does not give back; restart the host, start it with \
         GLIBC_TUNABLES=glibc.rtld.optional_static_tls=65536 or more in its environment, or build the library with \
         -ftls-model=global-dynamic"
    )
}

/// Returns the loader's own words: `Display` of libloading says "dlopen failed" only, its source has the rest.
pub(crate) fn in_words(error: &libloading::Error) -> String {
    error.source().map_or_else(|| error.to_string(), ToString::to_string)
}
