//! A real daemon: its own process, in a scratch folder of its own, on a port that the system chose.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::{Answer, FreeAddress, get, host_binary, plugin_file, post, send};

/// How long a daemon may take to start or stop before the test fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a daemon is made of.
#[derive(Debug)]
pub struct DaemonBuilder {
    scratch: TempDir,
    config: String,
    environment: Vec<(String, String)>,
}

/// A running daemon; killed when dropped.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    log: Log,
    scratch: TempDir,
    address: String,
}

/// How a process ended, and all that it said.
#[derive(Debug)]
pub struct Exit {
    /// Exit code; `None` after a signal.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// The lines of a daemon's log so far.
#[derive(Debug, Clone, Default)]
struct Log(Arc<(Mutex<Lines>, Condvar)>);

#[derive(Debug, Default)]
struct Lines {
    lines: Vec<String>,
    ended: bool,
}

impl DaemonBuilder {
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

    /// Puts a file of any content into the plugin directory.
    ///
    /// # Panics
    /// If the disk is full.
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

    fn plugins(&self) -> PathBuf {
        self.scratch.path().join("plugins")
    }

    fn command(&self) -> Command {
        fs::write(self.scratch.path().join("config.toml"), &self.config)
            .expect("the scratch folder takes files");
        let mut command = Command::new(host_binary());
        command
            .env_clear()
            .env("FRAMEX_LOG__FORMAT", "json")
            .env("FRAMEX_SERVER__PORT", "0")
            .envs(self.environment.iter().cloned());
        command.arg("--config").arg(self.scratch.path().join("config.toml")).stdin(Stdio::null());
        command
    }

    /// Starts the daemon and waits until it listens.
    ///
    /// # Panics
    /// If it does not.
    #[must_use]
    pub fn start(self) -> Daemon {
        let mut child = self
            .command()
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the daemon's binary runs");
        let log = Log::default();
        log.read(child.stderr.take().expect("stderr is piped"));
        let line = log.wait_for(|line| line["message"] == "listening");
        let line = line.unwrap_or_else(|| panic!("the daemon does not listen:\n{}", log.text()));
        let address = line["address"].as_str().expect("the log names the address").to_owned();
        Daemon { child, log, scratch: self.scratch, address }
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

impl Daemon {
    /// A daemon in a new scratch folder, without plugins.
    ///
    /// # Panics
    /// If there is no room for temporary files.
    #[must_use]
    pub fn builder() -> DaemonBuilder {
        let scratch = tempfile::tempdir().expect("there is room for temporary files");
        fs::create_dir(scratch.path().join("plugins")).expect("a new folder is empty");
        DaemonBuilder { scratch, config: String::new(), environment: Vec::new() }
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

    /// The most memory that the process ever had resident, in bytes (`VmHWM`).
    ///
    /// # Panics
    /// If the system does not say; Linux does.
    #[must_use]
    pub fn resident_bytes_max(&self) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("Linux has /proc");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("it has a VmHWM");
        let kibibytes: usize = line.trim().trim_end_matches(" kB").parse().expect("it is a number of kB");
        kibibytes * 1024
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
        wait(&mut self.child).unwrap_or_else(|| panic!("the daemon goes on:\n{}", self.log.text()))
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
        // It may have ended by itself.
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

impl Log {
    fn read(&self, stderr: impl std::io::Read + Send + 'static) {
        let log = self.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                log.change(|lines| lines.lines.push(line));
            }
            log.change(|lines| lines.ended = true);
        });
    }

    fn change(&self, change: impl FnOnce(&mut Lines)) {
        let (lines, changed) = &*self.0;
        change(&mut lines.lock().expect("no test panics with the lock"));
        changed.notify_all();
    }

    fn text(&self) -> String {
        self.0.0.lock().expect("no test panics with the lock").lines.join("\n")
    }

    /// The first line that fits, as JSON; `None` if the log ends or patience does.
    fn wait_for(&self, fits: impl Fn(&Value) -> bool) -> Option<Value> {
        let (lines, changed) = &*self.0;
        let deadline = Instant::now() + PATIENCE;
        let mut lines = lines.lock().expect("no test panics with the lock");
        let mut seen = 0;
        loop {
            while let Some(line) = lines.lines.get(seen) {
                let json = serde_json::from_str(line).unwrap_or_else(|_| Value::String(line.clone()));
                if fits(&json) {
                    return Some(json);
                }
                seen += 1;
            }
            let left = deadline.checked_duration_since(Instant::now()).filter(|_| !lines.ended)?;
            lines = changed.wait_timeout(lines, left).expect("no test panics with the lock").0;
        }
    }
}

/// Runs a command that ends by itself.
///
/// # Panics
/// If it goes on.
#[must_use]
pub fn run_to_end(command: &mut Command) -> Exit {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the command runs");
    let read = |from: Option<Box<dyn std::io::Read + Send>>| {
        std::thread::spawn(move || {
            let mut text = String::new();
            let read = from.map(|mut from| from.read_to_string(&mut text));
            assert!(matches!(read, Some(Ok(_))), "output is text");
            text
        })
    };
    let stdout = read(child.stdout.take().map(|out| Box::new(out) as _));
    let stderr = read(child.stderr.take().map(|out| Box::new(out) as _));
    let code = wait(&mut child);
    if code.is_none() {
        child.kill().expect("it goes on");
    }
    let stdout = stdout.join().expect("reading does not panic");
    let stderr = stderr.join().expect("reading does not panic");
    let code = code.unwrap_or_else(|| panic!("it goes on:\n{stdout}{stderr}"));
    Exit { code, stdout, stderr }
}

/// The exit code of a process that ends in time; the outer `None` if it does not.
#[expect(
    clippy::disallowed_methods,
    reason = "the standard library waits for a child without a deadline only"
)]
fn wait(child: &mut Child) -> Option<Option<i32>> {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait().expect("the child is ours") {
            return Some(status.code());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    None
}
