//! Functions that go wrong, or show that something works.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use framex_sdk::prelude::*;

/// An error type of its own.
#[proxy_error]
#[derive(PartialEq, thiserror::Error)]
pub enum Failure {
    /// With details.
    #[error("there is no user {id}, the nearest is {nearest}")]
    NoSuchUser {
        /// Asked for.
        id: u64,
        /// Offered.
        nearest: u64,
    },
    /// Without.
    #[error("out of paper")]
    OutOfPaper,
    /// A call that failed.
    #[error(transparent)]
    Call(#[from] CallError),
}

/// The duration of one count.
#[derive(Debug)]
pub struct Slow(pub Duration);

/// `password` of the config.
#[derive(Debug)]
pub struct Password(pub Option<String>);

/// The password, which a real plugin would keep to itself.
#[on_proxy]
pub async fn tells_password(#[state] password: &Password) -> Result<Option<String>> {
    Ok(password.0.clone())
}

/// Counts its runs in this process.
#[on_proxy]
pub async fn counts(#[state] slow: &Slow) -> Result<u64> {
    static RUNS: AtomicU64 = AtomicU64::new(0);
    tokio::time::sleep(slow.0).await;
    Ok(RUNS.fetch_add(1, Ordering::Relaxed) + 1)
}

/// The same, and running it twice does no harm.
#[on_proxy(idempotent)]
pub async fn counts_idempotent(#[state] slow: &Slow) -> Result<u64> {
    static RUNS: AtomicU64 = AtomicU64::new(0);
    tokio::time::sleep(slow.0).await;
    Ok(RUNS.fetch_add(1, Ordering::Relaxed) + 1)
}

/// Panics, at once or after a while.
#[on_proxy]
pub async fn panics(message: String, #[default] after_ms: u64) -> Result<()> {
    if after_ms > 0 {
        tokio::time::sleep(Duration::from_millis(after_ms)).await;
    }
    panic!("{message}")
}

/// Panics on the blocking pool.
#[on_proxy(blocking)]
pub fn panics_blocking(message: String) -> Result<()> {
    panic!("{message}")
}

/// Panics when it is dropped before its end, which never comes.
#[on_proxy]
pub async fn panics_when_dropped() -> Result<()> {
    struct Panics;
    impl Drop for Panics {
        fn drop(&mut self) {
            panic!("this call panics when it is dropped");
        }
    }
    let _panics = Panics;
    std::future::pending().await
}

/// Fails with its own error.
#[on_proxy]
pub async fn fails(id: u64) -> Result<u64, Failure> {
    Err(Failure::NoSuchUser { id, nearest: id + 1 })
}

/// Calls `fails` and matches on the error.
#[on_proxy]
pub async fn catches_failure(id: u64) -> Result<String, Failure> {
    match fails(id).await {
        Err(Failure::NoSuchUser { nearest, .. }) => Ok(format!("nearest is {nearest}")),
        Err(other) => Err(other),
        Ok(id) => Ok(format!("found {id}")),
    }
}

/// Waits on the plugin's own runtime.
#[on_proxy]
pub async fn sleeps(ms: u64) -> Result<u64> {
    sleep(ms).await
}

/// Says when its call is dropped before its end.
#[on_proxy]
pub async fn tells_when_dropped(ms: u64) -> Result<u64> {
    struct Guard(Option<u64>);
    impl Guard {
        fn end(mut self) {
            self.0 = None;
        }
    }
    impl Drop for Guard {
        fn drop(&mut self) {
            if let Some(ms) = self.0 {
                tracing::info!(ms, "the call was dropped");
            }
        }
    }
    let guard = Guard(Some(ms));
    tracing::info!(ms, "the call waits");
    tokio::time::sleep(Duration::from_millis(ms)).await;
    guard.end();
    Ok(ms)
}

/// As `sleeps`, one call at a time.
#[on_proxy(max_concurrency = 1, timeout_ms = 60000)]
pub async fn one_at_a_time(ms: u64) -> Result<u64> {
    sleep(ms).await
}

/// Says when it begins, and when it is dropped before its end.
async fn sleep(ms: u64) -> Result<u64> {
    struct Unfinished(bool);
    impl Drop for Unfinished {
        fn drop(&mut self) {
            if self.0 {
                tracing::info!("dropped in its sleep");
            }
        }
    }
    let mut unfinished = Unfinished(true);
    tracing::info!(ms, "begins to sleep");
    tokio::time::sleep(Duration::from_millis(ms)).await;
    unfinished.0 = false;
    Ok(ms)
}

/// Gives bytes back.
#[on_proxy(idempotent)]
pub async fn echo(data: Vec<u8>) -> Result<Vec<u8>> {
    Ok(data)
}

/// Gives a number back, also one that JSON does not have.
#[on_proxy]
pub async fn same_number(value: f64) -> Result<f64> {
    Ok(value)
}

/// Has arguments that callers may leave out.
#[on_proxy]
pub async fn with_defaults(
    a: Option<u32>,
    #[default] b: u32,
    #[default(40 + 2)] c: u32,
) -> Result<(Option<u32>, u32, u32)> {
    Ok((a, b, c))
}

/// Something that `on_start` does not put into the context.
#[derive(Debug)]
pub struct Missing;

/// Needs what is not there.
#[on_proxy]
pub async fn needs_state(#[state] missing: &Missing) -> Result<String> {
    Ok(format!("{missing:?}"))
}

/// Logs a line at each level.
#[on_proxy]
pub async fn logs(text: String) -> Result<()> {
    tracing::error!(text, "an error");
    tracing::info!(text, "an info");
    tracing::debug!(text, "a debug");
    Ok(())
}

/// Logs many lines, as fast as it can.
#[on_proxy(blocking)]
pub fn logs_lines(count: u64) -> Result<()> {
    for line in 0..count {
        tracing::info!(line, "one of many lines");
    }
    Ok(())
}

/// Another plugin's function, by its types only.
#[on_proxy(name = "demo.some.example_func")]
pub async fn example_func(id: u64, user: User) -> Result<String>;

/// The user of the demo plugin.
#[model]
pub struct User {
    /// Number.
    pub id: u64,
    /// Name.
    pub name: String,
}

/// Calls the demo plugin, twice at once.
#[on_proxy]
pub async fn calls(name: String) -> Result<Vec<String>> {
    let user = User { id: 1, name };
    let both = [example_func(1, user.clone()).await?, example_func(2, user).await?];
    Ok(both.to_vec())
}

/// A function of the changing plugin, by its types only.
#[on_proxy(name = "changing.functions.build")]
pub async fn build(ms: u64) -> Result<Vec<String>>;

/// Asks the changing plugin which build it is.
#[on_proxy]
pub async fn asks_build(#[default] ms: u64) -> Result<Vec<String>> {
    build(ms).await
}

/// A function that not every build of the changing plugin has.
#[on_proxy(name = "changing.functions.sometimes")]
pub async fn sometimes() -> Result<String>;

/// Asks the changing plugin for that function.
#[on_proxy]
pub async fn asks_sometimes() -> Result<String> {
    sometimes().await
}

/// Sends bytes to a unix socket and returns the first line that comes back.
#[on_proxy(blocking)]
pub fn asks_socket(socket: String, request: String) -> Result<String> {
    let failed = |error: std::io::Error| Error::new("socket", error.to_string());
    let mut stream = UnixStream::connect(socket).map_err(failed)?;
    stream.write_all(request.as_bytes()).map_err(failed)?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).map_err(failed)?;
    Ok(line.trim_end().to_owned())
}

/// As `asks_socket`, on the thread that polls the call, which is a mistake of plugins.
#[on_proxy]
pub async fn holds_worker(socket: String) -> Result<String> {
    let failed = |error: std::io::Error| Error::new("socket", error.to_string());
    let mut line = String::new();
    let stream = UnixStream::connect(socket).map_err(failed)?;
    BufReader::new(stream).read_line(&mut line).map_err(failed)?;
    Ok(line)
}

/// Runs a process to its end, and returns its exit code and what it wrote to its error output.
#[on_proxy(blocking)]
pub fn runs_process(command: Vec<String>) -> Result<(Option<i32>, String)> {
    let failed = |error: std::io::Error| Error::new("process", error.to_string());
    let (program, arguments) = command.split_first().ok_or_else(|| Error::new("process", "no program"))?;
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output().map_err(failed)?;
    Ok((output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned()))
}

/// Blocks a thread of the blocking pool.
#[on_proxy(blocking)]
pub fn blocks(value: u64) -> Result<u64> {
    Ok(value * 2)
}

/// A name that belongs to another plugin.
#[on_proxy(name = "demo.some.example_func")]
pub async fn foreign(id: u64) -> Result<u64> {
    Ok(id)
}
