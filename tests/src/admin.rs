//! The admin API of a daemon, over its unix socket, and over TCP where it has a listener.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::http::{begin, read_answer};
use crate::{Answer, Daemon, DaemonBuilder};

impl DaemonBuilder {
    /// Starts the daemon and waits until its admin socket answers: for a log that does not say so.
    ///
    /// # Panics
    /// If it does not.
    #[must_use]
    pub fn start_quietly(self) -> Daemon {
        let daemon = self.spawn();
        let deadline = Instant::now() + Duration::from_secs(60);
        while daemon.try_admin_get("plugins").is_none() {
            assert!(Instant::now() < deadline, "the daemon does not listen:\n{}", daemon.log());
            std::thread::yield_now();
        }
        daemon
    }
}

impl Daemon {
    /// The admin socket.
    #[must_use]
    pub fn admin_socket(&self) -> PathBuf {
        self.seen("state/admin.sock")
    }

    /// `GET` of a path below `/admin/v1/`.
    #[must_use]
    pub fn admin_get(&self, path: &str) -> Answer {
        self.admin("GET", path, "").expect("the connection ended without an answer")
    }

    /// `GET` of any path of the admin socket.
    #[must_use]
    pub fn admin_get_at(&self, path: &str) -> Answer {
        self.admin_at("GET", path, "").expect("the connection ended without an answer")
    }

    /// As [`Daemon::admin_get`]; `None` if nothing listens, or the connection ends without an answer.
    #[must_use]
    pub fn try_admin_get(&self, path: &str) -> Option<Answer> {
        self.admin("GET", path, "")
    }

    /// `POST` of JSON to a path below `/admin/v1/`.
    #[must_use]
    pub fn admin_post(&self, path: &str, body: &Value) -> Answer {
        self.try_admin_post(path, body).expect("the connection ended without an answer")
    }

    /// As [`Daemon::admin_post`]; `None` if nothing listens, or the connection ends without an answer.
    #[must_use]
    pub fn try_admin_post(&self, path: &str, body: &Value) -> Option<Answer> {
        self.admin("POST", path, &body.to_string())
    }

    /// The text of `GET /metrics`.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn metrics(&self) -> String {
        let answer = self.admin_at("GET", "/metrics", "").expect("the connection ended without an answer");
        assert_eq!(answer.status, 200);
        String::from_utf8(answer.body).expect("metrics are text")
    }

    /// The value of a metric, with its labels as they are shown; 0 if it is not there.
    ///
    /// # Panics
    /// If it is not a number.
    #[must_use]
    pub fn metric(&self, name: &str) -> f64 {
        let metrics = self.metrics();
        let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().expect("metrics are numbers"))
    }

    fn admin(&self, method: &str, path: &str, body: &str) -> Option<Answer> {
        self.admin_at(method, &format!("/admin/v1/{path}"), body)
    }

    fn admin_at(&self, method: &str, path: &str, body: &str) -> Option<Answer> {
        let mut stream = UnixStream::connect(self.admin_socket()).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(300))).expect("minutes are a timeout");
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).ok()?;
        read_answer(stream)
    }

    /// `ADDRESS:PORT` of the admin API over TCP.
    #[must_use]
    pub fn admin_address(&self) -> String {
        let line = self.logged("the admin API listens");
        line["address"].as_str().expect("the line has the address").to_owned()
    }

    /// Sends bytes as they are to the admin API over TCP; they should ask for `connection: close`.
    #[must_use]
    pub fn admin_raw(&self, request: impl AsRef<[u8]>) -> Answer {
        begin(&self.admin_address(), request.as_ref()).answer()
    }

    /// Sends bytes as they are to the admin API over its unix socket; they should ask for `connection: close`.
    ///
    /// # Panics
    /// If no answer comes.
    #[must_use]
    pub fn admin_unix_raw(&self, request: &str) -> Answer {
        let mut stream = UnixStream::connect(self.admin_socket()).expect("the socket is there");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a minute is a timeout");
        stream.write_all(request.as_bytes()).expect("the daemon takes the request");
        read_answer(stream).expect("the connection ended without an answer")
    }

    /// Asks for a reload of the whole host, without options.
    #[must_use]
    pub fn reload_host(&self) -> Answer {
        self.admin_post("reload", &json!({}))
    }

    /// Asks for a reload, without options.
    #[must_use]
    pub fn reload(&self, plugin: &str) -> Answer {
        self.admin_post(&format!("plugins/{plugin}/reload"), &json!({}))
    }

    /// Returns what the admin API says about one plugin.
    #[must_use]
    #[track_caller]
    pub fn plugin_status(&self, plugin: &str) -> Value {
        let answer = self.admin_get(&format!("plugins/{plugin}"));
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }
}
