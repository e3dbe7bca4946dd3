//! The requests of commands to the host of a config, and the progress of a change.

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::time::Duration;

use framex_host::api::{AdminPath, PluginView, PluginsView, ProgressView, READY_PATH};
use framex_host::base::one_line;
use http::Method;
use serde::Serialize;
use serde_json::Value;

use super::socket::{self, ask, exchange, within};
use crate::cli::command_error::CommandError;
use crate::cli::output::{Output, view};

/// Longest time of a change: start and drain have deadlines of their own, which operators may set high.
const TIMEOUT: Duration = Duration::from_secs(24 * 3600);
/// Longest time of a readiness probe.
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);
/// Interval between updates of the progress.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);

/// Returns what the host says of a resource.
pub(super) fn get(config: &Path, path: AdminPath<'_>) -> Result<Value, CommandError> {
    let socket = socket::find(config)?;
    within(TIMEOUT, exchange(&socket, Method::GET, path, None))
}

/// Returns what the host says of its readiness, whether it is ready or not.
pub(super) fn ready(config: &Path) -> Result<Value, CommandError> {
    let socket = socket::find(config)?;
    within(PROBE_TIMEOUT, ask(&socket, Method::GET, READY_PATH, None)).map(|(_, answer)| answer)
}

/// Makes a change and returns its result; on a terminal, the current step shows meanwhile.
pub(super) fn change(
    config: &Path,
    path: AdminPath<'_>,
    options: &impl Serialize,
    output: Output,
) -> Result<Value, CommandError> {
    let socket = socket::find(config)?;
    let options = serde_json::to_vec(options).map_err(CommandError::new)?;
    let asked = exchange(&socket, Method::POST, path, Some(options.into()));
    let shows = output.is_text() && std::io::stderr().is_terminal();
    let changed = within(TIMEOUT, async {
        tokio::select! {
            answered = asked => answered,
            never = show_progress(&socket), if shows => never,
        }
    });
    if shows {
        status_line("");
    }
    changed
}

/// Shows, for as long as it is polled, how far the changes of plugins are.
async fn show_progress<T>(socket: &Path) -> T {
    loop {
        tokio::time::sleep(PROGRESS_EVERY).await;
        if let Ok(answer) = exchange(socket, Method::GET, AdminPath::Plugins, None).await
            && let Ok(PluginsView { plugins, .. }) = view(&answer)
        {
            let lines: Vec<String> = plugins.iter().filter_map(progress_text).collect();
            status_line(&lines.join("; "));
        }
    }
}

/// Returns the progress of the change of a plugin, if one is under way.
fn progress_text(PluginView { name, change, .. }: &PluginView) -> Option<String> {
    let ProgressView { step, ms, done, .. } = change.as_ref()?;
    let done: Vec<&str> = done.iter().map(|step| step.step.as_str()).collect();
    Some(format!("{name}: {} > {step} for {:.1} s", done.join(" > "), ms / 1000.0))
}

/// Replaces the last line of the terminal.
fn status_line(text: &str) {
    let mut terminal = std::io::stderr().lock();
    let _closed = write!(terminal, "\r\x1b[K{}", one_line(text));
    let _closed = terminal.flush();
}
