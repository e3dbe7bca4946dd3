//! The state behind the admin API, and what a reload of the whole host comes to.

use std::fmt;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use tokio::runtime::Handle;

use crate::api::{FailedPlugin, ReloadView};
use crate::base::Tasks;
use crate::http::service::Service;

/// The state behind the admin API.
#[derive(Debug, Clone)]
pub struct Admin {
    /// The state of the public listener.
    pub service: Arc<Service>,
    /// Carries out `POST /admin/v1/reload`.
    pub host: Arc<dyn ReloadHost>,
    /// The runtime of the workers, in which plugins run; the admin API runs in another one.
    pub workers: Handle,
    /// The config file of this host, absolute and without links.
    pub config_file: Arc<Path>,
    /// The tasks of changes: a change that has begun runs to its end, even if the client has gone.
    pub changes: Tasks,
}

/// Reads the config and the plugin directory again: the whole host, as the layers below it see it.
pub trait ReloadHost: Send + Sync {
    /// Brings everything that has changed into force, or nothing.
    fn reload<'a>(
        &'a self,
        allow_breaking: bool,
    ) -> Pin<Box<dyn Future<Output = Result<ReloadView, HostRefusal>> + Send + 'a>>;
}

impl fmt::Debug for dyn ReloadHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReloadHost")
    }
}

/// The refusal of a reload of the whole host; nothing has changed.
#[derive(Debug)]
pub struct HostRefusal {
    /// `config`, or the step of the first plugin that failed.
    pub step: &'static str,
    /// All reasons, a sentence each.
    pub detail: String,
    /// Each plugin or file that failed, with its step and reason.
    pub plugins: Vec<FailedPlugin>,
}
