//! Monitors a peer: fetches its catalogue at an interval, and asks whether it is ready while its breaker is open.
//!
//! One task for each peer. A peer that says that it is ready gets one call, which finds out whether that is true:
//! nothing that it says here brings it more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use http::{HeaderValue, StatusCode};
use tokio_util::sync::CancellationToken;

use super::catalogue::{Catalogue, InvalidCatalogue};
use super::transport::{GetRequest, GetResponse, SendError};
use super::{BreakerState, FetchResult, Peer, ProbeResult, Reached, Timestamp};
use crate::base::{Tasks, jittered};
use crate::config::Secret;

/// The longest time that a catalogue may take to arrive.
const CATALOGUE_TIMEOUT: Duration = Duration::from_secs(10);
/// The first pause after a failed fetch; it doubles up to the interval.
const PAUSE_FIRST: Duration = Duration::from_millis(500);
/// The shortest pause between two fetches, for any reason.
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// The longest time and the largest answer of a probe.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
const PROBE_BYTES_MAX: usize = 64 * 1024;
/// The pause between two probes; it doubles for a peer that said that it is ready and still failed.
const PROBE_PAUSE: Duration = Duration::from_secs(1);
const PROBE_PAUSE_MAX: Duration = Duration::from_secs(8);
/// The first and the longest pause before a hello to a peer that has answered none yet.
const GREETING_PAUSE: Duration = Duration::from_secs(5);
const GREETING_PAUSE_MAX: Duration = Duration::from_secs(30);
/// The pause between two searches for connections that have been idle for too long.
const TIDY_PAUSE: Duration = Duration::from_secs(1);
/// The pause between two proofs that a URL leads back to this process.
const HOME_PAUSE: Duration = Duration::from_secs(1);

/// The options for fetching catalogues.
#[derive(Debug, Clone, PartialEq)]
pub struct CatalogueOptions {
    /// The time from one fetch to the next.
    pub interval: Duration,
    /// The largest accepted catalogue in bytes.
    pub bytes_max: usize,
    /// The key that requests for it show; it seals nothing.
    pub key: Option<Secret>,
}

/// Monitors one peer from [`Monitor::start`] until it is dropped, or the host stops.
#[derive(Debug)]
pub struct Monitor {
    peer: Arc<Peer>,
    options: CatalogueOptions,
    has_begun: AtomicBool,
    ended: CancellationToken,
}

impl Monitor {
    /// Returns `before` if it monitors this very peer in this way, and else a monitor that has not begun.
    pub fn renew(peer: Arc<Peer>, options: CatalogueOptions, before: Option<&Arc<Self>>) -> Arc<Self> {
        match before {
            Some(before) if Arc::ptr_eq(&before.peer, &peer) && before.options == options => {
                Arc::clone(before)
            }
            _ => {
                let (has_begun, ended) = (AtomicBool::new(false), CancellationToken::new());
                Arc::new(Self { peer, options, has_begun, ended })
            }
        }
    }

    /// The peer.
    pub fn peer(&self) -> &Arc<Peer> {
        &self.peer
    }

    /// Begins as a task of `tasks`, once.
    pub fn start(&self, tasks: &Tasks) {
        if self.has_begun.swap(true, Ordering::Relaxed) {
            return;
        }
        let (peer, options) = (Arc::clone(&self.peer), self.options.clone());
        let (ended, stopping) = (self.ended.clone(), tasks.token().clone());
        tasks.spawn(async move {
            tokio::select! {
                () = ended.cancelled() => {}
                () = stopping.cancelled() => {}
                _ = async {
                    tokio::join!(follow_catalogue(&peer, &options), await_return(&peer), greet(&peer), tidy(&peer), prove_home(&peer))
                } => {}
            }
        });
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        self.ended.cancel();
    }
}

/// Fetches the catalogue again and again, if the config allows it.
async fn follow_catalogue(peer: &Peer, options: &CatalogueOptions) {
    if !peer.spec().probes.catalogue {
        return;
    }
    let mut pause = PAUSE_FIRST;
    loop {
        let is_there = peer.is_itself() || fetch(peer, options).await;
        let wait = if is_there { options.interval } else { pause.min(options.interval) };
        pause = if is_there { PAUSE_FIRST } else { (pause * 2).min(options.interval) };
        let fetched_at = Instant::now();
        tokio::select! {
            () = tokio::time::sleep(jittered(wait)) => {}
            () = peer.info().is_stale.notified() => {
                let earliest = fetched_at + jittered(PAUSE_MIN.min(options.interval));
                tokio::time::sleep_until(earliest.into()).await;
            }
        }
    }
}

