//! The log of a daemon, read while it runs.

use std::io::{BufRead, BufReader};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

use serde_json::Value;

use crate::process::PATIENCE;

/// The lines of a daemon's log so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Log(Arc<(Mutex<Lines>, Condvar)>);

#[derive(Debug, Default)]
struct Lines {
    lines: Vec<String>,
    ended: bool,
}

impl Log {
    pub(crate) fn read(&self, stderr: impl std::io::Read + Send + 'static) {
        let log = self.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                log.change(|lines| lines.lines.push(line));
            }
            log.change(|lines| lines.ended = true);
        });
    }

    fn change(&self, change: impl FnOnce(&mut Lines)) {
        let (lines, changed) = &*self.0;
        change(&mut lines.lock().expect("no test panics with the lock"));
        changed.notify_all();
    }

    pub(crate) fn text(&self) -> String {
        self.0.0.lock().expect("no test panics with the lock").lines.join("\n")
    }

    /// The first line that fits, as JSON; `None` if the log ends or patience does.
    pub(crate) fn wait_for(&self, fits: impl Fn(&Value) -> bool) -> Option<Value> {
        let (lines, changed) = &*self.0;
        let deadline = Instant::now() + PATIENCE;
        let mut lines = lines.lock().expect("no test panics with the lock");
        let mut seen = 0;
        loop {
            while let Some(line) = lines.lines.get(seen) {
                let json = serde_json::from_str(line).unwrap_or_else(|_| Value::String(line.clone()));
                if fits(&json) {
                    return Some(json);
                }
                seen += 1;
            }
            let left = deadline.checked_duration_since(Instant::now()).filter(|_| !lines.ended)?;
            lines = changed.wait_timeout(lines, left).expect("no test panics with the lock").0;
        }
    }
}
