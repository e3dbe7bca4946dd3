//! `framex-host run`.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use framex_host::app::{App, AppError, Ended};
use framex_host::config::{Config, Overrides};

use super::arguments::RunFlags;
use super::{Failed, log};

/// How long the runtime may take to end what nobody waits for any more.
const RUNTIME_GRACE: Duration = Duration::from_secs(1);

pub(crate) fn run(file: &Path, flags: &RunFlags) -> Result<ExitCode, Failed> {
    let reread = {
        let (file, overrides) = (file.to_owned(), overrides(flags));
        move || Config::load(&file, &overrides)
    };
    let config = reread().map_err(|error| Failed::config(&error))?;
    log::start(config.log);
    for warning in config.warnings() {
        tracing::warn!("{warning}");
    }
    let runtime = runtime()?;
    let ended = runtime.block_on(async {
        let app = App::start(config, Box::new(reread)).await.map_err(|error| not_started(&error))?;
        app.run().await.map_err(|error| Failed::new(error.to_string()))
    });
    let code = match ended? {
        Ended::Drained => {
            runtime.shutdown_timeout(RUNTIME_GRACE);
            ExitCode::SUCCESS
        }
        Ended::Forced(signal) => {
            // What is in flight is given up; its threads end with the process.
            runtime.shutdown_background();
            ExitCode::from(code_of(signal))
        }
    };
    Ok(code)
}

/// The runtime of the daemon, all cores.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, Failed> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("worker")
        .on_thread_start(framex_host::plugins::enter_worker)
        .build()
        .map_err(|error| Failed::new(format!("the runtime cannot be started: {error}")))
}

/// The exit code of a process that a signal ends.
fn code_of(signal: i32) -> u8 {
    u8::try_from(128 + signal).unwrap_or(1)
}

pub(crate) fn not_started(error: &AppError) -> Failed {
    let text = error.to_string();
    match error {
        AppError::Stopped(signal) => Failed { code: code_of(*signal), ..Failed::new(text) },
        error if error.is_config() => Failed::usage(text),
        _ => Failed::new(text),
    }
}

/// What the flags say over the config.
pub(crate) fn overrides(flags: &RunFlags) -> Overrides {
    let mut overrides = Overrides::default();
    let texts = [
        ("--host", "server.host", &flags.host),
        ("--plugin-dir", "plugin_dir", &flags.plugin_dir),
        ("--log-level", "log.level", &flags.log_level),
        ("--log-format", "log.format", &flags.log_format),
    ];
    for (flag, key, value) in texts {
        if let Some(value) = value {
            overrides = overrides.with(flag, key, value);
        }
    }
    match flags.port {
        Some(port) => overrides.with("--port", "server.port", port),
        None => overrides,
    }
}
