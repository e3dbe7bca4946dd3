//! The sender of an admin request: a process of this machine, or a client with the token.

use std::fs;

use tokio::net::unix::UCred;

/// Most processes that are looked at between the one that asks and this host.
const ANCESTORS_MAX: usize = 64;

/// The sender of an admin request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Requester {
    /// A process of this machine, over the unix socket.
    Process {
        /// Its user.
        uid: u32,
        /// Its id, if this host can see it.
        pid: Option<u32>,
    },
    /// A client with the token, over TCP.
    Token,
}

impl From<UCred> for Requester {
    fn from(credentials: UCred) -> Self {
        let pid = credentials.pid().and_then(|pid| u32::try_from(pid).ok());
        Self::Process { uid: credentials.uid(), pid }
    }
}

impl Requester {
    /// The user, for the audit log.
    pub(super) fn uid(self) -> Option<u32> {
        if let Self::Process { uid, .. } = self { Some(uid) } else { None }
    }

    /// The name of the secret that was presented, for the audit log.
    pub(super) fn token(self) -> Option<&'static str> {
        if self == Self::Token { Some("admin.token") } else { None }
    }

    /// Returns true for this host itself, and for processes that the host or one of its plugins started.
    ///
    /// This keeps a call from waiting for a drain that waits for the call; it is not a security boundary. What has left the
    /// tree of the host's processes, and what comes over TCP, counts as outside. Where the host is process 1 of a
    /// container, processes that lost their parent are in its tree.
    pub(super) async fn is_inside(self) -> bool {
        let Self::Process { pid: Some(pid), .. } = self else { return false };
        let descends = move || descends_from(pid, std::process::id());
        tokio::task::spawn_blocking(descends).await.unwrap_or(false)
    }
}

/// Returns true if `pid` is `ancestor` or descends from it, and still runs.
fn descends_from(pid: u32, ancestor: u32) -> bool {
    let parent = |pid: &u32| parent_of(*pid).filter(|parent| *parent > 0);
    std::iter::successors(Some(pid), parent).take(ANCESTORS_MAX).any(|pid| pid == ancestor)
}

/// The fourth field of `/proc/PID/stat` (proc(5)); the second, a name in brackets, may hold anything.
fn parent_of(pid: u32) -> Option<u32> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let name_end = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(&stat[name_end + 1..]).ok()?;
    rest.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};

    use super::*;

    #[tokio::test]
    async fn children_and_their_children_are_inside() {
        // The shell prints the id of its own child, and both wait until the input ends.
        let mut shell = Command::new("sh")
            .args(["-c", "exec 3<&0; cat <&3 & echo $!; wait"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(shell.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let grandchild: u32 = line.trim().parse().unwrap();
        let own = std::process::id();
        for pid in [own, shell.id(), grandchild] {
            assert!(Requester::Process { uid: 0, pid: Some(pid) }.is_inside().await, "{pid}");
        }
        assert!(descends_from(grandchild, shell.id()) && !descends_from(shell.id(), grandchild));
        drop(shell.stdin.take());
        shell.wait().unwrap();
        let parent = parent_of(own).unwrap();
        for who in [
            Requester::Process { uid: 0, pid: Some(parent) },
            Requester::Process { uid: 0, pid: Some(1) },
            Requester::Process { uid: 0, pid: Some(u32::MAX) },
            Requester::Process { uid: 0, pid: None },
            Requester::Token,
        ] {
            assert!(!who.is_inside().await, "{who:?}");
        }
    }
}
