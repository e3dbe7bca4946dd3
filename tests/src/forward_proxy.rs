//! A proxy as networks have them that let only HTTP out: CONNECT and absolute-form requests, on loopback.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// The longest silence of a connection.
const PATIENCE: Duration = Duration::from_secs(30);
/// Longest head of a request.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// A proxy that knows one name, and notes all that it sees.
#[derive(Debug)]
pub struct ForwardProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    name: String,
    target: String,
    /// Its answer when it has opened a tunnel.
    welcome: &'static str,
    /// Its answer instead of doing its work.
    refusal: Option<&'static str>,
    /// The `proxy-authorization` that it requires.
    authorization: Option<&'static str>,
    stopping: AtomicBool,
    heads: Mutex<Vec<String>>,
    seen: Mutex<Vec<u8>>,
}

impl ForwardProxy {
    /// Starts one that resolves `name` to `target`, an address with a port.
    #[must_use]
    pub fn start(name: &str, target: &str) -> Self {
        Self::start_at(Ipv4Addr::LOCALHOST.into(), name, target)
    }

    /// As [`ForwardProxy::start`], on another address of this machine. In a network of its own, it has to be dropped
    /// in there as well.
    #[must_use]
    pub fn start_at(ip: IpAddr, name: &str, target: &str) -> Self {
        Self::start_with(ip, name, target, "200 Connection established", None, None)
    }

    /// As [`ForwardProxy::start`], but it says this when it has opened a tunnel.
    #[must_use]
    pub fn welcoming(status: &'static str, name: &str, target: &str) -> Self {
        Self::start_with(Ipv4Addr::LOCALHOST.into(), name, target, status, None, None)
    }

    /// As [`ForwardProxy::start`], but it answers everything with this status line.
    #[must_use]
    pub fn refusing(status: &'static str) -> Self {
        Self::start_with(Ipv4Addr::LOCALHOST.into(), "", "", "200", Some(status), None)
    }

    /// As [`ForwardProxy::start`], but it wants this value in `proxy-authorization`.
    #[must_use]
    pub fn wanting(authorization: &'static str, name: &str, target: &str) -> Self {
        Self::start_with(Ipv4Addr::LOCALHOST.into(), name, target, "200", None, Some(authorization))
    }

    fn start_with(
        ip: IpAddr,
        name: &str,
        target: &str,
        welcome: &'static str,
        refusal: Option<&'static str>,
        authorization: Option<&'static str>,
    ) -> Self {
        let listener = TcpListener::bind((ip, 0)).expect("the system has a port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            target: target.to_owned(),
            welcome,
            refusal,
            authorization,
            stopping: AtomicBool::new(false),
            heads: Mutex::default(),
            seen: Mutex::default(),
        });
        let of_acceptor = Arc::clone(&shared);
        let acceptor = std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if of_acceptor.stopping.load(Ordering::SeqCst) {
                    return;
                }
                let shared = Arc::clone(&of_acceptor);
                // Any fault ends the connection, as with a real proxy.
                std::thread::spawn(move || shared.serve(stream));
            }
        });
        Self { address, shared, acceptor: Some(acceptor) }
    }

    /// `127.0.0.1:PORT`.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The heads of all requests so far.
    #[must_use]
    pub fn heads(&self) -> Vec<String> {
        self.shared.heads.lock().expect("no thread panics with the lock").clone()
    }

    /// Returns whether these bytes passed, in one piece.
    #[must_use]
    pub fn saw(&self, bytes: &[u8]) -> bool {
        let seen = self.shared.seen.lock().expect("no thread panics with the lock");
        seen.windows(bytes.len()).any(|window| window == bytes)
    }

    /// Returns how many bytes passed.
    #[must_use]
    pub fn passed(&self) -> usize {
        self.shared.seen.lock().expect("no thread panics with the lock").len()
    }
}

impl Drop for ForwardProxy {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        // Wakes the acceptor; if it cannot be reached, it has ended already.
        let _woken = TcpStream::connect(self.address);
        if let Some(acceptor) = self.acceptor.take() {
            let _ended = acceptor.join();
        }
    }
}

impl Shared {
    fn serve(self: Arc<Self>, mut client: TcpStream) -> Option<()> {
        client.set_read_timeout(Some(PATIENCE)).ok()?;
        let head = self.head(&mut client)?;
        self.heads.lock().ok()?.push(head.clone());
        let header = |name: &str| {
            let mut lines = head.lines().skip(1).filter_map(|line| line.split_once(':'));
            lines
                .find(|(known, _)| known.eq_ignore_ascii_case(name))
                .map(|(_, value)| value.trim().to_owned())
        };
        let unauthorised =
            self.authorization.filter(|wanted| header("proxy-authorization").as_deref() != Some(wanted));
        let refusal = self.refusal.or(unauthorised.map(|_| "407 Proxy Authentication Required"));
        if let Some(status) = refusal {
            let body = "<html>the proxy says no</html>";
            let answer = format!(
                "HTTP/1.1 {status}\r\ncontent-type: text/html\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
            client.write_all(answer.as_bytes()).ok()?;
            client.shutdown(Shutdown::Write).ok()?;
            // The rest of the request: closed before, the answer might be lost.
            return std::io::copy(&mut client, &mut std::io::sink()).ok().map(drop);
        }
        let mut words = head.split(' ');
        let (method, target) = (words.next()?, words.next()?);
        let is_tunnel = method == "CONNECT";
        let authority = target.strip_prefix("http://").unwrap_or(target).split('/').next()?;
        let (name, _port) = authority.rsplit_once(':')?;
        if name != self.name {
            return client
                .write_all(b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                .ok();
        }
        let mut server = TcpStream::connect(&self.target).ok()?;
        server.set_read_timeout(Some(PATIENCE)).ok()?;
        if is_tunnel {
            client.write_all(format!("HTTP/1.1 {}\r\n\r\n", self.welcome).as_bytes()).ok()?;
        } else {
            let path = target.strip_prefix("http://")?.strip_prefix(authority)?;
            // One request for each connection, so that no second head has to be found in what follows.
            let own = ["connection", "proxy-authorization"];
            let of_client = head.lines().skip(1).filter(|line| {
                let name = line.split(':').next().unwrap_or_default();
                !line.is_empty() && !own.iter().any(|own| name.eq_ignore_ascii_case(own))
            });
            let mut forwarded = format!("{method} {path} HTTP/1.1\r\nconnection: close\r\n");
            for line in of_client {
                forwarded.push_str(&format!("{line}\r\n"));
            }
            server.write_all(format!("{forwarded}\r\n").as_bytes()).ok()?;
        }
        let (client_reads, server_writes) = (client.try_clone().ok()?, server.try_clone().ok()?);
        let shared = Arc::clone(&self);
        let upwards = std::thread::spawn(move || shared.pass(client_reads, server_writes));
        self.pass(server, client);
        upwards.join().ok()
    }

    fn head(&self, client: &mut TcpStream) -> Option<String> {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            if head.len() > HEAD_BYTES_MAX || client.read(&mut byte).ok()? == 0 {
                return None;
            }
            head.extend(byte);
        }
        self.seen.lock().ok()?.extend(&head);
        String::from_utf8(head).ok()
    }

    /// Passes bytes on until one side ends.
    fn pass(&self, mut from: TcpStream, mut to: TcpStream) {
        let mut buffer = [0; 16 << 10];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            if let Ok(mut seen) = self.seen.lock() {
                seen.extend(&buffer[..count]);
            }
            if to.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
        // The other side may be gone already.
        let _ended = to.shutdown(Shutdown::Write);
    }
}
