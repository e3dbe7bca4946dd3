//! The environment of the process, which threads may change while others read it. One of the files with hand-written
//! `unsafe`.
//!
//! std in each plugin has a lock of its own around it, and glibc before 2.41 frees its table while `getenv` reads that
//! (<https://sourceware.org/bugzilla/show_bug.cgi?id=19951>). So the host defines the functions that change it. Readers
//! need no lock: what they may have in hand is never freed, and every change is one pointer that is
//! written. What was replaced stays, so there is a bound on that.
#![expect(unsafe_code, reason = "replaces functions of the C library, and writes its table of variables")]

use std::collections::BTreeSet;
use std::ffi::{CStr, CString, c_char, c_int};
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use crate::base::Mutex;

/// The most bytes that changes of the environment may take in the life of the process.
const BYTES_MAX: usize = 16 << 20;

/// A string of the table, of `NAME=VALUE`.
type VariablePointer = AtomicPtr<c_char>;

/// The table and the strings that the functions of this file have made.
#[derive(Default)]
struct Made {
    /// Strings that are or were in the table, to be used again.
    strings: BTreeSet<&'static CStr>,
    /// The table that was published last, with room behind its end; entries without a string are null.
    table: &'static [VariablePointer],
    /// Places of that table that have a string which is in another place as well.
    free: BTreeSet<usize>,
    bytes: usize,
}

static MADE: Mutex<Option<Made>> = Mutex::new(None);

/// The change does not fit any more.
struct Full;

unsafe extern "C" {
    /// The C library's table, which ends with a null pointer.
    static mut environ: *mut *mut c_char;
}

/// The table that is in force.
fn published() -> &'static AtomicPtr<VariablePointer> {
    let table = &raw mut environ;
    // SAFETY: a static pointer, which all code reads and writes as one word.
    unsafe { AtomicPtr::from_ptr(table.cast()) }
}

/// The strings of the table, as pointers.
fn entries() -> Vec<*mut c_char> {
    let table = published().load(Ordering::Acquire);
    let mut found = Vec::new();
    if table.is_null() {
        return found;
    }
    loop {
        let place = table.wrapping_add(found.len());
        // SAFETY: the table ends with a null pointer, at which this returns.
        let entry = unsafe { &*place }.load(Ordering::Acquire);
        if entry.is_null() {
            return found;
        }
        found.push(entry);
    }
}

/// Returns true if an entry is of this variable.
fn is_of(entry: *const c_char, name: &[u8]) -> bool {
    // SAFETY: entries are strings.
    let entry = unsafe { CStr::from_ptr(entry) }.to_bytes();
    entry.strip_prefix(name).is_some_and(|rest| rest.starts_with(b"="))
}

impl Made {
    fn take(&mut self, bytes: usize) -> Result<(), Full> {
        self.bytes = self.bytes.checked_add(bytes).filter(|bytes| *bytes <= BYTES_MAX).ok_or(Full)?;
        Ok(())
    }

    /// `NAME=VALUE`, for good.
    fn string(&mut self, name: &[u8], value: &[u8]) -> Result<*mut c_char, Full> {
        // Without zeros: both come from C strings.
        let string = CString::new([name, b"=", value].concat()).map_err(|_| Full)?;
        if let Some(known) = self.strings.get(string.as_c_str()) {
            return Ok(known.as_ptr().cast_mut());
        }
        self.take(string.as_bytes_with_nul().len())?;
        let string: &'static CStr = Box::leak(string.into_boxed_c_str());
        self.strings.insert(string);
        Ok(string.as_ptr().cast_mut())
    }

    /// Publishes a table of these strings, each once, with room for as many again.
    fn publish(&mut self, entries: &[*mut c_char]) -> Result<(), Full> {
        let mut seen = BTreeSet::from([ptr::null_mut()]);
        let entries: Vec<_> = entries.iter().copied().filter(|entry| seen.insert(*entry)).collect();
        let places = (entries.len() + 1) * 2;
        self.take(places * size_of::<VariablePointer>())?;
        let strings = entries.into_iter().chain(std::iter::repeat(ptr::null_mut())).take(places);
        self.table = Box::leak(strings.map(AtomicPtr::new).collect());
        self.free.clear();
        published().store(self.table.as_ptr().cast_mut(), Ordering::Release);
        Ok(())
    }

    /// Returns true if the table in force is the last published one: a plugin may have set another.
    fn owns_the_table(&self) -> bool {
        !self.table.is_empty() && ptr::eq(published().load(Ordering::Acquire), self.table.as_ptr())
    }

    fn set(&mut self, name: &[u8], value: &[u8], overwrite: bool) -> Result<(), Full> {
        let mut entries = entries();
        let mut places = places_of(&entries, name);
        if !places.is_empty() && !overwrite {
            return Ok(());
        }
        let string = self.string(name, value)?;
        let is_ours = self.owns_the_table();
        if places.is_empty() {
            let free = self.free.pop_first().filter(|_| is_ours);
            places.push(free.unwrap_or(entries.len()));
        }
        // The last place stays null, as the end.
        if is_ours && places.iter().all(|place| place + 1 < self.table.len()) {
            places.iter().for_each(|place| self.table[*place].store(string, Ordering::Release));
            return Ok(());
        }
        entries.push(ptr::null_mut());
        places.iter().for_each(|place| entries[*place] = string);
        self.publish(&entries)
    }

