//! A peer that does what a script says, over a real socket, and counts what reaches it.
//!
//! Hellos that open with the keys of `frames` are answered before the script sees them, and not counted: the script is
//! about calls. A peer that [`FaultyPeer::knows_no_hellos`] leaves them to its script.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::frames;

/// The time that a script waits for a host before it gives up.
const PATIENCE: Duration = Duration::from_secs(30);
/// Longest frame that may be a hello.
const HELLO_BYTES_MAX: usize = 512;
/// Largest request that a script reads.
const REQUEST_BYTES_MAX: usize = 16 << 20;

/// A listener on a port of its own; each connection is served by the script, on its own thread.
#[derive(Debug)]
pub struct FaultyPeer {
    address: SocketAddr,
    counts: Arc<Counts>,
    stopping: Arc<AtomicBool>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Counts {
    connections: AtomicUsize,
    requests: AtomicUsize,
    bytes_sent: AtomicUsize,
    frames: Mutex<Vec<Vec<u8>>>,
    leaves_hellos: AtomicBool,
}

/// One connection, as a script sees it.
#[derive(Debug)]
pub struct Conversation {
    stream: TcpStream,
    counts: Arc<Counts>,
}

impl FaultyPeer {
    /// Starts to listen. `script` has each connection to itself; the connection closes when it returns.
    ///
    /// # Panics
    /// If the system has no port.
    #[must_use]
    pub fn start(script: impl Fn(&mut Conversation) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("the system has a port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let counts = Arc::new(Counts::default());
        let stopping = Arc::new(AtomicBool::new(false));
        let (shared, stop, script) = (Arc::clone(&counts), Arc::clone(&stopping), Arc::new(script));
        let acceptor = std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                shared.connections.fetch_add(1, Ordering::SeqCst);
                stream.set_read_timeout(Some(PATIENCE)).expect("the time is not zero");
                stream.set_write_timeout(Some(PATIENCE)).expect("the time is not zero");
                let mut conversation = Conversation { stream, counts: Arc::clone(&shared) };
                let script = Arc::clone(&script);
                std::thread::spawn(move || script(&mut conversation));
            }
        });
        Self { address, counts, stopping, acceptor: Some(acceptor) }
    }

    /// A peer that answers every request with the bytes that `answer` makes of its body, and keeps connections.
    #[must_use]
    pub fn answering(answer: impl Fn(&[u8]) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self::start(move |conversation| {
            while let Some(body) = conversation.request() {
                if !conversation.send(&answer(&body)) {
                    return;
                }
            }
        })
    }

    /// A peer that answers each request with the bytes that `answer` makes of its head and body, and keeps connections.
    #[must_use]
    pub fn serving(answer: impl Fn(&str, &[u8]) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self::start(move |conversation| {
            while let Some((head, body)) = conversation.message() {
                if !conversation.send(&answer(&head, &body)) {
                    return;
                }
            }
        })
    }

    /// Leaves hellos to the script, as any other request.
    #[must_use]
    pub fn knows_no_hellos(self) -> Self {
        self.counts.leaves_hellos.store(true, Ordering::SeqCst);
        self
    }

    /// `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Connections so far.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.counts.connections.load(Ordering::SeqCst)
    }

    /// Whole requests so far.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.counts.requests.load(Ordering::SeqCst)
    }

    /// Bytes that the scripts sent and the system took.
    #[must_use]
    pub fn bytes_sent(&self) -> usize {
        self.counts.bytes_sent.load(Ordering::SeqCst)
    }

    /// The bodies of the requests so far.
    ///
    /// # Panics
    /// If a script panicked.
    #[must_use]
    pub fn frames(&self) -> Vec<Vec<u8>> {
        self.counts.frames.lock().expect("scripts do not panic with the lock").clone()
    }
}

