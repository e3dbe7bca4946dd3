//! Wakers over the ABI, both ways.
//!
//! Inward, a borrowed ABI waker serves as a `std::task::Waker` for one poll and is cloned only if it is kept.
//! Outward, a waker that came from the host goes back to it as it is, so that no plugin code is left in it;
//! any other is wrapped.
#![expect(unsafe_code, reason = "a waker is a pointer and a table of functions by definition")]

use std::mem::ManuallyDrop;
use std::task::{RawWaker, RawWakerVTable, Waker};

use framex_abi as abi;

/// Behind `data`: a borrowed `abi::Waker`.
static BORROWED: RawWakerVTable = RawWakerVTable::new(clone_inward, |_| {}, wake_inward, |_| {});
/// Behind `data`: a boxed `abi::Waker` of our own.
static OWNED: RawWakerVTable = RawWakerVTable::new(clone_inward, wake_owned, wake_inward, drop_owned);

/// Runs `poll` with the host's waker as a std one.
///
/// # Safety
/// `waker` points to a valid ABI waker for the length of the call.
pub(crate) unsafe fn with_waker<T>(waker: *const abi::Waker, poll: impl FnOnce(&Waker) -> T) -> T {
    // SAFETY: the functions of BORROWED look at `data` as what it is, a live `abi::Waker`,
    // and its drop does nothing, as nothing is owned.
    let borrowed = ManuallyDrop::new(unsafe { Waker::new(waker.cast(), &BORROWED) });
    poll(&borrowed)
}

unsafe fn clone_inward(data: *const ()) -> RawWaker {
    // SAFETY: both tables keep an `abi::Waker` behind `data`.
    let waker = unsafe { &*data.cast::<abi::Waker>() };
    // SAFETY: a valid ABI waker has a valid table.
    let clone = unsafe { (*waker.vtable).clone };
    // SAFETY: called with the waker's own data.
    let cloned = unsafe { clone(waker.data) };
    RawWaker::new(Box::into_raw(Box::new(cloned)).cast_const().cast(), &OWNED)
}

unsafe fn wake_inward(data: *const ()) {
    // SAFETY: both tables keep an `abi::Waker` behind `data`.
    let waker = unsafe { &*data.cast::<abi::Waker>() };
    // SAFETY: a valid ABI waker has a valid table.
    let wake_by_ref = unsafe { (*waker.vtable).wake_by_ref };
    // SAFETY: called with the waker's own data.
    unsafe { wake_by_ref(waker.data) };
}

unsafe fn wake_owned(data: *const ()) {
    // SAFETY: OWNED keeps a box behind `data`, and `wake` consumes it.
    let waker = unsafe { Box::from_raw(data.cast_mut().cast::<abi::Waker>()) };
    // SAFETY: a valid ABI waker has a valid table.
    let wake = unsafe { (*waker.vtable).wake };
    // SAFETY: called once, with the waker's own data, which it consumes.
    unsafe { wake(waker.data) };
}

unsafe fn drop_owned(data: *const ()) {
    // SAFETY: OWNED keeps a box behind `data`, and `drop` consumes it.
    let waker = unsafe { Box::from_raw(data.cast_mut().cast::<abi::Waker>()) };
    // SAFETY: a valid ABI waker has a valid table.
    let drop = unsafe { (*waker.vtable).drop };
    // SAFETY: called once, with the waker's own data, which it consumes.
    unsafe { drop(waker.data) };
}

/// Behind `data`: for a borrowed one a `&Waker`, for a clone a `Box<Waker>`. Both are a pointer to a `Waker`.
static OUTWARD: abi::WakerVtable = abi::WakerVtable {
    clone: clone_outward,
    wake: wake_outward,
    wake_by_ref: wake_outward_by_ref,
    drop: drop_outward,
};

/// Runs `call` with a std waker as an ABI one, valid for the length of the call.
pub(crate) fn with_abi_waker<T>(waker: &Waker, call: impl FnOnce(*const abi::Waker) -> T) -> T {
    if std::ptr::eq(waker.vtable(), &raw const BORROWED) || std::ptr::eq(waker.vtable(), &raw const OWNED) {
        return call(waker.data().cast());
    }
    let outward = abi::Waker { data: std::ptr::from_ref(waker).cast(), vtable: &raw const OUTWARD };
    call(&raw const outward)
}

unsafe extern "C" fn clone_outward(data: *const ()) -> abi::Waker {
    // SAFETY: `data` points to a `Waker`, borrowed or boxed.
    let waker = unsafe { &*data.cast::<Waker>() };
    abi::Waker {
        data: Box::into_raw(Box::new(waker.clone())).cast_const().cast(),
        vtable: &raw const OUTWARD,
    }
}

unsafe extern "C" fn wake_outward(data: *const ()) {
    // SAFETY: only clones are consumed, and they are boxed.
    let waker = unsafe { Box::from_raw(data.cast_mut().cast::<Waker>()) };
    // A panic of a foreign wake function must not cross the ABI, which has no way to report it here.
    let _contained = crate::panics::contain(|| waker.wake());
}

unsafe extern "C" fn wake_outward_by_ref(data: *const ()) {
    // SAFETY: `data` points to a `Waker`, borrowed or boxed.
    let waker = unsafe { &*data.cast::<Waker>() };
    let _contained = crate::panics::contain(|| waker.wake_by_ref());
}

unsafe extern "C" fn drop_outward(data: *const ()) {
    // SAFETY: only clones are dropped, and they are boxed.
    let waker = unsafe { Box::from_raw(data.cast_mut().cast::<Waker>()) };
    let _contained = crate::panics::contain(|| drop(waker));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl std::task::Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn wakers_survive_the_way_out_and_back() {
        let count = Arc::new(Count::default());
        let waker = Waker::from(Arc::clone(&count));
        with_abi_waker(&waker, |outward| {
            // SAFETY: `outward` is valid inside the closure.
            let kept = unsafe {
                with_waker(outward, |inward| {
                    inward.wake_by_ref();
                    with_abi_waker(inward, |again| assert_eq!(again, outward, "the original comes back"));
                    inward.clone()
                })
            };
            kept.wake_by_ref();
            let again = kept.clone();
            kept.wake();
            again.wake();
        });
        assert_eq!(count.0.load(Ordering::SeqCst), 4);
        drop(waker);
        assert_eq!(Arc::strong_count(&count), 1, "no handle is leaked");
    }
}
