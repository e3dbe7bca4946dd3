//! The binary interface between framex-host and its plugins, version 1.
//!
//! Everything that crosses is a plain `#[repr(C)]` struct from this crate; nothing else crosses.
//! Arguments, results and errors are MessagePack bytes, so no Rust type has to agree on both sides.
//! A plugin may be written in C against the generated header `include/framex.h`.
//!
//! Rules, each checked by the host or by a test:
//!
//! - Fields are appended at the tail only. Every struct that may grow starts with `struct_size`,
//!   and a reader looks at a field only if the size covers it.
//! - Memory is freed by the side that allocated it, through [`Buffer::free`].
//! - No unwinding crosses: a panic is caught on the side where it began and becomes [`STATUS_PANIC`].
//! - No reference outlives the call that it was passed to, unless its doc says so.
//!
//! Layer: the lowest. It must never depend on tokio, tracing, serde or any other crate of the workspace.

mod descriptor;
mod future;
mod host;
mod memory;

pub use descriptor::{
    ABI_MAJOR, ABI_MINOR, AbiSurface, DESCRIPTOR_SYMBOL, FLAG_CONTAINS_PANICS, LAYOUT_SYMBOL, LayoutFn,
    MAGIC, PluginDescriptor, fixed_text, text_of,
};
pub use future::{Future, STATUS_ERR, STATUS_OK, STATUS_PANIC, STATUS_PENDING, Waker, WakerVtable};
pub use host::{
    CallContext, CallOptions, FUNCTION_IDEMPOTENT, Host, HostWithOrigins, LogRecord, NO_DEADLINE,
    NO_FUNCTION, ROUTE_ELSEWHERE, ROUTE_HERE, ROUTE_UNKNOWN, Registration, RouteCell,
};
pub use memory::{Buffer, OwnedBuffer, Slice};

#[doc(hidden)]
pub mod layout {
    //! The part of abi_stable that the layout symbol needs; replacing it means dropping that one symbol.
    pub use abi_stable::StableAbi;
    pub use abi_stable::abi_stability::abi_checking::{
        CheckingGlobals, check_layout_compatibility_with_globals,
    };
    pub use abi_stable::type_layout::TypeLayout;
}
