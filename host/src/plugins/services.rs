//! What all plugins share of the host, behind the table of function pointers that each gets.

use std::fmt;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use crate::base::HostId;
use crate::functions::{Dispatch, Names};

/// What the host's table needs to serve plugins.
pub struct Services {
    /// Id of this host.
    pub host_id: HostId,
    /// Numbers of the names that plugins call.
    pub names: Names,
    /// The host's runtime, for plugin calls that are polled on a thread of the plugin's own.
    pub runtime: tokio::runtime::Handle,
    call_timeout_ms: AtomicU64,
    /// Read by the plugins themselves.
    pub(crate) layer_percent: AtomicU32,
    dispatch: OnceLock<Weak<dyn Dispatch>>,
}

impl Services {
    /// Services whose calls go nowhere until [`Services::connect`].
    #[must_use]
    pub fn new(host_id: HostId, runtime: tokio::runtime::Handle, call_timeout: Duration) -> Self {
        let services = Self {
            host_id,
            names: Names::default(),
            runtime,
            call_timeout_ms: AtomicU64::new(0),
            layer_percent: AtomicU32::new(100),
            dispatch: OnceLock::new(),
        };
        services.set_call_timeout(call_timeout);
        services
    }

    /// How long a call may take that begins in a plugin, outside of any invocation.
    #[must_use]
    pub fn call_timeout(&self) -> Duration {
        Duration::from_millis(self.call_timeout_ms.load(Ordering::Relaxed))
    }

    /// Changes that for the calls that begin from now on.
    pub fn set_call_timeout(&self, call_timeout: Duration) {
        let milliseconds = u64::try_from(call_timeout.as_millis()).unwrap_or(u64::MAX);
        self.call_timeout_ms.store(milliseconds, Ordering::Relaxed);
    }

    /// Sets the part of a call's time, in percent, that a layer may take before what it stands around begins; all of it
    /// until this is called.
    pub fn set_layer_percent(&self, percent: usize) {
        self.layer_percent.store(u32::try_from(percent).unwrap_or(100), Ordering::Relaxed);
    }

    /// Sets what calls from plugins go through; the first one stays.
    pub fn connect(&self, dispatch: &Arc<dyn Dispatch>) {
        self.dispatch.get_or_init(|| Arc::downgrade(dispatch));
    }

    pub(crate) fn dispatch(&self) -> Option<Arc<dyn Dispatch>> {
        self.dispatch.get()?.upgrade()
    }
}

impl fmt::Debug for Services {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Services").field("host_id", &self.host_id).finish_non_exhaustive()
    }
}
