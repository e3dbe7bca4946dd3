//! A MariaDB server of a test's own: its own process, on a loopback address of its own, with data in a scratch folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::log::Log;
use crate::process::run_to_end;
use crate::{FreeAddress, Issued};

/// The name of the account.
const USER: &str = "reports";
/// Its password, as it is, and as a URL has it.
const PASSWORD: [&str; 2] = ["canary/of@the:database", "canary%2Fof%40the%3Adatabase"];
/// An account that may read alone.
const READER: &str = "reader";

/// A server with an empty database `flights`; killed when dropped.
#[derive(Debug)]
pub struct MariaDb {
    folder: TempDir,
    address: FreeAddress,
    server: Option<(Child, Log)>,
}

impl MariaDb {
    /// Makes the data of a server that does not run yet.
    ///
    /// # Panics
    /// If MariaDB is not installed.
    #[must_use]
    pub fn new() -> Self {
        // In memory where that is possible: an installation waits for the disk a hundred times.
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() };
        let this = Self {
            folder: folder.expect("there is room for temporary files"),
            address: FreeAddress::find(),
            server: None,
        };
        let accounts = format!(
            "CREATE DATABASE IF NOT EXISTS flights;\n\
             CREATE USER IF NOT EXISTS '{USER}'@'%' IDENTIFIED BY '{0}';\n\
             GRANT ALL ON flights.* TO '{USER}'@'%';\n\
             CREATE USER IF NOT EXISTS '{READER}'@'%' IDENTIFIED BY '{0}';\n\
             GRANT SELECT ON flights.* TO '{READER}'@'%';\n",
            PASSWORD[0]
        );
        fs::write(this.folder.path().join("accounts.sql"), accounts).expect("a scratch folder takes files");
        fs::create_dir(this.folder.path().join("tmp")).expect("a scratch folder takes folders");
        let mut install = this.command("mariadb-install-db");
        let exit = run_to_end(install.args(["--auth-root-authentication-method=normal", "--skip-test-db"]));
        assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
        this
    }

    /// A program of MariaDB with what all of them have to know. What is installed as a service has no part in it.
    fn command(&self, program: &str) -> Command {
        let folders = ["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin"];
        let places = folders.map(|folder| PathBuf::from(folder).join(program));
        let found = places.into_iter().find(|place| place.exists());
        let mut command = Command::new(found.expect("MariaDB is installed: scripts/test.sh does that"));
        let folder = |name: &str| self.folder.path().join(name).display().to_string();
        command.args(["--no-defaults".to_owned(), format!("--datadir={}", folder("data"))]);
        // A server that starts deletes what it finds there, also what another one has just made.
        command.arg(format!("--tmpdir={}", folder("tmp")));
        command.args(["--innodb-log-file-size=8M", "--innodb-buffer-pool-size=16M"]);
        if rustix::process::geteuid().is_root() {
            command.arg("--user=root");
        }
        command
    }

    /// Starts the server, where it does not run, and waits until it takes connections.
    ///
    /// # Panics
    /// If it does not.
    pub fn start(&mut self) {
        self.start_with(&[]);
    }

    /// As [`MariaDb::start`], with a certificate; it talks without TLS as well.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start_with_certificate(&mut self, own: &Issued) {
        own.put(self.folder.path(), "server");
        let option = |name: &str, file: &str| format!("--{name}={}", self.folder.path().join(file).display());
        self.start_with(&[option("ssl-cert", "server.pem"), option("ssl-key", "server-key.pem")]);
    }

    fn start_with(&mut self, options: &[String]) {
        assert!(self.server.is_none(), "it runs");
        let file = |name: &str| self.folder.path().join(name).display().to_string();
        let mut command = self.command("mariadbd");
        command
            .arg(format!("--bind-address={}", self.ip()))
            .arg(format!("--port={}", self.address.port()))
            .arg(format!("--socket={}", file("socket")))
            .arg(format!("--pid-file={}", file("pid")))
            .arg(format!("--init-file={}", file("accounts.sql")))
            .args(["--skip-name-resolve", "--skip-log-bin", "--innodb-flush-log-at-trx-commit=0"])
            .args(options);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the server's binary runs");
        let log = Log::default();
        log.read(child.stderr.take().expect("stderr is piped"));
        let (child, log) = self.server.insert((child, log));
        let ready =
            log.wait_for(|line| line.as_str().is_some_and(|line| line.contains("ready for connections")));
        assert!(ready.is_some(), "process {} does not take connections:\n{}", child.id(), log.text());
    }

    /// Kills the server as a loss of power does.
    ///
    /// # Panics
    /// If it does not run.
    pub fn kill(&mut self) {
        let (mut child, log) = self.server.take().expect("it runs");
        child.kill().unwrap_or_else(|error| panic!("{error}:\n{}", log.text()));
        child.wait().expect("it is ours");
    }

    /// Has the server do nothing, or go on: "STOP", "CONT".
    ///
    /// # Panics
    /// If it does not run.
    pub fn signal(&self, name: &str) {
        let (child, _) = self.server.as_ref().expect("it runs");
        let exit = run_to_end(Command::new("kill").arg(format!("-{name}")).arg(child.id().to_string()));
        assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    }

    /// Its address, with or without a server there.
    #[must_use]
    pub fn address(&self) -> String {
        self.address.url().replace("http://", "")
    }

    /// The loopback address of its own.
    ///
    /// # Panics
    /// Never.
    #[must_use]
    pub fn ip(&self) -> String {
        let address = self.address();
        address.rsplit_once(':').expect("it has a port").0.to_owned()
    }

    /// The URL of the database `flights`, with the password, for an account that may do everything there.
    #[must_use]
    pub fn url(&self) -> String {
        self.url_of(USER)
    }

    /// The same for an account that may only read.
    #[must_use]
    pub fn url_of_reader(&self) -> String {
        self.url_of(READER)
    }

    fn url_of(&self, user: &str) -> String {
        format!("mysql://{user}:{}@{}/flights", PASSWORD[1], self.address())
    }

    /// Returns whether a text shows the password, in any form.
    #[must_use]
    pub fn is_betrayed_by(&self, text: &str) -> bool {
        PASSWORD.iter().any(|password| text.contains(password)) || text.contains("canary")
    }
}

impl Default for MariaDb {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for MariaDb {
    fn drop(&mut self) {
        if self.server.is_some() {
            self.kill();
        }
    }
}
