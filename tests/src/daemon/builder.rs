//! The parts that a daemon starts from: config, plugins, variables, flags.

use std::fs;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::Daemon;
use crate::files::{host_binary, host_command_under, older_host_binary};
use crate::log::Log;
use crate::{Exit, FreeAddress, plugin_file, run_to_end};

/// The parts of a daemon.
#[derive(Debug)]
pub struct DaemonBuilder {
    scratch: TempDir,
    config: String,
    pub(super) environment: Vec<(String, String)>,
    pub(super) flags: Vec<String>,
    /// Gives the daemon mounts of its own; empty without.
    wrapper: Vec<String>,
    is_older: bool,
    /// A socket that is handed over, as a supervisor does.
    socket: Option<TcpListener>,
}

impl DaemonBuilder {
    /// Returns a builder for this folder, without plugins, variables and flags.
    pub(super) fn in_folder(scratch: TempDir, config: String) -> Self {
        Self {
            scratch,
            config,
            environment: Vec::new(),
            flags: Vec::new(),
            wrapper: Vec::new(),
            is_older: false,
            socket: None,
        }
    }

    /// Adds to `config.toml`. The port, the address and the form of the log are set by the harness.
    #[must_use]
    pub fn config(mut self, toml: &str) -> Self {
        self.config.push_str(toml);
        self.config.push('\n');
        self
    }

    /// Puts the library of a plugin crate into the plugin directory.
    ///
    /// # Panics
    /// If it was not built.
    #[must_use]
    pub fn plugin(self, krate: &str) -> Self {
        let file = plugin_file(krate);
        let name = file.file_name().expect("a plugin is a file").to_owned();
        fs::copy(&file, self.plugins().join(name)).expect("the plugin directory takes files");
        self
    }

    /// Puts the library of a plugin crate into the plugin directory under another name.
    #[must_use]
    pub fn plugin_as(self, krate: &str, name: &str) -> Self {
        fs::copy(plugin_file(krate), self.plugins().join(name)).expect("the plugin directory takes files");
        self
    }

    /// Puts a file of any content into the plugin directory.
    ///
    /// # Panics
    /// If the system does not let it.
    #[must_use]
    pub fn plugin_bytes(self, name: &str, bytes: &[u8]) -> Self {
        fs::write(self.plugins().join(name), bytes).expect("the plugin directory takes files");
        self
    }

    /// Sets a variable of the daemon's environment.
    #[must_use]
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Runs the host from before frames were bound to their receiver.
    #[must_use]
    pub fn older(mut self) -> Self {
        self.is_older = true;
        self
    }

    /// Listens on an address that was chosen before.
    #[must_use]
    pub fn listen(self, address: FreeAddress) -> Self {
        self.config(&address.host()).variable("FRAMEX_SERVER__PORT", &address.port().to_string())
    }

    /// The scratch folder, with `config.toml` and `plugins`.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.scratch.path()
    }

    /// The plugin directory.
    #[must_use]
    pub fn plugins(&self) -> PathBuf {
        self.scratch.path().join("plugins")
    }

    /// Adds a flag to the daemon's command line.
    #[must_use]
    pub fn flag(mut self, flag: &str) -> Self {
        self.flags.push(flag.to_owned());
        self
    }

    /// Has a program run the daemon: one that ends in running what follows its own arguments, in the same process.
    #[must_use]
    pub fn wrapper(mut self, words: &[&str]) -> Self {
        self.wrapper = words.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    /// Hands a socket over to the daemon, as systemd does (sd_listen_fds(3)).
    ///
    /// # Panics
    /// If the system does not let it.
    #[must_use]
    pub fn socket(mut self, listener: &TcpListener) -> Self {
        self.socket = Some(listener.try_clone().expect("there are descriptors"));
        self.wrapper(&["/bin/sh", "-c", "LISTEN_FDS=1 LISTEN_PID=$$ exec \"$@\" 3<&0 0</dev/null", "sh"])
    }

    fn command(&self) -> Command {
        fs::write(self.scratch.path().join("config.toml"), &self.config)
            .expect("the scratch folder takes files");
        let binary = if self.is_older { older_host_binary() } else { host_binary() };
        let mut command = host_command_under(&self.wrapper, binary);
        if !self.is_older {
            // What raw requests of tests call the host; an older one knows no such key.
            command.env("FRAMEX_SERVER__NAMES", r#"["test", "a"]"#);
            // Tests that stop a host do not wait for balancers to notice.
            command.env("FRAMEX_SERVER__SHUTDOWN_DELAY_MS", "0");
        }
        command
            .env("FRAMEX_LOG__FORMAT", "json")
            .env("FRAMEX_SERVER__PORT", "0")
            .envs(self.environment.iter().cloned());
        command.arg("--config").arg(self.scratch.path().join("config.toml")).args(&self.flags);
        command.stdin(match &self.socket {
            Some(socket) => OwnedFd::from(socket.try_clone().expect("there are descriptors")).into(),
            None => Stdio::null(),
        });
        command
    }

    /// Runs another command of the binary with the same config file, plugins and variables.
    ///
    /// # Panics
    /// If it goes on.
    #[must_use]
    pub fn run(&self, arguments: &[&str]) -> Exit {
        run_to_end(self.command().args(arguments))
    }

    /// Starts the daemon and waits until it listens.
    ///
    /// # Panics
    /// If it does not.
    #[must_use]
    pub fn start(self) -> Daemon {
        self.start_until("listening")
    }

    /// Starts the daemon and waits for a message in its log; it has no address before it listens.
    #[must_use]
    pub fn start_until(self, message: &str) -> Daemon {
        let mut daemon = self.spawn();
        let line = daemon.log.wait_for(|line| line["message"] == message);
        let line = line.unwrap_or_else(|| panic!("the log has no {message:?}:\n{}", daemon.log.text()));
        daemon.address = line["address"].as_str().unwrap_or_default().to_owned();
        daemon
    }

    /// Starts the daemon with an error output that the harness does not read, and waits until it answers.
    ///
    /// # Panics
    /// If it does not.
    #[must_use]
    pub fn start_with_stderr(self, address: FreeAddress, stderr: impl Into<Stdio>) -> Daemon {
        let mut daemon = self.listen(address).spawn_with(stderr.into());
        daemon.address = format!("{}:{}", address.ip(), address.port());
        crate::until("the daemon listens", || std::net::TcpStream::connect(&daemon.address).is_ok());
        daemon
    }

    pub(crate) fn spawn(self) -> Daemon {
        self.spawn_with(Stdio::piped())
    }

    fn spawn_with(self, stderr: Stdio) -> Daemon {
        let mut command = self.command();
        let mut child =
            command.stdout(Stdio::null()).stderr(stderr).spawn().expect("the daemon's binary runs");
        let log = Log::default();
        if let Some(stderr) = child.stderr.take() {
            log.read(stderr);
        }
        let Self { scratch, environment, flags, wrapper, .. } = self;
        let (address, has_own_mounts) = (String::new(), !wrapper.is_empty());
        Daemon { child, log, scratch, environment, flags, address, has_own_mounts, end_was_seen: false }
    }

    /// Runs the daemon, which is expected to end by itself, and answers how it did.
    ///
    /// # Panics
    /// If it goes on.
    #[must_use]
    pub fn run_to_end(self) -> Exit {
        let mut command = self.command();
        run_to_end(&mut command)
    }
}
