//! The table of functions that a plugin gets: registering, resolving, logging; calling is in `nested_call.rs`.
//! One of the files with hand-written `unsafe`. No panic leaves it.
#![expect(unsafe_code, reason = "the C functions that plugins call")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use framex_abi::{
    Buffer, CallContext, FUNCTION_IDEMPOTENT, Host, HostWithOrigins, LogRecord, NO_DEADLINE, NO_FUNCTION,
    Registration, STATUS_ERR, STATUS_OK, Slice,
};

use super::call::{PluginFunction, call_context};
use super::handle::{PluginHandle, Registered};
use super::nested_call::call;
use super::routes::RoutePointer;
use crate::base::{FunctionName, Invocation};
use crate::functions::{DeclaredLimit, Function, FunctionLimits};
use crate::plugins::settings::PluginConfig;

/// Most functions of one plugin.
const FUNCTIONS_MAX: usize = 4096;
/// Longest description or schema in bytes.
const TEXT_BYTES_MAX: usize = 256 * 1024;
/// Longest log line in bytes; the rest is cut off.
const LOG_BYTES_MAX: usize = 16 * 1024;

/// The table for one plugin; all that is passed in lives as long as the table is used.
pub(crate) fn host_table(
    handle: &'static PluginHandle,
    host_id: &'static str,
    settings: &'static PluginConfig,
) -> HostWithOrigins {
    let host = Host {
        struct_size: size_of::<HostWithOrigins>() as u32,
        flags: 0,
        instance: std::ptr::from_ref(handle).cast(),
        generation: handle.generation,
        host_id: Slice::new(host_id.as_bytes()),
        config: Slice::new(settings.table.as_bytes()),
        register,
        resolve,
        call,
        retain,
        release,
        log_level,
        log,
        describe,
    };
    HostWithOrigins {
        host,
        config_origins: Slice::new(settings.origins.as_bytes()),
        layer_percent: &raw const handle.services.layer_percent,
    }
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
        let handle = unsafe { PluginHandle::from_raw(instance) };
        // SAFETY: the plugin passes a registration that lives until we return.
        let registration = unsafe { &*registration };
        // SAFETY: as do its texts.
        unsafe { add(handle, registration) }
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
unsafe fn add(handle: &PluginHandle, registration: &Registration) -> Result<(), String> {
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
        // SAFETY: the caller of `add` vouches for the slices.
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
    let mut so_far = handle.registered.lock();
    let Some(Registered { functions, routes, lease }) = so_far.as_mut() else {
        return Err(format!("`{name}` is registered too late: functions are registered while on_start runs"));
    };
    let handler = PluginFunction::new(registration, &name, lease.clone());
    let handler = handler.ok_or_else(|| format!("`{name}` has no code"))?;
    if functions.iter().any(|known| known.name == name) {
        return Err(format!("function `{name}` is registered twice"));
    }
    if functions.len() >= FUNCTIONS_MAX {
        return Err(format!("function `{name}` is one too many: a plugin may register {FUNCTIONS_MAX}"));
    }
    routes.extend(RoutePointer::new(registration.route).map(|route| (name.clone(), route)));
    functions.push(Function {
        name,
        plugin: Arc::clone(&handle.plugin),
        generation: handle.generation,
        description,
        arguments_schema,
        result_schema,
        idempotent: registration.flags & FUNCTION_IDEMPOTENT != 0,
        timeout: (registration.timeout_ms != NO_DEADLINE)
            .then(|| Duration::from_millis(registration.timeout_ms)),
        declared: DeclaredLimit {
            max_concurrency: registration.max_concurrency as usize,
            max_queue: registration.max_queue as usize,
        },
        limits: FunctionLimits::default(),
        stats: Arc::default(),
        handler: Box::new(handler),
    });
    Ok(())
}

unsafe extern "C" fn resolve(instance: *const (), name: Slice) -> u32 {
    let resolved = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: the plugin passes its handle.
        let handle = unsafe { PluginHandle::from_raw(instance) };
        // SAFETY: the plugin passes a slice that lives until we return.
        let name = unsafe { text(name, "function name") }.ok()?;
        handle.services.names.resolve(&FunctionName::new(name).ok()?)
    }));
    resolved.ok().flatten().map_or(NO_FUNCTION, |number| number.0)
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

unsafe extern "C" fn describe(invocation: *const (), context: *mut CallContext) -> i32 {
    // SAFETY: null, or the handle of an invocation that is alive.
    let Some(described) = (unsafe { invocation.cast::<Invocation>().as_ref() }) else { return STATUS_ERR };
    // SAFETY: the plugin passes a context of its own, with its size filled in.
    let struct_size = unsafe { (*context).struct_size };
    if (struct_size as usize) < size_of::<CallContext>() {
        return STATUS_ERR;
    }
    // SAFETY: as above, and it is as large as what is written.
    unsafe { *context = call_context(described, invocation) };
    STATUS_OK
}

unsafe extern "C" fn log_level(_: *const ()) -> u32 {
    // The levels for lines of plugins alone: the audit log, for one, may be shown at more.
    let shown = [
        tracing::enabled!(target: "plugin", tracing::Level::ERROR),
        tracing::enabled!(target: "plugin", tracing::Level::WARN),
        tracing::enabled!(target: "plugin", tracing::Level::INFO),
        tracing::enabled!(target: "plugin", tracing::Level::DEBUG),
        tracing::enabled!(target: "plugin", tracing::Level::TRACE),
    ];
    shown.into_iter().map(u32::from).sum()
}

unsafe extern "C" fn log(instance: *const (), record: *const LogRecord) {
    // A panic of logging itself cannot be logged.
    let _contained = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: the plugin passes its handle.
        let handle = unsafe { PluginHandle::from_raw(instance) };
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
        let request_id = invocation.map(|invocation| tracing::field::display(invocation.id));
        let fields = (!fields.is_empty()).then_some(&*fields);
        macro_rules! write_at {
            ($level:ident) => {
                tracing::$level!(
                    target: "plugin", plugin = &*handle.plugin, generation = handle.generation, module = &*module, request_id, fields, "{message}"
                )
            };
        }
        match record.level {
            0 | 1 => write_at!(error),
            2 => write_at!(warn),
            3 => write_at!(info),
            4 => write_at!(debug),
            _ => write_at!(trace),
        }
    }));
}

fn lossy(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(&bytes[..bytes.len().min(LOG_BYTES_MAX)])
}
