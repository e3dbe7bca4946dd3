//! The services of the host that all plugins share, behind the table of function pointers that each gets.

use std::fmt;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::base::{HostId, milliseconds};
use crate::functions::{Handler, Names};

/// The services behind the host's table.
pub struct Services {
    /// The id of this host.
    pub host_id: HostId,
    /// The numbers of the names that plugins call.
    pub names: Names,
    /// The host's runtime, for plugin calls that are polled on a thread of the plugin's own.
    pub runtime: tokio::runtime::Handle,
    call_timeout_ms: AtomicU64,
    /// Read by the plugins themselves.
    pub(super) layer_percent: AtomicU32,
    /// Weak, as what it leads to owns the plugins.
    dispatch: Weak<dyn Handler>,
}

impl Services {
    /// Makes the services of plugins whose calls go through `dispatch`; a call that begins in a plugin may take
    /// `call_timeout`.
    pub fn new(
        host_id: HostId,
        runtime: tokio::runtime::Handle,
        call_timeout: Duration,
        dispatch: &Arc<dyn Handler>,
    ) -> Self {
        Self {
            host_id,
            names: Names::default(),
            runtime,
            call_timeout_ms: AtomicU64::new(milliseconds(call_timeout)),
            layer_percent: AtomicU32::new(100),
            dispatch: Arc::downgrade(dispatch),
        }
    }

    /// Returns the time limit of a call that begins in a plugin, outside of any invocation.
    pub fn call_timeout(&self) -> Duration {
        Duration::from_millis(self.call_timeout_ms.load(Ordering::Relaxed))
    }

    /// Changes the time limit of [`Services::call_timeout`] for the calls that begin from now on.
    pub fn set_call_timeout(&self, call_timeout: Duration) {
        self.call_timeout_ms.store(milliseconds(call_timeout), Ordering::Relaxed);
    }

    /// Sets the part of a call's time, in percent, that a layer may take before the function begins. The default is 100.
    pub fn set_layer_percent(&self, percent: usize) {
        self.layer_percent.store(u32::try_from(percent).unwrap_or(100), Ordering::Relaxed);
    }

    /// Returns what calls from plugins go through; `None` once the host is gone.
    pub(crate) fn dispatch(&self) -> Option<Arc<dyn Handler>> {
        self.dispatch.upgrade()
    }
}

impl fmt::Debug for Services {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Services").field("host_id", &self.host_id).finish_non_exhaustive()
    }
}
