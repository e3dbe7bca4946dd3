//! The entries of a plugin library: start, stop, call, poll, drop. Each contains its panics.
#![expect(unsafe_code, reason = "the C functions that the host calls")]

use std::future::Future;
use std::pin::Pin;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::task::{Context as TaskContext, Poll};
use std::time::{Duration, Instant};

use framex_abi::{
    self as abi, Buffer, CallContext, Host, STATUS_ERR, STATUS_OK, STATUS_PANIC, STATUS_PENDING, Slice,
};

use crate::context::{Context, Plugin};
use crate::error::{CallError, Code, Result, outcome_of};
use crate::function::ProxyFunction;
use crate::instance::{self, Instance};
use crate::panics::{self, contain};
use crate::waker::with_waker;

/// Time that `on_stop` gives the plugin's blocking work before it abandons it.
const RUNTIME_GRACE: Duration = Duration::from_secs(2);

/// A started plugin, from `on_start` to `on_stop`.
struct Started<P> {
    plugin: P,
    runtime: tokio::runtime::Runtime,
}

/// Starts the plugin: `on_start` of its descriptor.
///
/// # Safety
/// Called by the host once, with its table and two pointers that it may write to.
#[doc(hidden)]
pub unsafe extern "C" fn start<P: Plugin>(
    host: *const Host,
    instance: *mut *mut (),
    error: *mut Buffer,
) -> i32 {
    // SAFETY: `host` is the host's table, alive as long as this library (ABI rule).
    unsafe { instance::attach(host) };
    let started = contain(|| {
        panics::install_hook();
        crate::logging::install();
        start_plugin::<P>()
    });
    let (status, reason) = match started {
        Ok(Ok((handle, Ok(())))) => {
            // SAFETY: the host passed a pointer that may be written to.
            unsafe { *instance = handle };
            return STATUS_OK;
        }
        Ok(Ok((handle, Err(reason)))) => {
            // SAFETY: as above; a failed start that made something is stopped as well.
            unsafe { *instance = handle };
            (STATUS_ERR, reason)
        }
        Ok(Err(reason)) => (STATUS_ERR, reason),
        Err(panic) => (STATUS_PANIC, panic),
    };
    // SAFETY: the host passed a pointer that may be written to.
    unsafe { *error = Buffer::from_vec(reason.into_bytes()) };
    status
}

type StartOutcome = std::result::Result<(*mut (), std::result::Result<(), String>), String>;

fn start_plugin<P: Plugin>() -> StartOutcome {
    let Some(host) = instance::host() else { return Err("the host passed no table".to_owned()) };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("plugin")
        .enable_all()
        .build()
        .map_err(|error| format!("its tokio runtime cannot be built: {error}"))?;
    instance::install(Box::new(Instance { runtime: runtime.handle().clone(), states: OnceLock::new() }));
    let mut plugin = P::default();
    let context = Context::new(host);
    let outcome = contain(|| runtime.block_on(plugin.on_start(&context)));
    if let Some(instance) = instance::current() {
        // Set once: a library is started once.
        let _first = instance.states.set(context.into_states());
    }
    let outcome = match outcome {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(error.message().to_owned()),
        Err(panic) => Err(format!("it panicked: {panic}")),
    };
    let started = Mutex::new(Started { plugin, runtime });
    Ok((Box::into_raw(Box::new(started)).cast(), outcome))
}

/// Stops the plugin: `on_stop` of its descriptor.
///
/// # Safety
/// Called by the host once, with what `start` of the same plugin wrote to `instance`, after the last call ended.
#[doc(hidden)]
pub unsafe extern "C" fn stop<P: Plugin>(instance: *mut (), error: *mut Buffer) -> i32 {
    // SAFETY: `start` made it of this type, and the host hands it back once.
    let started = unsafe { Box::from_raw(instance.cast::<Mutex<Started<P>>>()) };
    let stopped = contain(move || stop_plugin(started.into_inner().unwrap_or_else(PoisonError::into_inner)));
    let (status, reason) = match stopped {
        Ok(Ok(())) => return STATUS_OK,
        Ok(Err(reason)) => (STATUS_ERR, reason),
        Err(panic) => (STATUS_PANIC, panic),
    };
    // SAFETY: the host passed a pointer that may be written to.
    unsafe { *error = Buffer::from_vec(reason.into_bytes()) };
    status
}