    fn remove(&mut self, name: &[u8]) -> Result<(), Full> {
        let mut entries = entries();
        let places = places_of(&entries, name);
        let Some(other) = (0..entries.len()).find(|at| !places.contains(at)) else {
            return if places.is_empty() { Ok(()) } else { self.publish(&[]) };
        };
        for place in places {
            // A second copy of the entry before it, so that threads that read at this moment still find that one.
            entries[place] = entries[place.checked_sub(1).unwrap_or(other)];
            if self.owns_the_table() {
                self.table[place].store(entries[place], Ordering::Release);
                self.free.insert(place);
            }
        }
        if self.owns_the_table() { Ok(()) } else { self.publish(&entries) }
    }
}

/// Returns the indices of the entries of a variable.
fn places_of(entries: &[*mut c_char], name: &[u8]) -> Vec<usize> {
    (0..entries.len()).filter(|at| is_of(entries[*at], name)).collect()
}

/// Makes a change; the answer is that of a function of the C library.
fn change(change: impl FnOnce(&mut Made) -> Result<(), Full>) -> c_int {
    match change(MADE.lock().get_or_insert_default()) {
        Ok(()) => 0,
        Err(Full) => fail(libc::ENOMEM),
    }
}

fn fail(error: c_int) -> c_int {
    // SAFETY: takes nothing.
    let number = unsafe { libc::__errno_location() };
    // SAFETY: the address of this thread's error number.
    unsafe { *number = error };
    -1
}

/// The name of a variable, if it is one.
///
/// # Safety
/// `name` is null or a string, which lives as long as the answer is used.
unsafe fn name_of<'a>(name: *const c_char) -> Option<&'a [u8]> {
    if name.is_null() {
        return None;
    }
    // SAFETY: as the caller says.
    let name = unsafe { CStr::from_ptr(name) }.to_bytes();
    (!name.is_empty() && !name.contains(&b'=')).then_some(name)
}

/// Replaces glibc's function of this name.
///
/// # Safety
/// As of glibc's.
#[unsafe(no_mangle)]
unsafe extern "C" fn setenv(name: *const c_char, value: *const c_char, overwrite: c_int) -> c_int {
    // SAFETY: our caller's strings.
    let Some(name) = (unsafe { name_of(name) }) else { return fail(libc::EINVAL) };
    // SAFETY: as above.
    let value = unsafe { CStr::from_ptr(value) }.to_bytes();
    change(|made| made.set(name, value, overwrite != 0))
}

/// Replaces glibc's function of this name, but for one thing: the string is copied, since that of a library
/// would be gone with it.
///
/// # Safety
/// As of glibc's.
#[unsafe(no_mangle)]
unsafe extern "C" fn putenv(string: *mut c_char) -> c_int {
    // SAFETY: our caller's string.
    let string = unsafe { CStr::from_ptr(string) }.to_bytes();
    let equals = string.iter().position(|byte| *byte == b'=');
    match equals.map(|at| (&string[..at], &string[at + 1..])) {
        Some(([], _)) => fail(libc::EINVAL),
        Some((name, value)) => change(|made| made.set(name, value, true)),
        None => change(|made| made.remove(string)),
    }
}

/// Replaces glibc's function of this name.
///
/// # Safety
/// As of glibc's.
#[unsafe(no_mangle)]
unsafe extern "C" fn unsetenv(name: *const c_char) -> c_int {
    // SAFETY: our caller's string.
    match unsafe { name_of(name) } {
        Some(name) => change(|made| made.remove(name)),
        None => fail(libc::EINVAL),
    }
}

/// Replaces glibc's function of this name.
#[unsafe(no_mangle)]
extern "C" fn clearenv() -> c_int {
    change(|made| made.publish(&[]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: &CStr, value: &CStr) {
        // SAFETY: both are strings.
        assert_eq!(unsafe { setenv(name.as_ptr(), value.as_ptr(), 1) }, 0);
    }

    fn without(name: &CStr) {
        // SAFETY: a string.
        assert_eq!(unsafe { unsetenv(name.as_ptr()) }, 0);
    }

    #[test]
    fn variables_change_while_others_read_them_and_nothing_piles_up() {
        let others = std::env::vars_os().count();
        let read = |name| std::env::var(name).ok();
        let bytes = || MADE.lock().as_ref().map_or(0, |made| made.bytes);
        with(c"OF_A_TEST_1", c"a=b");
        with(c"OF_A_TEST_2", c"");
        assert_eq!((read("OF_A_TEST_1").as_deref(), read("OF_A_TEST_2").as_deref()), (Some("a=b"), Some("")));
        with(c"OF_A_TEST_1", c"c");
        without(c"OF_A_TEST_1");
        with(c"OF_A_TEST_3", c"three");
        let taken = bytes();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..10_000 {
                    with(c"OF_A_TEST_1", c"c");
                    without(c"OF_A_TEST_1");
                }
            });
            for _ in 0..1_000 {
                assert_eq!(read("OF_A_TEST_3").as_deref(), Some("three"));
                assert!(std::env::vars_os().count() >= others);
            }
        });
        assert_eq!(bytes(), taken, "what is set again is there already");
        without(c"OF_A_TEST_2");
        without(c"OF_A_TEST_3");
        for name in ["OF_A_TEST_1", "OF_A_TEST_2", "OF_A_TEST_3"] {
            assert_eq!(read(name), None);
        }
        // SAFETY: strings.
        let refused = [c"", c"A=B"].map(|name| unsafe { setenv(name.as_ptr(), name.as_ptr(), 1) });
        assert_eq!(refused, [-1, -1]);
    }
}
