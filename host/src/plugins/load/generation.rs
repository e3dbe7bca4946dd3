//! One loaded version of a plugin: started on a thread of its own, leased by whatever uses its code, stopped
//! when the last lease is gone. One of the files with hand-written `unsafe`.
#![expect(unsafe_code, reason = "calls on_start and on_stop, and writes the plugin's route cells")]

use std::ops::Range;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use framex_abi::{
    Buffer, Host, HostWithOrigins, OwnedBuffer, ROUTE_ELSEWHERE, ROUTE_HERE, RouteCell, STATUS_OK,
    STATUS_PANIC,
};
use tokio::sync::Notify;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::library::Library;
use super::on_thread::{Lost, on_thread};
use crate::base::{FunctionName, Mutex, MutexGuard};
use crate::functions::{Function, FunctionPlaces};
use crate::plugins::error::PluginError;
use crate::plugins::file::descriptor::Description;
use crate::plugins::file::stage::Staged;
use crate::plugins::native;
use crate::plugins::run::host_table::{HostSide, Registered, host_table};
use crate::plugins::services::Services;
use crate::plugins::settings::PluginConfig;

/// One loaded version of a plugin.
pub(crate) struct Generation {
    pub(crate) plugin: Arc<str>,
    /// Rising from 1, never reused.
    pub(crate) number: u64,
    pub(crate) description: Description,
    /// Emptied before the library is closed, which they lie in.
    routes: Mutex<Vec<(FunctionName, RoutePointer)>>,
    /// Why part of its code may never return, once `on_start` or `on_stop` did not end as it should.
    stuck: OnceLock<&'static str>,
    instance: OnceLock<InstancePointer>,
    drained: Notify,
    cancelled: CancellationToken,
    /// What the plugin's own calls go through.
    side: &'static HostSide,
    /// What its code changed of the process, one sentence each.
    warnings: Mutex<Vec<String>>,
    pub(crate) staged: Arc<Staged>,
    /// Last: the code stays until all above is gone.
    library: Library,
}

/// Keeps a generation's code in use. Whatever holds something of a plugin holds one, as its last field.
#[derive(Clone)]
pub(crate) struct Lease(Arc<Leased>);

/// A lease that does not keep the code in use.
#[derive(Clone)]
pub(crate) struct WeakLease(Weak<Leased>);

struct Leased {
    generation: Arc<Generation>,
}

impl Drop for Leased {
    fn drop(&mut self) {
        self.generation.drained.notify_one();
    }
}

impl WeakLease {
    pub(crate) fn upgrade(&self) -> Option<Lease> {
        self.0.upgrade().map(Lease)
    }

    /// How many leases there are.
    pub(crate) fn count(&self) -> usize {
        self.0.strong_count()
    }
}

/// A route cell: a static of the library.
struct RoutePointer(*const RouteCell);

// SAFETY: a static of atomics in a library that stays mapped.
unsafe impl Send for RoutePointer {}
// SAFETY: as above.
unsafe impl Sync for RoutePointer {}

/// What `on_start` made, for `on_stop`.
#[derive(Clone, Copy)]
struct InstancePointer(*mut ());

// SAFETY: the ABI lets `on_stop` be called from another thread than `on_start`.
unsafe impl Send for InstancePointer {}
// SAFETY: as above; the host itself never looks behind it.
unsafe impl Sync for InstancePointer {}

/// A generation whose `on_start` has succeeded, and what it registered.
pub(crate) struct StartedGeneration {
    pub(crate) generation: Arc<Generation>,
    pub(crate) lease: Lease,
    pub(crate) functions: Vec<Function>,
}

/// A start that failed; what was made of the generation is stopped already.
pub(crate) struct FailedStart {
    pub(crate) error: PluginError,
    pub(crate) generation: Arc<Generation>,
}