/// Fetches the catalogue, and returns true if it is there.
async fn fetch(peer: &Peer, options: &CatalogueOptions) -> bool {
    let info = peer.info();
    let tag = info.with_catalogue(|catalogue| catalogue.tag.clone());
    let authorization = options.key.as_ref().and_then(bearer);
    let request = GetRequest {
        to: &peer.targets().catalogue,
        authorization,
        known: tag.clone(),
        bytes_max: options.bytes_max,
        within: CATALOGUE_TIMEOUT,
    };
    let got = peer.client().get(request).await;
    peer.note_contact(&got);
    let missed = match classify(got, tag.is_some()) {
        Ok(None) => {
            peer.history().record_answer(Reached::Connection, Timestamp::now());
            info.confirm();
            return true;
        }
        // Above 100 microseconds for a large one: not on a worker.
        Ok(Some(got)) => {
            match tokio::task::spawn_blocking(move || Catalogue::parse(&got.body, got.tag)).await {
                Ok(Ok(catalogue)) => {
                    peer.history().record_answer(Reached::Connection, Timestamp::now());
                    let (functions, misnamed) = (catalogue.len(), catalogue.misnamed);
                    if info.take(catalogue) {
                        tracing::info!(peer = %peer.url(), functions, misnamed, "the peer offers other functions than before");
                    }
                    return true;
                }
                Ok(Err(error @ InvalidCatalogue::TooMany)) => (FetchResult::TooLarge, error.to_string()),
                Ok(Err(error)) => (FetchResult::Malformed, error.to_string()),
                Err(_) => (FetchResult::Failed, "the thread that read the catalogue died".to_owned()),
            }
        }
        Err(missed) => missed,
    };
    let (fetched, reason) = missed;
    if info.miss(fetched, &reason) {
        let stays = if tag.is_some() || info.last_checks().fetched.is_some() {
            "; what it listed before stays"
        } else {
            ""
        };
        tracing::warn!(peer = %peer.url(), result = fetched.as_str(), "cannot list the functions of the peer: {reason}; trying again{stays}");
    }
    false
}

/// Returns a catalogue to read, or nothing if it is unchanged.
fn classify(
    got: Option<Result<GetResponse, SendError>>,
    had_tag: bool,
) -> Result<Option<GetResponse>, (FetchResult, String)> {
    let failed = |reason: String| Err((FetchResult::Failed, reason));
    match got {
        None => failed(format!("no answer within {} s", CATALOGUE_TIMEOUT.as_secs())),
        Some(Err(error @ SendError::TooLarge(_))) => Err((FetchResult::TooLarge, error.to_string())),
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

/// Asks whether the peer is ready while its breaker is open, if the config allows it: once it is, the next call finds out.
async fn await_return(peer: &Peer) {
    if !peer.spec().probes.readiness {
        return;
    }
    loop {
        let mut pause = PROBE_PAUSE;
        while peer.breaker_state(Instant::now()) != BreakerState::Closed {
            tokio::time::sleep(jittered(pause)).await;
            if peer.breaker_state(Instant::now()) == BreakerState::Closed {
                break;
            }
            let probed = probe(peer).await;
            peer.info().note_probe(probed);
            if probed == ProbeResult::Ready {
                tracing::debug!(peer = %peer.url(), "the peer says that it is ready: the next call finds out");
                peer.half_open();
                peer.info().is_stale.notify_one();
                pause = (pause * 2).min(PROBE_PAUSE_MAX);
            } else {
                pause = PROBE_PAUSE;
            }
        }
        peer.info().has_failed.notified().await;
    }
}

/// Says hello now and then as long as no hello was answered and no call is made: a wrong key, a host that is away, and a
/// URL that leads back to this host are known before a call needs to know.
async fn greet(peer: &Arc<Peer>) {
    if !peer.spec().probes.hello {
        return;
    }
    let mut pause = GREETING_PAUSE;
    loop {
        tokio::time::sleep(jittered(pause)).await;
        if peer.history().recent().was_greeted {
            return;
        }
        if peer.stats().running() == 0 && peer.breaker_state(Instant::now()) == BreakerState::Closed {
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
        peer.info().is_home.notified().await;
        while peer.is_itself() {
            tokio::time::sleep(HOME_PAUSE).await;
            peer.prove_home().await;
        }
    }
}

async fn probe(peer: &Peer) -> ProbeResult {
    let to = &peer.targets().readiness;
    let request = GetRequest {
        to,
        authorization: None,
        known: None,
        bytes_max: PROBE_BYTES_MAX,
        within: PROBE_TIMEOUT,
    };
    match peer.client().get(request).await {
        Some(Ok(got)) if got.status == StatusCode::OK => ProbeResult::Ready,
        Some(Ok(_)) => ProbeResult::NotReady,
        Some(Err(_)) | None => ProbeResult::Failed,
    }
}
