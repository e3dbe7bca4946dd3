//! Unmapping a retired library, and proving that it is gone.
//!
//! No lease is left and `on_stop` has returned when this begins. Each thing that may still pin the library is looked at
//! in turn, and the first one found is the reason for which the generation stays mapped.

use std::sync::Arc;
use std::time::Duration;

use super::generation::Generation;
use super::threads::{self, Lost};
use crate::plugins::native;
use crate::plugins::process::linker;
use crate::plugins::process::maps::Maps;

/// Number of looks for whether the library is gone.
const LOOKS: u32 = 20;
/// Time limit of the library's destructors.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// Time between two looks.
const BETWEEN_LOOKS: Duration = Duration::from_millis(25);

/// Unmaps the library of a generation that was stopped; an error is why it stays mapped.
pub(crate) async fn unmap(generation: &Arc<Generation>) -> Result<(), String> {
    let file = &generation.staged.copy;
    let Some(range) = Maps::read().range(file) else {
        return Err("the system does not tell where it is mapped".to_owned());
    };
    if let Some(reason) = generation.stuck() {
        return Err(reason.to_owned());
    }
    native::flush(&range).await?;
    let _addresses = threads::ADDRESSES.lock().await;
    let close = {
        let (generation, range) = (Arc::clone(generation), range.clone());
        move || generation.close(&range)
    };
    let closed = threads::on_mapper(&generation.plugin, CLOSE_TIMEOUT, close).await;
    match closed.map_err(|error| error.to_string())? {
        Ok(closed) => closed?,
        Err(Lost::Died | Lost::Aborted(_)) => return Err("closing it panicked".to_owned()),
        Err(Lost::Hangs) => return Err("its destructors did not end".to_owned()),
    }
    for _ in 0..LOOKS {
        if Maps::read().bytes_of(file) == 0 {
            native::forget(&range);
            return Ok(());
        }
        tokio::time::sleep(BETWEEN_LOOKS).await;
        // glibc looks again at libraries whose last thread has ended when some other library is closed.
        linker::nudge();
    }
    Err("something keeps it mapped: a thread of the plugin that still runs, or a library that asks never to be unmapped"
        .to_owned())
}
