//! A relay before a real host: it passes requests on, or does to them what networks, balancers, and those on the way do.

use std::collections::HashMap;
use std::fmt;
use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use framex_host::wire::CONTENT_TYPE;

use crate::faulty_peer::content_length;
use crate::{FreeAddress, frames, http_answer};

/// The longest silence of a connection.
const PATIENCE: Duration = Duration::from_secs(60);
/// The interval at which a relay that waits for the host checks that the client is still there.
const LOOK: Duration = Duration::from_millis(5);

/// The fate of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is passed on, and so is the answer.
    None,
    /// The same, after a while.
    Delay(Duration),
    /// The connection closes, and the host never sees the request.
    CloseUnsent,
    /// The host gets the request, and both connections close without waiting for it.
    CloseSent,
    /// The host answers, and the connection closes without that answer.
    CloseAnswered,
    /// Half of the answer comes.
    CutAnswer,
    /// An HTML page of a balancer comes, and the host never sees the request.
    BadGateway,
    /// Bytes of no meaning come as if they were sealed; the host sees the request or not.
    Junk(bool),
    /// The host answers, and the client waits for that until it gives up.
    Hold,
    /// The connection is reset; the host sees the request, to its end, or not.
    Reset(bool),
    /// It is passed on; then the host gets a copy of an older request that it has answered.
    OldCopy,
    /// The host gets a copy of the request, and then the request.
    CopyFirst,
}

/// A copy that a host got of an older request, and what it answered.
#[derive(Debug, Clone)]
pub struct Copied {
    /// The frame.
    pub frame: Vec<u8>,
    /// The body of the answer.
    pub answer: Vec<u8>,
}

/// A relay at an address of its own.
#[derive(Debug)]
pub struct Relay {
    at: FreeAddress,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

struct Shared {
    target: String,
    choose: Box<dyn Fn(usize) -> Fault + Send + Sync>,
    is_away: AtomicBool,
    calls: AtomicUsize,
    connections: AtomicUsize,
    /// The clients' ends.
    open: Mutex<HashMap<usize, TcpStream>>,
    /// The last call that the host answered.
    answered: Mutex<Option<Message>>,
    copied: Mutex<Vec<Copied>>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("target", &self.target).finish_non_exhaustive()
    }
}

impl Relay {
    /// Starts one before the host at `target`, an address. `choose` decides about each call, a `POST` that is not a hello, by
    /// its number from 0; other requests are passed on.
    ///
    /// # Panics
    /// If the system does not let it listen.
    #[must_use]
    pub fn start(target: &str, choose: impl Fn(usize) -> Fault + Send + Sync + 'static) -> Self {
        let shared = Arc::new(Shared {
            target: target.to_owned(),
            choose: Box::new(choose),
            is_away: AtomicBool::new(false),
            calls: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            open: Mutex::default(),
            answered: Mutex::default(),
            copied: Mutex::default(),
        });
        let mut relay = Self { at: FreeAddress::find(), shared, acceptor: None };
        relay.come_back();
        relay
    }

