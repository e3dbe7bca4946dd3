//! Destructors of thread-locals that abort: a panic in `Drop` does, as std has it. They run on a stack of their own,
//! which is given up if they do. One of the files with hand-written `unsafe`.
//!
//! Such a stack is never freed and never run again, as if its thread had stopped there for good; so the library whose
//! frames are on it stays mapped.
#![expect(unsafe_code, reason = "replaces a function of the C library, and switches stacks")]

use std::cell::Cell;
use std::ffi::c_void;
use std::mem::MaybeUninit;
use std::ptr;

use libc::ucontext_t;

use super::original::Original;

/// As much as the threads of std have.
const STACK_BYTES: usize = 2 << 20;
/// Size of the guard at the end of a stack, so that an overflow touches nothing else.
const GUARD_BYTES: usize = 64 << 10;

// SAFETY: glibc's function of this name has this type.
static ABORT: Original<extern "C" fn() -> !> = unsafe { Original::new(c"abort") };

thread_local! {
    /// The code that runs on a stack of its own on this thread. Const and without a destructor, as in `thread_exit`.
    static RUNNING: Cell<*mut RunningDestructor<'static>> = const { Cell::new(ptr::null_mut()) };
}

/// Code on a stack of its own.
struct RunningDestructor<'a> {
    job: &'a mut dyn FnMut(),
    /// The context in which its thread goes on afterwards.
    back: MaybeUninit<ucontext_t>,
    aborted: bool,
}

/// The job has aborted.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Aborted;

/// Looks up what is behind the function of this file.
pub(super) fn prepare() {
    ABORT.get();
}

/// Runs a job, which must not panic, and returns if it aborts as well. Jobs do not nest.
///
/// # Errors
/// [`Aborted`], or that there is no memory for a stack; then nothing was run.
pub(super) fn run(job: &mut dyn FnMut()) -> Result<(), Aborted> {
    let Some(stack) = Stack::new() else { return Err(Aborted) };
    let mut running = RunningDestructor { job, back: MaybeUninit::uninit(), aborted: false };
    let mut begin = MaybeUninit::<ucontext_t>::uninit();
    // SAFETY: there is room for it.
    if unsafe { libc::getcontext(begin.as_mut_ptr()) } != 0 {
        return Err(Aborted);
    }
    // SAFETY: `getcontext` has filled it.
    let mut begin = unsafe { begin.assume_init() };
    begin.uc_stack.ss_sp = stack.bottom();
    begin.uc_stack.ss_size = STACK_BYTES;
    begin.uc_link = running.back.as_mut_ptr();
    // SAFETY: a context with a stack that is its own, and where to go on when `enter` returns.
    unsafe { libc::makecontext(&raw mut begin, enter, 0) };
    let before = RUNNING.replace((&raw mut running).cast());
    // SAFETY: both are there until this returns, which is once: when `enter` does, or when `abort` is called.
    unsafe { libc::swapcontext(running.back.as_mut_ptr(), &raw const begin) };
    RUNNING.set(before);
    // SAFETY: a variable of this frame, which the other stack may have written to.
    if unsafe { (&raw const running.aborted).read_volatile() } {
        stack.give_up();
        return Err(Aborted);
    }
    Ok(())
}

/// The first frame of a stack.
extern "C" fn enter() {
    // SAFETY: set by `run`, which waits for this to return.
    if let Some(running) = unsafe { RUNNING.get().as_mut() } {
        (running.job)();
    }
}

/// In front of glibc's function of this name.
#[unsafe(no_mangle)]
extern "C" fn abort() -> ! {
    // SAFETY: null, or what `run` waits for on this very thread.
    if let Some(running) = unsafe { RUNNING.get().as_mut() } {
        running.aborted = true;
        // SAFETY: `swapcontext` has filled it; the frames that are left behind stay as they are, for good.
        unsafe { libc::setcontext(running.back.as_ptr()) };
    }
    match ABORT.get() {
        Some(original) => original(),
        // SAFETY: ends the process at once.
        None => unsafe { libc::_exit(128 + libc::SIGABRT) },
    }
}

/// Memory for a stack, freed when dropped.
struct Stack(*mut c_void);

impl Stack {
    fn new() -> Option<Self> {
        let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: new memory, at an address that the system chooses.
        let memory = unsafe {
            libc::mmap(ptr::null_mut(), GUARD_BYTES + STACK_BYTES, access, kind | libc::MAP_STACK, -1, 0)
        };
        if memory == libc::MAP_FAILED {
            return None;
        }
        let stack = Self(memory);
        // SAFETY: the first part of that memory, which nothing uses.
        let guarded = unsafe { libc::mprotect(memory, GUARD_BYTES, libc::PROT_NONE) };
        (guarded == 0).then_some(stack)
    }

    /// Returns its lowest address above the guard.
    fn bottom(&self) -> *mut c_void {
        self.0.wrapping_byte_add(GUARD_BYTES)
    }

    /// Leaves it as it is, for good.
    #[expect(clippy::mem_forget, reason = "frames that never go on are on it")]
    fn give_up(self) {
        std::mem::forget(self);
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: memory of its own, on which nothing runs any more.
        unsafe { libc::munmap(self.0, GUARD_BYTES + STACK_BYTES) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_aborts_is_given_up_and_the_thread_goes_on() {
        prepare();
        let mut runs = 0;
        assert_eq!(run(&mut || runs += 1), Ok(()));
        assert_eq!(runs, 1);
        for _ in 0..3 {
            assert_eq!(run(&mut || std::process::abort()), Err(Aborted));
        }
        assert_eq!(run(&mut || assert!(format!("{:?}", vec![1; 1000]).len() > 1000)), Ok(()));
    }
}
