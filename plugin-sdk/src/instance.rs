//! The one started instance of this plugin library: the host's table, the state, the tokio runtime.
//!
//! Every generation of a plugin is a library of its own with statics of its own, so this is per generation.
#![expect(unsafe_code, reason = "two pointers that the host and `on_stop` govern; see each block")]

use std::any::{Any, TypeId};
use std::cell::Cell;
use std::collections::HashMap;
use std::mem::offset_of;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use framex_abi::{CallContext, Host, HostWithOrigins, NO_DEADLINE, STATUS_OK, Slice};

/// The values that `on_start` put into the context, by type.
pub(crate) type States = HashMap<TypeId, Arc<dyn Any + Send + Sync>>;

/// The parts of a started plugin that its calls need.
pub(crate) struct Instance {
    pub(crate) runtime: tokio::runtime::Handle,
    /// Set once `on_start` succeeded, before any call.
    pub(crate) states: OnceLock<States>,
}

static HOST: AtomicPtr<Host> = AtomicPtr::new(ptr::null_mut());
static INSTANCE: AtomicPtr<Instance> = AtomicPtr::new(ptr::null_mut());

thread_local! {
    // Const and without a destructor: a destructor would pin the library to the host's threads.
    static INVOCATION: Cell<*const ()> = const { Cell::new(ptr::null()) };
}

/// Keeps the host's table.
///
/// # Safety
/// `host` points to the host's table, which lives as long as this library is mapped (ABI rule).
pub(crate) unsafe fn attach(host: *const Host) {
    HOST.store(host.cast_mut(), Ordering::Release);
}

/// Returns true inside a host.
#[inline]
pub(crate) fn is_hosted() -> bool {
    !HOST.load(Ordering::Relaxed).is_null()
}

/// The host's table, inside a host.
pub(crate) fn host() -> Option<&'static Host> {
    // SAFETY: null, or the table given to `attach`, which outlives all code of this library.
    unsafe { HOST.load(Ordering::Acquire).as_ref() }
}

/// The origins of the values of the plugin's table; empty from older hosts. Valid during `on_start`.
pub(crate) fn config_origins() -> Slice {
    let host = HOST.load(Ordering::Acquire);
    // SAFETY: as in `host`.
    let size = unsafe { host.as_ref() }.map_or(0, |host| host.struct_size as usize);
    if size < offset_of!(HostWithOrigins, layer_percent) {
        return Slice::new(b"");
    }
    // SAFETY: the size covers it, and the pointer is the host's own, to all of its table.
    unsafe { (*host.cast::<HostWithOrigins>()).config_origins }
}

/// Makes the instance known to calls.
pub(crate) fn install(instance: Box<Instance>) {
    INSTANCE.store(Box::into_raw(instance), Ordering::Release);
}

/// The instance, from a successful start to `on_stop`.
pub(crate) fn current() -> Option<&'static Instance> {
    // SAFETY: null, or the box of `install`; the host ends every call before `on_stop` runs `remove`,
    // and `remove` leaks the box if a thread of the plugin may still be running.
    unsafe { INSTANCE.load(Ordering::Acquire).as_ref() }
}

/// Takes the instance away, in `on_stop`, after `shut_down` ended everything that could use it.
///
/// `shut_down` returns true if nothing of the plugin runs any more.
pub(crate) fn remove(shut_down: impl FnOnce() -> bool) {
    let instance = INSTANCE.swap(ptr::null_mut(), Ordering::AcqRel);
    if shut_down() && !instance.is_null() {
        // SAFETY: made by `Box::into_raw` in `install`, swapped out once, and not in use any more.
        let instance = unsafe { Box::from_raw(instance) };
        // State may hold sockets and timers, whose drops look for a runtime.
        let runtime = instance.runtime.clone();
        let _entered = runtime.enter();
        drop(instance);
    }
}

/// The state of type `T`.
pub(crate) fn state<T: Send + Sync + 'static>() -> Option<Arc<T>> {
    let states = current()?.states.get()?;
    Arc::clone(states.get(&TypeId::of::<T>())?).downcast().ok()
}

