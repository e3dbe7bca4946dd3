//! Wall clocks that are off, for one daemon each.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use crate::DaemonBuilder;
use crate::broken::compile_c;

/// The time of day for a daemon; a test can set it while the daemon runs.
#[derive(Debug)]
pub struct WallClock(TempDir);

impl WallClock {
    /// Returns one that is ahead by this number of seconds, or behind.
    ///
    /// # Panics
    /// If there is no C compiler.
    #[must_use]
    pub fn off_by(seconds: i64) -> Self {
        let clock = Self(tempfile::tempdir().expect("there is room for temporary files"));
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("c/clock.c");
        fs::write(clock.0.path().join("clock.so"), compile_c(&source, &["-std=c11"]))
            .expect("a scratch folder takes files");
        clock.set(seconds);
        clock
    }

    /// Sets it, as an operator or a time server does.
    ///
    /// # Panics
    /// If the system does not let it.
    pub fn set(&self, seconds: i64) {
        let incoming = self.0.path().join("incoming");
        fs::write(&incoming, seconds.to_string()).expect("a scratch folder takes files");
        fs::rename(incoming, self.0.path().join("seconds")).expect("a scratch folder takes files");
    }
}

impl DaemonBuilder {
    /// Gives the daemon this clock.
    #[must_use]
    pub fn wall_clock(self, clock: &WallClock) -> Self {
        let file = |name: &str| clock.0.path().join(name).display().to_string();
        self.variable("LD_PRELOAD", &file("clock.so")).variable("TEST_CLOCK_FILE", &file("seconds"))
    }
}
