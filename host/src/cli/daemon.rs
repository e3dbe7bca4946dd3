//! `framex-host run`.

use std::path::Path;
use std::time::Duration;

use framex_host::app::{AppError, Daemon, Exit, Sockets, exit_code_of};
use framex_host::config::Config;

use super::arguments::RunFlags;
use super::command_error::CommandError;
use super::log;

/// Longest time for the runtime to end abandoned tasks.
const RUNTIME_GRACE: Duration = Duration::from_secs(1);

pub(crate) fn run(file: &Path, flags: &RunFlags) -> Result<u8, CommandError> {
    // Before there are threads: it takes variables out of the environment.
    let sockets = Sockets::of_process().map_err(|error| not_started(&error))?;
    let overrides = flags.overrides();
    let config = Config::load(file, &overrides)?;
    let reread = {
        let file = file.to_owned();
        move || Config::reload(&file, &overrides)
    };
    log::start(config.log);
    say_who_starts(file);
    for warning in config.warnings() {
        tracing::warn!("{warning}");
    }
    let runtime = runtime()?;
    let own = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(no_runtime)?;
    let started = runtime.block_on(Daemon::start(config, Box::new(reread), sockets));
    let ended = started
        .map_err(|error| not_started(&error))
        .and_then(|daemon| own.block_on(daemon.run()).map_err(CommandError::new));
    own.shutdown_background();
    let code = match ended? {
        Exit::Drained => {
            runtime.shutdown_timeout(RUNTIME_GRACE);
            0
        }
        Exit::Forced(signal) => {
            // What is in flight is given up, and so are exit handlers of plugins.
            framex_host::plugins::end_process(exit_code_of(signal))
        }
    };
    Ok(code)
}

/// The runtime of the daemon, all cores.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, CommandError> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("worker")
        .on_thread_start(framex_host::plugins::enter_worker)
        .build()
        .map_err(no_runtime)
}

fn no_runtime(error: std::io::Error) -> CommandError {
    CommandError::new(format!("the runtime cannot be started: {error}"))
}

/// The first line of a log: which build, of which config, in which process.
fn say_who_starts(config: &Path) {
    let file = std::path::absolute(config).unwrap_or_else(|_| config.to_owned());
    let (version, commit, pid) = (env!("CARGO_PKG_VERSION"), option_env!("BUILD_COMMIT"), std::process::id());
    tracing::info!(version, commit, config = %file.display(), pid, "framex-host starts");
}

pub(crate) fn not_started(error: &AppError) -> CommandError {
    let text = error.to_string();
    match error {
        AppError::Stopped(signal) => CommandError { code: exit_code_of(*signal), ..CommandError::new(text) },
        error if error.is_config() => CommandError::usage(text),
        _ => CommandError::new(text),
    }
}
