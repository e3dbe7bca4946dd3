//! Async over the ABI: a future that the caller polls where it stands, and the waker it polls with.
#![allow(unsafe_code, reason = "the derive")]

use abi_stable::StableAbi;

use crate::Buffer;

/// The call has not ended; the waker will be woken.
pub const STATUS_PENDING: i32 = 0;
/// It ended; the out buffer holds the MessagePack result.
pub const STATUS_OK: i32 = 1;
/// It failed; the out buffer holds a MessagePack map:
/// `code`, `message`, `executed`, `app_code`, `details` (as the failure in a sealed response).
pub const STATUS_ERR: i32 = 2;
/// It panicked; the out buffer holds the message as UTF-8 text.
pub const STATUS_PANIC: i32 = 3;

/// The functions of a waker. They may be called from any thread.
#[repr(C)]
#[derive(Debug, StableAbi)]
pub struct WakerVtable {
    /// Makes another handle to the same task.
    pub clone: unsafe extern "C" fn(data: *const ()) -> Waker,
    /// Wakes and consumes.
    pub wake: unsafe extern "C" fn(data: *const ()),
    /// Wakes.
    pub wake_by_ref: unsafe extern "C" fn(data: *const ()),
    /// Lets go of the handle.
    pub drop: unsafe extern "C" fn(data: *const ()),
}

/// A handle to a task of the other side. A waker that was passed by pointer is borrowed: clone it to keep it.
#[repr(C)]
#[derive(Debug, StableAbi)]
pub struct Waker {
    /// For the table's functions only.
    pub data: *const (),
    /// The functions; lives as long as the waker.
    pub vtable: *const WakerVtable,
}

/// A call that suspended.
///
/// The receiver polls it until it returns something other than [`STATUS_PENDING`], never after, and drops it once.
/// Dropping it earlier is cancellation. It may move between threads; it is polled by one at a time.
#[repr(C)]
#[derive(Debug, StableAbi)]
pub struct Future {
    /// For `poll` and `drop` only.
    pub state: *mut (),
    /// Polls: returns a status, and fills `out` for all but pending.
    pub poll: Option<unsafe extern "C" fn(state: *mut (), waker: *const Waker, out: *mut Buffer) -> i32>,
    /// Frees the state. Never unwinds.
    pub drop: Option<unsafe extern "C" fn(state: *mut ())>,
}

impl Future {
    /// The value of an `out` parameter before the call.
    pub const EMPTY: Self = Self { state: std::ptr::null_mut(), poll: None, drop: None };
}
