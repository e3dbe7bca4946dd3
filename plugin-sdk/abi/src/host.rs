//! The table of the host for plugins, and the registrations of plugins.
#![allow(unsafe_code, reason = "the derive")]

use std::sync::atomic::{AtomicU32, AtomicU64};

use abi_stable::StableAbi;

use crate::{Buffer, Future, Slice, Waker};

/// A deadline that never comes.
pub const NO_DEADLINE: u64 = u64::MAX;
/// Returned by [`Host::resolve`] for text that is not a valid function name.
pub const NO_FUNCTION: u32 = 0;
/// Registration flag: running the function twice does no harm.
pub const FUNCTION_IDEMPOTENT: u32 = 1;

/// Not decided: ask the host.
pub const ROUTE_UNKNOWN: u32 = 0;
/// The body runs here: a call inside the owning plugin is a plain call.
pub const ROUTE_HERE: u32 = 1;
/// The call goes through the host.
pub const ROUTE_ELSEWHERE: u32 = 2;

/// The route of calls from inside the owning plugin; the host writes `route`, the plugin counts `calls`.
#[repr(C)]
#[derive(Debug, StableAbi)]
pub struct RouteCell {
    /// One of the `ROUTE_` constants.
    pub route: AtomicU32,
    /// Failures of layers of the function, counted by the plugin; zero before ABI 1.1.
    pub layer_failures: AtomicU32,
    /// Calls that ran here without passing through the host.
    pub calls: AtomicU64,
}

/// The call that a function serves. Borrowed for the length of `call`; values that [`Host::describe`] fills in are
/// valid as long as the handle that it was asked for.
#[repr(C)]
#[derive(Debug, StableAbi)]
pub struct CallContext {
    /// Bytes of this struct that are valid.
    pub struct_size: u32,
    /// Zero.
    pub flags: u32,
    /// The host's handle of this invocation, valid until the call's future is dropped;
    /// `retain` it to keep it longer. Passed on with nested calls, so that deadline, hops and trace go along.
    pub invocation: *const (),
    /// Milliseconds left, or [`NO_DEADLINE`].
    pub remaining_ms: u64,
    /// Names the call in logs and responses.
    pub request_id: [u8; 16],
    /// Name of the caller of the host's config that made the call; empty where there is none.
    pub caller: Slice,
    /// W3C `traceparent`; empty where there is none.
    pub traceparent: Slice,
    /// Idempotency key; empty where there is none.
    pub idempotency_key: Slice,
}

/// Options of a call that a plugin makes. A null pointer means the defaults.
#[repr(C)]
#[derive(Debug, StableAbi)]
pub struct CallOptions {
    /// Bytes of this struct that are valid.
    pub struct_size: u32,
    /// Zero.
    pub flags: u32,
    /// Timeout in milliseconds, or [`NO_DEADLINE`]; the deadline of the invocation holds as well.
    pub timeout_ms: u64,
    /// Makes a repeat of the call safe; empty: none.
    pub idempotency_key: Slice,
}

/// One function that a plugin offers. The host copies the texts during `register`.
#[repr(C)]
#[derive(Debug, StableAbi)]
pub struct Registration {
    /// Bytes of this struct that are valid.
    pub struct_size: u32,
    /// `FUNCTION_` flags.
    pub flags: u32,
    /// `[A-Za-z0-9_.-]`, 1 to 255 bytes, no empty part between dots.
    pub name: Slice,
    /// For people; the first lines of the doc comment.
    pub description: Slice,
    /// JSON Schema of the named arguments, an object; empty: unknown.
    pub arguments_schema: Slice,
    /// JSON Schema of the result; empty: unknown.
    pub result_schema: Slice,
    /// Milliseconds that one call may take, or [`NO_DEADLINE`] for the host's default.
    pub timeout_ms: u64,
    /// Calls at one time, through the host; 0: the host's limit alone.
    pub max_concurrency: u32,
    /// Calls that wait while `max_concurrency` calls run; zero before ABI 1.1. Without `max_concurrency`, nothing waits.
    pub max_queue: u32,
    /// Passed to `call` as it is.
    pub function: *const (),
    /// Calls the function with a MessagePack map of named arguments, which stay valid until the future is dropped.
    ///
    /// Returns a status; for pending, `future` is filled in, otherwise `out` is.
    pub call: Option<
        unsafe extern "C" fn(
            function: *const (),
            context: *const CallContext,
            arguments: Slice,
            waker: *const Waker,
            out: *mut Buffer,
            future: *mut Future,
        ) -> i32,
    >,
    /// The route cell of the function, which lives as long as the plugin is mapped; null: none.
    pub route: *const RouteCell,
}

