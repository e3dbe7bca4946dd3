//! Unmapping a retired library, and proving that it is gone.
//!
//! No lease is left and `on_stop` has returned when this begins. What may still pin the library is looked at in
//! turn; whatever is left over is answered as the reason for which the generation stays mapped.

use std::sync::Arc;
use std::time::Duration;

use super::generation::{Generation, Lost, on_thread};
use super::maps;

/// How often, and how long apart, the system is asked whether the library is gone.
const LOOKS: u32 = 20;
/// How long the library's destructors may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
const BETWEEN_LOOKS: Duration = Duration::from_millis(25);

/// Unmaps the library of a generation that was stopped; an error is why it stays mapped.
pub(super) async fn unmap(generation: &Arc<Generation>) -> Result<(), String> {
    let file = &generation.staged.copy;
    let Some(range) = maps::range(file) else { return Ok(()) };
    if generation.hangs() {
        return Err("its on_start or on_stop is still running".to_owned());
    }
    if !flush(&range).await {
        return Err("a worker still has thread-locals of it, and did not come to rest in time".to_owned());
    }
    let _addresses = super::library::ADDRESSES.lock().await;
    let closed = {
        let generation = Arc::clone(generation);
        // Destructors of the library run here: on a thread that ends.
        on_thread(&generation.plugin.clone(), move || generation.close())
            .map_err(|error| error.to_string())?
    };
    match closed.wait(CLOSE_TIMEOUT).await {
        Ok(closed) => closed?,
        Err(Lost::Died) => return Err("the thread that closed it died".to_owned()),
        Err(Lost::Hangs) => return Err("its destructors did not end".to_owned()),
    }
    for _ in 0..LOOKS {
        if maps::mapped_bytes(file) == 0 {
            forget(&range);
            return Ok(());
        }
        tokio::time::sleep(BETWEEN_LOOKS).await;
        // glibc looks again at libraries whose last thread has ended when some other library is closed.
        super::library::nudge();
    }
    Err("something keeps it mapped: a thread of the plugin that still runs, or a library that asks never to be unmapped"
        .to_owned())
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
use super::thread_exit::{flush, forget};

/// Elsewhere nothing is known of thread-locals on workers.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
async fn flush(_: &std::ops::Range<usize>) -> bool {
    false
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn forget(_: &std::ops::Range<usize>) {}
