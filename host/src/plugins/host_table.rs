//! The table of functions that a plugin gets: registering, resolving, calling, logging.
//! One of the files with hand-written `unsafe`. No panic leaves it.
#![expect(unsafe_code, reason = "the C functions that plugins call")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use framex_abi::{
    self as abi, Buffer, CallOptions, FUNCTION_IDEMPOTENT, Host, LogRecord, NO_DEADLINE, NO_FUNCTION,
    OwnedBuffer, Registration, RouteCell, STATUS_ERR, STATUS_OK, STATUS_PENDING, Slice,
};
use tracing::level_filters::LevelFilter;

use super::Services;
use super::call::{PluginFunction, bytes_of};
use super::generation::{Lease, WeakLease};
use super::waker::with_std_waker;
use crate::base::{
    Caller, Deadline, ErrorCode, Failure, FunctionName, Invocation, Outcome, RequestId, ServedBy,
};
use crate::functions::{CallFuture, FunctionNumber, Started};
use crate::wire;

/// Most functions of one plugin.
const FUNCTIONS_MAX: usize = 4096;
/// Longest description or schema in bytes.
const TEXT_BYTES_MAX: usize = 256 * 1024;
/// Longest log line in bytes; the rest is cut off.
const LOG_BYTES_MAX: usize = 16 * 1024;

/// What a plugin registered, copied out of its memory.
pub(super) struct Registered {
    pub(super) name: FunctionName,
    pub(super) description: String,
    pub(super) arguments_schema: serde_json::Value,
    pub(super) result_schema: serde_json::Value,
    pub(super) idempotent: bool,
    pub(super) timeout: Option<Duration>,
    pub(super) max_concurrency: u32,
    pub(super) function: PluginFunction,
    pub(super) route: *const RouteCell,
}

// SAFETY: `route` is a static of atomics in the plugin's library.
unsafe impl Send for Registered {}

/// What a plugin's `instance` handle points to. It lives as long as the library is mapped.
pub(super) struct HostSide {
    pub(super) plugin: Arc<str>,
    pub(super) generation: u64,
    pub(super) services: Arc<Services>,
    /// Open while `on_start` runs.
    pub(super) staged: Mutex<Option<Vec<Registered>>>,
    pub(super) lease: OnceLock<WeakLease>,
}

impl HostSide {
    /// Ends registering; answers what was registered.
    pub(super) fn close(&self) -> Vec<Registered> {
        self.staged.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_default()
    }

    fn lease(&self) -> Option<Lease> {
        self.lease.get()?.upgrade()
    }
}

/// The table for one plugin; `side`, `host_id` and `config` live as long as the table is used.
pub(super) fn host_table(side: &'static HostSide, host_id: &'static str, config: &'static str) -> Host {
    Host {
        struct_size: size_of::<Host>() as u32,
        flags: 0,
        instance: std::ptr::from_ref(side).cast(),
        generation: side.generation,
        host_id: Slice::new(host_id.as_bytes()),
        config: Slice::new(config.as_bytes()),
        register,
        resolve,
        call,
        retain,
        release,
        log_level,
        log,
    }
}

/// # Safety
/// `instance` is the handle of a [`Host`] table that [`host_table`] made.
unsafe fn side(instance: *const ()) -> &'static HostSide {
    // SAFETY: the caller vouches for the handle, which points to a `HostSide` that is never freed.
    unsafe { &*instance.cast::<HostSide>() }
}

/// # Safety
/// `slice` is valid for the length of the call that it was passed to.
unsafe fn text<'a>(slice: Slice, what: &str) -> Result<&'a str, String> {
    if slice.len > TEXT_BYTES_MAX {
        return Err(format!("its {what} has {} bytes, the most is {TEXT_BYTES_MAX}", slice.len));
    }
    // SAFETY: the caller vouches for the slice.
    std::str::from_utf8(unsafe { slice.as_bytes() }).map_err(|_| format!("its {what} is not UTF-8"))
}

unsafe extern "C" fn register(
    instance: *const (),
    registration: *const Registration,
    error: *mut Buffer,
) -> i32 {
    let registered = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: the plugin passes its handle.
        let side = unsafe { side(instance) };
        // SAFETY: the plugin passes a registration that lives until we return.
        let registration = unsafe { &*registration };
        // SAFETY: as do its texts.
        let registered = unsafe { read_registration(registration) }?;
        add(side, registered)
    }));
    let reason = match registered {
        Ok(Ok(())) => return STATUS_OK,
        Ok(Err(reason)) => reason,
        Err(_) => "the host failed to register it".to_owned(),
    };
    // SAFETY: the plugin passes a pointer that may be written to.
    unsafe { *error = Buffer::from_vec(reason.into_bytes()) };
    STATUS_ERR
}