/// One line of a plugin's log. Borrowed for the length of `log`.
#[repr(C)]
#[derive(Debug, StableAbi)]
pub struct LogRecord {
    /// Bytes of this struct that are valid.
    pub struct_size: u32,
    /// 1 error, 2 warn, 3 info, 4 debug, 5 trace.
    pub level: u32,
    /// Module that logs.
    pub target: Slice,
    /// The message.
    pub message: Slice,
    /// Other fields, as text: `rows=3 table="flights"`.
    pub fields: Slice,
    /// The invocation that it belongs to, or null.
    pub invocation: *const (),
}

/// The host's table, handed to `on_start`. It lives as long as the plugin is mapped.
///
/// Every function takes `instance` first, and may be called from any thread unless its doc says otherwise.
#[repr(C)]
#[derive(Debug, StableAbi)]
pub struct Host {
    /// Bytes of this struct that are valid.
    pub struct_size: u32,
    /// Zero.
    pub flags: u32,
    /// The plugin's handle at the host.
    pub instance: *const (),
    /// Number of this loaded version of the plugin.
    pub generation: u64,
    /// Id of the host.
    pub host_id: Slice,
    /// `[plugins.NAME]` of the config as a JSON object. Valid during `on_start` only.
    pub config: Slice,
    /// Registers a function; legal during `on_start` only. On [`crate::STATUS_ERR`], `error` holds the reason as text.
    pub register: unsafe extern "C" fn(
        instance: *const (),
        registration: *const Registration,
        error: *mut Buffer,
    ) -> i32,
    /// Turns a name into a number that stays valid for the life of the host, or [`NO_FUNCTION`].
    pub resolve: unsafe extern "C" fn(instance: *const (), name: Slice) -> u32,
    /// Calls a function, here or on a peer. `invocation` is the one being served, or null outside of any.
    ///
    /// The host takes `arguments` over. Statuses as in [`Registration::call`].
    pub call: unsafe extern "C" fn(
        instance: *const (),
        invocation: *const (),
        function: u32,
        arguments: Buffer,
        options: *const CallOptions,
        waker: *const Waker,
        out: *mut Buffer,
        future: *mut Future,
    ) -> i32,
    /// Keeps an invocation handle valid until `release`.
    pub retain: unsafe extern "C" fn(invocation: *const ()),
    /// Ends what `retain` began.
    pub release: unsafe extern "C" fn(invocation: *const ()),
    /// Most verbose level that is written at present, 0 (none) to 5 (trace).
    pub log_level: unsafe extern "C" fn(instance: *const ()) -> u32,
    /// Writes one line to the host's log.
    pub log: unsafe extern "C" fn(instance: *const (), record: *const LogRecord),
    /// Describes an invocation, not null, at this moment. `context` has its `struct_size` filled in, and gets what that
    /// covers. Since ABI 1.1.
    pub describe: unsafe extern "C" fn(invocation: *const (), context: *mut CallContext) -> i32,
}

/// The table with what a plugin can do without. It is outside of what the layout check compares, so that a plugin that knows
/// it loads on hosts that do not: what follows `host` is there if `host.struct_size` covers it.
#[repr(C)]
#[derive(Debug)]
pub struct HostWithOrigins {
    /// The table that every host has.
    pub host: Host,
    /// The origins of the values of `config`, a JSON list of `{"key": ["pool", "max"], "from": "config.toml line 3"}`.
    /// A value of a variable that `config` has as a number, true or false has its `text` as well, for a type that takes
    /// text. Valid during `on_start` only.
    pub config_origins: Slice,
    /// The part of a call's time, in percent, that a layer may take before what it stands around begins: 1 to 100, and
    /// the host may change it at any time.
    pub layer_percent: *const AtomicU32,
}

// SAFETY: the table never changes, and its functions may be called from any thread (rule above).
unsafe impl Send for HostWithOrigins {}
// SAFETY: as above.
unsafe impl Sync for HostWithOrigins {}

// SAFETY: the table never changes, and its functions may be called from any thread (rule above).
unsafe impl Send for Host {}
// SAFETY: as above.
unsafe impl Sync for Host {}
