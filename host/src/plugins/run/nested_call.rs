//! Calls that a plugin makes through the host: each goes on where the invocation that it serves stands.
//! One of the files with hand-written `unsafe`. No panic leaves it.
#![expect(unsafe_code, reason = "C functions that plugins call")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use framex_abi::{
    self as abi, Buffer, CallOptions, NO_DEADLINE, OwnedBuffer, STATUS_ERR, STATUS_OK, STATUS_PENDING,
};

use tokio_util::sync::CancellationToken;

use super::call::bytes_of;
use super::handle::PluginHandle;
use super::lease::Lease;
use super::waker::with_std_waker;
use crate::base::{
    Caller, DEPTH_MAX, Deadline, ErrorCode, Failure, Guards, Invocation, Outcome, RequestId, ServedBy,
};
use crate::functions::{CallFuture, FunctionNumber, Started};
use crate::plugins::services::Services;
use crate::wire;

/// [`abi::Host::call`].
pub(crate) unsafe extern "C" fn call(
    instance: *const (),
    invocation: *const (),
    function: u32,
    arguments: Buffer,
    options: *const CallOptions,
    waker: *const abi::Waker,
    out: *mut Buffer,
    future: *mut abi::Future,
) -> i32 {
    // SAFETY: the plugin hands the buffer over.
    let arguments = unsafe { OwnedBuffer::new(arguments) };
    let started = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: the plugin passes its handle.
        let handle = unsafe { PluginHandle::from_raw(instance) };
        let lease = handle.lease().ok_or_else(|| no_lease(handle, function))?;
        // SAFETY: null, or the handle of an invocation that the plugin is serving or has retained.
        let parent = unsafe { invocation.cast::<Invocation>().as_ref() };
        if parent.is_none() && handle.retired.is_cancelled() {
            return Err(not_executed(ErrorCode::Unavailable, "the plugin was replaced or withdrawn"));
        }
        let is_of_its_own = parent.is_none();
        // SAFETY: null, or options that live until we return.
        let options = unsafe { options.as_ref() };
        let invocation = nested(handle, parent, function, options)?;
        let dispatch = handle
            .services
            .dispatch()
            .ok_or_else(|| not_executed(ErrorCode::Unavailable, "the host is stopping"))?;
        let arguments = bytes_of(arguments, lease.clone());
        // A plugin may call from a thread of its own, where no runtime of ours is entered.
        let _entered = enter(&handle.services);
        let invocation = Arc::new(invocation);
        let start = |waker: &Waker| {
            let context = &mut Context::from_waker(waker);
            match dispatch.start(invocation, arguments, context) {
                Started::Pending(future) if is_of_its_own => until_retired(future, &handle.retired, context),
                started => started,
            }
        };
        // SAFETY: the plugin passes a waker that lives until we return.
        let started = unsafe { with_std_waker(waker, &lease, start) };
        match started {
            Started::Ready(outcome) => outcome.map(Begun::Ended),
            Started::Pending(future) => {
                Ok(Begun::Suspended(NestedCall { future, services: Arc::clone(&handle.services), lease }))
            }
        }
    }));
    let outcome = match started.unwrap_or_else(|_| Err(host_panicked())) {
        Ok(Begun::Suspended(nested)) => {
            let state = Box::into_raw(Box::new(nested)).cast();
            // SAFETY: the plugin passes a pointer that may be written to.
            unsafe { *future = abi::Future { state, poll: Some(poll_nested), drop: Some(drop_nested) } };
            return STATUS_PENDING;
        }
        Ok(Begun::Ended(bytes)) => Ok(bytes),
        Err(failure) => Err(failure),
    };
    // SAFETY: as above.
    unsafe { finish(outcome, out) }
}

/// The refusal of a call from a generation that cannot call: not yet, or not any more.
fn no_lease(handle: &PluginHandle, function: u32) -> Box<Failure> {
    if handle.lease.get().is_some() {
        return not_executed(
            ErrorCode::Unavailable,
            "the plugin was retired, so it cannot call others any more",
        );
    }
    let function = handle.services.names.name(FunctionNumber(function));
    let function =
        handle.called_early.get_or_init(|| function.map_or_else(String::new, |name| name.to_string()));
    let text = format!(
        "plugin `{}` calls `{function}` while its own on_start runs, and can call others only once that has returned: \
         call it from a function, or from a task that on_start begins and that waits",
        handle.plugin
    );
    Box::new(Failure::not_executed(ErrorCode::Unavailable, text))
}

/// A call that ends when its caller's generation is retired.
fn until_retired(call: CallFuture, retired: &CancellationToken, context: &mut Context<'_>) -> Started {
    let retired = retired.clone();
    let until = async move {
        tokio::select! {
            biased;
            outcome = call => outcome,
            () = retired.cancelled() => {
                Err(Box::new(Failure::new(ErrorCode::Cancelled, "the plugin that made the call was replaced or withdrawn")))
            }
        }
    };
    // Registers the task with the retirement.
    Started::poll(Box::pin(until), context)
}

enum Begun {
    Ended(Bytes),
    Suspended(NestedCall),
}

fn not_executed(code: ErrorCode, message: &str) -> Box<Failure> {
    Box::new(Failure::not_executed(code, message))
}

fn too_many(handle: &PluginHandle) -> Box<Failure> {
    let most = handle.own_calls.limit().map_or(0, |limit| limit.in_flight_max);
    let text = format!(
        "plugin `{}` makes {most} calls from tasks or threads of its own, which is the most at once",
        handle.plugin
    );
    Box::new(Failure::not_executed(ErrorCode::Overloaded, text))
}

