//! Watching a peer: what it offers, at an interval; and whether it is ready again, while it is left alone.
//!
//! One task for each peer. A peer that says that it is ready gets one call, which finds out whether that is true:
//! nothing that it says here sends it more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use http::{HeaderValue, StatusCode};
use tokio_util::sync::CancellationToken;

use super::catalogue::Catalogue;
use super::client::{Asked, Got, SendError};
use super::known::{Fetched, Probed};
use super::{Admission, Moment, Peer, Step};
use crate::base::Tasks;
use crate::config::Secret;

/// How long a catalogue may take to arrive.
const CATALOGUE_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause after a catalogue that could not be had, at first; it doubles up to the interval.
const PAUSE_FIRST: Duration = Duration::from_millis(500);
/// Least pause between two requests for a catalogue, whatever asks for it.
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// How long an answer to a probe may take, and how large it may be.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
const PROBE_BYTES_MAX: usize = 64 * 1024;
/// Pause between two probes; longer for a peer that said that it is ready and still failed.
const PROBE_PAUSE: Duration = Duration::from_secs(1);
const PROBE_PAUSE_MAX: Duration = Duration::from_secs(8);
/// Pause before a hello to a peer that has answered none yet, at first, and at most.
const GREETING_PAUSE: Duration = Duration::from_secs(5);
const GREETING_PAUSE_MAX: Duration = Duration::from_secs(30);
/// Pause between two looks for connections that have been idle for too long.
const TIDY_PAUSE: Duration = Duration::from_secs(1);
/// Pause between two proofs that a URL leads back to this process.
const HOME_PAUSE: Duration = Duration::from_secs(1);

/// How a peer is asked for its catalogue.
#[derive(Debug, Clone)]
pub struct Asking {
    /// How often.
    pub interval: Duration,
    /// Largest one that is taken, in bytes.
    pub bytes_max: usize,
    /// The key that opens it; one that seals nothing.
    pub key: Option<Secret>,
}

impl PartialEq for Asking {
    fn eq(&self, other: &Self) -> bool {
        let same_key = match (&self.key, &other.key) {
            (Some(one), Some(other)) => one.matches(other.expose().as_bytes()),
            (None, None) => true,
            _ => false,
        };
        same_key && self.interval == other.interval && self.bytes_max == other.bytes_max
    }
}

/// The watch over one peer: from [`Watch::start`] until it is dropped, or the host stops.
#[derive(Debug)]
pub struct Watch {
    peer: Arc<Peer>,
    asking: Asking,
    has_begun: AtomicBool,
    ended: CancellationToken,
}

impl Watch {
    /// A watch that has not begun.
    #[must_use]
    pub fn new(peer: Arc<Peer>, asking: Asking) -> Self {
        Self { peer, asking, has_begun: AtomicBool::new(false), ended: CancellationToken::new() }
    }

    /// Whether it watches this very peer in this way.
    #[must_use]
    pub fn is_of(&self, peer: &Arc<Peer>, asking: &Asking) -> bool {
        Arc::ptr_eq(&self.peer, peer) && self.asking == *asking
    }

    /// Begins, as a task of `tasks`; once.
    pub fn start(&self, tasks: &Tasks) {
        if self.has_begun.swap(true, Ordering::Relaxed) {
            return;
        }
        let (peer, asking) = (Arc::clone(&self.peer), self.asking.clone());
        let (ended, stopping) = (self.ended.clone(), tasks.token().clone());
        let _owned = tasks.spawn(async move {
            tokio::select! {
                () = ended.cancelled() => {}
                () = stopping.cancelled() => {}
                _ = async {
                    tokio::join!(follow_catalogue(&peer, &asking), await_return(&peer), greet(&peer), tidy(&peer), prove_home(&peer))
                } => {}
            }
        });
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.ended.cancel();
    }
}

/// Asks for the catalogue again and again, if the config allows it.
async fn follow_catalogue(peer: &Peer, asking: &Asking) {
    if !peer.reach().functions {
        return;
    }
    let mut pause = PAUSE_FIRST;
    loop {
        let is_there = peer.is_itself() || fetch(peer, asking).await;
        let wait = if is_there { asking.interval } else { pause.min(asking.interval) };
        pause = if is_there { PAUSE_FIRST } else { (pause * 2).min(asking.interval) };
        let fetched_at = Instant::now();
        tokio::select! {
            () = tokio::time::sleep(jittered(wait)) => {}
            () = peer.known().is_stale.notified() => {
                let earliest = fetched_at + jittered(PAUSE_MIN.min(asking.interval));
                tokio::time::sleep_until(earliest.into()).await;
            }
        }
    }
}