    /// `http://ADDRESS:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        self.at.url()
    }

    /// Returns how many calls arrived, with any fate.
    #[must_use]
    pub fn calls(&self) -> usize {
        self.shared.calls.load(Ordering::SeqCst)
    }

    /// The copies that the host got of older requests, with its answers.
    #[must_use]
    pub fn copied(&self) -> Vec<Copied> {
        locked(&self.shared.copied).clone()
    }

    /// Closes all connections; from now on, the system refuses new ones, as without a listener.
    pub fn leave(&mut self) {
        self.shared.is_away.store(true, Ordering::SeqCst);
        // Wakes the acceptor; if it cannot be reached, it has ended already.
        let _woken = TcpStream::connect((self.at.ip(), self.at.port()));
        if let Some(acceptor) = self.acceptor.take() {
            let _ended = acceptor.join();
        }
        for stream in locked(&self.shared.open).values() {
            // It may be gone already.
            let _ended = stream.shutdown(Shutdown::Both);
        }
    }

    /// Listens again.
    ///
    /// # Panics
    /// If the system does not let it.
    pub fn come_back(&mut self) {
        let listener =
            TcpListener::bind((self.at.ip(), self.at.port())).expect("no other process has the address");
        self.shared.is_away.store(false, Ordering::SeqCst);
        let shared = Arc::clone(&self.shared);
        self.acceptor = Some(std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if shared.is_away.load(Ordering::SeqCst) {
                    return;
                }
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || shared.serve(client));
            }
        }));
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.leave();
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Any fault ends the connection.
    fn serve(&self, client: TcpStream) {
        let number = self.connections.fetch_add(1, Ordering::SeqCst);
        let Ok(same) = client.try_clone() else { return };
        locked(&self.open).insert(number, same);
        let _ended = self.talk(Line::new(client, PATIENCE));
        locked(&self.open).remove(&number);
    }

    fn talk(&self, client: Result<Line>) -> Result<()> {
        let (mut client, mut host) = (client?, None);
        loop {
            let request = client.message(|| false)?;
            let is_call = request.is_call();
            let fault = match is_call {
                true => (self.choose)(self.calls.fetch_add(1, Ordering::SeqCst)),
                false => Fault::None,
            };
            match fault {
                // That is what it does; nothing waits for it.
                Fault::Delay(time) => std::thread::park_timeout(time),
                Fault::CopyFirst => drop(self.ask(&mut None, &request, &client)),
                Fault::BadGateway | Fault::Junk(false) => {
                    client.send(&made_up(fault))?;
                    continue;
                }
                Fault::CloseUnsent => return Ok(()),
                Fault::Reset(false) => return client.reset_when_dropped(),
                Fault::CloseSent => return Line::connect(&self.target)?.send(&request.bytes),
                _ => {}
            }
            let answer = self.ask(&mut host, &request, &client)?;
            match fault {
                Fault::CloseAnswered => return Ok(()),
                Fault::Reset(_) => return client.reset_when_dropped(),
                Fault::CutAnswer => return client.send(&answer.bytes[..answer.bytes.len() / 2]),
                Fault::Hold => return client.wait_for_close(),
                Fault::Junk(_) => client.send(&made_up(fault))?,
                Fault::OldCopy => {
                    self.copy_old(&client);
                    client.send(&answer.bytes)?;
                }
                _ => client.send(&answer.bytes)?,
            }
            if is_call {
                *locked(&self.answered) = Some(request);
            }
        }
    }

    /// Passes a request on, over a connection that is kept, and returns the answer; an error once the client is gone.
    fn ask(&self, host: &mut Option<Line>, request: &Message, client: &Line) -> Result<Message> {
        let host = match host {
            Some(host) => host,
            None => host.insert(Line::connect(&self.target)?),
        };
        host.send(&request.bytes)?;
        host.message(|| client.is_there())
    }

    /// Sends the last request that was answered once more.
    fn copy_old(&self, client: &Line) {
        let Some(old) = locked(&self.answered).clone() else { return };
        if let Ok(answer) = self.ask(&mut None, &old, client) {
            let copied = Copied { frame: old.body().to_vec(), answer: answer.body().to_vec() };
            locked(&self.copied).push(copied);
        }
    }
}

/// The text that an attacker between the hosts sends instead of an answer.
fn made_up(fault: Fault) -> Vec<u8> {
    if fault == Fault::BadGateway {
        let html = [("content-type", "text/html")];
        return http_answer("502 Bad Gateway", &html, b"<html>bad gateway</html>");
    }
    http_answer("200 OK", &[("content-type", CONTENT_TYPE)], &[0xa5; 200])
}

/// A request or an answer as it came.
#[derive(Clone)]
struct Message {
    bytes: Vec<u8>,
    head_bytes: usize,
}

impl Message {
    /// A `POST` that is not a hello.
    fn is_call(&self) -> bool {
        let is_hello = || frames::greeting(self.body()).is_some();
        self.bytes.starts_with(b"POST ") && !is_hello()
    }

    fn body(&self) -> &[u8] {
        &self.bytes[self.head_bytes..]
    }
}

/// One end of a connection.
struct Line(TcpStream);

impl Line {
    /// `look` is how often a wait for a message asks whether it goes on.
    fn new(stream: TcpStream, look: Duration) -> Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_read_timeout(Some(look))?;
        Ok(Self(stream))
    }

    fn connect(target: &str) -> Result<Self> {
        Self::new(TcpStream::connect(target)?, LOOK)
    }

    fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.0.write_all(bytes)
    }

    /// Reads a whole message, as long as `goes_on` says so. The peer sends the next one only after the answer to this one.
    fn message(&mut self, goes_on: impl Fn() -> bool) -> Result<Message> {
        let (mut bytes, mut chunk, begun) = (Vec::new(), [0; 16 << 10], Instant::now());
        loop {
            match self.0.read(&mut chunk) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => bytes.extend_from_slice(&chunk[..count]),
                Err(error) if is_silence(&error) && goes_on() && begun.elapsed() < PATIENCE => {}
                Err(error) => return Err(error),
            }
            let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
            if let Some(head_bytes) = end.map(|end| end + 4) {
                let head = String::from_utf8_lossy(&bytes[..head_bytes]).to_ascii_lowercase();
                // An answer without a body need not have it.
                if bytes.len() >= head_bytes + content_length(&head).unwrap_or(0) {
                    return Ok(Message { bytes, head_bytes });
                }
            }
        }
    }

    /// Returns whether the other side has not closed yet.
    fn is_there(&self) -> bool {
        let looked = self.0.set_nonblocking(true).and_then(|()| self.0.peek(&mut [0]));
        let is_there = looked.map_or_else(|error| is_silence(&error), |count| count > 0);
        self.0.set_nonblocking(false).is_ok() && is_there
    }

    fn wait_for_close(&mut self) -> Result<()> {
        self.message(|| false).map(drop)
    }

    /// The other side is told that the connection broke, rather than that it ended.
    fn reset_when_dropped(&self) -> Result<()> {
        Ok(rustix::net::sockopt::set_socket_linger(&self.0, Some(Duration::ZERO))?)
    }
}

fn is_silence(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}