fn host_panicked() -> Box<Failure> {
    tracing::error!("the host panicked while it served a plugin's call");
    Box::new(Failure::new(ErrorCode::Internal, "the host failed to make the call"))
}

fn enter(services: &Services) -> Option<tokio::runtime::EnterGuard<'_>> {
    tokio::runtime::Handle::try_current().is_err().then(|| services.runtime.enter())
}

/// The invocation of a nested call: it goes on where its parent stands.
fn nested(
    handle: &PluginHandle,
    parent: Option<&Invocation>,
    function: u32,
    options: Option<&CallOptions>,
) -> Result<Invocation, Box<Failure>> {
    let function = handle.services.names.name(FunctionNumber(function));
    let function = function
        .ok_or_else(|| not_executed(ErrorCode::NotFound, "a function number that was never given out"))?;
    let depth = parent.map_or(0, |parent| parent.depth + 1);
    if depth > DEPTH_MAX {
        return Err(Box::new(Failure::too_deep(&function)));
    }
    let guards = match parent {
        Some(parent) => parent.guards.clone(),
        None => Guards::default().with(handle.own_calls.try_acquire().ok_or_else(|| too_many(handle))?),
    };
    let mut deadline =
        parent.map_or_else(|| Deadline::after(handle.services.call_timeout()), |parent| parent.deadline);
    let mut idempotency_key = None;
    if let Some(options) = options.filter(|options| options.struct_size as usize >= size_of::<CallOptions>())
    {
        if options.timeout_ms != NO_DEADLINE {
            deadline = deadline.min(Deadline::after(Duration::from_millis(options.timeout_ms)));
        }
        // SAFETY: the options live until the call returns.
        let key = unsafe { options.idempotency_key.as_bytes() };
        if key.len() > crate::base::IDEMPOTENCY_KEY_BYTES_MAX {
            return Err(not_executed(ErrorCode::InvalidArgument, "an idempotency key has at most 64 bytes"));
        }
        idempotency_key = (!key.is_empty()).then(|| Bytes::copy_from_slice(key));
    }
    Ok(Invocation {
        id: parent.map_or_else(RequestId::random, |parent| parent.id),
        function,
        caller: Caller::Plugin(Arc::clone(&handle.plugin)),
        deadline,
        hops: parent.map(|parent| parent.hops.clone()).unwrap_or_default(),
        depth,
        traceparent: parent.and_then(|parent| parent.traceparent.clone()),
        idempotency_key,
        served_by: ServedBy::default(),
        guards,
        host_permit: parent.map(|parent| parent.host_permit.clone()).unwrap_or_default(),
        inherited: parent.map(|parent| parent.inherited.clone()).unwrap_or_default(),
    })
}

/// Writes an outcome for a plugin and returns its status.
///
/// # Safety
/// `out` may be written to.
unsafe fn finish(outcome: Outcome, out: *mut Buffer) -> i32 {
    let (status, buffer) = match outcome {
        Ok(bytes) => (STATUS_OK, buffer_of(bytes)),
        Err(failure) => (STATUS_ERR, Buffer::from_vec(wire::encode_failure(&failure))),
    };
    // SAFETY: the caller vouches for the pointer.
    unsafe { *out = buffer };
    status
}

/// Lends bytes to a plugin without copying: `cap` carries the owner.
fn buffer_of(bytes: Bytes) -> Buffer {
    unsafe extern "C" fn free(_: *mut u8, _: usize, cap: usize) {
        let owner: *mut Bytes = std::ptr::with_exposed_provenance_mut(cap);
        // SAFETY: `cap` is the box made below, handed back once.
        drop(unsafe { Box::from_raw(owner) });
    }
    let owner = Box::new(bytes);
    let (ptr, len) = (owner.as_ptr().cast_mut(), owner.len());
    Buffer { ptr, len, cap: Box::into_raw(owner).expose_provenance(), free: Some(free) }
}

/// A call on its way that a plugin holds.
struct NestedCall {
    future: CallFuture,
    services: Arc<Services>,
    /// Last: the caller's code stays while the call may wake it.
    lease: Lease,
}

unsafe extern "C" fn poll_nested(state: *mut (), waker: *const abi::Waker, out: *mut Buffer) -> i32 {
    // SAFETY: `call` boxed it; the plugin polls from one thread at a time and not after it was dropped.
    let nested = unsafe { &mut *state.cast::<NestedCall>() };
    let polled = catch_unwind(AssertUnwindSafe(|| {
        let _entered = enter(&nested.services);
        let future = Pin::new(&mut nested.future);
        // SAFETY: the plugin passes a waker that lives until we return.
        unsafe { with_std_waker(waker, &nested.lease, |waker| future.poll(&mut Context::from_waker(waker))) }
    }));
    match polled.unwrap_or_else(|_| Poll::Ready(Err(host_panicked()))) {
        Poll::Pending => STATUS_PENDING,
        // SAFETY: the plugin passes a pointer that may be written to.
        Poll::Ready(outcome) => unsafe { finish(outcome, out) },
    }
}

unsafe extern "C" fn drop_nested(state: *mut ()) {
    // SAFETY: `call` boxed it, and the plugin drops it once.
    let nested = unsafe { Box::from_raw(state.cast::<NestedCall>()) };
    let dropped = catch_unwind(AssertUnwindSafe(|| {
        let _entered = enter(&nested.services.clone());
        drop(nested);
    }));
    if dropped.is_err() {
        host_panicked();
    }
}
