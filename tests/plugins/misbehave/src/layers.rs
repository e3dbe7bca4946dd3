//! Functions with layers, and a layer that fails on demand.

use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use framex_sdk::prelude::*;

/// The number of runs of bodies in this generation.
static RUNS: AtomicU64 = AtomicU64::new(0);
static MOOD: Mutex<Mood> = Mutex::new(Mood::Good);
static NOTES: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// The behaviour of the layer `moody`.
#[model]
#[derive(Copy)]
#[serde(rename_all = "snake_case")]
pub enum Mood {
    /// Runs the body.
    Good,
    /// Fails before it.
    Fails,
    /// Panics before it.
    Panics,
    /// Fails after it.
    FailsAfter,
    /// Panics after it.
    PanicsAfter,
    /// Panics while it runs.
    PanicsDuring,
    /// Refuses the call.
    Refuses,
    /// Returns 1000.
    Answers,
    /// Adds 1000 to the answer.
    Adds,
    /// Never comes to the body.
    Hangs,
    /// Never ends after it.
    HangsAfter,
}

pub(crate) fn register(ctx: &Context) -> Result<()> {
    ctx.register_proxy_func::<set_mood>()?;
    ctx.register_proxy_func::<layered>()?;
    ctx.register_proxy_func::<layered_blocking>()?;
    ctx.register_proxy_func::<calls_layered>()?;
    ctx.register_proxy_func::<seen_by_layer>()
}

fn note(text: String) {
    NOTES.lock().unwrap_or_else(PoisonError::into_inner).push(text);
}

/// Sets the behaviour of the layer; returns the notes since the last time, and the number of runs of bodies.
#[on_proxy]
pub async fn set_mood(mood: Mood) -> Result<(Vec<String>, u64)> {
    *MOOD.lock().unwrap_or_else(PoisonError::into_inner) = mood;
    let notes = std::mem::take(&mut *NOTES.lock().unwrap_or_else(PoisonError::into_inner));
    Ok((notes, RUNS.load(Ordering::Relaxed)))
}

async fn notes<T, E>(_: LayerCall, next: Next<'_, T, E>) -> Layered<'_, T, E> {
    note("notes begins".to_owned());
    let answer = next.run().await;
    note(format!("notes ends, {}", if answer.is_ok() { "ok" } else { "failed" }));
    Ok(answer)
}

async fn moody(_: LayerCall, next: Next<'_, u64, Error>) -> Layered<'_, u64, Error> {
    let mood = *MOOD.lock().unwrap_or_else(PoisonError::into_inner);
    note("moody".to_owned());
    match mood {
        Mood::Good => Ok(next.run().await),
        Mood::Fails => Err(LayerError::new("bad mood")),
        Mood::Panics => panic!("very bad mood"),
        Mood::FailsAfter => {
            let _answer = next.run().await;
            Err(LayerError::new("bad mood"))
        }
        Mood::PanicsAfter => {
            let _answer = next.run().await;
            panic!("very bad mood")
        }
        Mood::PanicsDuring => {
            let mut running = pin!(next.run());
            let ended = tokio::time::timeout(Duration::from_millis(1), running.as_mut()).await.is_ok();
            panic!("very bad mood, ended: {ended}")
        }
        Mood::Refuses => {
            let refused = CallError::new(Code::PermissionDenied, "not in this mood");
            Ok(next.refuse(refused.into()))
        }
        Mood::Answers => Ok(next.answer(1000)),
        Mood::Hangs => {
            let () = std::future::pending().await;
            Ok(next.run().await)
        }
        Mood::HangsAfter => {
            let _answer = next.run().await;
            std::future::pending().await
        }
        Mood::Adds => {
            let mut answer = next.run().await;
            if let Ok(number) = &mut *answer {
                *number += 1000;
            }
            Ok(answer)
        }
    }
}

async fn body(ms: u64) -> u64 {
    struct Unfinished(bool);
    impl Drop for Unfinished {
        fn drop(&mut self) {
            if self.0 {
                tracing::info!("the body was dropped");
            }
        }
    }
    let runs = RUNS.fetch_add(1, Ordering::Relaxed) + 1;
    note("body".to_owned());
    let mut unfinished = Unfinished(true);
    if ms > 0 {
        tracing::info!("the body waits");
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }
    unfinished.0 = false;
    runs
}

/// Returns the number of runs of bodies.
#[on_proxy(layer = notes, layer = moody)]
pub async fn layered(#[default] ms: u64) -> Result<u64> {
    Ok(body(ms).await)
}

/// The same, on the blocking pool.
#[on_proxy(blocking, layer = notes, layer = moody)]
pub fn layered_blocking() -> Result<u64> {
    note("body".to_owned());
    Ok(RUNS.fetch_add(1, Ordering::Relaxed) + 1)
}

/// Calls `layered` as a plain function of this plugin.
#[on_proxy]
pub async fn calls_layered() -> Result<u64> {
    layered(0).await
}

/// The call as a layer sees it.
#[model]
#[derive(Default)]
pub struct Seen {
    /// Name of the function.
    pub function: String,
    /// Request id.
    pub request_id: Option<String>,
    /// Caller.
    pub caller: Option<String>,
    /// Milliseconds that are left.
    pub remaining_ms: Option<u64>,
    /// True if the state of the plugin is there.
    pub has_state: bool,
}

async fn looks(call: LayerCall, next: Next<'_, Seen, Error>) -> Layered<'_, Seen, Error> {
    let milliseconds = |left: Duration| u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
    Ok(next.answer(Seen {
        function: call.function().to_owned(),
        request_id: call.request_id(),
        caller: call.caller(),
        remaining_ms: call.remaining().map(milliseconds),
        has_state: call.state::<crate::functions::Slow>().is_some(),
    }))
}

/// Answered by its layer.
#[on_proxy(layer = looks)]
pub async fn seen_by_layer() -> Result<Seen> {
    Ok(Seen::default())
}