/// # Safety
/// The slices of `registration` are valid.
unsafe fn read_registration(registration: &Registration) -> Result<Registered, String> {
    if (registration.struct_size as usize) < size_of::<Registration>() {
        return Err(format!(
            "a registration has {} bytes, this host needs {}",
            registration.struct_size,
            size_of::<Registration>()
        ));
    }
    // SAFETY: the caller vouches for the slices.
    let name = unsafe { text(registration.name, "function name") }?;
    let shown: String = name.chars().take(80).collect();
    let name = FunctionName::new(name)
        .map_err(|error| format!("`{shown}` is not the name of a function: {error}"))?;
    let schema = |slice: Slice, what: &str| {
        // SAFETY: the caller of `read_registration` vouches for the slices.
        let schema = unsafe { text(slice, what) }?;
        if schema.is_empty() {
            return Ok(serde_json::Value::Bool(true));
        }
        serde_json::from_str(schema).map_err(|error| format!("the {what} of `{name}` is not JSON: {error}"))
    };
    let arguments_schema = schema(registration.arguments_schema, "schema of arguments")?;
    let result_schema = schema(registration.result_schema, "schema of the result")?;
    // SAFETY: as above.
    let description = unsafe { text(registration.description, "description") }?.to_owned();
    let function = PluginFunction::new(registration).ok_or_else(|| format!("`{name}` has no code"))?;
    Ok(Registered {
        name,
        description,
        arguments_schema,
        result_schema,
        idempotent: registration.flags & FUNCTION_IDEMPOTENT != 0,
        timeout: (registration.timeout_ms != NO_DEADLINE)
            .then(|| Duration::from_millis(registration.timeout_ms)),
        max_concurrency: registration.max_concurrency,
        function,
        route: registration.route,
    })
}

fn add(side: &HostSide, registered: Registered) -> Result<(), String> {
    let mut staged = side.staged.lock().unwrap_or_else(PoisonError::into_inner);
    let name = &registered.name;
    let Some(functions) = staged.as_mut() else {
        return Err(format!("`{name}` is registered too late: functions are registered while on_start runs"));
    };
    if functions.iter().any(|known| known.name == *name) {
        return Err(format!("function `{name}` is registered twice"));
    }
    if functions.len() >= FUNCTIONS_MAX {
        return Err(format!("function `{name}` is one too many: a plugin may register {FUNCTIONS_MAX}"));
    }
    functions.push(registered);
    Ok(())
}

unsafe extern "C" fn resolve(instance: *const (), name: Slice) -> u32 {
    let resolved = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: the plugin passes its handle.
        let side = unsafe { side(instance) };
        // SAFETY: the plugin passes a slice that lives until we return.
        let name = unsafe { text(name, "function name") }.ok()?;
        side.services.names.resolve(&FunctionName::new(name).ok()?)
    }));
    resolved.ok().flatten().map_or(NO_FUNCTION, |number| number.0)
}

unsafe extern "C" fn call(
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
        let side = unsafe { side(instance) };
        let lease = side.lease().ok_or_else(|| {
            not_executed(ErrorCode::Unavailable, "the plugin is not published, or was retired")
        })?;
        // SAFETY: null, or the handle of an invocation that the plugin is serving or has retained.
        let parent = unsafe { invocation.cast::<Invocation>().as_ref() };
        // SAFETY: null, or options that live until we return.
        let options = unsafe { options.as_ref() };
        let invocation = nested(side, parent, function, options)?;
        let dispatch = side
            .services
            .dispatch()
            .ok_or_else(|| not_executed(ErrorCode::Unavailable, "the host is stopping"))?;
        let arguments = bytes_of(arguments, lease.clone());
        // A plugin may call from a thread of its own, where no runtime of ours is entered.
        let _entered = enter(&side.services);
        // SAFETY: the plugin passes a waker that lives until we return.
        let started = unsafe {
            with_std_waker(waker, &lease, |waker| {
                dispatch.start(Arc::new(invocation), arguments, &mut Context::from_waker(waker))
            })
        };
        match started {
            Started::Ready(outcome) => outcome.map(Begun::Ended),
            Started::Pending(future) => {
                Ok(Begun::Suspended(NestedCall { future, services: Arc::clone(&side.services), lease }))
            }
        }
    }));
    match started {
        Ok(Ok(Begun::Suspended(nested))) => {
            // SAFETY: the plugin passes a pointer that may be written to.
            unsafe { *future = nested.into_raw() };
            STATUS_PENDING
        }
        // SAFETY: as above.
        Ok(Ok(Begun::Ended(bytes))) => unsafe { finish(Ok(bytes), out) },
        // SAFETY: as above.
        Ok(Err(failure)) => unsafe { finish(Err(failure), out) },
        // SAFETY: as above.
        Err(_) => unsafe { finish(Err(host_panicked()), out) },
    }
}

enum Begun {
    Ended(Bytes),
    Suspended(NestedCall),
}

