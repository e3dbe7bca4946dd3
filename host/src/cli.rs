//! The command line: parses the arguments, runs the command and returns its exit code.
//!
//! Exit codes: 0 done, 1 failed, 2 bad usage or config; 128 + N after a second signal N,
//! or one that comes before the daemon is ready.

mod admin;
mod arguments;
mod check;
mod client;
mod command_error;
mod daemon;
mod inspect;
mod keygen;
mod log;
mod output;
mod probe;

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{CommandFactory, Parser};

use arguments::{Arguments, Command};
use command_error::CommandError;
use output::Output;

/// Longest time that exit handlers and destructors of plugin libraries take of the end of the process.
const EXIT_MAX: Duration = Duration::from_secs(5);

/// Runs the command line of this process.
pub(crate) fn run() -> ExitCode {
    framex_host::plugins::own_exit(log::tell_exit);
    let code = parse_and_execute();
    log::flush();
    bound_exit(code);
    ExitCode::from(code)
}

/// Ends the process after [`EXIT_MAX`], even if exit handlers or destructors of plugin libraries have not returned.
fn bound_exit(code: u8) {
    let bound = move || {
        let deadline = Instant::now() + EXIT_MAX;
        while let Some(left) = deadline.checked_duration_since(Instant::now()) {
            std::thread::park_timeout(left);
        }
        tracing::warn!("exit handlers or destructors of plugins do not return: ending without them");
        framex_host::plugins::end_process(code);
    };
    // Without a thread, the end waits for them.
    let _unbound = std::thread::Builder::new().name("exit".to_owned()).spawn(bound);
}

fn parse_and_execute() -> u8 {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            return output::print_usage(&error).unwrap_or_else(|failed| Output::Text.failed(&failed));
        }
    };
    let (config, output) = (arguments.config.clone(), arguments.output);
    let command = arguments.into_command();
    if !command.as_ref().is_ok_and(Command::leaves_core_dumps)
        && let Err(error) = framex_host::app::refuse_core_dumps()
    {
        output.remark(&format!("warning: core dumps, which would hold keys, cannot be turned off: {error}"));
    }
    let code = command.and_then(|command| execute(command, &config, output));
    code.unwrap_or_else(|failed| output.failed(&failed))
}

fn execute(command: Command, config: &Path, output: Output) -> Result<u8, CommandError> {
    match command {
        Command::Run(flags) => return daemon::run(config, &flags),
        Command::Check(flags) => check::run(config, &flags, output)?,
        Command::Call(call) => client::call(config, &call, output)?,
        Command::Functions(target) => client::functions(config, &target, output)?,
        Command::Plugins { command } => admin::plugins(config, &command, output)?,
        Command::Reload { allow_breaking } => admin::reload(config, allow_breaking, output)?,
        Command::Peers => admin::peers(config, output)?,
        Command::Ready => admin::ready(config, output)?,
        Command::Explain { function } => return admin::explain(config, &function, output),
        Command::Inspect { plugin } => inspect::run(config, &plugin, output)?,
        Command::Probe => probe::run()?,
        Command::Keygen { id: Some(file), .. } => keygen::show_id(&file, output)?,
        Command::Keygen { out, .. } => keygen::run(out.as_deref(), output)?,
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "framex-host", &mut script);
            output::print(&String::from_utf8_lossy(&script))?;
        }
    }
    Ok(0)
}
