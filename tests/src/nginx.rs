//! nginx in front of hosts: its own process, on a loopback address of its own, with its files in a scratch folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::log::Log;
use crate::{FreeAddress, until};

/// A running nginx; killed when dropped.
#[derive(Debug)]
pub struct Nginx {
    child: Child,
    log: Log,
    address: FreeAddress,
    _folder: TempDir,
}

impl Nginx {
    /// Starts nginx with one server, and waits until it listens. `http` has directives of the block `http`, such as an
    /// `upstream`; `server` has the lines of the block `server`, without `listen`.
    ///
    /// # Panics
    /// If nginx is not installed, or does not take the directives.
    #[must_use]
    pub fn start(http: &str, server: &str) -> Self {
        let folder = TempDir::new().expect("there is room for temporary files");
        let address = FreeAddress::find();
        let path = folder.path().display();
        let kinds = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
        let places = kinds.map(|kind| format!("{kind}_temp_path {path}/{kind};"));
        let listen = format!("{}:{}", address.ip(), address.port());
        // One process, so that killing it leaves nothing behind; what it does for clients and upstreams is the same.
        let config = format!(
            "daemon off;\nmaster_process off;\npid {path}/nginx.pid;\nerror_log stderr;\nevents {{}}\n\
             http {{\naccess_log off;\n{}\n{http}\nserver {{\nlisten {listen};\n{server}\n}}\n}}\n",
            places.join("\n")
        );
        let file = folder.path().join("nginx.conf");
        fs::write(&file, config).expect("a scratch folder takes files");
        let mut command = Command::new(program());
        command.arg("-p").arg(folder.path()).arg("-c").arg(&file).args(["-e", "stderr"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("nginx runs");
        let log = Log::default();
        log.read(child.stderr.take().expect("stderr is piped"));
        let this = Self { child, log, address, _folder: folder };
        until("nginx listens", || {
            assert!(!this.log.text().contains("[emerg]"), "{}", this.log.text());
            std::net::TcpStream::connect(&listen).is_ok()
        });
        this
    }

    /// `http://ADDRESS:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        self.address.url()
    }

    /// Returns nginx's error log so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.log.text()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn program() -> PathBuf {
    let folders = ["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin"];
    let found = folders.iter().map(|folder| Path::new(folder).join("nginx")).find(|place| place.exists());
    found.expect("nginx is installed: scripts/test.sh does that")
}
