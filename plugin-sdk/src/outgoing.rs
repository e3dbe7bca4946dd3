//! Calls that go out through the host.
#![expect(unsafe_code, reason = "calls of the host's table, and polling the host's future")]

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Waker};

use framex_abi::{
    self as abi, Buffer, NO_FUNCTION, OwnedBuffer, STATUS_ERR, STATUS_OK, STATUS_PENDING, Slice,
};

use crate::error::{CallError, Code};
use crate::instance;
use crate::options::CallOptions;
use crate::waker::with_abi_waker;

/// Calls the function `name`, whose number at the host is remembered in `number`.
pub(crate) async fn call(
    name: &'static str,
    number: &AtomicU32,
    arguments: Vec<u8>,
    options: &CallOptions,
) -> Result<OwnedBuffer, CallError> {
    let Some(host) = instance::host() else {
        return Err(CallError::not_executed(
            Code::Unavailable,
            format!("`{name}` is called outside of a host"),
        ));
    };
    let mut known = number.load(Ordering::Relaxed);
    if known == NO_FUNCTION {
        // SAFETY: the table is the host's; the name is borrowed for the call.
        known = unsafe { (host.resolve)(host.instance, Slice::new(name.as_bytes())) };
        number.store(known, Ordering::Relaxed);
    }
    if known == NO_FUNCTION {
        return Err(CallError::not_executed(Code::NotFound, format!("the host knows no function `{name}`")));
    }
    HostCall { host, function: known, options, state: State::New(arguments) }.await
}

/// A call on its way. Dropping it cancels the call, here or on a peer.
struct HostCall<'a> {
    host: &'static abi::Host,
    function: u32,
    options: &'a CallOptions,
    state: State,
}

enum State {
    New(Vec<u8>),
    Pending(PendingCall),
    Done,
}

/// The host's future.
struct PendingCall(abi::Future);

// SAFETY: a future of the ABI may move between threads and is polled by one at a time.
unsafe impl Send for PendingCall {}

impl Drop for PendingCall {
    fn drop(&mut self) {
        if let Some(drop) = self.0.drop {
            // SAFETY: the host filled the future in; it is dropped once, here.
            unsafe { drop(self.0.state) };
        }
    }
}

impl Future for HostCall<'_> {
    type Output = Result<OwnedBuffer, CallError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let (status, reply) = match std::mem::replace(&mut self.state, State::Done) {
            State::New(arguments) => self.begin(arguments, cx.waker()),
            State::Pending(pending) => self.resume(pending, cx.waker()),
            State::Done => panic!("a finished call was polled again"),
        };
        match status {
            STATUS_PENDING => Poll::Pending,
            STATUS_OK => Poll::Ready(Ok(reply)),
            STATUS_ERR => Poll::Ready(Err(CallError::from_wire(reply.as_ref()))),
            _ => Poll::Ready(Err(CallError::ran(Code::Panic, String::from_utf8_lossy(reply.as_ref())))),
        }
    }
}

impl HostCall<'_> {
    fn begin(&mut self, arguments: Vec<u8>, waker: &Waker) -> (i32, OwnedBuffer) {
        let mut out = Buffer::EMPTY;
        let mut future = abi::Future::EMPTY;
        let host = self.host;
        let options = abi::CallOptions {
            struct_size: size_of::<abi::CallOptions>() as u32,
            flags: 0,
            timeout_ms: self.options.timeout_ms().unwrap_or(abi::NO_DEADLINE),
            idempotency_key: Slice::new(self.options.key()),
        };
        let status = with_abi_waker(waker, |waker| {
            // SAFETY: the table is the host's, it takes the arguments over, and every pointer lives until it returns.
            // The invocation is the one that this thread serves at this moment, so it is valid, or null.
            unsafe {
                (host.call)(
                    host.instance,
                    instance::invocation(),
                    self.function,
                    Buffer::from_vec(arguments),
                    &raw const options,
                    waker,
                    &raw mut out,
                    &raw mut future,
                )
            }
        });
        if status == STATUS_PENDING {
            self.state = State::Pending(PendingCall(future));
        }
        // SAFETY: the host left `out` empty or filled it with a buffer for us.
        (status, unsafe { OwnedBuffer::new(out) })
    }

    fn resume(&mut self, pending: PendingCall, waker: &Waker) -> (i32, OwnedBuffer) {
        let mut out = Buffer::EMPTY;
        let status = match pending.0.poll {
            Some(poll) => with_abi_waker(waker, |waker| {
                // SAFETY: the host's future has not ended yet, and is polled by one thread.
                unsafe { poll(pending.0.state, waker, &raw mut out) }
            }),
            None => abi::STATUS_PANIC,
        };
        if status == STATUS_PENDING {
            self.state = State::Pending(pending);
        }
        // SAFETY: as in `begin`.
        (status, unsafe { OwnedBuffer::new(out) })
    }
}
