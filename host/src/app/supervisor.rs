//! Notifies a supervisor (systemd, or any other that set `NOTIFY_SOCKET`; sd_notify(3)): ready, reloading, stopping,
//! alive. Without one, it does nothing.
//!
//! Its variables stay in the environment and reach the processes that plugins start: removing them is not safe once
//! there are threads. `config/framex-host.service` makes systemd listen to the daemon alone.

use std::io;
#[cfg(target_os = "linux")]
use std::os::{
    linux::net::SocketAddrExt,
    unix::{
        ffi::OsStrExt,
        net::{SocketAddr, UnixDatagram},
    },
};
use std::time::Duration;

use sd_notify::NotifyState;

use crate::base::Tasks;

/// Notifies that the host serves.
pub(super) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// Notifies that the host is shutting down.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Notifies that a reload begins, and when dropped that the host serves, even if nothing changed.
pub(super) struct Reloading(());

impl Reloading {
    pub(super) fn begin() -> Self {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => tell(&[NotifyState::Reloading, now]),
            Err(error) => {
                tracing::warn!("the supervisor cannot be told of a reload without the time: {error}")
            }
        }
        Self(())
    }
}

impl Drop for Reloading {
    fn drop(&mut self) {
        ready();
    }
}

/// Notifies that the host is alive, twice in the supervisor's time limit, until the token of `tasks` is cancelled. It
/// is a task like any other: a stuck runtime notifies nothing.
pub(super) async fn keep_alive(tasks: Tasks) {
    let Some(period) =
        sd_notify::watchdog_enabled().map(|time| time / 2).filter(|half| *half > Duration::ZERO)
    else {
        return;
    };
    let mut beats = tokio::time::interval(period);
    beats.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = tasks.token().cancelled() => return,
            _ = beats.tick() => {}
        }
        // A supervisor that does not read must not hold a worker.
        let told = tokio::task::spawn_blocking(|| tell(&[NotifyState::Watchdog]));
        tokio::select! {
            () = tasks.token().cancelled() => return,
            _ = told => {}
        }
    }
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = notify(state) {
        tracing::warn!("the supervisor cannot be told how the host is: {error}");
    }
}

/// A leading `@` stands for the zero byte of an abstract socket, which `sd-notify` takes for a file.
fn notify(state: &[NotifyState<'_>]) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    if let Some(name) =
        std::env::var_os("NOTIFY_SOCKET").as_ref().and_then(|name| name.as_bytes().strip_prefix(b"@"))
    {
        let address = SocketAddr::from_abstract_name(name)?;
        let message: String = state.iter().map(|state| format!("{state}\n")).collect();
        return UnixDatagram::unbound()?.send_to_addr(message.as_bytes(), &address).map(drop);
    }
    sd_notify::notify(state)
}
