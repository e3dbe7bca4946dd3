//! The system's loader (`dlopen`), beyond the mapping of plugins themselves. One of the files with hand-written `unsafe`.
#![expect(unsafe_code, reason = "asks the system's loader")]

use std::error::Error as _;
use std::mem::ManuallyDrop;
use std::path::Path;

use libloading::os::unix::{Library as Handle, RTLD_LAZY, RTLD_LOCAL, RTLD_NOW};

use super::STATIC_TLS;

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

/// Returns true if a library of this SONAME is mapped.
pub(crate) fn is_mapped(soname: &str) -> bool {
    // SAFETY: opens only what is mapped, and runs nothing.
    let opened = unsafe { Handle::open(Some(soname), RTLD_NOW | libc::RTLD_NOLOAD) };
    opened.is_ok()
}

/// Maps the copy of a library that a plugin needs, until the host ends. Its constructors run.
///
/// # Errors
/// What the loader says.
pub(crate) fn map_for_good(copy: &Path) -> Result<(), String> {
    // SAFETY: as of the plugin that needs it: a private copy, whole, and never written to again.
    let handle = unsafe { Handle::open(Some(copy), RTLD_NOW | RTLD_LOCAL) };
    let handle = handle.map_err(|error| {
        let words = in_words(&error);
        with_advice(words.strip_prefix(&format!("{}: ", copy.display())).unwrap_or(&words))
    })?;
    let _stays = ManuallyDrop::new(handle);
    Ok(())
}

/// Returns the loader's own words: `Display` of libloading says "dlopen failed" only, its source has the rest.
pub(crate) fn in_words(error: &libloading::Error) -> String {
    error.source().map_or_else(|| error.to_string(), ToString::to_string)
}

/// Adds the way out where the loader's words have none.
pub(crate) fn with_advice(words: &str) -> String {
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
