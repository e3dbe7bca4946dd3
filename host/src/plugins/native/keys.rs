//! Thread keys (`pthread_key_create`): their destructors are code, and a process has 1,024 of them. One of the files
//! with hand-written `unsafe`.
//!
//! std in a plugin makes a key whose destructor is plugin code, for `std::thread::current` for example; an allocator
//! does so while its library is being mapped. Closing a library gives none of them back, and a thread that ends calls
//! a destructor that is not there any more. So the host defines the functions that make and delete keys, in front of
//! glibc's, and notes them all. What workers have under the keys of a plugin is destroyed together with its
//! thread-locals (`thread_exit`), and the keys are deleted once the library is proven gone: not earlier, as a thread of
//! the plugin might use one until then.
//!
//! An allocator, a constructor or a sanitizer that has barely begun may be the caller: nothing here allocates, locks,
//! or needs to be constructed.
#![expect(unsafe_code, reason = "replaces functions of the C library and runs destructors")]

use std::cell::Cell;
use std::ffi::c_void;
use std::ops::Range;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::libraries::is_watched;
use super::original::{Destructor, Original, is_of_host};

/// `PTHREAD_KEYS_MAX` of glibc.
const KEYS_MAX: usize = 1024;
/// Keys that must be free for one more plugin to be mapped: it takes its own while it starts and while it is called.
const FREE_FOR_A_PLUGIN: usize = 64;
/// Keys that only the host's own code gets.
const FREE_FOR_THE_HOST: usize = 32;
/// Number of rounds in which destructors of one thread run, as in glibc: a destructor may set its own value again.
const ROUNDS: usize = 4;

/// A key that is not given out.
const NONE: usize = 0;
/// A key without a destructor.
const WITHOUT: usize = 1;

/// A key as the host knows it.
struct KeySlot {
    /// The address of its destructor, `WITHOUT`, or `NONE`.
    destructor: AtomicUsize,
    /// The variable that it was written to, most often a static of the library that made it.
    variable: AtomicUsize,
}

static SLOTS: [KeySlot; KEYS_MAX] =
    [const { KeySlot { destructor: AtomicUsize::new(NONE), variable: AtomicUsize::new(0) } }; KEYS_MAX];
static TAKEN: AtomicUsize = AtomicUsize::new(0);
/// A library that was being closed has tried to delete a key of others.
static FOREIGN_DELETED: AtomicBool = AtomicBool::new(false);

type Create = unsafe extern "C" fn(*mut libc::pthread_key_t, Option<Destructor>) -> i32;
type Delete = unsafe extern "C" fn(libc::pthread_key_t) -> i32;
type TssDelete = unsafe extern "C" fn(libc::pthread_key_t);

// SAFETY: glibc's function of this name has this type.
static KEY_CREATE: Original<Create> = unsafe { Original::new(c"pthread_key_create") };
// SAFETY: as above.
static KEY_DELETE: Original<Delete> = unsafe { Original::new(c"pthread_key_delete") };
// SAFETY: as above.
static TSS_CREATE: Original<Create> = unsafe { Original::new(c"tss_create") };
// SAFETY: as above.
static TSS_DELETE: Original<TssDelete> = unsafe { Original::new(c"tss_delete") };

thread_local! {
    /// The library whose destructors run on this thread at present. Const and without a destructor, as in `thread_exit`.
    static CLOSING: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
}

/// Looks up what is behind the functions of this file.
pub(super) fn prepare() {
    KEY_CREATE.get();
    KEY_DELETE.get();
    TSS_CREATE.get();
    TSS_DELETE.get();
}

/// Checks that enough keys are free for one more plugin.
pub(super) fn check_room() -> Result<(), String> {
    let taken = TAKEN.load(Ordering::Relaxed);
    if taken + FREE_FOR_A_PLUGIN <= KEYS_MAX {
        return Ok(());
    }
    Err(format!(
        "{taken} of the {KEYS_MAX} thread keys of a process are taken, and a plugin needs some: unload plugins, run some in another host, or restart this one if libraries stayed mapped"
    ))
}

