//! The plugins as a config sets them up.

use std::path::Path;
use std::sync::Arc;

use super::AppError;
use crate::api::PluginView;
use crate::config::{Config, Known};
use crate::files::DirFault;
use crate::functions::{Handler, Table};
use crate::plugins::{LoadReport, PluginError, Plugins, Services};

/// Loads and starts the plugins of a config, with calls going through `dispatch`.
///
/// No other process uses `folder`.
///
/// # Errors
/// [`AppError::State`], [`AppError::UnsafeState`], [`PluginError::Directory`] and [`PluginError::WritableDirectory`]; single plugins that failed
/// are in the report.
pub async fn start_plugins(
    config: &Config,
    folder: &Path,
    table: Arc<Table>,
    dispatch: &Arc<dyn Handler>,
) -> Result<(Arc<Plugins>, LoadReport), AppError> {
    let plugins = open(config, folder, table, dispatch);
    let plugins = plugins.map_err(|fault| AppError::state(folder, fault))?;
    let loaded: Result<_, PluginError> = plugins.load_directory().await;
    let report = loaded.map_err(AppError::Plugin)?;
    Ok((plugins, report))
}

/// Opens the plugins of a config; none is loaded yet.
///
/// # Errors
/// [`DirFault`], if the folder cannot be used.
pub(super) fn open(
    config: &Config,
    folder: &Path,
    table: Arc<Table>,
    dispatch: &Arc<dyn Handler>,
) -> Result<Arc<Plugins>, DirFault> {
    let services = Arc::new(Services::new(
        Arc::clone(&config.host_id),
        tokio::runtime::Handle::current(),
        config.server.call_timeout,
        dispatch,
    ));
    services.set_layer_percent(config.server.layer_percent);
    Plugins::open(services, table, folder, Arc::new(config.clone())).map(Arc::new)
}

/// Returns the plugins that serve, and their functions.
pub(super) fn known(plugins: &Plugins, failed: Vec<String>) -> Known {
    let mut known = Known { failed, ..Known::default() };
    for status in plugins.statuses().into_iter().filter(PluginView::is_published) {
        known.plugins.insert(status.name);
        known.functions.extend(status.functions);
    }
    known
}