/// Asks for the catalogue; answers whether it is there.
async fn fetch(peer: &Peer, asking: &Asking) -> bool {
    let known = peer.known();
    let tag = known.with_catalogue(|catalogue| catalogue.tag.clone());
    let authorization = asking.key.as_ref().and_then(bearer);
    let asked = Asked {
        to: &peer.reach().functions_at,
        authorization,
        known: tag.clone(),
        bytes_max: asking.bytes_max,
        within: CATALOGUE_TIMEOUT,
    };
    let got = peer.client().get(asked).await;
    peer.note_contact(&got);
    let missed = match judged(got, tag.is_some()) {
        Ok(None) => {
            peer.history().answered(Step::Connection, Moment::now());
            known.confirm();
            return true;
        }
        // Above 100 microseconds for a large one: not on a worker.
        Ok(Some(got)) => {
            match tokio::task::spawn_blocking(move || Catalogue::parse(&got.body, got.tag)).await {
                Ok(Ok(catalogue)) => {
                    peer.history().answered(Step::Connection, Moment::now());
                    let (functions, misnamed) = (catalogue.len(), catalogue.misnamed);
                    if known.take(catalogue) {
                        tracing::info!(peer = %peer.url(), functions, misnamed, "the peer offers other functions than before");
                    }
                    return true;
                }
                Ok(Err(error @ super::catalogue::InvalidCatalogue::TooMany)) => {
                    (Fetched::TooLarge, error.to_string())
                }
                Ok(Err(error)) => (Fetched::Malformed, error.to_string()),
                Err(_) => (Fetched::Failed, "the thread that read the catalogue died".to_owned()),
            }
        }
        Err(missed) => missed,
    };
    let (fetched, reason) = missed;
    if known.miss(fetched, &reason) {
        let stays = if tag.is_some() || known.notes().fetched.is_some() {
            "; what it listed before stays"
        } else {
            ""
        };
        tracing::warn!(peer = %peer.url(), result = fetched.as_str(), "cannot list the functions of the peer: {reason}; trying again{stays}");
    }
    false
}

/// A catalogue to read, or nothing for one that is as before.
fn judged(got: Option<Result<Got, SendError>>, had_tag: bool) -> Result<Option<Got>, (Fetched, String)> {
    let failed = |reason: String| Err((Fetched::Failed, reason));
    match got {
        None => failed(format!("no answer within {} s", CATALOGUE_TIMEOUT.as_secs())),
        Some(Err(error @ SendError::TooLarge(_))) => Err((Fetched::TooLarge, error.to_string())),
        Some(Err(error)) => failed(error.to_string()),
        Some(Ok(got)) if got.status == StatusCode::OK => Ok(Some(got)),
        Some(Ok(got)) if got.status == StatusCode::NOT_MODIFIED && had_tag => Ok(None),
        Some(Ok(got)) if got.is_redirect => {
            failed(format!("HTTP status {}: redirects are not followed", got.status.as_u16()))
        }
        Some(Ok(got)) => failed(format!("HTTP status {}", got.status.as_u16())),
    }
}

fn bearer(key: &Secret) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(&format!("Bearer {}", key.expose())).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// While the peer is left alone, asks whether it is ready, if the config allows it: once it is, the next call finds out.
async fn await_return(peer: &Peer) {
    if !peer.reach().ready {
        return;
    }
    loop {
        let mut pause = PROBE_PAUSE;
        while peer.look(Instant::now()) != Admission::Yes {
            tokio::time::sleep(jittered(pause)).await;
            if peer.look(Instant::now()) == Admission::Yes {
                break;
            }
            let probed = probe(peer).await;
            peer.known().note_probe(probed);
            if probed == Probed::Ready {
                tracing::debug!(peer = %peer.url(), "the peer says that it is ready: the next call finds out");
                peer.says_ready();
                peer.known().is_stale.notify_one();
                pause = (pause * 2).min(PROBE_PAUSE_MAX);
            } else {
                pause = PROBE_PAUSE;
            }
        }
        peer.known().has_failed.notified().await;
    }
}

/// As long as no hello was answered and no call is made, says hello now and then: a wrong key, a host that is away, and
/// a URL that leads back to this host are known before somebody needs to know.
async fn greet(peer: &Arc<Peer>) {
    if !peer.reach().calls {
        return;
    }
    let mut pause = GREETING_PAUSE;
    loop {
        tokio::time::sleep(jittered(pause)).await;
        if peer.history().recent().was_greeted {
            return;
        }
        if peer.stats().running() == 0 && peer.look(Instant::now()) == Admission::Yes {
            peer.greet().await;
        }
        pause = (pause * 2).min(GREETING_PAUSE_MAX);
    }
}

/// Closes connections that have been idle for too long.
async fn tidy(peer: &Peer) {
    loop {
        tokio::time::sleep(TIDY_PAUSE).await;
        peer.close_idle();
    }
}

/// While the URL leads back to this process, proves again and again that it still does.
async fn prove_home(peer: &Arc<Peer>) {
    loop {
        peer.known().is_home.notified().await;
        while peer.is_itself() {
            tokio::time::sleep(HOME_PAUSE).await;
            peer.prove_home().await;
        }
    }
}

async fn probe(peer: &Peer) -> Probed {
    let to = &peer.reach().ready_at;
    let asked =
        Asked { to, authorization: None, known: None, bytes_max: PROBE_BYTES_MAX, within: PROBE_TIMEOUT };
    match peer.client().get(asked).await {
        Some(Ok(got)) if got.status == StatusCode::OK => Probed::Ready,
        Some(Ok(_)) => Probed::NotReady,
        Some(Err(_)) | None => Probed::Failed,
    }
}

/// Half of it to all of it: what begins together does not go on together.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(rand::random::<f64>().mul_add(0.5, 0.5))
}
