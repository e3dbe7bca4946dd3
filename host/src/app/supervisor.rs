//! What a supervisor is told (systemd, or whatever set `NOTIFY_SOCKET`; sd_notify(3)): ready, reloading, stopping,
//! alive. Without one, nothing is said.
//!
//! Its variables stay in the environment, and reach the processes that plugins start: taking them out is not safe once
//! there are threads. `config/framex-host.service` has systemd listen to the daemon alone.

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

/// Says that the host serves.
pub(super) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// Says that the host ends.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// A reload of the host, which says that it begins, and when it is over that the host serves: also one that changed
/// nothing.
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

/// Says that the host is alive, twice in the time after which the supervisor takes it for stuck, until the token of
/// `tasks` is cancelled. A task like any other: where the runtime is stuck, nothing is said.
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

/// `@` at the beginning stands for the zero byte of an abstract socket, which `sd-notify` takes for a file.
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