/// The destructors of all keys.
pub(super) fn destructors() -> Vec<usize> {
    let all = SLOTS.iter().map(|slot| slot.destructor.load(Ordering::Relaxed));
    all.filter(|destructor| *destructor > WITHOUT).collect()
}

/// Returns the values that this thread has under the keys of a library, with the addresses of their destructors.
fn values(library: &Range<usize>) -> impl Iterator<Item = (libc::pthread_key_t, usize, *mut c_void)> {
    (0..).zip(&SLOTS).filter_map(|(key, slot)| {
        let destructor = slot.destructor.load(Ordering::Relaxed);
        // SAFETY: the key exists: it is deleted only once its library is gone.
        let value = || unsafe { libc::pthread_getspecific(key) };
        let value = library.contains(&destructor).then(value).filter(|value| !value.is_null())?;
        Some((key, destructor, value))
    })
}

/// Returns true if this thread has a value under a key of a library.
pub(super) fn has_values(library: &Range<usize>) -> bool {
    values(library).next().is_some()
}

/// Destroys what this thread has under the keys of a library.
pub(super) fn destroy_values(library: &Range<usize>) {
    for round in 0..=ROUNDS {
        if !has_values(library) {
            return;
        }
        for (key, destructor, value) in values(library) {
            // SAFETY: the key exists: it is deleted only once its library is gone.
            unsafe { libc::pthread_setspecific(key, ptr::null()) };
            if round < ROUNDS {
                // SAFETY: the address is the destructor that the key was made with.
                let destructor = unsafe { std::mem::transmute::<usize, Destructor>(destructor) };
                // SAFETY: called with this thread's value, as the C library would at its end; the library is mapped.
                unsafe { destructor(value) };
            }
        }
    }
}

/// Closes a library by `close`; keys that are not its own are safe from its destructors, which may delete a key that
/// they have never made.
pub(super) fn while_closing(
    library: &Range<usize>,
    close: impl FnOnce() -> Result<(), String>,
) -> Result<(), String> {
    CLOSING.set((library.start, library.end));
    let closed = close();
    CLOSING.set((0, 0));
    if FOREIGN_DELETED.swap(false, Ordering::Relaxed) {
        tracing::warn!("a library that was being closed tried to delete a thread key of others, which stays");
    }
    closed
}

/// Gives back the keys of a library that is no longer mapped.
pub(super) fn forget(library: &Range<usize>) {
    for (key, slot) in (0..).zip(&SLOTS) {
        let destructor = slot.destructor.load(Ordering::Relaxed);
        let is_of_library = library.contains(&destructor)
            || destructor == WITHOUT && library.contains(&slot.variable.load(Ordering::Relaxed));
        if is_of_library {
            // SAFETY: the library that made the key is unmapped, so nothing is left that could use it.
            unsafe { libc::pthread_key_delete(key) };
        }
    }
}

/// Notes a key that was given out. What its last owner did is of no interest any more.
fn note(key: libc::pthread_key_t, destructor: Option<Destructor>, variable: usize) {
    let Some(slot) = usize::try_from(key).ok().and_then(|key| SLOTS.get(key)) else { return };
    slot.variable.store(variable, Ordering::Relaxed);
    let destructor = destructor.map_or(WITHOUT, |destructor| destructor as usize);
    if slot.destructor.swap(destructor, Ordering::Relaxed) == NONE {
        TAKEN.fetch_add(1, Ordering::Relaxed);
    }
}

/// Forgets a key before it is deleted: afterwards it may already belong to other code. Returns whether it may be deleted.
fn note_deleted(key: libc::pthread_key_t) -> bool {
    let Some(slot) = usize::try_from(key).ok().and_then(|key| SLOTS.get(key)) else { return true };
    let (start, end) = CLOSING.get();
    if start < end {
        let destructor = slot.destructor.load(Ordering::Relaxed);
        let is_of_another = is_watched(destructor) && !(start..end).contains(&destructor);
        if is_of_another || is_of_host(destructor) {
            FOREIGN_DELETED.store(true, Ordering::Relaxed);
            return false;
        }
    }
    if slot.destructor.swap(NONE, Ordering::Relaxed) != NONE {
        TAKEN.fetch_sub(1, Ordering::Relaxed);
    }
    true
}

