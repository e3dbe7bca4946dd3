//! The arguments of the command line.

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Args, Parser, Subcommand};
use framex_host::config::{Keyword, LogFormat, LogLevel, Overrides};

use super::command_error::CommandError;
use super::output::Output;

/// Runs functions of plugin libraries, on this host or on another.
#[derive(Debug, Parser)]
#[command(name = "framex-host", version, args_conflicts_with_subcommands = false)]
pub(crate) struct Arguments {
    /// The config file.
    #[arg(long, global = true, default_value = "config.toml", env = "FRAMEX_CONFIG", value_name = "FILE")]
    pub(crate) config: PathBuf,

    /// Output format.
    #[arg(short, long, global = true, default_value = "text", env = "FRAMEX_OUTPUT")]
    pub(crate) output: Output,

    #[command(flatten)]
    pub(crate) run: RunFlags,

    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

impl Arguments {
    /// The command, with the flags of the daemon that were written before it.
    ///
    /// # Errors
    /// If the command takes none: flags are rejected rather than ignored.
    pub(crate) fn into_command(self) -> Result<Command, CommandError> {
        match self.command {
            None => Ok(Command::Run(self.run)),
            Some(Command::Run(flags)) => Ok(Command::Run(flags.or(self.run))),
            Some(Command::Check(flags)) => Ok(Command::Check(flags.or(self.run))),
            Some(other) => match self.run.first_given() {
                None => Ok(other),
                Some(flag) => Err(CommandError::usage(format!("{flag} is for `run` and `check` alone"))),
            },
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the daemon; the default command.
    Run(RunFlags),
    /// Check the config and start the plugins once, without serving.
    Check(RunFlags),
    /// Call a function of a running host.
    Call(CallArguments),
    /// List the functions of a running host.
    Functions(HostFlags),
    /// List and change the plugins of this machine's host.
    Plugins {
        #[command(subcommand)]
        command: PluginsCommand,
    },
    /// Reload the config and the plugin directory of this machine's host: all changes take effect, or none.
    Reload {
        /// Also if callers of old builds break.
        #[arg(long)]
        allow_breaking: bool,
    },
    /// List the peers of this machine's host.
    Peers,
    /// Show where a call would run on this machine's host, and why.
    Explain {
        /// Name of the function.
        function: String,
    },
    /// Check whether this machine's host is ready, for probes that run a command: exit code 0 or 1.
    Ready,
    /// Show the description in a plugin file, without running any of it.
    Inspect {
        /// The plugin file.
        plugin: PathBuf,
    },
    /// Make a key for plugins.proxy.auth.rules, or for admin.token; or show the id of one.
    Keygen {
        /// Show the id of the key in this file instead: the same on both hosts if the keys are.
        #[arg(long, value_name = "FILE", conflicts_with = "out")]
        id: Option<PathBuf>,
        /// Write it to a new file that only this user may read, instead of the standard output.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Map the plugin of the request on the standard input; the host runs this.
    #[command(hide = true)]
    Probe,
    /// Print the completions of a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

impl Command {
    /// Returns true if the limit of core dumps is to be left as it is.
    pub(crate) fn leaves_core_dumps(&self) -> bool {
        matches!(self, Self::Run(flags) | Self::Check(flags) if flags.core_dumps)
    }
}

/// Flags of the daemon; they win over the config file and FRAMEX_ variables.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct RunFlags {
    /// Listen on this IP address (server.host).
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) host: Option<String>,
    /// Listen on this port (server.port); 0 is any free one.
    #[arg(long)]
    pub(crate) port: Option<u16>,
    /// Take plugin files from here (plugin_dir).
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) plugin_dir: Option<String>,
    /// Log from this level on (log.level).
    #[arg(long, value_name = "LEVEL", value_parser = words::<LogLevel>())]
    pub(crate) log_level: Option<String>,
    /// Log as text or json (log.format).
    #[arg(long, value_name = "FORMAT", value_parser = words::<LogFormat>())]
    pub(crate) log_format: Option<String>,
    /// Allow core dumps, as far as the system does; they contain keys.
    #[arg(long)]
    pub(crate) core_dumps: bool,
}

/// The words that a key of the config takes, so that completions have them.
fn words<K: Keyword>() -> PossibleValuesParser {
    PossibleValuesParser::new(K::WORDS.iter().map(|(word, _)| *word))
}

impl RunFlags {
    /// These, and where they say nothing, `others`.
    fn or(self, others: Self) -> Self {
        Self {
            host: self.host.or(others.host),
            port: self.port.or(others.port),
            plugin_dir: self.plugin_dir.or(others.plugin_dir),
            log_level: self.log_level.or(others.log_level),
            log_format: self.log_format.or(others.log_format),
            core_dumps: self.core_dumps || others.core_dumps,
        }
    }

