//! The whole daemon: built from a config, run until it is told to stop.
//!
//! Layer: the highest of the library. It wires the others together and owns every task.

mod build;
mod clock;
mod core_dumps;
mod discovery;
mod end;
mod error;
mod keys;
mod live;
mod lives;
mod lock;
mod reload;
mod signals;
mod sockets;
mod supervisor;
mod watch;

use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::{Arc, OnceLock};

use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

pub use build::start_plugins;
pub use core_dumps::refuse_core_dumps;
pub use error::AppError;
pub use lock::StateDir;
pub use reload::Reread;
pub use sockets::Sockets;

use discovery::Findings;
use end::End;
use reload::{Host, Swaps};
use signals::Signals;

use crate::base::Tasks;
use crate::config::Config;
use crate::files::SocketPlace;
use crate::http::admin::{self, Admin};
use crate::http::{Door, Listening, Server, Tls, Workers};
use crate::plugins::{Asker, LoadReport, Plugins, Watchdog};

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// After a signal, with everything in flight answered or given up by its deadline.
    Drained,
    /// At once, by a second signal of this number.
    Forced(i32),
}

/// A daemon that is ready to serve.
#[derive(Debug)]
pub struct App {
    config: Config,
    host: Arc<Host>,
    signals: Signals,
    /// Gets something whenever a SIGHUP asks for a reload.
    hangups: mpsc::Receiver<()>,
    listener: TcpListener,
    tls: Option<Tls>,
    door: Arc<Door>,
    plugins: Arc<Plugins>,
    /// Connections to peers, which calls in flight need until the end.
    client_tasks: Tasks,
    admin: (tokio::net::UnixListener, SocketPlace, Admin),
    admin_tcp: Option<admin::Tcp>,
    findings: Findings,
    state_dir: StateDir,
    /// The runtime of the workers, where everything runs but the admin API and the end of the host.
    workers: Handle,
    watchdog: Watchdog,
}

