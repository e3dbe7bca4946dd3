//! The cost of strangers for callers with a key, against the cost of the same clients for a bare hyper server: they
//! share its processors, and nothing else may be in it.

use std::convert::Infallible;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use framex_host::wire;
use framex_tests::{Daemon, frames};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use serde_json::json;

use super::{ECHO, KEY, begun_frame, connect_from, frame, head, http2_frames, with_keys};

/// The duration of each of the four loads in a round, and the number of rounds.
const ROUND: Duration = Duration::from_millis(1200);
const ROUNDS: usize = 3;
/// Callers with a key, each of which waits for its answer.
const CALLERS: usize = 4;

/// A server that gives every body back.
struct Bare {
    address: SocketAddr,
    _runtime: tokio::runtime::Runtime,
}

impl Bare {
    fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let handle = runtime.handle().clone();
        let _accepting = runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let _nodelay = stream.set_nodelay(true);
                let _serving = handle.spawn(async move {
                    let service = service_fn(|request: Request<Incoming>| async move {
                        let body = request.into_body().collect().await.map(|body| body.to_bytes());
                        Ok::<_, Infallible>(Response::new(Full::<Bytes>::new(body.unwrap_or_default())))
                    });
                    let server = auto::Builder::new(TokioExecutor::new());
                    let _ended = server.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { address, _runtime: runtime }
    }
}

/// Sends a request and takes its answer; `false` if the connection has ended.
fn ask(stream: &mut TcpStream, request: &[u8]) -> bool {
    if stream.write_all(request).is_err() {
        return false;
    }
    let (mut answer, mut some) = (Vec::new(), [0; 16 << 10]);
    loop {
        match stream.read(&mut some) {
            Ok(count) if count > 0 => answer.extend(&some[..count]),
            _ => return false,
        }
        let Some(end) = answer.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let text = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
        let length =
            text.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
        if answer.len() - end - 4 >= length.unwrap_or_default() {
            return true;
        }
    }
}

fn plain(key: &str) -> Vec<u8> {
    let body = r#"{"data": "eA=="}"#;
    let length = body.len();
    format!(
        "POST /api/v1/functions/{ECHO} HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n{key}content-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n").into_bytes()
}

/// The load of callers with a key: half of them seal their calls.
fn call(number: usize, address: &str, stop: &AtomicBool, done: &AtomicUsize) {
    let mut stream = connect_from(1, address).unwrap();
    let plain = plain(&format!("authorization: {KEY}\r\n"));
    while !stop.load(Ordering::Relaxed) {
        let request = if number.is_multiple_of(2) {
            plain.clone()
        } else {
            let envelope = frames::envelope(ECHO, &json!({"data": "eA=="}));
            let (_, frame) = frames::seal(&frames::key(), &envelope);
            [head(frame.len()).as_bytes(), &frame].concat()
        };
        assert!(ask(&mut stream, &request), "a caller's connection ends");
        done.fetch_add(1, Ordering::Relaxed);
    }
}

/// The load of a stranger, repeated on one connection or on many.
fn annoy(number: u8, address: &str, stop: &AtomicBool) {
    let unknown = begun_frame(frames::OTHER_SECRET, 300);
    let known = begun_frame(frames::SECRET, 300);
    let sealed = |frame: &[u8]| [head(frame.len()).as_bytes(), frame].concat();
    let asks = |request: Vec<u8>| {
        while !stop.load(Ordering::Relaxed) {
            let Some(mut stream) = connect_from(number + 2, address) else { continue };
            while !stop.load(Ordering::Relaxed) && ask(&mut stream, &request) {}
        }
    };
    match number {
        0 => asks(plain("")),
        1 => asks(plain("authorization: wrong\r\n")),
        2 => asks(sealed(&unknown)),
        3 => asks(sealed(&known)),
        4 => asks(get("/api/v1/functions")),
        5 => asks(get("/health")),
        // Bodies that do not end, on connections that come and go.
        6 => {
            while !stop.load(Ordering::Relaxed) {
                let begun = (0..32).filter_map(|_| {
                    let mut stream = connect_from(number + 2, address)?;
                    stream.write_all(&[head(4 << 20).as_bytes(), &known[..100]].concat()).ok()?;
                    Some(stream)
                });
                let held: Vec<TcpStream> = begun.collect();
                // No faster than the server goes.
                let _answered = connect_from(number + 2, address)
                    .is_some_and(|mut stream| ask(&mut stream, &get("/health")));
                drop(held);
            }
        }
        // The same as streams of HTTP/2.
        _ => {
            let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
            let path = text("/api/v1/proxy/remote");
            let head = [&[0x83, 0x86, 0x04][..], &path, &[0x0f, 0x10], &text(wire::CONTENT_TYPE)].concat();
            let mut bytes = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(4, 0, 0, &[])].concat();
            for stream in 0..200 {
                bytes.extend(frame(1, 4, stream * 2 + 1, &head));
                bytes.extend(frame(0, 0, stream * 2 + 1, &known[..100]));
            }
            bytes.extend(frame(6, 0, 0, b"the end."));
            while !stop.load(Ordering::Relaxed) {
                let Some(mut stream) = connect_from(number + 2, address) else { continue };
                let _sent = stream.write_all(&bytes);
                // No faster than the server goes: it answers the ping once it has read all of this.
                let (mut answer, mut some) = (Vec::new(), [0; 4096]);
                while !http2_frames(&answer).any(|(kind, _)| kind == 6) {
                    match stream.read(&mut some) {
                        Ok(count) if count > 0 => answer.extend(&some[..count]),
                        _ => break,
                    }
                }
            }
        }
    }
}

/// Returns how many calls the callers complete in a round, with strangers from eight addresses or without.
fn goodput(address: &str, with_strangers: bool) -> usize {
    let (stop, done) = (AtomicBool::new(false), AtomicUsize::new(0));
    let (stop, done) = (&stop, &done);
    std::thread::scope(|scope| {
        if with_strangers {
            for number in 0..8 {
                scope.spawn(move || annoy(number, address, stop));
            }
        }
        for number in 0..CALLERS {
            scope.spawn(move || call(number, address, stop, done));
        }
        // Not counted while they begin.
        std::thread::park_timeout(ROUND / 4);
        let before = done.load(Ordering::Relaxed);
        let begun = std::time::Instant::now();
        while begun.elapsed() < ROUND {
            std::thread::park_timeout(ROUND - begun.elapsed());
        }
        let count = done.load(Ordering::Relaxed) - before;
        stop.store(true, Ordering::Relaxed);
        count
    })
}

#[test]
fn strangers_cost_callers_with_a_key_little_more_than_their_processors() {
    let host: Daemon = with_keys("");
    let bare = Bare::start();
    let servers = [host.address().to_owned(), bare.address.to_string()];
    let shares: Vec<[f64; 2]> = (0..ROUNDS)
        .map(|_| {
            servers.each_ref().map(|address| {
                let (quiet, annoyed) = (goodput(address, false), goodput(address, true));
                println!("{address}: {quiet} calls, {annoyed} with strangers");
                annoyed as f64 / quiet.max(1) as f64
            })
        })
        .collect();
    let median = |which: usize| {
        let mut all: Vec<f64> = shares.iter().map(|shares| shares[which]).collect();
        all.sort_by(f64::total_cmp);
        all[all.len() / 2]
    };
    let (here, there) = (median(0), median(1));
    println!("{here:.2} of the calls are left, {there:.2} with a bare server");
    assert!(here >= there * 0.8, "{here:.2} of the calls are left, {there:.2} with a bare server");
    host.stop();
}
