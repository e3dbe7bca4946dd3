//! The hello that begins each connection: it shows which process opens the frames that follow, and its clock.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use http::StatusCode;

mod connections;
mod receiver;
mod responders;

pub use responders::{Binding, Responder};

pub(super) use connections::{ConnectionPool, GreetedConnection, IDLE_MAX};
pub(super) use receiver::{AnsweredBy, Receiver, answered_by, executed};
pub(super) use responders::Responders;

use connections::PeerClock;
use responders::{Acceptance, HelloAnswer, ResponderError};

use super::Peer;
use super::call::{AttemptError, refused, unsent};
use crate::base::{ErrorCode, Executed, Failure, milliseconds};
use crate::peers::transport::{PeerConnection, SendError};
use crate::peers::{Cause, Reached, Timestamp};
use crate::wire::{self, Compression, KeySet, RequestEnvelope, ResponseEnvelope};

/// The longest time that a hello may take, within the deadline of the call.
const WITHIN: Duration = Duration::from_secs(5);
/// The smallest difference between clocks that is worth a warning.
const CLOCKS_APART: Duration = Duration::from_secs(1);

/// A new connection.
pub(super) enum NewConnection {
    /// Calls may be sent over it.
    Greeted(GreetedConnection),
    /// It leads back to this process.
    Itself,
}

impl Peer {
    /// Proves over a new connection that the URL leads back to this process; without the proof it counts as another
    /// host.
    pub(in crate::peers) async fn prove_home(self: &Arc<Self>) {
        let Some(key) = self.spec.key.clone() else { return };
        match self.begin(&key).await {
            Ok(NewConnection::Itself) => {}
            Ok(NewConnection::Greeted(_)) => {
                tracing::warn!(peer = %self.spec.url, "the URL no longer leads back to this host: calls go to the host that answers there");
            }
            Err(missed) => {
                self.info.responders.doubt();
                tracing::warn!(peer = %self.spec.url, "the URL is not known to lead back to this host any more: {}", missed.failure);
            }
        }
    }

    /// Says hello without a call, to learn whether calls can be made.
    pub(in crate::peers) async fn greet(self: &Arc<Self>) {
        let Some(key) = self.spec.key.clone() else { return };
        match self.begin(&key).await {
            // The connection ends here: the first call makes its own.
            Ok(NewConnection::Greeted(_) | NewConnection::Itself) => {}
            Err(AttemptError { failure, cause, .. }) => {
                let is_news = self.history.failing_of() != Some(cause);
                self.record_in_history(cause, &failure);
                if is_news {
                    tracing::warn!(peer = %self.spec.url, "no call can be made to the peer: {}", self.reason(cause, &failure));
                }
            }
        }
    }

    /// Makes a connection and says hello. Nothing of a call is sent, so its failures prove that nothing ran.
    pub(super) async fn begin(self: &Arc<Self>, key: &KeySet) -> Result<NewConnection, AttemptError> {
        let open = self.connections.open();
        let mut connection = self.connect().await?;
        let hello = tokio::time::timeout(WITHIN, self.say_hello(&mut connection, key));
        let (answer, introduced, clock) = hello.await.unwrap_or_else(|_| {
            let text = format!("the peer did not answer a hello within {} s", WITHIN.as_secs());
            Err(before_the_call(Failure::not_executed(ErrorCode::Unavailable, text), Cause::NoHello))
        })?;
        self.follow_clock(clock);
        let met = self.info.responders.record(&introduced, self.spec.client.identity(), &self.spec.binding);
        match met {
            Ok((Acceptance::Itself, news)) => {
                self.history.record_answer(Reached::Hello, Timestamp::now());
                if news.0 {
                    tracing::warn!(peer = %self.spec.url, "the URL leads back to this very host: functions that run there run here while it does");
                    self.spec.client.identity().tell_home();
                }
                self.info.is_home.notify_one();
                Ok(NewConnection::Itself)
            }
            Ok((Acceptance::Call(receiver), news)) => {
                self.history.record_answer(Reached::Hello, Timestamp::now());
                match &introduced.by {
                    Some(by) if news.0 => {
                        tracing::info!(peer = %self.spec.url, host_id = %by.host_id, instance = %by.instance, "the peer said who it is");
                    }
                    None if news.0 => {
                        tracing::warn!(peer = %self.spec.url, host_id = %answer.host_id, "the peer does not say who it is, so frames to it also open elsewhere: update that host; plugins.proxy.require_receiver refuses such peers");
                    }
                    _ => {}
                }
                Ok(NewConnection::Greeted(GreetedConnection { connection, receiver, clock, _open: open }))
            }
            Err(unwelcome) => Err(self.turn_away(&unwelcome)),
        }
    }

    /// Makes a connection without a hello.
    pub(super) async fn connect(&self) -> Result<PeerConnection, AttemptError> {
        self.spec.client.connect(&self.destination).await.map_err(|error| unsaid(&error))
    }

