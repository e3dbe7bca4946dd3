//! State that the whole process shares and the host relies on: put back where plugin code has changed it. One of the files
//! with hand-written `unsafe`.
#![expect(unsafe_code, reason = "asks for the locale, and sets it")]

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr;
use std::sync::OnceLock;
use std::time::Duration;

use rustix::fs::{Mode, OFlags, Stat};
use rustix::process::{Resource, Rlimit};
use rustix::{fs, io, process, stdio};

use crate::base::Mutex;
use crate::plugins::process::ProcessChanges;

/// Time that a change must last to count. Some code changes the umask or an output for a moment, and puts it back itself.
const LASTING: Duration = Duration::from_millis(20);

/// The limits that end calls or the host if they become lower.
const LIMITS: [(Resource, &str); 8] = [
    (Resource::Nofile, "the limit of open files"),
    (Resource::Nproc, "the limit of processes"),
    (Resource::As, "the limit of address space"),
    (Resource::Data, "the limit of data"),
    (Resource::Stack, "the limit of stacks"),
    (Resource::Memlock, "the limit of locked memory"),
    (Resource::Fsize, "the limit of file sizes"),
    (Resource::Cpu, "the limit of processor time"),
];

/// The standard streams.
const STREAMS: [(Borrow, &str, Replace); 3] = [
    (|| stdio::stdin(), "standard input", |to| stdio::dup2_stdin(to)),
    (|| stdio::stdout(), "standard output", |to| stdio::dup2_stdout(to)),
    (|| stdio::stderr(), "standard error", |to| stdio::dup2_stderr(to)),
];

type Borrow = fn() -> BorrowedFd<'static>;
type Replace = fn(BorrowedFd<'_>) -> io::Result<()>;

/// The state before any plugin code ran; `None` where it could not be read, and so is not put back.
struct ProcessState {
    umask: Option<Mode>,
    directory: Option<OwnedFd>,
    locale: Option<CString>,
    /// Lower than before where a library has lowered a hard limit, which no process without rights can raise again.
    limits: Mutex<Vec<Rlimit>>,
    core: Rlimit,
    streams: [Option<OwnedFd>; 3],
}

static INITIAL: OnceLock<ProcessState> = OnceLock::new();

/// Something that has changed, and what puts it back.
struct Change {
    what: &'static str,
    put_back: Box<dyn FnOnce() -> io::Result<()>>,
}

/// Notes the state.
pub(super) fn prepare() {
    INITIAL.get_or_init(|| ProcessState {
        umask: umask(),
        directory: fs::open(".", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).ok(),
        locale: locale(),
        limits: Mutex::new(LIMITS.iter().map(|(limit, _)| process::getrlimit(*limit)).collect()),
        core: process::getrlimit(Resource::Core),
        streams: STREAMS.map(|(stream, ..)| io::fcntl_dupfd_cloexec(stream(), 3).ok()),
    });
}

/// Puts back what has changed, and stays so.
pub(super) fn look() -> ProcessChanges {
    let mut changed = ProcessChanges::default();
    let Some(initial) = INITIAL.get().filter(|initial| !changes(initial).is_empty()) else {
        return changed;
    };
    #[expect(clippy::disallowed_methods, reason = "on a thread for plugin code, and in the rare case alone")]
    std::thread::sleep(LASTING);
    for Change { what, put_back } in changes(initial) {
        match put_back() {
            Ok(()) => changed.put_back.push(what.to_owned()),
            Err(error) => changed.lasting.push(format!("{what} ({error})")),
        }
    }
    changed
}

fn changes(initial: &'static ProcessState) -> Vec<Change> {
    let mut changes = Vec::new();
    let mut changed = |what, put_back| changes.push(Change { what, put_back });
    if let Some(mask) = initial.umask.filter(|mask| umask().is_some_and(|now| now != *mask)) {
        let put_back = move || {
            let _changed = process::umask(mask);
            Ok(())
        };
        changed("the umask", Box::new(put_back));
    }
    if let Some(directory) = &initial.directory
        && !fs::stat(".").is_ok_and(|now| fs::fstat(directory).is_ok_and(|was| is_same(&now, &was)))
    {
        changed("the working directory", Box::new(move || process::fchdir(directory)));
    }
    if let Some(name) = initial.locale.as_deref().filter(|name| locale().as_deref() != Some(name)) {
        changed("the locale", Box::new(move || set_locale(name)));
    }
    for (at, ((limit, what), was)) in LIMITS.into_iter().zip(initial.limits.lock().clone()).enumerate() {
        let now = process::getrlimit(limit);
        if is_lower(now.current, was.current) || is_lower(now.maximum, was.maximum) {
            let put_back = move || {
                process::setrlimit(limit, was).inspect_err(|_| {
                    let highest = Rlimit { current: now.maximum, maximum: now.maximum };
                    // What is left is what the next plugin finds, which has not changed it.
                    let _as_it_is = process::setrlimit(limit, highest);
                    initial.limits.lock()[at] = process::getrlimit(limit);
                })
            };
            changed(what, Box::new(put_back));
        }
    }
    // The one that must not become higher: memory has keys in it.
    if is_lower(initial.core.current, process::getrlimit(Resource::Core).current) {
        let was = initial.core;
        changed("the limit of core dumps", Box::new(move || process::setrlimit(Resource::Core, was)));
    }
    for ((stream, what, replace), was) in STREAMS.into_iter().zip(&initial.streams) {
        let Some(was) = was else { continue };
        let is_there =
            fs::fstat(stream()).is_ok_and(|now| fs::fstat(was).is_ok_and(|was| is_same(&now, &was)));
        if !is_there {
            changed(what, Box::new(move || replace(was.as_fd())));
        }
    }
    changes
}

/// Without a limit is the highest.
fn is_lower(one: Option<u64>, other: Option<u64>) -> bool {
    one.unwrap_or(u64::MAX) < other.unwrap_or(u64::MAX)
}

fn is_same(one: &Stat, other: &Stat) -> bool {
    (one.st_dev, one.st_ino, one.st_rdev) == (other.st_dev, other.st_ino, other.st_rdev)
}

/// The umask, as the system tells it: the call that returns it also sets it.
fn umask() -> Option<Mode> {
    let status = std::fs::read_to_string("/proc/thread-self/status").ok()?;
    let mask = status.lines().find_map(|line| line.strip_prefix("Umask:"))?;
    u32::from_str_radix(mask.trim(), 8).ok().map(Mode::from_raw_mode)
}

fn locale() -> Option<CString> {
    // SAFETY: only asks.
    let name = unsafe { libc::setlocale(libc::LC_ALL, ptr::null()) };
    if name.is_null() {
        return None;
    }
    // SAFETY: glibc answers a string, which stays until the locale is set; plugin code that does so at this very moment
    // breaks the C library's own rule.
    Some(unsafe { CStr::from_ptr(name) }.to_owned())
}

fn set_locale(name: &CStr) -> io::Result<()> {
    // SAFETY: a string that this function itself has answered.
    let set = unsafe { libc::setlocale(libc::LC_ALL, name.as_ptr()) };
    if set.is_null() { Err(io::Errno::NOENT) } else { Ok(()) }
}