/// Returns true if code with this destructor gets a key.
fn may_have_one(destructor: Option<Destructor>) -> bool {
    TAKEN.load(Ordering::Relaxed) + FREE_FOR_THE_HOST < KEYS_MAX
        || destructor.is_some_and(|destructor| is_of_host(destructor as usize))
}

/// # Safety
/// As of `pthread_key_create`; `create` is it, or of its kind.
unsafe fn create_by(create: Create, key: *mut libc::pthread_key_t, destructor: Option<Destructor>) -> i32 {
    // SAFETY: the caller vouches for the arguments.
    let status = unsafe { create(key, destructor) };
    if status == 0 {
        // SAFETY: glibc has just written to it.
        note(unsafe { *key }, destructor, key.addr());
    }
    status
}

/// In front of glibc's function of this name (see the module's doc).
///
/// # Safety
/// As of glibc's: `key` may be written to.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_key_create(
    key: *mut libc::pthread_key_t,
    destructor: Option<Destructor>,
) -> i32 {
    let Some(original) = KEY_CREATE.get() else { return libc::ENOSYS };
    if !may_have_one(destructor) {
        return libc::EAGAIN;
    }
    // SAFETY: our caller vouches for the arguments.
    unsafe { create_by(original, key, destructor) }
}

/// In front of glibc's function of this name: C11's way to the same keys.
///
/// # Safety
/// As of glibc's: `key` may be written to.
#[unsafe(no_mangle)]
unsafe extern "C" fn tss_create(key: *mut libc::pthread_key_t, destructor: Option<Destructor>) -> i32 {
    /// `thrd_error` of glibc's `<threads.h>`.
    const ERROR: i32 = 2;
    match TSS_CREATE.get() {
        // SAFETY: our caller vouches for the arguments.
        Some(original) if may_have_one(destructor) => unsafe { create_by(original, key, destructor) },
        _ => ERROR,
    }
}

/// In front of glibc's function of this name.
///
/// # Safety
/// As of glibc's.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_key_delete(key: libc::pthread_key_t) -> i32 {
    let Some(original) = KEY_DELETE.get() else { return libc::ENOSYS };
    if !note_deleted(key) {
        return libc::EINVAL;
    }
    // SAFETY: the argument is that of our caller.
    unsafe { original(key) }
}

/// In front of glibc's function of this name, which returns nothing.
///
/// # Safety
/// As of glibc's.
#[unsafe(no_mangle)]
unsafe extern "C" fn tss_delete(key: libc::pthread_key_t) {
    if let Some(original) = TSS_DELETE.get().filter(|_| note_deleted(key)) {
        // SAFETY: the argument is that of our caller.
        unsafe { original(key) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    unsafe extern "C" fn destroy(_: *mut c_void) {}

    #[test]
    fn keys_are_counted_and_given_back_with_their_library() {
        prepare();
        let address = destroy as *const () as usize;
        let library = address..address + 1;
        let known = || destructors().iter().filter(|known| library.contains(known)).count();
        let mut key = 0;
        // SAFETY: `key` may be written to.
        assert_eq!(unsafe { pthread_key_create(&raw mut key, Some(destroy)) }, 0);
        assert_eq!(known(), 1);
        // SAFETY: the key was made above.
        assert_eq!(unsafe { pthread_key_delete(key) }, 0);
        assert_eq!(known(), 0);
        // SAFETY: `key` may be written to.
        assert_eq!(unsafe { tss_create(&raw mut key, Some(destroy)) }, 0);
        let closed = while_closing(&(1..2), || {
            // SAFETY: the key was made above; `destroy` is code of this program.
            assert_eq!(unsafe { pthread_key_delete(key) }, libc::EINVAL);
            Ok(())
        });
        assert_eq!((closed, known()), (Ok(()), 1), "a library that is closed deletes no key of the host");
        forget(&library);
        assert_eq!(known(), 0);
    }
}
