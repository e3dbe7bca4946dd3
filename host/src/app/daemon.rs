//! The daemon: binds its sockets, starts, serves until a signal, and drains.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::discovery::{self, Findings};
use super::listeners::Listeners;
use super::reloader::Reloader;
use super::shutdown::Shutdown;
use super::signals::Signals;
use super::{AppError, Reread, Sockets, StateDir, clock, file_watcher, startup, supervisor};
use crate::base::Tasks;
use crate::config::{Config, absolute_file};
use crate::http::admin::{self, Admin};
use crate::http::{Server, Workers};
use crate::plugins::{Asker, Watchdog};

/// The end of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// After a signal: every call in flight was answered, or dropped at its deadline.
    Drained,
    /// At once, by a second signal of this number.
    Forced(i32),
}

/// A daemon that is ready to serve.
#[derive(Debug)]
pub struct Daemon {
    reloader: Arc<Reloader>,
    listeners: Listeners,
    signals: Signals,
    /// Receives a message for every SIGHUP.
    hangups: mpsc::Receiver<()>,
    findings: Findings,
    state_dir: StateDir,
    /// The runtime of the workers, where everything runs but the admin API and the shutdown.
    workers: Handle,
    watchdog: Watchdog,
}

impl Daemon {
    /// Binds the sockets, brings the config into force and loads the plugins, in the runtime of the workers. Nothing is
    /// served yet.
    ///
    /// `reread` reads the config again for a reload; `sockets` were bound by a supervisor.
    ///
    /// # Errors
    /// [`AppError`] if the daemon cannot be what the config says, and for a signal that comes first.
    pub async fn start(config: Config, reread: Reread, sockets: Sockets) -> Result<Self, AppError> {
        // First of all: process 1 of a container does not even see a signal that it has not asked for.
        let (mut signals, hangups) = Signals::listen().map_err(AppError::Signals)?;
        let state_dir = StateDir::lock(&config.state_dir)?;
        let listeners = Listeners::bind(&config, sockets).await?;
        let workers = Handle::current();
        let watchdog = Watchdog::start(workers.clone()).map_err(|_| AppError::Thread)?;
        let built = signals.or_stop(Box::pin(startup::build(config, reread, &state_dir, &listeners))).await;
        let (reloader, mut findings) = built??;
        let loaded = signals.or_stop(Box::pin(startup::load_plugins(&reloader))).await;
        if loaded.is_err() {
            reloader.plugins().forgive_tries().await;
        }
        loaded??;
        discovery::first(&reloader, &mut findings).await;
        Ok(Self { reloader, listeners, signals, hangups, findings, state_dir, workers, watchdog })
    }

    /// The address of the public listener.
    ///
    /// # Errors
    /// The error of the system.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listeners.address()
    }

    /// Serves until SIGTERM or SIGINT, then shuts down in steps (`shutdown.rs`). A second signal ends it at once.
    ///
    /// It runs in a runtime with a thread of its own, so that functions that hold all workers keep neither the admin API
    /// nor a signal from their work.
    ///
    /// # Errors
    /// The error of the system for the listener.
    pub async fn run(self) -> std::io::Result<Exit> {
        let address = self.address()?;
        let Self { reloader, listeners, mut signals, hangups, findings, state_dir, workers, watchdog } = self;
        let Listeners { public, tls, admin, admin_place, admin_tcp } = listeners;
        let lock = Arc::clone(state_dir.lock_file());
        state_dir.hold_until_exit();
        let config = reloader.config();
        let tasks = Tasks::default();
        let on_workers = OnWorkers { workers: &workers, tasks: &tasks };
        on_workers.spawn(clock::keep(Arc::clone(&lock), Arc::clone(reloader.service()), tasks.clone()));
        let to_workers = Workers { runtime: workers.clone(), all_held: watchdog.all_held() };
        let service = Arc::clone(reloader.service());
        let server = Server::new(service, tasks.clone(), &config.server, tls, to_workers);
        tasks.spawn(server.serve(TcpListener::from_std(public.into_std()?)?));
        let api = admin_api(&reloader, &config, &workers);
        let changes = api.changes.clone();
        if let Some(tcp) = admin_tcp {
            tracing::info!(address = %tcp.address(), "the admin API listens");
            tasks.spawn(tcp.serve(api.clone(), tasks.clone()));
        }
        tasks.spawn(admin::serve(admin, api, tasks.clone()));
        on_workers.spawn(discovery::run(Arc::clone(&reloader), findings, tasks.clone()));
        on_workers.spawn(file_watcher::run(Arc::clone(&reloader), tasks.clone()));
        on_workers.spawn(reload_on_hangup(Arc::clone(&reloader), hangups, tasks.clone()));
        tracing::info!(%address, tls = config.server_tls.is_some(), host_id = &*config.host_id, "listening");
        supervisor::ready();
        on_workers.spawn(supervisor::keep_alive(tasks.clone()));
        let first = signals.next().await;
        supervisor::stopping();
        let shutdown = Shutdown { reloader: &reloader, workers: &workers, tasks: &tasks, changes: &changes };
        let drained = async {
            shutdown.run(first).await;
            // The next start would replace it as well.
            admin_place.leave();
            clock::leave(&lock, reloader.service().clock);
        };
        let exit = tokio::select! {
            () = drained => {
                tracing::info!("stopped");
                Exit::Drained
            }
            second = signals.next() => {
                tracing::warn!(signal = second, "a second signal: ending at once");
                Exit::Forced(second)
            }
        };
        reloader.plugins().forgive_tries().await;
        Ok(exit)
    }
}

/// Spawns tasks on the workers.
struct OnWorkers<'a> {
    workers: &'a Handle,
    tasks: &'a Tasks,
}

impl OnWorkers<'_> {
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn_on(self.workers, task);
    }
}

fn admin_api(reloader: &Arc<Reloader>, config: &Config, workers: &Handle) -> Admin {
    Admin {
        service: Arc::clone(reloader.service()),
        host: Arc::<Reloader>::clone(reloader),
        workers: workers.clone(),
        config_file: absolute_file(&config.file).into(),
        changes: Tasks::default(),
    }
}

/// Reloads the host at every SIGHUP.
async fn reload_on_hangup(reloader: Arc<Reloader>, mut hangups: mpsc::Receiver<()>, tasks: Tasks) {
    loop {
        let hangup = tokio::select! {
            () = tasks.token().cancelled() => None,
            hangup = hangups.recv() => hangup,
        };
        if hangup.is_none() {
            return;
        }
        match reloader.reload(false, Asker::Operator).await {
            Ok(_) => {
                tracing::info!(target: "audit", action = "reload", plugin = "*", signal = "SIGHUP", result = "done")
            }
            Err(refused) => {
                let (step, result) = (refused.step, refused.detail);
                tracing::error!(target: "audit", action = "reload", plugin = "*", signal = "SIGHUP", step, result);
            }
        }
    }
}