impl App {
    /// Binds, loads the plugins, and connects everything, in the runtime of the workers. Nothing is served yet. `reread`
    /// reads the config once more, when a reload is asked for; `sockets` are those that a supervisor has bound.
    ///
    /// # Errors
    /// [`AppError`], for what keeps the daemon from being what the config says, and for a signal that comes first.
    pub async fn start(config: Config, reread: Reread, mut sockets: Sockets) -> Result<Self, AppError> {
        // First of all: process 1 of a container does not even see a signal that it has not asked for.
        let (mut signals, hangups) = Signals::listen().map_err(AppError::Signals)?;
        let state_dir = StateDir::lock(&config.state_dir)?;
        let listen = config.server.listen;
        let listener = match sockets.public(listen)? {
            Some(listener) => listener,
            None => TcpListener::bind(listen).await.map_err(|source| AppError::Bind { listen, source })?,
        };
        let socket = &config.admin_socket;
        let (admin_listener, admin_place) =
            admin::bind(socket).map_err(|source| AppError::Admin { socket: socket.clone(), source })?;
        let admin_tcp = match &config.admin_tcp {
            Some(tcp) => {
                let refused = |source| AppError::AdminTcp { listen: tcp.listen, source };
                let listener = match sockets.admin(tcp.listen)? {
                    Some(listener) => listener,
                    None => TcpListener::bind(tcp.listen).await.map_err(refused)?,
                };
                Some(admin::Tcp::new(listener, tcp).map_err(refused)?)
            }
            None => None,
        };
        sockets.check_all_used()?;
        let workers = Handle::current();
        let watchdog = Watchdog::start(workers.clone()).map_err(|_| AppError::Thread)?;
        let client_tasks = Tasks::default();
        let opened = OnceLock::new();
        let build::Parts { door, plugins, live, mut findings } = tokio::select! {
            parts = Box::pin(build::build(config.clone(), &state_dir, &client_tasks, &opened)) => parts?,
            signal = signals.next() => {
                if let Some(plugins) = opened.get() {
                    Plugins::forgive_tries(plugins).await;
                }
                return Err(AppError::Stopped(signal));
            }
        };
        let router = Arc::clone(&door.router);
        let swaps = Swaps {
            admin_token: admin_tcp.as_ref().map(admin::Tcp::token),
            tls: config.server_tls.as_ref().map(Tls::new),
        };
        let tls = swaps.tls.clone();
        let to_be_found = live.to_be_found();
        let host = Host::new(reread, &door, live, swaps, client_tasks.clone());
        let host = Arc::new(host);
        discovery::first(&host, &mut findings, to_be_found).await;
        let admin = Admin {
            plugins: Arc::clone(&plugins),
            door: Arc::clone(&door),
            router,
            host: Arc::<Host>::clone(&host),
            workers: workers.clone(),
            config_file: config.absolute_file().into(),
            changes: Tasks::default(),
        };
        let admin = (admin_listener, admin_place, admin);
        Ok(Self {
            config,
            host,
            signals,
            hangups,
            listener,
            tls,
            door,
            plugins,
            client_tasks,
            admin,
            admin_tcp,
            findings,
            state_dir,
            workers,
            watchdog,
        })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// What the system says.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until SIGTERM or SIGINT, then ends in steps: after SIGTERM it serves on for a while and says that it is not
    /// ready; then it takes no new connections, and calls in flight end or reach the deadline; then plugins stop. A second
    /// signal ends it at once.
    ///
    /// It runs in a runtime with a thread of its own: functions that hold all workers keep neither the admin API nor a
    /// signal from what they are for.
    ///
    /// # Errors
    /// What the system says of the listener.
    pub async fn run(self) -> std::io::Result<Ended> {
        let address = self.address()?;
        let lock = Arc::clone(self.state_dir.lock_file());
        self.state_dir.hold_until_exit();
        let mut signals = self.signals;
        let server_tasks = Tasks::default();
        let serve = Serving { workers: &self.workers, tasks: &server_tasks };
        let server = &self.config.server;
        let plugins = Arc::clone(&self.plugins);
        serve.on_workers(clock::keep(Arc::clone(&lock), Arc::clone(&self.door), server_tasks.clone()));
        let standing_in = self.listener.as_fd().try_clone_to_owned()?;
        let standing_in = TcpListener::from_std(standing_in.into())?;
        let public = Server::new(
            Arc::clone(&self.door),
            server_tasks.clone(),
            Listening {
                tls: self.tls,
                connections_max: server.connections_max,
                connections_per_address_max: server.connections_per_address_max,
                proxies: server.proxies.clone(),
                header_bytes_max: server.header_bytes_max,
                header_timeout: server.header_timeout,
                idle_timeout: server.idle_timeout,
                write_timeout: server.write_timeout,
            },
        );
        serve.on_workers(Arc::clone(&public).serve(self.listener));
        let workers = Workers { runtime: self.workers.clone(), all_held: self.watchdog.all_held() };
        let _owned = server_tasks.spawn(public.stand_in(standing_in, workers));
        let (admin_listener, admin_place, admin) = self.admin;
        let changes = admin.changes.clone();
        if let Some(tcp) = self.admin_tcp {
            tracing::info!(address = %tcp.address(), "the admin API listens");
            let _owned = server_tasks.spawn(tcp.serve(admin.clone(), server_tasks.clone()));
        }
        let _owned = server_tasks.spawn(admin::serve(admin_listener, admin, server_tasks.clone()));
        serve.on_workers(discovery::run(Arc::clone(&self.host), self.findings, server_tasks.clone()));
        serve.on_workers(watch::run(Arc::clone(&self.host), server_tasks.clone()));
        serve.on_workers(reload_on_hangup(Arc::clone(&self.host), self.hangups, server_tasks.clone()));
        tracing::info!(%address, tls = self.config.server_tls.is_some(), host_id = &*self.config.host_id, "listening");
        supervisor::ready();
        serve.on_workers(supervisor::keep_alive(server_tasks.clone()));
        let first = signals.next().await;
        supervisor::stopping();
        let end = End {
            host: self.host,
            door: self.door,
            plugins: self.plugins,
            workers: &self.workers,
            server_tasks,
            changes,
            client_tasks: self.client_tasks,
        };
        let end = async {
            let clock = end.door.clock;
            end.run(first).await;
            // The next start would replace it as well.
            admin_place.leave();
            clock::leave(&lock, clock);
        };
        let ended = tokio::select! {
            () = end => {
                tracing::info!("stopped");
                Ended::Drained
            }
            second = signals.next() => {
                tracing::warn!(signal = second, "a second signal: ending at once");
                Ended::Forced(second)
            }
        };
        plugins.forgive_tries().await;
        Ok(ended)
    }
}

/// Where the tasks of a host that serves run.
struct Serving<'a> {
    workers: &'a Handle,
    tasks: &'a Tasks,
}

impl Serving<'_> {
    fn on_workers(&self, task: impl Future<Output = ()> + Send + 'static) {
        let _owned = self.tasks.spawn_on(self.workers, task);
    }
}

/// Reloads the host at every SIGHUP, as the other way to ask for it.
async fn reload_on_hangup(host: Arc<Host>, mut hangups: mpsc::Receiver<()>, tasks: Tasks) {
    loop {
        let asked = tokio::select! {
            () = tasks.token().cancelled() => None,
            asked = hangups.recv() => asked,
        };
        if asked.is_none() {
            return;
        }
        match host.reload(false, Asker::Operator).await {
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

/// Logs what came of loading; an error is a plugin that the config requires.
fn judge(config: &Config, report: LoadReport) -> Result<(), AppError> {
    let required = config.load_plugins.as_deref().unwrap_or_default();
    let mut missed = None;
    for (what, error) in report.failed {
        tracing::error!(plugin = what, step = error.step(), "{error}");
        if required.contains(&what) {
            missed.get_or_insert(error);
        }
    }
    missed.map_or(Ok(()), |error| Err(AppError::Plugin(error)))
}
