//! Brings into force what discovery finds behind the URLs of the config.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::reloader::Reloader;
use crate::base::Tasks;
use crate::config::Discover;
use crate::peers::Discovered;

/// The longest time that the start waits for the first results: calls that come sooner are refused.
const FIRST_WAIT: Duration = Duration::from_secs(1);

/// The results of discovery.
pub(super) type Findings = mpsc::Receiver<Discovered>;

/// Waits for the first result of each URL with discovery.
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

/// Applies results until the host stops.
pub(super) async fn run(reloader: Arc<Reloader>, mut findings: Findings, tasks: Tasks) {
    while let Some(Some(discovered)) = tasks.token().run_until_cancelled(findings.recv()).await {
        reloader.take(discovered);
    }
}
