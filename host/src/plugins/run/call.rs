//! Calls into a plugin: the handler of a registered function, and the future of a call that suspended.
//! One of the files with hand-written `unsafe`.
#![expect(unsafe_code, reason = "calls the functions that a plugin registered")]

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use framex_abi::{
    Buffer, CallContext, Future as AbiFuture, OwnedBuffer, Registration, STATUS_ERR, STATUS_OK, STATUS_PANIC,
    STATUS_PENDING, Slice,
};

use tokio_util::sync::WaitForCancellationFutureOwned;

use super::lease::Lease;
use super::waker::with_abi_waker;
use super::watchdog::{Number, Polling};
use crate::base::{ErrorCode, Failure, FunctionName, Invocation, Outcome};
use crate::functions::{Handler, Started};
use crate::wire;

/// `Registration::call`.
type CallFn = unsafe extern "C" fn(
    function: *const (),
    context: *const CallContext,
    arguments: Slice,
    waker: *const framex_abi::Waker,
    out: *mut Buffer,
    future: *mut AbiFuture,
) -> i32;

/// A function that a plugin registered.
pub(crate) struct PluginFunction {
    function: *const (),
    call: CallFn,
    number: Number,
    /// Last: the code stays until the handler is gone.
    lease: Lease,
}

// SAFETY: the ABI lets `call` be called from any thread with the registered pointer.
unsafe impl Send for PluginFunction {}
// SAFETY: as above.
unsafe impl Sync for PluginFunction {}

impl PluginFunction {
    /// `None` if the plugin registered no code.
    pub(crate) fn new(registration: &Registration, name: &FunctionName, lease: Lease) -> Option<Self> {
        let (function, call) = (registration.function, registration.call?);
        Some(Self { function, call, number: Number::of(name), lease })
    }
}

impl Handler for PluginFunction {
    fn start(&self, invocation: Arc<Invocation>, arguments: Bytes, context: &mut Context<'_>) -> Started {
        crate::plugins::native::touch_worker();
        let polling = Polling::begin(self.number);
        let mut out = Buffer::EMPTY;
        let mut future = AbiFuture::EMPTY;
        let call_context = call_context(&invocation, Arc::as_ptr(&invocation).cast());
        let status = with_abi_waker(context.waker(), |waker| {
            // SAFETY: the plugin registered `call` for this pointer, and the lease keeps it mapped. Every pointer
            // lives until it returns; arguments and invocation live in `PluginCall` if it suspends.
            unsafe {
                (self.call)(
                    self.function,
                    &raw const call_context,
                    Slice::new(&arguments),
                    waker,
                    &raw mut out,
                    &raw mut future,
                )
            }
        });
        drop(polling);
        if status == STATUS_PENDING {
            let mut call = Box::pin(PluginCall {
                future: PluginFuture(future, self.number),
                _arguments: arguments,
                invocation,
                cancelled: Box::pin(self.lease.cancelled()),
                lease: self.lease.clone(),
            });
            // The plugin's future was polled just now; this poll registers the task with the cancellation.
            return match call.poll_cancelled(context) {
                Poll::Ready(outcome) => Started::Ready(outcome),
                Poll::Pending => Started::Pending(call),
            };
        }
        // SAFETY: the plugin filled `out` for us, or left it empty.
        let reply = unsafe { OwnedBuffer::new(out) };
        Started::Ready(outcome(status, reply, &invocation, &self.lease))
    }
}

/// Describes an invocation for a plugin. `handle` is the handle of the invocation, and must outlive the context.
pub(crate) fn call_context(invocation: &Invocation, handle: *const ()) -> CallContext {
    let text = |text: Option<&str>| Slice::new(text.unwrap_or_default().as_bytes());
    let remaining = invocation.deadline.remaining().unwrap_or_default();
    CallContext {
        struct_size: size_of::<CallContext>() as u32,
        flags: 0,
        invocation: handle,
        remaining_ms: u64::try_from(remaining.as_millis()).unwrap_or(u64::MAX),
        request_id: invocation.id.0,
        caller: text(invocation.caller.name()),
        traceparent: text(invocation.traceparent.as_deref()),
        idempotency_key: Slice::new(invocation.idempotency_key.as_deref().unwrap_or_default()),
    }
}