impl Generation {
    /// Runs `on_start` on a thread of its own, under the deadline.
    ///
    /// The library comes with what its constructors changed of the process.
    ///
    /// # Errors
    /// [`PluginError::Start`], [`PluginError::StartTimeout`], [`PluginError::Thread`].
    pub(crate) async fn start(
        (library, changed): (Library, Vec<String>),
        description: Description,
        staged: Staged,
        number: u64,
        config: PluginConfig,
        services: &Arc<Services>,
        within: Duration,
    ) -> Result<StartedGeneration, FailedStart> {
        let plugin: Arc<str> = description.name.as_str().into();
        // Kept for the life of the process: a thread that the plugin leaves behind may call at any time.
        let side: &'static HostSide = Box::leak(Box::new(HostSide {
            plugin: Arc::clone(&plugin),
            generation: number,
            services: Arc::clone(services),
            staged: Mutex::new(Some(Vec::new())),
            lease: OnceLock::new(),
            called_early: OnceLock::new(),
            retired: CancellationToken::new(),
            own_calls: HostSide::own_calls(),
        }));
        let host_id: &'static str = Box::leak(services.host_id.to_string().into_boxed_str());
        let config: &'static PluginConfig = Box::leak(Box::new(config));
        let host: &'static HostWithOrigins = Box::leak(Box::new(host_table(side, host_id, config)));
        let generation = Arc::new(Self {
            plugin,
            number,
            description,
            routes: Mutex::default(),
            stuck: OnceLock::new(),
            instance: OnceLock::new(),
            drained: Notify::new(),
            cancelled: CancellationToken::new(),
            side,
            warnings: Mutex::default(),
            staged: Arc::new(staged),
            library,
        });
        generation.note_changed(&changed);
        let started = generation.run_on_start(HostTable(host), within).await;
        let registered = side.close();
        if let Err(error) = started {
            drop(registered);
            generation.stop(within).await;
            return Err(FailedStart { error, generation });
        }
        let lease = Lease(Arc::new(Leased { generation: Arc::clone(&generation) }));
        // Set once: this is the only place, run once for each side.
        let _first = side.lease.set(WeakLease(Arc::downgrade(&lease.0)));
        let functions = generation.take_functions(registered, &lease);
        Ok(StartedGeneration { generation, lease, functions })
    }

    async fn run_on_start(self: &Arc<Self>, table: HostTable, within: Duration) -> Result<(), PluginError> {
        let plugin = Arc::clone(&self.plugin);
        let on_start = {
            let generation = Arc::clone(self);
            on_thread(&plugin, move || {
                let started = generation.call_on_start(table);
                generation.note_changed(&native::look());
                started
            })?
        };
        match on_start.wait(within).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(reason)) => Err(PluginError::Start { plugin, reason }),
            Err(Lost::Died) => Err(PluginError::Start { plugin, reason: "its start thread died".to_owned() }),
            Err(Lost::Aborted(reason)) => {
                self.note_stuck(ABORTED);
                Err(PluginError::Start { plugin, reason })
            }
            Err(Lost::Hangs) => {
                self.note_stuck(HANGS);
                let called = self.side.called_early.get().cloned();
                Err(PluginError::StartTimeout { plugin, after: within, called })
            }
        }
    }

    fn call_on_start(&self, HostTable(host): HostTable) -> Result<(), String> {
        let Some(on_start) = self.library.with_descriptor(|descriptor| descriptor.on_start).flatten() else {
            return Err("its descriptor has no on_start".to_owned());
        };
        let mut instance = std::ptr::null_mut();
        let mut reason = Buffer::EMPTY;
        // Of the whole, as the plugin may look behind the part that all plugins know.
        let host = std::ptr::from_ref(host).cast::<Host>();
        // SAFETY: the descriptor was checked; the table lives as long as the process; both pointers live until it returns.
        let status = unsafe { on_start(host, &raw mut instance, &raw mut reason) };
        if !instance.is_null() {
            // Set once: `on_start` is called once.
            let _first = self.instance.set(InstancePointer(instance));
        }
        read_status(status, reason)
    }

    fn take_functions(self: &Arc<Self>, registered: Vec<Registered>, lease: &Lease) -> Vec<Function> {
        let mut routes = Vec::new();
        let mut functions = Vec::new();
        for function in registered {
            if !function.route.is_null() {
                routes.push((function.name.clone(), RoutePointer(function.route)));
            }
            functions.push(Function {
                name: function.name,
                plugin: Arc::clone(&self.plugin),
                generation: self.number,
                description: function.description,
                arguments_schema: function.arguments_schema,
                result_schema: function.result_schema,
                idempotent: function.idempotent,
                timeout: function.timeout,
                declared: function.limit,
                places: FunctionPlaces::default(),
                stats: Arc::default(),
                handler: Box::new(function.function.leased(lease.clone())),
            });
        }
        *self.routes() = routes;
        functions
    }

    /// Tells the plugin where calls of its own functions from its own code go.
    pub(crate) fn write_routes(&self, runs_here: &dyn Fn(&FunctionName) -> bool) {
        for (name, RoutePointer(cell)) in self.routes().iter() {
            let route = if runs_here(name) { ROUTE_HERE } else { ROUTE_ELSEWHERE };
            // SAFETY: the plugin registered a static of its library, which is mapped as long as the list has it.
            unsafe { &**cell }.route.store(route, Ordering::Relaxed);
        }
    }

    /// Calls that ran inside the plugin without passing through the host.
    pub(crate) fn direct_calls(&self) -> u64 {
        // SAFETY: the plugin registered a static of its library, which is mapped as long as the list has it.
        self.routes()
            .iter()
            .map(|(_, RoutePointer(cell))| unsafe { &**cell }.calls.load(Ordering::Relaxed))
            .sum()
    }

    /// How often layers of its functions failed: those that did, by name.
    pub(crate) fn layer_failures(&self) -> Vec<(FunctionName, u32)> {
        let failures = |(name, RoutePointer(cell)): &(FunctionName, RoutePointer)| {
            // SAFETY: the plugin registered a static of its library, which is mapped as long as the list has it.
            (name.clone(), unsafe { &**cell }.layer_failures.load(Ordering::Relaxed))
        };
        self.routes().iter().map(failures).filter(|(_, failures)| *failures > 0).collect()
    }

    /// Waits until no lease is left, however long that takes.
    pub(crate) async fn drained(&self) {
        self.drained.notified().await;
    }

    /// Waits until no lease is left; answers whether that came before the deadline.
    pub(crate) async fn drain(&self, within: Duration) -> bool {
        tokio::time::timeout(within, self.drained.notified()).await.is_ok()
    }

    /// Refuses calls that the plugin makes outside of any invocation from now on, and ends those that it has made:
    /// `on_stop`, which ends what makes them, waits for the last lease, and each of them holds one.
    pub(crate) fn begin_retirement(&self) {
        self.side.retired.cancel();
    }

    /// Drops the calls that have suspended; their callers get `cancelled`.
    pub(crate) fn cancel_calls(&self) {
        self.cancelled.cancel();
    }

    /// Runs `on_stop` on a thread of its own, under the deadline. No lease may be left.
    ///
    /// Nothing is run where `on_start` is stuck, or made nothing.
    pub(crate) async fn stop(self: &Arc<Self>, within: Duration) {
        let Some(instance) = self.instance.get().copied().filter(|_| self.stuck().is_none()) else { return };
        let on_stop = {
            let generation = Arc::clone(self);
            on_thread(&self.plugin, move || {
                let stopped = generation.call_on_stop(instance);
                generation.note_changed(&native::look());
                stopped
            })
        };
        let stopped = match on_stop {
            Ok(on_stop) => on_stop.wait(within).await,
            Err(error) => {
                self.note_stuck("its on_stop could not be run");
                return tracing::warn!(plugin = &*self.plugin, "{error}");
            }
        };
        match stopped {
            Ok(Ok(())) => tracing::debug!(plugin = &*self.plugin, generation = self.number, "stopped"),
            Ok(Err(reason)) => tracing::warn!(plugin = &*self.plugin, %reason, "on_stop failed"),
            Err(Lost::Died) => tracing::warn!(plugin = &*self.plugin, "the stop thread died"),
            Err(Lost::Aborted(reason)) => {
                self.note_stuck(ABORTED);
                tracing::warn!(plugin = &*self.plugin, reason, "on_stop was cut short");
            }
            Err(Lost::Hangs) => {
                self.note_stuck(HANGS);
                tracing::warn!(
                    plugin = &*self.plugin,
                    "on_stop did not end within {} ms",
                    within.as_millis()
                );
            }
        }
    }

    /// Why part of its code may never return.
    pub(crate) fn stuck(&self) -> Option<&'static str> {
        self.stuck.get().copied()
    }

    fn note_stuck(&self, reason: &'static str) {
        // The first reason is as good as another.
        let _first = self.stuck.set(reason);
    }

    /// Closes the library, after the last call and `on_stop`; `range` is where it is mapped.
    pub(crate) fn close(&self, range: &Range<usize>) -> Result<(), String> {
        self.routes().clear();
        self.library.close(range)
    }

    /// What its code changed of the process, one sentence each.
    pub(crate) fn warnings(&self) -> Vec<String> {
        self.warnings.lock().clone()
    }

    /// Names the plugin for what its code changed, and the host has put back.
    fn note_changed(&self, changed: &[String]) {
        if changed.is_empty() {
            return;
        }
        let (plugin, changed) = (&*self.plugin, changed.join(", "));
        let warning = format!("plugin `{plugin}` changed {changed} of the host's process: that was put back");
        tracing::warn!(plugin, generation = self.number, "{warning}");
        self.warnings.lock().push(warning);
    }

    fn routes(&self) -> MutexGuard<'_, Vec<(FunctionName, RoutePointer)>> {
        self.routes.lock()
    }

    fn call_on_stop(&self, InstancePointer(instance): InstancePointer) -> Result<(), String> {
        let Some(on_stop) = self.library.with_descriptor(|descriptor| descriptor.on_stop).flatten() else {
            return Ok(());
        };
        let mut reason = Buffer::EMPTY;
        // SAFETY: `instance` is what this plugin's `on_start` made; `stop` is called once, without leases.
        let status = unsafe { on_stop(instance, &raw mut reason) };
        read_status(status, reason)
    }
}

