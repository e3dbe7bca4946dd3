//! Wakers over the ABI, as the host gives and takes them. One of the files with hand-written `unsafe`.
#![expect(unsafe_code, reason = "a waker is a pointer and a table of functions by definition")]

use std::sync::Arc;
use std::task::{Wake, Waker};

use framex_abi as abi;

use super::lease::Lease;

/// Behind `data`: a `&Waker` for a borrowed one, a `Box<Waker>` for a clone. Both are a pointer to a `Waker`.
///
/// A plugin that keeps one keeps host code only, so it needs no lease.
static OUTWARD: abi::WakerVtable = abi::WakerVtable { clone, wake, wake_by_ref, drop: drop_clone };

/// Runs `call` with a std waker as an ABI one, valid for the length of the call.
pub(crate) fn with_abi_waker<T>(waker: &Waker, call: impl FnOnce(*const abi::Waker) -> T) -> T {
    let outward = abi::Waker { data: std::ptr::from_ref(waker).cast(), vtable: &raw const OUTWARD };
    call(&raw const outward)
}

/// Runs `call` with the waker that a plugin passed as a std one.
///
/// The host's own waker comes back as itself. Any other holds plugin code, so every copy of it holds the lease.
///
/// # Safety
/// `waker` points to a valid ABI waker for the length of the call.
pub(crate) unsafe fn with_std_waker<T>(
    waker: *const abi::Waker,
    lease: &Lease,
    call: impl FnOnce(&Waker) -> T,
) -> T {
    // SAFETY: the caller vouches for the pointer.
    let waker = unsafe { &*waker };
    if std::ptr::eq(waker.vtable, &raw const OUTWARD) {
        // SAFETY: OUTWARD keeps a pointer to a `Waker` behind `data`.
        return call(unsafe { &*waker.data.cast::<Waker>() });
    }
    // SAFETY: a valid ABI waker has a valid table.
    let clone = unsafe { (*waker.vtable).clone };
    // SAFETY: called with the waker's own data.
    let waker = unsafe { clone(waker.data) };
    call(&Waker::from(Arc::new(PluginWaker { waker, _lease: lease.clone() })))
}

unsafe extern "C" fn clone(data: *const ()) -> abi::Waker {
    // SAFETY: `data` points to a `Waker`, borrowed or boxed.
    let waker = unsafe { &*data.cast::<Waker>() };
    abi::Waker {
        data: Box::into_raw(Box::new(waker.clone())).cast_const().cast(),
        vtable: &raw const OUTWARD,
    }
}

unsafe extern "C" fn wake(data: *const ()) {
    // SAFETY: only clones are consumed, and they are boxed.
    let waker = unsafe { Box::from_raw(data.cast_mut().cast::<Waker>()) };
    waker.wake();
}

unsafe extern "C" fn wake_by_ref(data: *const ()) {
    // SAFETY: `data` points to a `Waker`, borrowed or boxed.
    let waker = unsafe { &*data.cast::<Waker>() };
    waker.wake_by_ref();
}

unsafe extern "C" fn drop_clone(data: *const ()) {
    // SAFETY: only clones are dropped, and they are boxed.
    drop(unsafe { Box::from_raw(data.cast_mut().cast::<Waker>()) });
}

/// A waker made of plugin code.
struct PluginWaker {
    waker: abi::Waker,
    /// Last: the code behind the waker stays until the waker is gone.
    _lease: Lease,
}

// SAFETY: the functions of an ABI waker may be called from any thread.
unsafe impl Send for PluginWaker {}
// SAFETY: as above.
unsafe impl Sync for PluginWaker {}

impl Wake for PluginWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // SAFETY: a valid ABI waker has a valid table.
        let wake_by_ref = unsafe { (*self.waker.vtable).wake_by_ref };
        // SAFETY: called with the waker's own data.
        unsafe { wake_by_ref(self.waker.data) };
    }
}

impl Drop for PluginWaker {
    fn drop(&mut self) {
        // SAFETY: a valid ABI waker has a valid table.
        let drop = unsafe { (*self.waker.vtable).drop };
        // SAFETY: called once, with the waker's own data.
        unsafe { drop(self.waker.data) };
    }
}
