//! Prevents core dumps of this process and its children: they hold all memory, and so keys.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Less than a page, so that no file is written, and the one value at which Linux starts no program for it either: with
/// 0, a program in `/proc/sys/kernel/core_pattern` would still get the whole dump (`do_coredump` in fs/coredump.c).
const CORE_BYTES_MAX: u64 = 1;

/// Prevents core dumps of this process and its future children, permanently.
///
/// # Errors
/// The error of the system.
pub fn refuse_core_dumps() -> std::io::Result<()> {
    let allowed = getrlimit(Resource::Core).maximum;
    let most = Some(allowed.map_or(CORE_BYTES_MAX, |allowed| allowed.min(CORE_BYTES_MAX)));
    setrlimit(Resource::Core, Rlimit { current: most, maximum: most })?;
    Ok(())
}
