//! Plain HTTP, by a client that knows nothing of the host's code.

use std::fmt;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use serde_json::Value;
use ureq::http::Request;

/// An answer, read to its end.
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &self.body[..self.body.len().min(2_000)];
        let Self { status, headers, body } = self;
        write!(f, "{status} {headers:?}, {} bytes: {}", body.len(), String::from_utf8_lossy(shown))
    }
}

impl Answer {
    /// The body as JSON.
    ///
    /// # Panics
    /// If it is not one.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.body)))
    }

    /// The status, the code and the detail of a problem.
    ///
    /// # Panics
    /// If it is not one.
    #[must_use]
    pub fn problem(&self) -> (u16, String, String) {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let json = self.json();
        assert_eq!(json["status"], self.status, "{json}");
        let text = |key: &str| json[key].as_str().unwrap_or_default().to_owned();
        (self.status, text("code"), text("detail"))
    }

    /// A header's value.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// A client that keeps its connections for the next request.
#[derive(Debug)]
pub struct Client(ureq::Agent);

impl Default for Client {
    fn default() -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_global(Some(Duration::from_secs(60)))
            .allow_non_standard_methods(true)
            .build();
        Self(config.into())
    }
}

impl Client {
    /// `POST` of JSON.
    #[must_use]
    pub fn post(&self, url: &str, body: &Value) -> Answer {
        let headers = [("content-type", "application/json")];
        self.send("POST", url, &headers, body.to_string().as_bytes())
    }

    /// Any request.
    #[must_use]
    pub fn send(&self, method: &str, url: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        send_on(&self.0, method, url, headers, body)
    }
}

/// Sends a request with a deadline of 60 s, on a connection of its own; statuses are not errors.
///
/// # Panics
/// If no answer comes.
#[must_use]
pub fn send(method: &str, url: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    send_on(&Client::default().0, method, url, headers, body)
}

fn send_on(agent: &ureq::Agent, method: &str, url: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let mut request = Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(body.to_vec()).expect("tests send well-formed requests");
    let mut response = agent.run(request).unwrap_or_else(|error| panic!("{method} {url}: {error}"));
    let headers = response
        .headers()
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect();
    let body = response.body_mut().with_config().limit(u64::MAX).read_to_vec().expect("the body arrives");
    Answer { status: response.status().as_u16(), headers, body }
}

/// `GET`.
#[must_use]
pub fn get(url: &str) -> Answer {
    send("GET", url, &[], b"")
}

/// `POST` of JSON.
#[must_use]
pub fn post(url: &str, body: &Value) -> Answer {
    send("POST", url, &[("content-type", "application/json")], body.to_string().as_bytes())
}

/// An address that refuses connections for as long as this lives: the near end of a connection to ourselves,
/// so that the system gives the port to no other process.
#[derive(Debug)]
pub struct ClosedPort {
    near: TcpStream,
    _far: TcpListener,
}

impl ClosedPort {
    /// Takes a port that the system chose.
    #[must_use]
    pub fn take() -> Self {
        let far = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
        let near = TcpStream::connect(far.local_addr().expect("it is bound")).expect("it listens");
        Self { near, _far: far }
    }

    /// `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.near.local_addr().expect("it is connected"))
    }
}

/// A request that was sent on a connection of its own. Dropping it closes the connection.
#[derive(Debug)]
pub struct Pending(TcpStream);

/// Sends bytes as they are.
pub(crate) fn begin(address: &str, request: &[u8]) -> Pending {
    let mut stream = TcpStream::connect(address).expect("the daemon accepts connections");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a minute is a timeout");
    stream.write_all(request).expect("the daemon takes the request");
    Pending(stream)
}

impl Pending {
    /// Waits for the answer, up to the end of the connection.
    ///
    /// # Panics
    /// If none comes.
    #[must_use]
    pub fn answer(self) -> Answer {
        self.try_answer().expect("the connection ended without an answer")
    }

    /// Waits for the answer; `None` if the connection ends without one.
    #[must_use]
    pub fn try_answer(self) -> Option<Answer> {
        read_answer(self.0)
    }
}

/// Reads an answer up to the end of the connection; `None` if it ends without one.
pub(crate) fn read_answer(mut from: impl Read) -> Option<Answer> {
    let mut bytes = Vec::new();
    // A reset connection is one way to end; what came before it counts.
    let _reset = from.read_to_end(&mut bytes);
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.lines();
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers = lines.filter_map(|line| line.split_once(':'));
    let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()));
    Some(Answer { status, headers: headers.collect(), body: bytes[end + 4..].to_vec() })
}