impl Drop for FaultyPeer {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::SeqCst);
        // Wakes the acceptor; if it cannot be reached, it has ended already.
        let _woken = TcpStream::connect(self.address);
        if let Some(acceptor) = self.acceptor.take() {
            let _ended = acceptor.join();
        }
    }
}

impl Conversation {
    /// Reads one request and returns its body; `None` once the other side is gone.
    pub fn request(&mut self) -> Option<Vec<u8>> {
        self.request_without(0)
    }

    /// As [`Conversation::request`], but leaves the last `unread` bytes of the body with the system.
    pub fn request_without(&mut self, unread: usize) -> Option<Vec<u8>> {
        let (_, length) = self.head_after_hellos()?;
        let mut body = vec![0; length?.checked_sub(unread)?];
        self.stream.read_exact(&mut body).ok()?;
        self.counts.frames.lock().ok()?.push(body.clone());
        self.counts.requests.fetch_add(1, Ordering::SeqCst);
        Some(body)
    }

    /// Reads one request of any kind, and returns its head in lower case and its body; `None` once the other side is gone.
    pub fn message(&mut self) -> Option<(String, Vec<u8>)> {
        let (head, length) = self.head_after_hellos()?;
        let mut body = vec![0; length.unwrap_or(0)];
        self.stream.read_exact(&mut body).ok()?;
        if !body.is_empty() {
            self.counts.frames.lock().ok()?.push(body.clone());
        }
        self.counts.requests.fetch_add(1, Ordering::SeqCst);
        Some((head, body))
    }

    /// Reads the next head that is not that of a hello, with the length of the body that follows. Of a hello, all that
    /// is read is answered.
    fn head_after_hellos(&mut self) -> Option<(String, Option<usize>)> {
        loop {
            let head = self.head()?;
            let length = content_length(&head);
            let leaves_hellos = self.counts.leaves_hellos.load(Ordering::SeqCst);
            let Some(bytes) = length.filter(|bytes| *bytes <= HELLO_BYTES_MAX && !leaves_hellos) else {
                return Some((head, length));
            };
            let mut body = vec![0; bytes];
            if !self.peek_whole(&mut body)? {
                return Some((head, length));
            }
            let Some(greeting) = frames::greeting(&body) else { return Some((head, length)) };
            self.stream.read_exact(&mut body).ok()?;
            self.stream.write_all(&greeting).ok()?;
        }
    }

    /// Waits for as many bytes as fit, and leaves them with the system; `false` if they do not come.
    fn peek_whole(&mut self, bytes: &mut [u8]) -> Option<bool> {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            match self.stream.peek(bytes).ok()? {
                0 => return Some(false),
                count if count == bytes.len() => return Some(true),
                _ => std::thread::park_timeout(Duration::from_millis(1)),
            }
        }
        Some(false)
    }

    fn head(&mut self) -> Option<String> {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            if head.len() > REQUEST_BYTES_MAX || self.stream.read(&mut byte).ok()? == 0 {
                return None;
            }
            head.extend(byte);
        }
        Some(String::from_utf8_lossy(&head).to_ascii_lowercase())
    }

    /// Sends bytes, and returns whether the other side still takes them.
    pub fn send(&mut self, bytes: &[u8]) -> bool {
        let sent = self.stream.write_all(bytes).is_ok();
        if sent {
            self.counts.bytes_sent.fetch_add(bytes.len(), Ordering::SeqCst);
        }
        sent
    }

    /// Waits until the other side closes.
    pub fn wait_for_close(&mut self) {
        let mut rest = [0; 1024];
        while self.stream.read(&mut rest).is_ok_and(|count| count > 0) {}
    }
}

/// The length of the body that a head announces.
pub(crate) fn content_length(head: &str) -> Option<usize> {
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"))?;
    length.trim().parse().ok().filter(|length| *length <= REQUEST_BYTES_MAX)
}

/// An HTTP answer with a content-length that fits.
#[must_use]
pub fn http_answer(status: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    [head.as_bytes(), b"\r\n", body].concat()
}
