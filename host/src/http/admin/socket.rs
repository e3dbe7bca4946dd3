//! The unix socket: who may open it, and who did.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::fs::{Mode, fchmod};
use tokio::net::{UnixListener, UnixSocket, UnixStream};

use super::connections;
use super::routes;
use super::state::Admin;
use crate::base::Tasks;
use crate::files::SocketPlace;

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 128;
/// Only this user may open it.
const MODE: u32 = 0o600;

/// Listens on a unix socket that only this user may open (mode 0600). A socket that a dead host left is replaced. Also
/// returns the place of the socket, to be left in the end.
///
/// # Errors
/// The system's error; [`io::ErrorKind::AddrInUse`] if a running host listens on it.
pub fn bind(path: &Path) -> io::Result<(UnixListener, SocketPlace)> {
    let mut place = SocketPlace::open(path)?;
    if place.is_taken()? {
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, "another host listens on it"));
        }
        place.clear()?;
    }
    let socket = private_socket()?;
    socket.bind(path)?;
    place.note_bound()?;
    // Elsewhere than on Linux the file may have the mode that the umask gives; no client can connect before `listen`.
    if fs::metadata(path)?.permissions().mode() & 0o777 != MODE {
        fs::set_permissions(path, fs::Permissions::from_mode(MODE))?;
    }
    Ok((socket.listen(BACKLOG)?, place))
}

/// A socket whose file is private from the first moment on: Linux gives the file the mode that the socket has when
/// it is bound, less the umask (`unix_bind_bsd` in net/unix/af_unix.c).
fn private_socket() -> io::Result<UnixSocket> {
    let socket = UnixSocket::new_stream()?;
    fchmod(&socket, Mode::from_raw_mode(MODE))?;
    Ok(socket)
}

/// Accepts connections until the token of `tasks` is cancelled.
pub async fn serve(listener: UnixListener, admin: Admin, tasks: Tasks) {
    // Registered with the runtime that serves it, which need not be the one that bound it.
    let listener = match listener.into_std().and_then(UnixListener::from_std) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "the admin socket cannot be served"),
    };
    let accept = || listener.accept();
    let serve = |(stream, _): (UnixStream, _), seat| {
        let (admin, tasks) = (admin.clone(), tasks.clone());
        async move {
            let Ok(who) = stream.peer_cred() else { return };
            connections::serve(stream, |request| routes::answer(&admin, request, who.into()), tasks, seat)
                .await;
        }
    };
    connections::accept(accept, tasks.clone(), serve).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[tokio::test]
    async fn a_dead_hosts_socket_is_replaced_and_a_live_ones_is_not() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("admin.sock");
        let (first, _) = bind(&path).unwrap();
        assert_eq!(mode(&path), 0o600);
        assert_eq!(bind(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(first);
        let (_listener, place) = bind(&path).unwrap();
        assert_eq!(mode(&path), 0o600);
        fs::remove_file(&path).unwrap();
        let _other = std::os::unix::net::UnixListener::bind(&path).unwrap();
        place.leave();
        assert!(path.exists(), "it is another one by now");
        let file = scratch.path().join("file");
        fs::write(&file, "precious").unwrap();
        let refused = bind(&file).unwrap_err().to_string();
        assert!(refused.ends_with("file is not a socket: remove it"), "{refused}");
        assert_eq!(fs::read(&file).unwrap(), b"precious");
        let link = scratch.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(bind(&link).unwrap_err().to_string().contains("is a link"));
    }

    #[tokio::test]
    async fn a_socket_that_every_user_could_replace_is_refused() {
        let scratch = tempfile::tempdir().unwrap();
        let open = scratch.path().join("open");
        fs::create_dir(&open).unwrap();
        let set = |mode: u32| fs::set_permissions(&open, fs::Permissions::from_mode(mode)).unwrap();
        set(0o777);
        let refused = bind(&open.join("x.sock")).unwrap_err().to_string();
        assert!(refused.contains("can be replaced by every user of this machine"), "{refused}");
        set(0o1777);
        drop(bind(&open.join("x.sock")).unwrap());
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn the_file_is_private_before_anybody_could_change_its_mode() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("admin.sock");
        private_socket().unwrap().bind(&path).unwrap();
        assert_eq!(mode(&path), 0o600);
    }
}