fn stop_plugin<P: Plugin>(started: Started<P>) -> std::result::Result<(), String> {
    let Started { mut plugin, runtime } = started;
    let outcome = contain(|| runtime.block_on(plugin.on_stop()));
    // The plugin and its state may hold sockets and tasks of the runtime: they go while it is entered.
    let dropped = contain(|| {
        let _entered = runtime.enter();
        drop(plugin);
    });
    instance::remove(|| {
        let begin = Instant::now();
        runtime.shutdown_timeout(RUNTIME_GRACE);
        begin.elapsed() < RUNTIME_GRACE
    });
    match outcome {
        Ok(Ok(())) => dropped.map_err(|panic| format!("its drop panicked: {panic}")),
        Ok(Err(error)) => Err(error.to_string()),
        Err(panic) => Err(format!("it panicked: {panic}")),
    }
}

/// Calls one function: `call` of its registration.
///
/// # Safety
/// Called by the host as [`abi::Registration::call`] says.
#[doc(hidden)]
pub unsafe extern "C" fn call<F: ProxyFunction>(
    _function: *const (),
    context: *const CallContext,
    arguments: Slice,
    waker: *const abi::Waker,
    out: *mut Buffer,
    future: *mut abi::Future,
) -> i32 {
    // SAFETY: the host passes a valid context for the length of the call.
    let invocation = unsafe { (*context).invocation };
    // SAFETY: the host keeps the arguments alive until the future is dropped.
    let arguments = unsafe { arguments.as_bytes() };
    let prepared = contain(|| {
        let _serving = instance::serve(invocation);
        let arguments = F::decode_arguments(arguments)?;
        let states = F::states()?;
        Ok(Box::pin(Task { invocation, body: run::<F>(arguments, states) }))
    });
    let mut task = match prepared {
        Ok(Ok(task)) => task,
        // SAFETY: `out` is the host's to fill.
        Ok(Err(error)) => return unsafe { finish(Ok(Err(error)), out) },
        // SAFETY: as above.
        Err(panic) => return unsafe { finish(Err(panic), out) },
    };
    // SAFETY: the host passes a valid waker for the length of the call.
    match unsafe { poll_task(task.as_mut(), waker) } {
        Poll::Ready(outcome) => {
            drop_task(task);
            // SAFETY: `out` is the host's to fill.
            unsafe { finish(outcome, out) }
        }
        Poll::Pending => {
            let state = into_raw(task);
            // SAFETY: `future` is the host's to fill.
            unsafe { *future = state };
            STATUS_PENDING
        }
    }
}

/// The body of a function, and what its outcome is on the wire.
async fn run<F: ProxyFunction>(
    arguments: F::Arguments,
    states: F::States,
) -> std::result::Result<Vec<u8>, CallError> {
    match F::body(arguments, states).await {
        Ok(result) => F::encode_result(result),
        Err(error) => Err(outcome_of(&error)),
    }
}

struct Task<B> {
    invocation: *const (),
    body: B,
}

type TaskOutcome = std::result::Result<std::result::Result<Vec<u8>, CallError>, String>;

/// Polls the body once, with the invocation and the runtime entered; an `Err` is a panic's message.
///
/// # Safety
/// `waker` points to a valid ABI waker for the length of the call.
unsafe fn poll_task<B>(task: Pin<&mut Task<B>>, waker: *const abi::Waker) -> Poll<TaskOutcome>
where
    B: Future<Output = std::result::Result<Vec<u8>, CallError>>,
{
    let invocation = task.invocation;
    // SAFETY: `body` is pinned with the task; nothing moves it out.
    let body = unsafe { task.map_unchecked_mut(|task| &mut task.body) };
    let polled = contain(|| {
        let _serving = instance::serve(invocation);
        // SAFETY: the caller vouches for the waker.
        unsafe { with_waker(waker, |waker| body.poll(&mut TaskContext::from_waker(waker))) }
    });
    match polled {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(outcome)) => Poll::Ready(Ok(outcome)),
        Err(panic) => Poll::Ready(Err(panic)),
    }
}

