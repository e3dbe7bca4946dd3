//! Processes that end in time, or the test fails.

use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The time in which a daemon must start or stop, or the test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The exit status of a process, and all its output.
#[derive(Debug)]
pub struct Exit {
    /// Exit code; `None` after a signal.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// Runs a command that ends by itself.
///
/// # Panics
/// If it goes on.
#[must_use]
pub fn run_to_end(command: &mut Command) -> Exit {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the command runs");
    let read = |from: Option<Box<dyn std::io::Read + Send>>| {
        std::thread::spawn(move || {
            let mut text = String::new();
            let read = from.map(|mut from| from.read_to_string(&mut text));
            assert!(matches!(read, Some(Ok(_))), "output is text");
            text
        })
    };
    let stdout = read(child.stdout.take().map(|out| Box::new(out) as _));
    let stderr = read(child.stderr.take().map(|out| Box::new(out) as _));
    let code = wait(&mut child);
    if code.is_none() {
        child.kill().expect("it goes on");
    }
    let stdout = stdout.join().expect("reading does not panic");
    let stderr = stderr.join().expect("reading does not panic");
    let code = code.unwrap_or_else(|| panic!("it goes on:\n{stdout}{stderr}"));
    Exit { code, stdout, stderr }
}

/// The exit code of a process that ends in time; the outer `None` if it does not.
#[expect(
    clippy::disallowed_methods,
    reason = "the standard library waits for a child without a deadline only"
)]
pub(crate) fn wait(child: &mut Child) -> Option<Option<i32>> {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait().expect("the child is ours") {
            return Some(status.code());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    None
}

/// Says that the test that runs on this thread does nothing, as the system does not let it.
pub fn say_skipped(why: &str) {
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    // Written past the test runner, which keeps to itself what tests that pass print.
    std::io::stderr()
        .write_all(format!("skipped {test}: {why}\n").as_bytes())
        .expect("the error output is there");
}
