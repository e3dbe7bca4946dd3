//! One loaded version of a plugin: started on a thread of its own, leased while its code is in use, and stopped after
//! the last lease. One of the files with hand-written `unsafe`.
#![expect(unsafe_code, reason = "calls on_start and on_stop")]

use std::ops::Range;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use framex_abi::{Buffer, Host, OwnedBuffer, STATUS_OK, STATUS_PANIC};

use super::library::Library;
use super::threads::{Lost, on_thread};
use crate::base::Mutex;
use crate::functions::Function;
use crate::plugins::error::PluginError;
use crate::plugins::file::descriptor::Description;
use crate::plugins::file::stage::Staged;
use crate::plugins::native;
use crate::plugins::process::ProcessChanges;
use crate::plugins::run::handle::PluginHandle;
use crate::plugins::run::host_table::host_table;
use crate::plugins::run::lease::{Lease, Leases};
use crate::plugins::run::routes::RouteCells;
use crate::plugins::services::Services;
use crate::plugins::settings::PluginConfig;

/// One loaded version of a plugin.
pub(crate) struct Generation {
    pub(crate) plugin: Arc<str>,
    /// Rising from 1, never reused.
    pub(crate) number: u64,
    pub(crate) description: Description,
    /// Emptied before the library is closed, which they lie in.
    pub(crate) routes: RouteCells,
    /// The reason why part of its code may never return, if `on_start` or `on_stop` did not end properly.
    stuck: OnceLock<&'static str>,
    instance: OnceLock<InstancePointer>,
    pub(crate) leases: Arc<Leases>,
    handle: &'static PluginHandle,
    /// Changes of its code to the process, one sentence each.
    warnings: Mutex<Vec<String>>,
    pub(crate) staged: Arc<Staged>,
    /// Last: the code stays until all above is gone.
    library: Library,
}

/// The instance that `on_start` made, for `on_stop`.
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

impl Generation {
    /// Runs `on_start` on a thread of its own, under the deadline.
    ///
    /// The library comes with what its constructors changed of the process.
    ///
    /// # Errors
    /// [`PluginError::Start`], [`PluginError::StartTimeout`], [`PluginError::Thread`]; with what was made of the
    /// generation, which is stopped already.
    pub(crate) async fn start(
        (library, changed): (Library, ProcessChanges),
        description: Description,
        staged: Staged,
        number: u64,
        settings: PluginConfig,
        services: &Arc<Services>,
        within: Duration,
    ) -> Result<StartedGeneration, (PluginError, Arc<Self>)> {
        let plugin: Arc<str> = description.name.as_str().into();
        let leases: Arc<Leases> = Arc::default();
        let lease = leases.first();
        let handle = PluginHandle::new(Arc::clone(&plugin), number, Arc::clone(services), lease.clone());
        // Kept for the life of the process: a thread that the plugin leaves behind may call at any time.
        let handle: &'static PluginHandle = Box::leak(Box::new(handle));
        let generation = Arc::new(Self {
            plugin,
            number,
            description,
            routes: RouteCells::default(),
            stuck: OnceLock::new(),
            instance: OnceLock::new(),
            leases,
            handle,
            warnings: Mutex::default(),
            staged: Arc::new(staged),
            library,
        });
        generation.note_changed(&changed);
        let started = generation.run_on_start(settings, within).await;
        let registered = handle.registered.lock().take();
        let (functions, routes) = registered.map(|all| (all.functions, all.routes)).unwrap_or_default();
        if let Err(error) = started {
            drop((functions, lease));
            generation.stop(within).await;
            return Err((error, generation));
        }
        // Set once: this is the only place, run once for each handle.
        let _first = handle.lease.set(lease.downgrade());
        generation.routes.set(routes);
        Ok(StartedGeneration { generation, lease, functions })
    }

