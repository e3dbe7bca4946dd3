//! What can be asked for.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Hosts functions of plugins, here or on a peer.
#[derive(Debug, Parser)]
#[command(name = "framex-host", version, args_conflicts_with_subcommands = false)]
pub(crate) struct Arguments {
    /// The config file.
    #[arg(long, global = true, default_value = "config.toml", env = "FRAMEX_CONFIG", value_name = "FILE")]
    pub(crate) config: PathBuf,

    /// How results are printed.
    #[arg(long, global = true, default_value = "text", env = "FRAMEX_OUTPUT")]
    pub(crate) output: Format,

    #[command(flatten)]
    pub(crate) run: RunFlags,

    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

impl Arguments {
    /// Whether the daemon was asked to leave the limit of core dumps as it is.
    pub(crate) fn leaves_core_dumps(&self) -> bool {
        match &self.command {
            None => self.run.core_dumps,
            Some(Command::Run(flags)) => flags.core_dumps,
            Some(_) => false,
        }
    }
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// For scripts.
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the daemon; also what happens without a command.
    Run(RunFlags),
    /// Check the config and start the plugins once, without serving.
    Check,
    /// Call a function of a running host.
    Call(Call),
    /// List the functions of a running host.
    Functions(Target),
    /// The plugins of this machine's host: list and change them.
    Plugins {
        #[command(subcommand)]
        command: PluginsCommand,
    },
    /// Have this machine's host read its config and plugin directory again: all that changed comes into force, or
    /// nothing.
    Reload {
        /// Also if callers of old builds break.
        #[arg(long)]
        allow_breaking: bool,
    },
    /// List the peers of this machine's host.
    Peers,
    /// Say where a call would run on this machine's host, and why.
    Explain {
        /// Name of the function.
        function: String,
    },
    /// Show what a plugin file says of itself, without running any of it.
    Inspect {
        /// The plugin file.
        plugin: PathBuf,
    },
    /// Make a key for plugins.proxy.auth.rules, or for admin.token.
    Keygen,
    /// Print the completions of a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
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
    #[arg(long, value_name = "LEVEL")]
    pub(crate) log_level: Option<String>,
    /// Log as text or json (log.format).
    #[arg(long, value_name = "FORMAT")]
    pub(crate) log_format: Option<String>,
    /// Leave the system's limit of core dumps as it is; they hold keys.
    #[arg(long)]
    pub(crate) core_dumps: bool,
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
    /// Put the build that is in the plugin directory in the place of the running one.
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
        /// Which one; the newest that is kept without it.
        #[arg(long)]
        generation: Option<u64>,
    },
    /// Withdraw a plugin.
    Unload {
        /// The plugin.
        plugin: String,
    },
}

/// A running host.
#[derive(Debug, Args)]
pub(crate) struct Target {
    /// Where the host is; without it, where the config says that this machine's host listens.
    #[arg(long, env = "FRAMEX_URL")]
    pub(crate) url: Option<String>,
    /// For an https URL, a PEM file of the authorities to believe, instead of those of the system.
    #[arg(long)]
    pub(crate) ca: Option<PathBuf>,
    /// The key for the host's [auth] rules.
    #[arg(long, env = "FRAMEX_KEY", hide_env_values = true)]
    pub(crate) key: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Call {
    /// Name of the function, such as demo.some.example_func.
    pub(crate) function: String,
    /// Named arguments as a JSON object; "-" reads them from standard input.
    #[arg(long, value_name = "ARGS", default_value = "{}")]
    pub(crate) json: String,
    /// Deadline of the call in milliseconds; the answer is waited for 5 s longer. Without it, the host has a deadline
    /// of its own, and the answer is waited for 120 s.
    #[arg(long, value_name = "MS")]
    pub(crate) timeout_ms: Option<u64>,
    #[command(flatten)]
    pub(crate) target: Target,
}
