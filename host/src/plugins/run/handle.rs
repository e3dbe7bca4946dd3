//! The state behind the `instance` handle that a plugin passes back with every call of the host's table.
//! One of the files with hand-written `unsafe`.
#![expect(unsafe_code, reason = "turns the handle back into a reference")]

use std::sync::{Arc, OnceLock};

use tokio_util::sync::CancellationToken;

use super::lease::{Lease, WeakLease};
use super::routes::RoutePointer;
use crate::base::{ConcurrencyLimit, FunctionName, Limiter, Mutex};
use crate::functions::Function;
use crate::plugins::services::Services;

/// Most calls at once that one generation makes outside of any invocation. Such a call begins a new chain with a depth
/// of 0, so only their number stops a plugin whose tasks spawn tasks without end.
const OWN_CALLS_MAX: usize = 1024;

/// The functions that a plugin has registered, copied out of the plugin's memory.
pub(crate) struct Registered {
    pub(crate) functions: Vec<Function>,
    pub(crate) routes: Vec<(FunctionName, RoutePointer)>,
    /// For the handlers of the functions.
    pub(crate) lease: Lease,
}

/// One generation as the functions of the host's table see it. Never freed: a thread that the plugin leaves behind may
/// call at any time.
pub(crate) struct PluginHandle {
    pub(crate) plugin: Arc<str>,
    pub(crate) generation: u64,
    pub(crate) services: Arc<Services>,
    /// The functions registered so far; `None` once `on_start` has returned.
    pub(crate) registered: Mutex<Option<Registered>>,
    pub(crate) lease: OnceLock<WeakLease>,
    /// The first function that the plugin called while `on_start` ran.
    pub(crate) called_early: OnceLock<String>,
    /// Cancelled when the generation is out of the table.
    pub(crate) retired: CancellationToken,
    /// The places of the calls that the plugin makes outside of any invocation.
    pub(crate) own_calls: Arc<Limiter>,
}

impl PluginHandle {
    /// Makes the handle of a generation whose `on_start` has not run yet.
    pub(crate) fn new(plugin: Arc<str>, generation: u64, services: Arc<Services>, lease: Lease) -> Self {
        Self {
            plugin,
            generation,
            services,
            registered: Mutex::new(Some(Registered { functions: Vec::new(), routes: Vec::new(), lease })),
            lease: OnceLock::new(),
            called_early: OnceLock::new(),
            retired: CancellationToken::new(),
            own_calls: Arc::new(Limiter::new(ConcurrencyLimit {
                in_flight_max: OWN_CALLS_MAX,
                queue_max: 0,
            })),
        }
    }

    /// Returns the handle that a plugin passed back.
    ///
    /// # Safety
    /// `instance` is the `instance` of a table that `host_table` made.
    pub(crate) unsafe fn from_raw(instance: *const ()) -> &'static Self {
        // SAFETY: the caller vouches for the pointer, to a handle that is never freed.
        unsafe { &*instance.cast::<Self>() }
    }

    /// Returns a lease, or `None` before `on_start` has succeeded and after the last lease is gone.
    pub(crate) fn lease(&self) -> Option<Lease> {
        self.lease.get()?.upgrade()
    }
}