fn not_executed(code: ErrorCode, message: &str) -> Box<Failure> {
    Box::new(Failure::not_executed(code, message))
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
    side: &HostSide,
    parent: Option<&Invocation>,
    function: u32,
    options: Option<&CallOptions>,
) -> Result<Invocation, Box<Failure>> {
    let function = side.services.names.name(FunctionNumber(function));
    let function = function
        .ok_or_else(|| not_executed(ErrorCode::NotFound, "a function number that was never given out"))?;
    let mut deadline =
        parent.map_or_else(|| Deadline::after(side.services.call_timeout), |parent| parent.deadline);
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
        caller: Caller::Plugin(Arc::clone(&side.plugin)),
        deadline,
        hops: parent.map(|parent| parent.hops.clone()).unwrap_or_default(),
        traceparent: parent.and_then(|parent| parent.traceparent.clone()),
        idempotency_key,
        served_by: ServedBy::default(),
    })
}

/// Writes an outcome for a plugin and answers its status.
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

impl NestedCall {
    fn into_raw(self) -> abi::Future {
        abi::Future {
            state: Box::into_raw(Box::new(self)).cast(),
            poll: Some(poll_nested),
            drop: Some(drop_nested),
        }
    }
}

unsafe extern "C" fn poll_nested(state: *mut (), waker: *const abi::Waker, out: *mut Buffer) -> i32 {
    // SAFETY: `into_raw` made it; the plugin polls from one thread at a time and not after it was dropped.
    let nested = unsafe { &mut *state.cast::<NestedCall>() };
    let polled = catch_unwind(AssertUnwindSafe(|| {
        let _entered = enter(&nested.services);
        let future = Pin::new(&mut nested.future);
        // SAFETY: the plugin passes a waker that lives until we return.
        unsafe { with_std_waker(waker, &nested.lease, |waker| future.poll(&mut Context::from_waker(waker))) }
    }));
    match polled {
        Ok(Poll::Pending) => STATUS_PENDING,
        // SAFETY: the plugin passes a pointer that may be written to.
        Ok(Poll::Ready(outcome)) => unsafe { finish(outcome, out) },
        // SAFETY: as above.
        Err(_) => unsafe { finish(Err(host_panicked()), out) },
    }
}

unsafe extern "C" fn drop_nested(state: *mut ()) {
    // SAFETY: `into_raw` made it, and the plugin drops it once.
    let nested = unsafe { Box::from_raw(state.cast::<NestedCall>()) };
    let dropped = catch_unwind(AssertUnwindSafe(|| {
        let _entered = enter(&nested.services.clone());
        drop(nested);
    }));
    if dropped.is_err() {
        host_panicked();
    }
}

unsafe extern "C" fn retain(invocation: *const ()) {
    if !invocation.is_null() {
        // SAFETY: the handle is `Arc::as_ptr` of an invocation that is alive: served, or retained.
        unsafe { Arc::increment_strong_count(invocation.cast::<Invocation>()) };
    }
}

unsafe extern "C" fn release(invocation: *const ()) {
    if !invocation.is_null() {
        // SAFETY: ends what `retain` began.
        unsafe { Arc::decrement_strong_count(invocation.cast::<Invocation>()) };
    }
}

unsafe extern "C" fn log_level(_: *const ()) -> u32 {
    match LevelFilter::current().into_level() {
        None => 0,
        Some(tracing::Level::ERROR) => 1,
        Some(tracing::Level::WARN) => 2,
        Some(tracing::Level::INFO) => 3,
        Some(tracing::Level::DEBUG) => 4,
        Some(tracing::Level::TRACE) => 5,
    }
}

unsafe extern "C" fn log(instance: *const (), record: *const LogRecord) {
    // Nobody is left to tell if logging itself panics.
    let _contained = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: the plugin passes its handle.
        let side = unsafe { side(instance) };
        // SAFETY: the plugin passes a record that lives until we return.
        let record = unsafe { &*record };
        // SAFETY: the texts live until we return, as do those below.
        let message = lossy(unsafe { record.message.as_bytes() });
        // SAFETY: as above.
        let fields = lossy(unsafe { record.fields.as_bytes() });
        // SAFETY: as above.
        let module = lossy(unsafe { record.target.as_bytes() });
        // SAFETY: null, or the handle of an invocation that is alive.
        let invocation = unsafe { record.invocation.cast::<Invocation>().as_ref() };
        write_log(side, record.level, &module, &message, &fields, invocation);
    }));
}

fn lossy(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(&bytes[..bytes.len().min(LOG_BYTES_MAX)])
}

fn write_log(
    side: &HostSide,
    level: u32,
    module: &str,
    message: &str,
    fields: &str,
    invocation: Option<&Invocation>,
) {
    let request_id = invocation.map(|invocation| tracing::field::display(invocation.id));
    let fields = (!fields.is_empty()).then_some(fields);
    macro_rules! write_at {
        ($level:ident) => {
            tracing::$level!(
                target: "plugin", plugin = &*side.plugin, generation = side.generation, module, request_id, fields, "{message}"
            )
        };
    }
    match level {
        0 | 1 => write_at!(error),
        2 => write_at!(warn),
        3 => write_at!(info),
        4 => write_at!(debug),
        _ => write_at!(trace),
    }
}
