//! Bytes that cross: borrowed for the length of a call, or owned with the function that frees them.
#![allow(unsafe_code, reason = "the derive and raw parts of slices")]

use abi_stable::StableAbi;

/// Borrowed bytes. `ptr` may be null only where `len` is 0.
#[repr(C)]
#[derive(Debug, Clone, Copy, StableAbi)]
pub struct Slice {
    /// First byte.
    pub ptr: *const u8,
    /// Length in bytes.
    pub len: usize,
}

impl Slice {
    /// No bytes.
    pub const EMPTY: Self = Self { ptr: std::ptr::null(), len: 0 };

    /// Borrows `bytes`; the caller keeps them alive for as long as the receiver may look.
    #[must_use]
    pub const fn new(bytes: &[u8]) -> Self {
        Self { ptr: bytes.as_ptr(), len: bytes.len() }
    }

    /// Views the bytes.
    ///
    /// # Safety
    /// `ptr` points to `len` initialised bytes that live and stay unchanged for `'a`.
    #[must_use]
    pub unsafe fn as_bytes<'a>(self) -> &'a [u8] {
        if self.ptr.is_null() || self.len == 0 {
            return &[];
        }
        // SAFETY: the caller vouches for `len` bytes at `ptr` for 'a, and null was handled above.
        unsafe { std::slice::from_raw_parts(self.ptr, self.len) }
    }
}

/// Owned bytes, freed by the side that made them.
///
/// `cap` belongs to `free` alone: a receiver hands it back as it is and reads nothing into it.
#[repr(C)]
#[derive(Debug, StableAbi)]
pub struct Buffer {
    /// First byte; null for an empty buffer that needs no freeing.
    pub ptr: *mut u8,
    /// Length in bytes.
    pub len: usize,
    /// For `free` only.
    pub cap: usize,
    /// Frees the buffer: `free(ptr, len, cap)`. Null: nothing to free.
    pub free: Option<unsafe extern "C" fn(*mut u8, usize, usize)>,
}

impl Buffer {
    /// An empty buffer that owns nothing: what an `out` parameter holds before the call.
    pub const EMPTY: Self = Self { ptr: std::ptr::null_mut(), len: 0, cap: 0, free: None };

    /// Hands a vector over; its memory returns to this side's allocator when the buffer is freed.
    #[must_use]
    pub fn from_vec(bytes: Vec<u8>) -> Self {
        unsafe extern "C" fn free(ptr: *mut u8, len: usize, cap: usize) {
            // SAFETY: `ptr`, `len` and `cap` are the parts of a vector taken apart in `from_vec`, freed once.
            drop(unsafe { Vec::from_raw_parts(ptr, len, cap) });
        }
        let mut bytes = std::mem::ManuallyDrop::new(bytes);
        Self { ptr: bytes.as_mut_ptr(), len: bytes.len(), cap: bytes.capacity(), free: Some(free) }
    }
}

/// A [`Buffer`] that frees itself.
///
/// The owner of a buffer of the other side also holds what keeps the code behind `free` mapped,
/// in a field declared after it.
#[derive(Debug)]
pub struct OwnedBuffer(Buffer);

// SAFETY: a buffer is plain memory with one owner; `free` may be called from any thread (ABI rule).
unsafe impl Send for OwnedBuffer {}
// SAFETY: shared access only reads the bytes.
unsafe impl Sync for OwnedBuffer {}

impl OwnedBuffer {
    /// Takes the buffer over.
    ///
    /// # Safety
    /// `buffer` obeys the rules of [`Buffer`] and nothing else frees it.
    #[must_use]
    pub unsafe fn new(buffer: Buffer) -> Self {
        Self(buffer)
    }

    /// Gives the buffer up, for example to pass it on over the ABI.
    #[must_use]
    pub fn into_raw(self) -> Buffer {
        let this = std::mem::ManuallyDrop::new(self);
        Buffer { ptr: this.0.ptr, len: this.0.len, cap: this.0.cap, free: this.0.free }
    }
}

impl AsRef<[u8]> for OwnedBuffer {
    fn as_ref(&self) -> &[u8] {
        let slice = Slice { ptr: self.0.ptr, len: self.0.len };
        // SAFETY: `new` demanded a valid buffer, and it lives as long as `self`.
        unsafe { slice.as_bytes() }
    }
}

impl Drop for OwnedBuffer {
    fn drop(&mut self) {
        if let Some(free) = self.0.free {
            // SAFETY: the parts come from the buffer given to `new`, handed back once.
            unsafe { free(self.0.ptr, self.0.len, self.0.cap) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffer_returns_to_its_allocator() {
        let mut bytes = Vec::with_capacity(100);
        bytes.extend_from_slice(b"abc");
        // SAFETY: `from_vec` makes a valid buffer, owned here alone.
        let owned = unsafe { OwnedBuffer::new(Buffer::from_vec(bytes)) };
        assert_eq!(owned.as_ref(), b"abc");
        // SAFETY: as above; `into_raw` gave it up.
        drop(unsafe { OwnedBuffer::new(owned.into_raw()) });
    }

    #[test]
    fn null_is_empty() {
        // SAFETY: an empty slice needs no memory.
        assert!(unsafe { Slice::EMPTY.as_bytes() }.is_empty());
    }
}
