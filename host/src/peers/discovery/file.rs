//! Discovery by a file: a JSON list of URLs, or of objects with a URL, a priority and a weight.
//!
//! The file is read every second. That works on every file system, while notifications do not (mounted config maps,
//! network file systems).

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use tokio::task::JoinHandle;

use super::search::{Discovery, DiscoveryError, ENDPOINTS_MAX, Endpoint, Endpoints, FindFuture};
use crate::config::{PeerUrl, read_bounded};

/// The maximum size of the file in bytes.
const FILE_BYTES_MAX: usize = 256 << 10;
/// The time between two reads.
const AGAIN: Duration = Duration::from_secs(1);

/// The peers that a file lists.
pub(super) struct FileDiscovery {
    url: PeerUrl,
    path: PathBuf,
    /// Goes on if the search is dropped: a file system that hangs costs one thread, not one for each search.
    reading: Option<JoinHandle<Result<BTreeSet<Endpoint>, DiscoveryError>>>,
}

/// One entry of the file.
#[derive(Deserialize)]
#[serde(untagged)]
enum Listed {
    Url(String),
    Full(ListedInFull),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListedInFull {
    url: String,
    #[serde(default)]
    priority: u8,
    #[serde(default = "one")]
    weight: u16,
}

fn one() -> u16 {
    1
}

impl FileDiscovery {
    pub(super) fn new(url: PeerUrl, path: PathBuf) -> Self {
        Self { url, path, reading: None }
    }
}

impl Discovery for FileDiscovery {
    fn find(&mut self) -> FindFuture<'_> {
        Box::pin(async move {
            let (path, is_https) = (self.path.clone(), self.url.is_https());
            let reading = self.reading.get_or_insert_with(|| {
                tokio::task::spawn_blocking(move || {
                    read(&path, is_https).map_err(|why| format!("{}: {why}", path.display()))
                })
            });
            let read = reading.await;
            self.reading = None;
            let endpoints = read.map_err(|_| "the thread that read the file died".to_owned())??;
            Ok(Endpoints { endpoints, again: AGAIN, error: None })
        })
    }
}

fn read(path: &Path, is_https: bool) -> Result<BTreeSet<Endpoint>, DiscoveryError> {
    let bytes = read_bounded(path, FILE_BYTES_MAX).map_err(|error| error.to_string())?;
    parse(&bytes, is_https)
}

/// Parses the peers of a file, either all or none of which use TLS.
pub(super) fn parse(bytes: &[u8], is_https: bool) -> Result<BTreeSet<Endpoint>, DiscoveryError> {
    let entries: Vec<Listed> = serde_json::from_slice(bytes).map_err(|error| {
        format!(
            "a JSON list of URLs, or of {{ url, priority, weight }}, is expected: line {}, column {}",
            error.line(),
            error.column()
        )
    })?;
    if entries.len() > ENDPOINTS_MAX {
        return Err(format!("it has {} peers, {ENDPOINTS_MAX} are the most", entries.len()));
    }
    let endpoint = |(place, entry): (usize, Listed)| {
        let ListedInFull { url, priority, weight } = match entry {
            Listed::Url(url) => ListedInFull { url, priority: 0, weight: 1 },
            Listed::Full(full) => full,
        };
        let url = PeerUrl::new(&url).map_err(|why| format!("entry {}: {why}", place + 1))?;
        if url.is_https() != is_https {
            let scheme = if is_https { "https" } else { "http" };
            return Err(format!("entry {}: the peers of this URL are reached by {scheme}", place + 1));
        }
        Ok(Endpoint { url, priority, weight: weight.max(1) })
    };
    entries.into_iter().enumerate().map(endpoint).collect()
}