impl Lease {
    /// Ends when the calls of the generation are to be dropped.
    pub(crate) fn cancelled(&self) -> WaitForCancellationFutureOwned {
        self.0.generation.cancelled.clone().cancelled_owned()
    }

    pub(crate) fn downgrade(&self) -> WeakLease {
        WeakLease(Arc::downgrade(&self.0))
    }
}

/// The table on its way to the start thread.
struct HostTable(&'static HostWithOrigins);

// SAFETY: the functions of the table may be called from any thread.
unsafe impl Send for HostTable {}

fn read_status(status: i32, reason: Buffer) -> Result<(), String> {
    // SAFETY: the plugin filled it for us, or left it empty.
    let reason = unsafe { OwnedBuffer::new(reason) };
    let text = String::from_utf8_lossy(reason.as_ref()).chars().take(2000).collect::<String>();
    match status {
        STATUS_OK => Ok(()),
        STATUS_PANIC => Err(format!("it panicked: {text}")),
        _ if text.is_empty() => Err(format!("it answered status {status} without a reason")),
        _ => Err(text),
    }
}

/// A thread is in `on_start` or `on_stop`, past the deadline.
const HANGS: &str = "its on_start or on_stop is still running";
/// A thread-local that `on_start` or `on_stop` made has aborted in its destructor.
const ABORTED: &str = "a destructor of one of its thread-locals aborted, as a panic in one does";
