//! A key that a reload takes out opens nothing from then on, also not what had begun to arrive before.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use framex_host::wire;
use framex_tests::{Daemon, frames, until};
use serde_json::json;

const ECHO: &str = "misbehave.functions.echo";
const WEB: &str = "web-key-of-16-bytes";

fn host(config: &str) -> Daemon {
    Daemon::builder().plugin("misbehave").config("server.body_timeout_ms = 60000").config(config).start()
}

fn reload(host: &Daemon, config: &str) {
    host.put_config(&format!("server.body_timeout_ms = 60000\n{config}\n"));
    let answer = host.reload_host();
    assert_eq!(answer.status, 200, "{}", answer.json());
}

/// A request whose body is still arriving.
struct Begun {
    stream: TcpStream,
    rest: Vec<u8>,
}

impl Begun {
    /// Sends the head and the first bytes of the body, and waits until the host has them.
    fn new(host: &Daemon, head: &str, body: &[u8], first: usize) -> Self {
        let before = host.metric("framex_body_memory_bytes");
        let mut stream = TcpStream::connect(host.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let head = format!("{head}connection: close\r\ncontent-length: {}\r\n\r\n", body.len());
        stream.write_all(&[head.as_bytes(), &body[..first]].concat()).unwrap();
        until("its first bytes have arrived", || {
            host.metric("framex_body_memory_bytes") >= before + first as f64
        });
        Self { stream, rest: body[first..].to_vec() }
    }

    fn end(mut self) -> (u16, String) {
        self.stream.write_all(&self.rest).unwrap();
        let mut text = Vec::new();
        std::io::Read::read_to_end(&mut self.stream, &mut text).unwrap();
        let text = String::from_utf8_lossy(&text).into_owned();
        (text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default(), text)
    }
}

#[test]
fn a_frame_is_opened_with_the_keys_of_its_last_byte() {
    let keys = |secrets: &[&str]| frames::rules(secrets);
    let host = host(&keys(&[frames::SECRET, frames::OTHER_SECRET]));
    let head =
        format!("POST /api/v1/proxy/remote HTTP/1.1\r\nhost: a\r\ncontent-type: {}\r\n", wire::CONTENT_TYPE);
    let begin = |secret: &str| {
        let envelope = frames::envelope(ECHO, &json!({"data": "eA=="}));
        let (_, frame) = frames::seal(&frames::key_of(secret), &envelope);
        Begun::new(&host, &head, &frame, 70)
    };
    let (stays, removed, unchanged) =
        (begin(frames::SECRET), begin(frames::OTHER_SECRET), begin(frames::OTHER_SECRET));
    assert_eq!(unchanged.end().0, 200);
    reload(&host, &keys(&[frames::SECRET]));
    let (status, text) = removed.end();
    assert_eq!(status, 401, "{text}");
    assert_eq!(stays.end().0, 200);
    host.stop();
}

#[test]
fn a_plain_call_is_judged_when_its_body_has_arrived() {
    let rules = |key: &str| format!("auth.rules = {{ \"/api/v1/functions/*\" = [{key:?}] }}");
    let callers =
        |functions: &str| format!("[auth.callers]\nweb = {{ keys = [{WEB:?}], functions = {functions} }}");
    let head = |key: &str| {
        format!(
            "POST /api/v1/functions/{ECHO} HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n{key}"
        )
    };
    let with_key = head(&format!("authorization: Bearer {WEB}\r\n"));
    let body = br#"{"data": "eA=="}"#;
    for (before, after, head, status) in [
        (rules(WEB), rules("another-key-of-16-bytes"), &with_key, 401),
        (rules(WEB), rules(WEB) + "\nserver.queue_max = 7", &with_key, 200),
        (callers("[\"*\"]"), callers("[\"demo.*\"]"), &with_key, 403),
        (callers("[\"*\"]"), callers("[\"misbehave.*\"]"), &with_key, 200),
        (String::new(), rules(WEB), &head(""), 401),
        (String::new(), rules(WEB), &with_key, 200),
        (rules(WEB), String::new(), &with_key, 200),
    ] {
        let host = host(&before);
        let begun = Begun::new(&host, head, body, 4);
        reload(&host, &after);
        let (found, text) = begun.end();
        assert_eq!(found, status, "{before} then {after}: {text}");
        host.stop();
    }
}
