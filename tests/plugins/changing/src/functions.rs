//! Functions that return the name of their build.

use std::cell::RefCell;
use std::time::Duration;

use framex_sdk::prelude::*;

use crate::marker;

/// The build that `on_start` saw.
#[derive(Debug)]
pub struct Started(pub String);

/// A thread-local whose destructor lies in this library.
struct OfThread(String);

impl Drop for OfThread {
    fn drop(&mut self) {
        self.0.clear();
    }
}

thread_local! {
    static OF_THREAD: RefCell<OfThread> = RefCell::new(OfThread(marker::build().to_owned()));
}

/// The build's name as the code, the state and a thread-local have it: all the same, in a host that keeps builds apart.
#[on_proxy]
pub async fn build(#[default] ms: u64, #[state] started: &Started) -> Result<Vec<String>> {
    let before = OF_THREAD.with_borrow(|of_thread| of_thread.0.clone());
    if ms > 0 {
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }
    Ok(vec![before, started.0.clone(), marker::build().to_owned()])
}

/// As `build`, and says in the log when it begins and when it is dropped before its end.
#[on_proxy]
pub async fn waits(ms: u64, #[state] started: &Started) -> Result<Vec<String>> {
    struct Unfinished(bool);
    impl Drop for Unfinished {
        fn drop(&mut self) {
            if self.0 {
                tracing::info!(build = marker::build(), "dropped while it waits");
            }
        }
    }
    let mut unfinished = Unfinished(true);
    tracing::info!(build = marker::build(), "begins to wait");
    tokio::time::sleep(Duration::from_millis(ms)).await;
    unfinished.0 = false;
    Ok(vec![started.0.clone(), marker::build().to_owned()])
}

/// Of the plugin `misbehave`.
#[on_proxy(name = "misbehave.nested.ping")]
pub async fn ping(depth: u64) -> Result<u64>;

/// Calls `ping` of another plugin, which calls this one, `left` times.
#[on_proxy]
pub async fn pong(depth: u64) -> Result<u64> {
    if depth == 0 { Ok(0) } else { Ok(ping(depth - 1).await? + 1) }
}

/// Some builds lack it.
#[on_proxy]
pub async fn sometimes() -> Result<String> {
    Ok(marker::build().to_owned())
}

/// Takes a number.
#[on_proxy(name = "changing.functions.typed")]
pub async fn typed_number(id: u64) -> Result<u64> {
    Ok(id)
}

/// Takes a text, under the same name.
#[on_proxy(name = "changing.functions.typed")]
pub async fn typed_text(id: String) -> Result<String> {
    Ok(id)
}
