//! The functions of the C library that the host puts its own in front of. One of the files with
//! hand-written `unsafe`.
#![expect(unsafe_code, reason = "looks functions up, and reads addresses that the linker gives")]

use std::ffi::{CStr, c_void};
use std::marker::PhantomData;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

/// A destructor, as thread-locals and thread keys have it.
pub(super) type Destructor = unsafe extern "C" fn(*mut c_void);

/// A function of the C library, of type `F`, that has one of the host's of the same name in front of it.
///
/// AddressSanitizer has functions of its own in front of some: `__interceptor_NAME` then comes next, and is what the name
/// is given with.
pub(super) struct Original<F> {
    name: &'static CStr,
    address: AtomicPtr<c_void>,
    function: PhantomData<F>,
}

impl<F: Copy> Original<F> {
    /// # Safety
    /// `F` is the pointer type of the C library's function of this name.
    pub(super) const unsafe fn new(name: &'static CStr) -> Self {
        const { assert!(size_of::<F>() == size_of::<*mut c_void>(), "a function pointer") };
        Self { name, address: AtomicPtr::new(ptr::null_mut()), function: PhantomData }
    }

    /// Returns the function, or `None` if this C library does not have it.
    ///
    /// The lookup takes the loader's lock, which is held while constructors of a library run: they may wait for a
    /// thread that comes through here. So it is done once, before any library is mapped (`prepare`).
    pub(super) fn get(&self) -> Option<F> {
        let mut address = self.address.load(Ordering::Relaxed);
        if address.is_null() {
            address = self.look_up();
            self.address.store(address, Ordering::Relaxed);
        }
        // SAFETY: the function at this address is of the type `F`, a pointer, as `new` demands.
        (!address.is_null()).then(|| unsafe { std::mem::transmute_copy(&address) })
    }

    fn look_up(&self) -> *mut c_void {
        let Ok(name) = CStr::from_bytes_with_nul(
            self.name.to_bytes_with_nul().strip_prefix(b"__interceptor_").unwrap_or_default(),
        ) else {
            // SAFETY: a valid name, looked for in the libraries behind this program.
            return unsafe { libc::dlsym(libc::RTLD_NEXT, self.name.as_ptr()) };
        };
        // SAFETY: a valid name, looked for in this program first.
        let sanitizer = unsafe { libc::dlsym(libc::RTLD_DEFAULT, self.name.as_ptr()) };
        if !sanitizer.is_null() {
            return sanitizer;
        }
        // SAFETY: a valid name, looked for in the libraries behind this program.
        unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) }
    }
}

/// Returns true if an address lies in the host's own program.
pub(super) fn is_of_host(address: usize) -> bool {
    unsafe extern "C" {
        /// The first byte of the program, and the one after its last: symbols of the linker.
        static __executable_start: u8;
        static _end: u8;
    }
    let range = (&raw const __executable_start).addr()..(&raw const _end).addr();
    range.contains(&address)
}
