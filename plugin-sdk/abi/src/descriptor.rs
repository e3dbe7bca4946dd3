//! The exports of a plugin: one static descriptor, and for Rust plugins the layouts of everything that crosses.
#![allow(unsafe_code, reason = "the derive")]

use abi_stable::StableAbi;
use abi_stable::type_layout::TypeLayout;

use crate::{Buffer, CallContext, CallOptions, Future, Host, LogRecord, Registration, Slice};

/// First bytes of every descriptor.
pub const MAGIC: [u8; 8] = *b"FXPLUGIN";
/// Raised when something that exists changes; a plugin must have the host's.
pub const ABI_MAJOR: u16 = 1;
/// Raised when something is appended; a plugin may have the host's or an older one.
pub const ABI_MINOR: u16 = 1;
/// Name of the exported static [`PluginDescriptor`].
pub const DESCRIPTOR_SYMBOL: &str = "framex_plugin_v1";
/// Name of the exported [`LayoutFn`]; a plugin in C has none.
pub const LAYOUT_SYMBOL: &str = "framex_layout_v1";
/// Descriptor flag: the plugin catches its panics at every entry, or has none (built with `panic = "unwind"`, or C).
pub const FLAG_CONTAINS_PANICS: u64 = 1;

/// The exported static of a plugin. Plain values and no pointer but the two functions,
/// so that it can be read from the file without running anything of it.
#[repr(C)]
#[derive(Debug, StableAbi)]
pub struct PluginDescriptor {
    /// [`MAGIC`].
    pub magic: [u8; 8],
    /// Bytes of this struct that are valid.
    pub struct_size: u32,
    /// [`ABI_MAJOR`] that the plugin was built against.
    pub abi_major: u16,
    /// [`ABI_MINOR`] that the plugin was built against.
    pub abi_minor: u16,
    /// `FLAG_` bits.
    pub flags: u64,
    /// Name of the plugin, UTF-8 padded with zeros: `[a-z0-9_-]`.
    pub name: [u8; 64],
    /// Version of the plugin, padded with zeros.
    pub version: [u8; 32],
    /// The SDK and the compiler that built it, as text for people, padded with zeros.
    pub built_with: [u8; 64],
    /// Starts the plugin: registers functions through `host`, fills `instance`.
    ///
    /// Called once, on a thread of its own. Returns [`crate::STATUS_OK`], or another status with the reason
    /// as UTF-8 text in `error`.
    pub on_start:
        Option<unsafe extern "C" fn(host: *const Host, instance: *mut *mut (), error: *mut Buffer) -> i32>,
    /// Stops what `on_start` made, also a failed start that filled `instance`.
    ///
    /// Called once, on a thread of its own, after the last call ended.
    pub on_stop: Option<unsafe extern "C" fn(instance: *mut (), error: *mut Buffer) -> i32>,
}

// SAFETY: plain values and function pointers; nothing in it is ever written.
unsafe impl Sync for PluginDescriptor {}

/// The type of [`LAYOUT_SYMBOL`], which returns the layout of [`AbiSurface`] that the plugin was built with.
pub type LayoutFn = extern "C" fn() -> &'static TypeLayout;

/// Names every struct that crosses, so that one layout check compares them all.
#[repr(C)]
#[derive(Debug, StableAbi)]
pub struct AbiSurface {
    descriptor: *const PluginDescriptor,
    host: *const Host,
    registration: *const Registration,
    call_context: *const CallContext,
    call_options: *const CallOptions,
    log_record: *const LogRecord,
    future: *const Future,
    buffer: *const Buffer,
    slice: *const Slice,
}

/// Pads `text` with zeros to `N` bytes; one zero always remains at the end.
///
/// # Panics
/// At compile time, where used in a constant: if `text` is longer than `N - 1` bytes.
#[must_use]
pub const fn fixed_text<const N: usize>(text: &str) -> [u8; N] {
    let bytes = text.as_bytes();
    assert!(bytes.len() < N, "text is too long for its field in the plugin descriptor");
    let mut fixed = [0; N];
    let mut i = 0;
    while i < bytes.len() {
        fixed[i] = bytes[i];
        i += 1;
    }
    fixed
}

/// Reads a text padded with zeros; `None` if it is not UTF-8.
#[must_use]
pub fn text_of(fixed: &[u8]) -> Option<&str> {
    let end = fixed.iter().position(|byte| *byte == 0).unwrap_or(fixed.len());
    std::str::from_utf8(&fixed[..end]).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fixed_text_round_trips() {
        assert_eq!(text_of(&fixed_text::<8>("demo")), Some("demo"));
        assert_eq!(text_of(&[b'a'; 4]), Some("aaaa"));
        assert_eq!(text_of(&[0xff, 0]), None);
    }

    #[test]
    fn layout_agrees_with_itself() {
        let layout = AbiSurface::LAYOUT;
        let globals = crate::layout::CheckingGlobals::new();
        crate::layout::check_layout_compatibility_with_globals(layout, layout, &globals).unwrap();
    }
}
