//! Puts into force what is found behind the URLs of the config.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::reloader::Reloader;
use crate::base::Tasks;
use crate::config::Discover;
use crate::peers::Discovered;

/// How long the start waits for what is found first: calls that come sooner are refused.
const FIRST_WAIT: Duration = Duration::from_secs(1);

/// What is found, as it comes.
pub(super) type Findings = mpsc::Receiver<Discovered>;

/// Waits until there was one answer for each URL whose peers are to be found.
pub(super) async fn first(reloader: &Reloader, findings: &mut Findings) {
    let urls = reloader.config().proxy.peers.iter().filter(|peer| peer.discover != Discover::Static).count();
    let answered = async {
        let mut answered = HashSet::new();
        while answered.len() < urls {
            let Some(discovered) = findings.recv().await else { return };
            answered.insert(discovered.url.clone());
            reloader.take(discovered);
        }
    };
    if tokio::time::timeout(FIRST_WAIT, answered).await.is_err() {
        tracing::warn!(
            "the peers of some URLs are not found yet: until then, calls of their functions are refused"
        );
    }
}

/// Goes on until the host stops.
pub(super) async fn run(reloader: Arc<Reloader>, mut findings: Findings, tasks: Tasks) {
    loop {
        let discovered = tokio::select! {
            () = tasks.token().cancelled() => None,
            discovered = findings.recv() => discovered,
        };
        match discovered {
            Some(discovered) => reloader.take(discovered),
            None => return,
        }
    }
}
