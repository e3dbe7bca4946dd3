//! Reasons to refuse a directory, or an entry of it.

use std::io;
use std::path::{Path, PathBuf};

/// A directory, or an entry of it, that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DirFault {
    /// Another user owns it.
    #[error(
        "{} belongs to user {owner}, and this host runs as user {user}: `chown {user} {}` if its content can \
         be trusted, or remove it",
        .path.display(), .path.display()
    )]
    Owner {
        /// The directory or file.
        path: PathBuf,
        /// Its user.
        owner: u32,
        /// The user of this process.
        user: u32,
    },
    /// Other users may write to it.
    #[error(
        "{} can be changed by other users (mode {mode:04o}): `chmod go-w {}` once its content is checked",
        .path.display(), .path.display()
    )]
    Writable {
        /// The directory or file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// A directory above lets every user replace it.
    #[error(
        "{} can be replaced by every user of this machine, who may write to {}: `chmod o-w {}`",
        .path.display(), .parent.display(), .parent.display()
    )]
    Parent {
        /// The directory that was asked for.
        path: PathBuf,
        /// The directory above it.
        parent: PathBuf,
    },
    /// A link of another user leads to it.
    #[error(
        "{} is a link that user {owner} made: remove it, or name the directory that it leads to",
        .path.display()
    )]
    ForeignLink {
        /// The link.
        path: PathBuf,
        /// Its user.
        owner: u32,
    },
    /// A link where the host makes an entry of its own.
    #[error("{} is a link, which this host does not follow there: remove it", .path.display())]
    Link {
        /// The link.
        path: PathBuf,
    },
    /// An entry of another kind.
    #[error("{} is not a {wanted}: remove it", .path.display())]
    Kind {
        /// The entry.
        path: PathBuf,
        /// The kind that was expected.
        wanted: &'static str,
    },
    /// The system refuses.
    #[error("{}: {source}", .path.display())]
    System {
        /// The directory or file.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
}

impl DirFault {
    pub(super) fn system(path: &Path) -> impl Fn(rustix::io::Errno) -> Self {
        let path = path.to_owned();
        move |source| Self::System { path: path.clone(), source: source.into() }
    }
}

impl From<DirFault> for io::Error {
    fn from(fault: DirFault) -> Self {
        match fault {
            DirFault::System { source, .. } => source,
            fault => Self::other(fault),
        }
    }
}
