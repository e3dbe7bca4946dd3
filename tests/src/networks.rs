//! Two networks with one cable between them. Nothing else of this machine is on it, and it is on nothing else.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::process::{run_to_end, say_skipped};

/// The two network namespaces. They have no names, and are gone with what runs in them and this.
#[derive(Debug)]
pub struct Networks {
    a: Network,
    b: Network,
}

/// A namespace, and the process that it was made with.
#[derive(Debug)]
struct Network {
    namespace: File,
    holder: Child,
}

impl Networks {
    /// The end of the cable in A: an address for documentation (RFC 5737), which is nowhere else.
    pub const A: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
    /// The end of the cable in B.
    pub const B: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);

    /// Makes them. Where the system refuses, says on the error output that this test is skipped, and why.
    ///
    /// # Panics
    /// If the system lets it begin, and not end.
    #[must_use]
    pub fn or_skip() -> Option<Self> {
        let made = Network::new().and_then(|a| Ok(Self { a, b: Network::new()? }));
        let networks = match made {
            Ok(networks) => networks,
            Err(why) => {
                say_skipped(&format!("networks of its own need root: {why}"));
                return None;
            }
        };
        let peer = networks.a.holder.id().to_string();
        networks.in_b(|| {
            ip(&["link", "add", "to-a", "type", "veth", "peer", "name", "to-b", "netns", &peer]);
            connect("to-a", Self::B, Self::A);
        });
        networks.in_a(|| connect("to-b", Self::A, Self::B));
        Some(networks)
    }

    /// Does something in network A, with all threads and processes that it starts.
    pub fn in_a<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.a.enter(work)
    }

    /// Does something in network B.
    pub fn in_b<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.b.enter(work)
    }
}

impl Network {
    fn new() -> Result<Self, String> {
        // Says that it is there, and ends with this process at the latest, as its input does.
        let script = "ip link set lo up && echo ready && exec cat";
        let mut command = Command::new("unshare");
        command.args(["-n", "sh", "-c", script]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut holder = command.spawn().map_err(|error| format!("unshare: {error}"))?;
        let mut line = String::new();
        let stdout = holder.stdout.take().expect("stdout is piped");
        BufReader::new(stdout).read_line(&mut line).expect("the line is text");
        if line != "ready\n" {
            let output = holder.wait_with_output().expect("it has ended");
            return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
        }
        let namespace = File::open(format!("/proc/{}/ns/net", holder.id())).expect("Linux has /proc");
        let network = Self { namespace, holder };
        // Where it may be made but not entered, as in a container, nothing can be done with it.
        std::thread::scope(|scope| scope.spawn(|| network.move_into()).join().expect("it does not panic"))
            .map_err(|error| format!("setns: {error}"))?;
        Ok(network)
    }

    fn move_into(&self) -> rustix::io::Result<()> {
        move_into_link_name_space(self.namespace.as_fd(), Some(LinkNameSpaceType::Network))
    }

    /// A thread moves, and all that it starts is where it is; the others stay where they are.
    fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let done = std::thread::scope(|scope| {
            let moved = || {
                self.move_into().expect("it was entered before");
                work()
            };
            scope.spawn(moved).join()
        });
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _gone = self.holder.kill();
        let _reaped = self.holder.wait();
    }
}

/// Gives one end of the cable its address, and a way to the other end alone.
fn connect(device: &str, own: Ipv4Addr, other: Ipv4Addr) {
    ip(&["address", "add", &own.to_string(), "peer", &other.to_string(), "dev", device]);
    ip(&["link", "set", device, "up"]);
}

fn ip(arguments: &[&str]) {
    let exit = run_to_end(Command::new("ip").args(arguments));
    assert_eq!(exit.code, Some(0), "ip {}: {}", arguments.join(" "), exit.stderr);
}