    /// Returns the flags that were given and set keys of the config, each with its key and value.
    fn keys(&self) -> impl Iterator<Item = (&'static str, &'static str, String)> {
        let flags = [
            ("--host", "server.host", self.host.clone()),
            ("--port", "server.port", self.port.map(|port| port.to_string())),
            ("--plugin-dir", "plugin_dir", self.plugin_dir.clone()),
            ("--log-level", "log.level", self.log_level.clone()),
            ("--log-format", "log.format", self.log_format.clone()),
        ];
        flags.into_iter().filter_map(|(flag, key, value)| Some((flag, key, value?)))
    }

    /// Returns the flags as overrides of the config.
    pub(crate) fn overrides(&self) -> Overrides {
        self.keys()
            .fold(Overrides::default(), |overrides, (flag, key, value)| overrides.with(flag, key, value))
    }

    /// Returns a flag that was given, as it is written.
    fn first_given(&self) -> Option<&'static str> {
        self.keys().map(|(flag, ..)| flag).next().or(self.core_dumps.then_some("--core-dumps"))
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum PluginsCommand {
    /// List the plugins.
    List,
    /// Show one plugin.
    Show {
        /// Its name.
        plugin: String,
    },
    /// Load a plugin file that was put into the plugin directory.
    Load {
        /// Name of the file.
        file: String,
    },
    /// Replace the running build by the one in the plugin directory.
    Reload {
        /// The plugin.
        plugin: String,
        /// Also if callers of the old build break.
        #[arg(long)]
        allow_breaking: bool,
    },
    /// Bring a kept generation back.
    Rollback {
        /// The plugin.
        plugin: String,
        /// The generation to bring back; by default the newest one that is kept.
        #[arg(long)]
        generation: Option<u64>,
    },
    /// Stop offering a plugin until the next reload of the host, or start: take its file away to keep it out.
    Unload {
        /// The plugin.
        plugin: String,
    },
}

/// A running host.
#[derive(Debug, Args)]
pub(crate) struct HostFlags {
    /// URL of the host; by default the one that the config has this machine's host listen on.
    #[arg(long, env = "FRAMEX_URL")]
    pub(crate) url: Option<String>,
    /// For an https URL, a PEM file of trusted authorities, instead of the system's.
    #[arg(long)]
    pub(crate) ca: Option<PathBuf>,
    /// A key that the host's [auth] takes, written out, or as env:NAME or file:PATH.
    #[arg(long, env = "FRAMEX_KEY", hide_env_values = true)]
    pub(crate) key: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct CallArguments {
    /// Name of the function, such as demo.some.example_func.
    pub(crate) function: String,
    /// Named arguments as a JSON object; @FILE reads them from a file, "-" from standard input.
    #[arg(long, value_name = "ARGS", default_value = "{}")]
    pub(crate) json: String,
    /// Deadline of the call in milliseconds (default: the host's server.call_timeout_ms).
    #[arg(long, value_name = "MS")]
    pub(crate) timeout_ms: Option<u64>,
    #[command(flatten)]
    pub(crate) target: HostFlags,
}
