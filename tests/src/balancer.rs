//! A load balancer that knows nothing but TCP: each connection goes to the next of its targets.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// The longest silence of a connection.
const PATIENCE: Duration = Duration::from_secs(60);

/// Several hosts behind one URL.
#[derive(Debug)]
pub struct Balancer {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    targets: Vec<Target>,
    stopping: AtomicBool,
}

#[derive(Debug)]
struct Target {
    address: String,
    /// Connections so far, and open ones.
    connections: AtomicUsize,
    open: AtomicUsize,
}

impl Balancer {
    /// Starts one before these addresses.
    ///
    /// # Panics
    /// If the system has no port.
    #[must_use]
    pub fn start(targets: &[&str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("the system has a port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let target = |address: &&str| Target {
            address: (*address).to_owned(),
            connections: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
        };
        let targets = targets.iter().map(target).collect();
        let shared = Arc::new(Shared { targets, stopping: AtomicBool::new(false) });
        let of_acceptor = Arc::clone(&shared);
        let acceptor = std::thread::spawn(move || {
            for (number, stream) in listener.incoming().map_while(Result::ok).enumerate() {
                if of_acceptor.stopping.load(Ordering::SeqCst) {
                    return;
                }
                let shared = Arc::clone(&of_acceptor);
                // Any fault ends the connection.
                std::thread::spawn(move || {
                    let target = &shared.targets[number % shared.targets.len()];
                    target.connections.fetch_add(1, Ordering::SeqCst);
                    target.open.fetch_add(1, Ordering::SeqCst);
                    let _ended = join(stream, &target.address);
                    target.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self { address, shared, acceptor: Some(acceptor) }
    }

    /// `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Connections so far, for each target.
    #[must_use]
    pub fn connections(&self) -> Vec<usize> {
        self.shared.targets.iter().map(|target| target.connections.load(Ordering::SeqCst)).collect()
    }

    /// Connections that are open, for each target.
    #[must_use]
    pub fn open(&self) -> Vec<usize> {
        self.shared.targets.iter().map(|target| target.open.load(Ordering::SeqCst)).collect()
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        // Wakes the acceptor; if it cannot be reached, it has ended already.
        let _woken = TcpStream::connect(self.address);
        if let Some(acceptor) = self.acceptor.take() {
            let _ended = acceptor.join();
        }
    }
}

/// Passes bytes on in both directions until both have ended.
fn join(client: TcpStream, target: &str) -> std::io::Result<()> {
    let server = TcpStream::connect(target)?;
    for stream in [&client, &server] {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
    }
    let (client_reads, server_writes) = (client.try_clone()?, server.try_clone()?);
    let upwards = std::thread::spawn(move || pass(client_reads, server_writes));
    pass(server, client);
    let _ended = upwards.join();
    Ok(())
}

/// Passes bytes on until one side ends, and ends both then.
fn pass(mut from: TcpStream, mut to: TcpStream) {
    let mut buffer = [0; 16 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    for stream in [from, to] {
        // It may be gone already.
        let _ended = stream.shutdown(Shutdown::Both);
    }
}