    /// Runs `code` on a thread of its own, and notes what it changed, and why part of it may never return.
    async fn run(
        self: &Arc<Self>,
        within: Duration,
        code: impl FnOnce(&Self) -> Result<(), String> + Send + 'static,
    ) -> Result<Result<Result<(), String>, Lost>, PluginError> {
        let generation = Arc::clone(self);
        let ran = on_thread(&self.plugin, within, move || {
            let ran = code(&generation);
            generation.note_changed(&native::look());
            ran
        });
        let ran = ran.await?;
        match &ran {
            Err(Lost::Aborted(_)) => self.note_stuck(ABORTED),
            Err(Lost::Hangs) => self.note_stuck(HANGS),
            Err(Lost::Died) | Ok(_) => {}
        }
        Ok(ran)
    }

    async fn run_on_start(
        self: &Arc<Self>,
        settings: PluginConfig,
        within: Duration,
    ) -> Result<(), PluginError> {
        let plugin = Arc::clone(&self.plugin);
        match self.run(within, move |generation| generation.call_on_start(settings)).await? {
            Ok(Ok(())) => Ok(()),
            Ok(Err(reason)) | Err(Lost::Aborted(reason)) => Err(PluginError::Start { plugin, reason }),
            Err(Lost::Died) => Err(PluginError::Start { plugin, reason: "its start thread died".to_owned() }),
            Err(Lost::Hangs) => {
                let called = self.handle.called_early.get().cloned();
                Err(PluginError::StartTimeout { plugin, after: within, called })
            }
        }
    }

    fn call_on_start(&self, settings: PluginConfig) -> Result<(), String> {
        let Some(on_start) = self.library.with_descriptor(|descriptor| descriptor.on_start).flatten() else {
            return Err("its descriptor has no on_start".to_owned());
        };
        let mut instance = std::ptr::null_mut();
        let mut reason = Buffer::EMPTY;
        // Kept for the life of the process, as the handle is.
        let host_id = Box::leak(self.handle.services.host_id.to_string().into_boxed_str());
        let host = Box::leak(Box::new(host_table(self.handle, host_id, Box::leak(Box::new(settings)))));
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

    /// Refuses calls that the plugin makes outside of any invocation from now on, and ends the ones under way:
    /// `on_stop`, which ends what makes them, waits for the last lease, and each of them holds one.
    pub(crate) fn refuse_own_calls(&self) {
        self.handle.retired.cancel();
    }

    /// Runs `on_stop` on a thread of its own, under the deadline. No lease may be left.
    ///
    /// Nothing is run where `on_start` is stuck, or made nothing.
    pub(crate) async fn stop(self: &Arc<Self>, within: Duration) {
        let Some(instance) = self.instance.get().copied().filter(|_| self.stuck().is_none()) else { return };
        let plugin = &*self.plugin;
        match self.run(within, move |generation| generation.call_on_stop(instance)).await {
            Ok(Ok(Ok(()))) => tracing::debug!(plugin, generation = self.number, "stopped"),
            Ok(Ok(Err(reason))) => tracing::warn!(plugin, %reason, "on_stop failed"),
            Ok(Err(Lost::Died)) => tracing::warn!(plugin, "the stop thread died"),
            Ok(Err(Lost::Aborted(reason))) => tracing::warn!(plugin, reason, "on_stop was cut short"),
            Ok(Err(Lost::Hangs)) => {
                tracing::warn!(plugin, "on_stop did not end within {} ms", within.as_millis());
            }
            Err(error) => {
                self.note_stuck("its on_stop could not be run");
                tracing::warn!(plugin, "{error}");
            }
        }
    }

    /// Returns the reason why part of its code may never return.
    pub(crate) fn stuck(&self) -> Option<&'static str> {
        self.stuck.get().copied()
    }

    fn note_stuck(&self, reason: &'static str) {
        // The first reason is as good as another.
        let _first = self.stuck.set(reason);
    }

    /// Closes the library, after the last call and `on_stop`; `range` is where it is mapped.
    pub(crate) fn close(&self, range: &Range<usize>) -> Result<(), String> {
        self.routes.clear();
        self.library.close(range)
    }

    /// Returns the changes of its code to the process, one sentence each.
    pub(crate) fn warnings(&self) -> Vec<String> {
        self.warnings.lock().clone()
    }

    /// Names the plugin for what its code changed in the process.
    fn note_changed(&self, changed: &ProcessChanges) {
        let warnings = changed.warn(&self.plugin, self.number);
        self.warnings.lock().extend(warnings);
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
