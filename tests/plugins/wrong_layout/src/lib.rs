//! A plugin for tests: the exports of `#[plugin]`, with the layout of another struct than the ABI's.
#![allow(unsafe_code, reason = "exported symbols, and the derive")]

use framex_abi as abi;
use framex_abi::layout::{StableAbi, TypeLayout};

/// As the ABI's own would be in a host that changed it without raising the version.
#[repr(C)]
#[derive(Debug, StableAbi)]
pub struct AbiSurface {
    /// One of many.
    pub slice: *const abi::Slice,
    /// Of no version.
    pub surprise: u64,
}

/// Never reached: the layout is checked before.
unsafe extern "C" fn start(_: *const abi::Host, _: *mut *mut (), _: *mut abi::Buffer) -> i32 {
    abi::STATUS_OK
}

/// The descriptor, right in itself.
#[unsafe(no_mangle)]
#[allow(non_upper_case_globals, reason = "the name is the symbol's")]
pub static framex_plugin_v1: abi::PluginDescriptor = abi::PluginDescriptor {
    magic: abi::MAGIC,
    struct_size: size_of::<abi::PluginDescriptor>() as u32,
    abi_major: abi::ABI_MAJOR,
    abi_minor: abi::ABI_MINOR,
    flags: abi::FLAG_CONTAINS_PANICS,
    name: abi::fixed_text("wrong_layout"),
    version: abi::fixed_text("0.1.0"),
    built_with: abi::fixed_text("a test"),
    on_start: Some(start),
    on_stop: None,
};

/// Returns the layout of the wrong struct.
#[unsafe(no_mangle)]
#[allow(improper_ctypes_definitions, reason = "the ABI's own signature")]
pub extern "C" fn framex_layout_v1() -> &'static TypeLayout {
    AbiSurface::LAYOUT
}