/// The host's handle of the invocation that this thread is serving, or null.
pub(crate) fn invocation() -> *const () {
    INVOCATION.get()
}

/// An invocation, as the host describes it.
pub(crate) struct Described {
    pub(crate) request_id: [u8; 16],
    pub(crate) remaining: Option<Duration>,
    pub(crate) caller: Option<String>,
}

/// Returns the host's description of the invocation that this thread is serving.
pub(crate) fn described() -> Option<Described> {
    let (host, invocation) = (host()?, invocation());
    if invocation.is_null() || host.struct_size as usize <= offset_of!(Host, describe) {
        return None;
    }
    let mut context = CallContext {
        struct_size: size_of::<CallContext>() as u32,
        flags: 0,
        invocation,
        remaining_ms: NO_DEADLINE,
        request_id: [0; 16],
        caller: Slice::EMPTY,
        traceparent: Slice::EMPTY,
        idempotency_key: Slice::EMPTY,
    };
    // SAFETY: the handle is the one that this thread serves, so it is valid; the context lives until it returns.
    if unsafe { (host.describe)(invocation, &raw mut context) } != STATUS_OK {
        return None;
    }
    // SAFETY: the host's texts hold as long as the handle, which is served until after they are copied here.
    let caller = String::from_utf8_lossy(unsafe { context.caller.as_bytes() }).into_owned();
    Some(Described {
        request_id: context.request_id,
        remaining: (context.remaining_ms != NO_DEADLINE).then(|| Duration::from_millis(context.remaining_ms)),
        caller: (!caller.is_empty()).then_some(caller),
    })
}

/// The time that a layer of the call which this thread serves may take before what it stands around begins; nothing
/// where that is all that the call has, or outside of any.
pub(crate) fn layer_time() -> Option<Duration> {
    let remaining = described()?.remaining?;
    if (host()?.struct_size as usize) < size_of::<HostWithOrigins>() {
        return None;
    }
    let host = HOST.load(Ordering::Acquire).cast::<HostWithOrigins>();
    // SAFETY: the size covers it, and the pointer is the host's own, to all of its table.
    let percent = unsafe { (*host).layer_percent };
    // SAFETY: null, or an atomic of the host that lives as long as its table.
    let percent = unsafe { percent.as_ref() }?.load(Ordering::Relaxed);
    (percent < 100).then(|| remaining.mul_f64(f64::from(percent) / 100.0))
}

/// An invocation that goes on, and with it its places among others, for as long as this lives.
pub(crate) struct Retained {
    host: &'static Host,
    invocation: *const (),
}

// SAFETY: the host's functions may be called from any thread, and the handle is the host's.
unsafe impl Send for Retained {}

/// Keeps the invocation that this thread is serving; nothing outside of any.
pub(crate) fn retain_invocation() -> Option<Retained> {
    let (host, invocation) = (host()?, invocation());
    if invocation.is_null() {
        return None;
    }
    // SAFETY: the handle is valid while this thread serves the invocation, which it does.
    unsafe { (host.retain)(invocation) };
    Some(Retained { host, invocation })
}

impl Retained {
    /// Serves it on this thread.
    pub(crate) fn serve(&self) -> Serving {
        serve(self.invocation)
    }
}

impl Drop for Retained {
    fn drop(&mut self) {
        // SAFETY: retained above, and released once.
        unsafe { (self.host.release)(self.invocation) };
    }
}

/// Serves an invocation on this thread until the guard drops: names it for nested calls and log lines,
/// and enters the plugin's tokio runtime.
pub(crate) struct Serving {
    previous: *const (),
    _runtime: Option<tokio::runtime::EnterGuard<'static>>,
}

pub(crate) fn serve(invocation: *const ()) -> Serving {
    Serving {
        previous: INVOCATION.replace(invocation),
        _runtime: current().map(|instance| instance.runtime.enter()),
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        INVOCATION.set(self.previous);
    }
}