/// Writes an outcome and returns its status.
///
/// # Safety
/// `out` may be written to.
unsafe fn finish(outcome: TaskOutcome, out: *mut Buffer) -> i32 {
    let (status, bytes) = match outcome {
        Ok(Ok(result)) => (STATUS_OK, result),
        Ok(Err(error)) => (STATUS_ERR, error.to_wire()),
        Err(panic) => (STATUS_PANIC, panic.into_bytes()),
    };
    // SAFETY: the caller vouches for `out`.
    unsafe { *out = Buffer::from_vec(bytes) };
    status
}

fn into_raw<B>(task: Pin<Box<Task<B>>>) -> abi::Future
where
    B: Future<Output = std::result::Result<Vec<u8>, CallError>>,
{
    // SAFETY: the box is only ever used pinned again, in `poll_raw` and `drop_raw`.
    let task = unsafe { Pin::into_inner_unchecked(task) };
    abi::Future { state: Box::into_raw(task).cast(), poll: Some(poll_raw::<B>), drop: Some(drop_raw::<B>) }
}

unsafe extern "C" fn poll_raw<B>(state: *mut (), waker: *const abi::Waker, out: *mut Buffer) -> i32
where
    B: Future<Output = std::result::Result<Vec<u8>, CallError>>,
{
    // SAFETY: `into_raw` made it of this type, and the host polls it from one thread at a time.
    let task = unsafe { &mut *state.cast::<Task<B>>() };
    // SAFETY: the box is never moved out of until it is dropped.
    let task = unsafe { Pin::new_unchecked(task) };
    // SAFETY: the host passes a valid waker for the length of the call.
    match unsafe { poll_task(task, waker) } {
        Poll::Pending => STATUS_PENDING,
        // SAFETY: `out` is the host's to fill.
        Poll::Ready(outcome) => unsafe { finish(outcome, out) },
    }
}

unsafe extern "C" fn drop_raw<B>(state: *mut ()) {
    // SAFETY: `into_raw` made it of this type, and the host drops it once.
    let task = unsafe { Box::from_raw(state.cast::<Task<B>>()) };
    drop_task(Box::into_pin(task));
}

/// Drops a task with its runtime entered, as drops of pooled connections spawn.
fn drop_task<B>(task: Pin<Box<Task<B>>>) {
    let dropped = contain(|| {
        let _serving = instance::serve(task.invocation);
        drop(task);
    });
    if let Err(panic) = dropped {
        crate::logging::write(log::Level::Error, "panic", &format!("dropping a call panicked: {panic}"), "");
    }
}

/// Runs the body of a `blocking` function on the blocking pool.
///
/// Cancelling does not end it: what began runs to its end, and its call holds its places at the host until then.
#[doc(hidden)]
pub async fn blocking<T, E>(body: impl FnOnce() -> Result<T, E> + Send + 'static) -> Result<T, E>
where
    T: Send + 'static,
    E: crate::ProxyError + Send + 'static,
{
    let runtime = match instance::current() {
        Some(instance) => instance.runtime.clone(),
        None => match tokio::runtime::Handle::try_current() {
            Ok(runtime) => runtime,
            Err(_) => return body(),
        },
    };
    let call = instance::retain_invocation();
    let body = move || {
        // What it calls is made within the call.
        let _serving = call.as_ref().map(instance::Retained::serve);
        body()
    };
    match runtime.spawn_blocking(body).await {
        Ok(outcome) => outcome,
        Err(error) => match error.try_into_panic() {
            Ok(payload) => std::panic::resume_unwind(payload),
            Err(_) => Err(E::from_call_error(CallError::ran(Code::Cancelled, "the plugin is stopping"))),
        },
    }
}