/// A call that suspended. Dropping it cancels the call in the plugin.
struct PluginCall {
    future: PluginFuture,
    /// The plugin may look at them until its future is dropped.
    _arguments: Bytes,
    /// The plugin holds a pointer to it until its future is dropped.
    invocation: Arc<Invocation>,
    /// Ends when the generation is retired before the call has ended.
    cancelled: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Last: the plugin's code stays until everything above is gone.
    lease: Lease,
}

impl PluginCall {
    fn poll_cancelled(&mut self, context: &mut Context<'_>) -> Poll<Outcome> {
        if self.cancelled.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        self.future.end();
        let text = format!(
            "function `{}` was stopped: its plugin was replaced or withdrawn, or the host ends, and the drain deadline passed",
            self.invocation.function
        );
        Poll::Ready(Err(Box::new(Failure::executed(ErrorCode::Cancelled, text))))
    }
}

struct PluginFuture(AbiFuture, Number);

// SAFETY: a future of the ABI may move between threads and is polled by one at a time.
unsafe impl Send for PluginFuture {}

impl PluginFuture {
    /// Drops the plugin's state, once.
    fn end(&mut self) {
        let future = std::mem::replace(&mut self.0, AbiFuture::EMPTY);
        if let Some(drop) = future.drop {
            crate::plugins::native::touch_worker();
            let _polling = Polling::begin(self.1);
            // SAFETY: the plugin gave the state with this function, which is called once.
            unsafe { drop(future.state) };
        }
    }
}

impl Drop for PluginFuture {
    fn drop(&mut self) {
        self.end();
    }
}

impl Future for PluginCall {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Outcome> {
        let this = &mut *self;
        let Some(poll) = this.future.0.poll else {
            return Poll::Ready(Err(broken(&this.invocation, "it suspended without a future")));
        };
        crate::plugins::native::touch_worker();
        let polling = Polling::begin(this.future.1);
        let state = this.future.0.state;
        let mut out = Buffer::EMPTY;
        let status = with_abi_waker(context.waker(), |waker| {
            // SAFETY: the future has not ended: `end` takes `poll` away. One thread polls, as we are pinned mutably.
            unsafe { poll(state, waker, &raw mut out) }
        });
        drop(polling);
        if status == STATUS_PENDING {
            return this.poll_cancelled(context);
        }
        this.future.end();
        // SAFETY: the plugin filled `out` for us, or left it empty.
        let reply = unsafe { OwnedBuffer::new(out) };
        Poll::Ready(outcome(status, reply, &this.invocation, &this.lease))
    }
}

/// Bytes that a plugin made.
struct PluginBytes {
    buffer: OwnedBuffer,
    /// Last: the code that frees the buffer stays until it has.
    _lease: Lease,
}

impl AsRef<[u8]> for PluginBytes {
    fn as_ref(&self) -> &[u8] {
        self.buffer.as_ref()
    }
}

/// Bytes of a plugin as the host's, without copying them.
pub(crate) fn bytes_of(buffer: OwnedBuffer, lease: Lease) -> Bytes {
    Bytes::from_owner(PluginBytes { buffer, _lease: lease })
}

fn outcome(status: i32, reply: OwnedBuffer, invocation: &Invocation, lease: &Lease) -> Outcome {
    match status {
        STATUS_OK => Ok(bytes_of(reply, lease.clone())),
        STATUS_ERR => match wire::decode_failure(reply.as_ref()) {
            Ok(failure) => Err(Box::new(failure)),
            Err(error) => Err(broken(invocation, &format!("its error cannot be read: {error}"))),
        },
        STATUS_PANIC => {
            let message = String::from_utf8_lossy(reply.as_ref());
            tracing::error!(function = %invocation.function, request_id = %invocation.id, panic = %message, "the function panicked");
            let text = format!("function `{}` panicked; the host's log has its message", invocation.function);
            Err(Box::new(Failure::executed(ErrorCode::Panic, text)))
        }
        status => Err(broken(invocation, &format!("it answered status {status}"))),
    }
}

/// The plugin does not keep to the ABI.
fn broken(invocation: &Invocation, what: &str) -> Box<Failure> {
    tracing::error!(function = %invocation.function, request_id = %invocation.id, "a plugin breaks the ABI: {what}");
    Box::new(Failure::executed(
        ErrorCode::Internal,
        format!("function `{}` breaks the plugin ABI", invocation.function),
    ))
}
