//! SIGTERM, SIGINT and SIGHUP.
//!
//! Not by tokio's `signal`: cargo gives all crates of one build the same features, so the plugins of this workspace
//! would get it too, and with it a leak of two descriptors for every generation.

use std::io;
use std::sync::Arc;

pub(super) use signal_hook::consts::SIGINT;
use signal_hook::consts::{SIGALRM, SIGHUP, SIGIO, SIGPROF, SIGTERM, SIGUSR1, SIGUSR2, SIGVTALRM, SIGXFSZ};
use signal_hook::{flag, iterator};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::AppError;
use crate::plugins::end_process;

/// The number of signals that can wait; further ones would change nothing.
const WAITING_MAX: usize = 4;

/// Signals that would end the process, and are ignored. SIGXFSZ: at the limit on the size of files, a write fails
/// instead, as on a full disk. Timers and libraries use the others: one may arrive after its plugin stopped handling
/// it.
const WITHOUT_EFFECT: [i32; 7] = [SIGXFSZ, SIGALRM, SIGVTALRM, SIGPROF, SIGUSR1, SIGUSR2, SIGIO];

/// Returns the exit code of a process that a signal ends.
pub fn exit_code_of(signal: i32) -> u8 {
    u8::try_from(128 + signal).unwrap_or(1)
}

/// The signals that stop the daemon. Once this is dropped, a signal ends the process at once: exit handlers of plugins
/// may take their time.
#[derive(Debug)]
pub(super) struct Signals {
    arrived: mpsc::Receiver<i32>,
}

impl Signals {
    /// Listens. The receiver gets a message for every SIGHUP.
    pub(super) fn listen() -> io::Result<(Self, mpsc::Receiver<()>)> {
        for signal in WITHOUT_EFFECT {
            flag::register(signal, Arc::default())?;
        }
        let mut signals = iterator::Signals::new([SIGTERM, SIGINT, SIGHUP])?;
        let (tx, arrived) = mpsc::channel(WAITING_MAX);
        let (hangup_tx, hangups) = mpsc::channel(1);
        std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
            for signal in signals.forever() {
                // Full: one of the same effect already waits.
                if signal == SIGHUP {
                    let _waiting = hangup_tx.try_send(());
                } else if let Err(TrySendError::Closed(signal)) = tx.try_send(signal) {
                    end_at_once(signal);
                }
            }
        })?;
        Ok((Self { arrived }, hangups))
    }

    /// Runs `work` unless a signal comes first.
    ///
    /// # Errors
    /// [`AppError::Stopped`]; the work was dropped.
    pub(super) async fn or_stop<T>(&mut self, work: impl Future<Output = T>) -> Result<T, AppError> {
        tokio::select! {
            done = work => Ok(done),
            signal = self.next() => Err(AppError::Stopped(signal)),
        }
    }

    /// Returns the number of the next signal.
    pub(super) async fn next(&mut self) -> i32 {
        match self.arrived.recv().await {
            Some(signal) => signal,
            // The thread has ended, and no later signal can arrive.
            None => std::future::pending().await,
        }
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        self.arrived.close();
        if let Ok(signal) = self.arrived.try_recv() {
            end_at_once(signal);
        }
    }
}

fn end_at_once(signal: i32) -> ! {
    tracing::warn!(signal, "a signal while the host ends: ending at once");
    end_process(exit_code_of(signal))
}
