//! A real daemon: its own process, in a scratch folder of its own, on a port that the system chose.

mod builder;

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::http::begin;
use crate::log::Log;
use crate::process::wait;
use crate::{Answer, Exit, Pending, get, host_command, post, run_to_end, send};
pub use builder::DaemonBuilder;

/// Signals by which a process dies of its own faults, or of a sanitizer's verdict: ILL, ABRT, BUS, FPE, SEGV.
const CRASHES: [i32; 5] = [4, 6, 7, 8, 11];

/// A running daemon; killed when dropped. If it crashed before, the test fails then at the latest.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    log: Log,
    scratch: TempDir,
    environment: Vec<(String, String)>,
    flags: Vec<String>,
    address: String,
    has_own_mounts: bool,
    /// The test has looked at how it ended.
    end_was_seen: bool,
}

impl Daemon {
    /// A daemon in a new scratch folder, without plugins.
    ///
    /// # Panics
    /// If there is no room for temporary files.
    #[must_use]
    pub fn builder() -> DaemonBuilder {
        let scratch = tempfile::tempdir().expect("there is room for temporary files");
        fs::create_dir(scratch.path().join("plugins")).expect("a new folder is empty");
        DaemonBuilder::in_folder(scratch, String::new())
    }

    /// `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// `127.0.0.1:PORT`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Id of the process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The scratch folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.scratch.path()
    }

    /// A path in the scratch folder as the daemon sees it, which may have mounts of its own.
    #[must_use]
    pub fn seen(&self, path: &str) -> PathBuf {
        let path = self.folder().join(path);
        if self.has_own_mounts {
            return format!("/proc/{}/root{}", self.pid(), path.display()).into();
        }
        path
    }

    /// Calls a function with JSON.
    #[must_use]
    pub fn call(&self, function: &str, arguments: &Value) -> Answer {
        post(&format!("{}/api/v1/functions/{function}", self.url()), arguments)
    }

    /// As [`Daemon::call`], with a deadline for the call.
    #[must_use]
    pub fn call_within(&self, function: &str, arguments: &Value, timeout_ms: u64) -> Answer {
        let url = format!("{}/api/v1/functions/{function}", self.url());
        let timeout_ms = timeout_ms.to_string();
        let headers = [("content-type", "application/json"), ("x-framex-timeout-ms", &timeout_ms)];
        send("POST", &url, &headers, arguments.to_string().as_bytes())
    }

    /// `GET` of a path.
    #[must_use]
    pub fn get(&self, path: &str) -> Answer {
        get(&format!("{}{path}", self.url()))
    }

    /// Calls a function that is not expected to end at once; the call is given up when the answer is dropped.
    #[must_use]
    pub fn begin(&self, function: &str, arguments: &Value) -> Pending {
        self.begin_with(function, arguments, "")
    }

    /// As [`Daemon::begin`], with more headers, each with its line's end.
    #[must_use]
    pub fn begin_with(&self, function: &str, arguments: &Value, headers: &str) -> Pending {
        let body = arguments.to_string();
        let head = format!(
            "POST /api/v1/functions/{function} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\
             content-type: application/json\r\n{headers}content-length: {}\r\n\r\n",
            body.len()
        );
        begin(&self.address, format!("{head}{body}").as_bytes())
    }

    /// Sends bytes as they are on a connection of their own; they should ask for `connection: close`.
    #[must_use]
    pub fn raw(&self, request: impl AsRef<[u8]>) -> Answer {
        begin(&self.address, request.as_ref()).answer()
    }

    /// Returns what `/ready` tells the operator about a file or plugin that is not served; nothing for one that is.
    #[must_use]
    pub fn failure(&self, what: &str) -> Option<String> {
        let ready = self.admin_get_at("/ready").json();
        let failed = ready["failed_plugins"].as_array()?.iter().find(|failed| failed["plugin"] == what)?;
        failed["reason"].as_str().map(str::to_owned)
    }

    /// Runs another command of the binary with the daemon's config file and URL.
    ///
    /// # Panics
    /// If it goes on.
    #[must_use]
    pub fn run(&self, arguments: &[&str]) -> Exit {
        let mut command = host_command();
        command.env("FRAMEX_URL", self.url()).stdin(Stdio::null());
        run_to_end(command.arg("--config").arg(self.folder().join("config.toml")).args(arguments))
    }

    /// Everything that the daemon logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.log.text()
    }

    /// Waits for a line of the log.
    ///
    /// # Panics
    /// If it does not come.
    pub fn wait_for_log(&self, part: &str) {
        let found = self.log.wait_for(|line| line.to_string().contains(part));
        assert!(found.is_some(), "the log has no {part:?}:\n{}", self.log.text());
    }

    /// Waits for the line of the log with this message.
    ///
    /// # Panics
    /// If it does not come.
    #[must_use]
    pub fn logged(&self, message: &str) -> Value {
        let found = self.log.wait_for(|line| line["message"] == message);
        found.unwrap_or_else(|| panic!("the log has no message {message:?}:\n{}", self.log.text()))
    }

    /// Sends a signal: "TERM", "INT", "KILL".
    ///
    /// # Panics
    /// If the daemon is gone.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").arg(format!("-{name}")).arg(self.pid().to_string()).status();
        assert!(sent.expect("kill is there").success(), "the daemon is gone");
    }

    /// Waits for the end of the process and answers its exit code; `None` after a signal.
    ///
    /// # Panics
    /// If it goes on.
    pub fn wait(&mut self) -> Option<i32> {
        self.end_was_seen = true;
        wait(&mut self.child).unwrap_or_else(|| panic!("the daemon goes on:\n{}", self.log.text()))
    }

    /// Replaces this daemon, which is killed if it still runs, with another one: with its folder, its
    /// variables and flags, and `config.toml` as it is now.
    ///
    /// # Panics
    /// As [`DaemonBuilder::start`].
    #[must_use]
    pub fn start_again(self) -> Self {
        self.end().start()
    }

    /// Kills this daemon, if it still runs, and returns the builder of another one, as [`Daemon::start_again`] starts it.
    ///
    /// # Panics
    /// If it has mounts of its own, which end with it.
    #[must_use]
    pub fn end(mut self) -> DaemonBuilder {
        assert!(!self.has_own_mounts, "its mounts end with it");
        // It may have ended by itself.
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
        let config = fs::read_to_string(self.folder().join("config.toml")).expect("the config is there");
        let other = tempfile::tempdir().expect("there is room for temporary files");
        let scratch = std::mem::replace(&mut self.scratch, other);
        let environment = std::mem::take(&mut self.environment);
        let flags = std::mem::take(&mut self.flags);
        let mut builder = DaemonBuilder::in_folder(scratch, config);
        (builder.environment, builder.flags) = (environment, flags);
        builder
    }

    /// As [`Daemon::start_again`], after another one of the same kind, which ends by itself while it starts.
    ///
    /// # Panics
    /// If that one goes on, or ends with an exit code.
    #[must_use]
    pub fn start_again_after_abort(self) -> Self {
        let mut command = host_command();
        command.envs(self.environment.iter().cloned()).env("FRAMEX_SERVER__PORT", "0");
        let exit = run_to_end(command.arg("--config").arg(self.folder().join("config.toml")));
        assert_eq!(exit.code, None, "{}", exit.stderr);
        self.start_again()
    }

    /// Puts another `config.toml` into the place of the one that the daemon was started with.
    ///
    /// # Panics
    /// If the system does not let it.
    pub fn put_config(&self, toml: &str) {
        let incoming = self.folder().join("incoming.toml");
        fs::write(&incoming, toml).expect("the scratch folder takes files");
        fs::rename(&incoming, self.folder().join("config.toml")).expect("the scratch folder takes files");
    }

    /// Stops the daemon gracefully.
    ///
    /// # Panics
    /// If it does not end, or not with 0.
    pub fn stop(mut self) {
        self.signal("TERM");
        assert_eq!(self.wait(), Some(0), "{}", self.log.text());
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let ended = self.child.try_wait().ok().flatten();
        // It may have ended by itself, or while we looked.
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
        let ended = ended.filter(|_| !self.end_was_seen);
        let crash = ended.and_then(|status| status.signal()).filter(|signal| CRASHES.contains(signal));
        if let Some(signal) = crash.filter(|_| !std::thread::panicking()) {
            panic!("the daemon died of signal {signal}:\n{}", self.log.text());
        }
    }
}
