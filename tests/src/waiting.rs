//! Waiting for what nothing signals.

use std::time::{Duration, Instant};

/// Asks again and again until it is so.
///
/// # Panics
/// If it is not so within half a minute.
#[track_caller]
pub fn until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is_so() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        // Leaves the processor to what is waited for.
        std::thread::park_timeout(Duration::from_millis(2));
    }
}