    /// Sends a hello, and another one by the peer's clock if the peer asks for it.
    async fn say_hello(
        &self,
        connection: &mut PeerConnection,
        key: &KeySet,
    ) -> Result<(ResponseEnvelope, HelloAnswer, PeerClock), AttemptError> {
        let identity = self.spec.client.identity();
        let hello = RequestEnvelope::hello(identity, milliseconds(WITHIN));
        let mut clock = PeerClock { now_ms: unix_ms(), at: Instant::now() };
        let mut is_second = false;
        loop {
            let (request_id, frame) = wire::seal_request(key, clock.now_ms(), &hello, Compression::Never);
            let sent = identity.hello(request_id);
            let answer = self.spec.client.post(connection, &self.destination, frame.into()).await;
            let answer = answer.map_err(|error| unsaid(&error))?;
            if answer.status != StatusCode::OK || !answer.is_sealed {
                return Err(before_the_call(refused(&answer), Cause::of_answer(&answer)));
            }
            let envelope =
                wire::open_response(key, request_id, answer.body, &self.spec.limits).map_err(|error| {
                    let text = format!("the peer's answer to a hello cannot be read: {error}");
                    before_the_call(Failure::not_executed(ErrorCode::Unavailable, text), Cause::Unreadable)
                })?;
            let said = &envelope.extensions;
            if let Some(now_ms) = said.now_ms {
                clock = PeerClock { now_ms, at: Instant::now() };
            }
            if said.retry && !is_second {
                is_second = true;
                if !connection.is_ready().await {
                    *connection = self.connect().await?;
                }
                continue;
            }
            if said.retry {
                let text = "the peer refuses the time stamp of a hello by its own clock";
                return Err(before_the_call(
                    Failure::not_executed(ErrorCode::Unavailable, text),
                    Cause::WrongHost,
                ));
            }
            let introduced = HelloAnswer { by: said.by.clone(), arrived_here: sent.has_arrived_here() };
            return Ok((envelope, introduced, clock));
        }
    }

    /// Describes how calls get there, and who answered last.
    pub(super) fn describe_way(&self) -> String {
        let mut said = match (self.spec.url.is_https(), self.spec.url.is_loopback()) {
            (true, _) => "sealed and encrypted".to_owned(),
            (false, true) => "sealed, not encrypted (http on this machine)".to_owned(),
            (false, false) => "sealed, not encrypted (http)".to_owned(),
        };
        match &self.spec.binding {
            Binding { host_id: Some(host_id), .. } => said.push_str(&format!(", pinned to host `{host_id}`")),
            Binding { bind: false, .. } => said.push_str(", not bound to a receiver (bind = false)"),
            Binding { host_id: None, .. } => said.push_str(", not pinned to a host"),
        }
        said + &match self.last_responder() {
            None => ", no host has answered yet".to_owned(),
            Some((moment, Responder::Itself)) => format!(", this very host answered {}", moment.ago()),
            Some((moment, Responder::Unbound)) => {
                format!(", a host that does not say who it is answered a hello {}", moment.ago())
            }
            Some((moment, Responder::Host(by))) => {
                format!(", host `{}` answered a hello {}", by.host_id, moment.ago())
            }
        }
    }

    fn turn_away(&self, unwelcome: &ResponderError) -> AttemptError {
        tracing::error!(peer = %self.spec.url, "the host that answers at this URL is not called: {unwelcome}");
        let (code, text) = match unwelcome {
            ResponderError::SameId(_) => (ErrorCode::LoopDetected, unwelcome.to_string()),
            _ => (
                ErrorCode::Unavailable,
                format!("the host that answers at the peer's URL is not called: {unwelcome}"),
            ),
        };
        before_the_call(Failure::not_executed(code, text), Cause::WrongHost)
    }

    /// Records the difference between the clocks. It is for people: calls are stamped by the peer's clock in any case.
    fn follow_clock(&self, clock: PeerClock) {
        let (ours, peers) = (unix_ms(), clock.now_ms());
        let offset = i64::try_from(i128::from(peers) - i128::from(ours)).unwrap_or(0);
        let offset_ms = if offset.unsigned_abs() < milliseconds(CLOCKS_APART) { 0 } else { offset };
        let before = self.clock_offset_ms.swap(offset_ms, Ordering::Relaxed);
        if offset_ms.abs_diff(before) >= milliseconds(CLOCKS_APART) {
            tracing::warn!(peer = %self.spec.url, our_clock_ms = ours, peer_clock_ms = peers, offset_ms, "the peer's clock differs from this host's: calls are stamped by the peer's");
        }
    }
}

/// Returns a failure from before anything of the call was sent.
fn before_the_call(failure: Failure, cause: Cause) -> AttemptError {
    let failure = Box::new(Failure { executed: Executed::No, ..failure });
    AttemptError { failure, cause, not_the_peers_fault: false }
}

fn unsaid(error: &SendError) -> AttemptError {
    before_the_call(unsent(error), Cause::of_send(error))
}

/// Returns the Unix time in milliseconds.
fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, milliseconds)
}
