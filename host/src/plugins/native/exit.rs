//! The end of the process by code of a library. `exit(0)` would tell a supervisor that the host has done its work: the
//! exit code is never 0 then, and the log names the function. One of the files with hand-written `unsafe`.
//!
//! A process that a library forks ends as it likes.
#![expect(unsafe_code, reason = "replaces functions of the C library")]

use std::ffi::c_int;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use super::original::Original;
use crate::base::flush_log;
use crate::plugins::process::TellExit;
use crate::plugins::run::watchdog;

/// The id of the process whose end is the host's alone; 0 where that was not asked for, and once the host ends it.
static PROCESS: AtomicU32 = AtomicU32::new(0);

static TELL: OnceLock<TellExit> = OnceLock::new();

type ExitFunction = extern "C" fn(c_int) -> !;

// SAFETY: glibc's function of this name has this type, and takes any status.
static EXIT: Original<ExitFunction> = unsafe { Original::new(c"exit") };
// SAFETY: as above.
static QUICK_EXIT: Original<ExitFunction> = unsafe { Original::new(c"quick_exit") };
// SAFETY: as above.
static END: Original<ExitFunction> = unsafe { Original::new(c"_exit") };

/// Looks up what is behind the functions of this file.
pub(super) fn prepare() {
    for original in [&EXIT, &QUICK_EXIT, &END] {
        original.get();
    }
}

/// Makes the end of this process the host's alone.
pub(in crate::plugins) fn own_exit(tell: TellExit) {
    TELL.get_or_init(|| tell);
    PROCESS.store(std::process::id(), Ordering::Relaxed);
}

/// Ends the process, without exit handlers.
pub(in crate::plugins) fn end_process(code: u8) -> ! {
    PROCESS.store(0, Ordering::Relaxed);
    end(&END, code.into())
}

/// Does what `caller` asks for, but ends the host itself with a code that is not 0, and without exit handlers: other
/// threads still run code of plugins.
fn end_by(caller: &str, original: &Original<ExitFunction>, status: c_int) -> ! {
    let process = PROCESS.load(Ordering::Relaxed);
    if process == 0 || process != std::process::id() {
        end(original, status);
    }
    // The system takes the lowest byte.
    let code = match status & 0xff {
        0 => 1,
        code => code,
    };
    if let Some(tell) = TELL.get() {
        tell(watchdog::polled_here(), &format!("{caller}({status})"), code);
    }
    flush_log();
    end(&END, code)
}

fn end(original: &Original<ExitFunction>, status: c_int) -> ! {
    let Some(original) = original.get() else { std::process::abort() };
    original(status)
}

/// In front of glibc's function of this name.
#[unsafe(no_mangle)]
extern "C" fn exit(status: c_int) -> ! {
    end_by("exit", &EXIT, status)
}

/// In front of glibc's function of this name.
#[unsafe(no_mangle)]
extern "C" fn quick_exit(status: c_int) -> ! {
    end_by("quick_exit", &QUICK_EXIT, status)
}

/// In front of glibc's function of this name.
#[unsafe(no_mangle)]
extern "C" fn _exit(status: c_int) -> ! {
    end_by("_exit", &END, status)
}

/// In front of glibc's function of this name.
#[unsafe(no_mangle)]
extern "C" fn _Exit(status: c_int) -> ! {
    end_by("_Exit", &END, status)
}
