//! Layers, which `#[on_proxy(layer = ...)]` puts around the body of a function.
//!
//! A layer is for what a function can do without: it measures, logs, keeps results. It never runs a body twice, and
//! if it fails before the body ran, the body runs without it; so it does if the layer takes more than its share of the
//! call's time until then (`server.layer_percent` of the host's config), as far as it waits and does not block its thread.
//! To reject a call, a layer returns [`Next::refuse`].

use std::any::Any;
use std::fmt;
use std::future::{Future, poll_fn};
use std::ops::{Deref, DerefMut};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::time::Sleep;

use crate::error::{CallError, Code, ProxyError, with_causes};
use crate::function::FunctionCell;
use crate::instance;
use crate::panics::contain;

/// The result of a layer: the answer of the call, or the failure of the layer itself.
///
/// ```
/// use framex_sdk::prelude::*;
/// use std::time::Instant;
///
/// /// Logs the duration and the success of a call.
/// async fn timed<T, E>(call: LayerCall, next: Next<'_, T, E>) -> Layered<'_, T, E> {
///     let begun = Instant::now();
///     let answer = next.run().await;
///     tracing::info!(function = call.function(), ms = begun.elapsed().as_millis(), ok = answer.is_ok());
///     Ok(answer)
/// }
///
/// /// Rejects all callers but `ops`.
/// async fn ops_only<T, E: ProxyError>(call: LayerCall, next: Next<'_, T, E>) -> Layered<'_, T, E> {
///     if call.caller().as_deref() != Some("ops") {
///         let refused = CallError::new(Code::PermissionDenied, "this is for ops");
///         return Ok(next.refuse(E::from_call_error(refused)));
///     }
///     Ok(next.run().await)
/// }
///
/// /// Doubles a number: `timed` is the outermost, so it sees what `ops_only` refused.
/// #[on_proxy(layer = timed, layer = ops_only)]
/// pub async fn double(number: u64) -> Result<u64> {
///     Ok(number * 2)
/// }
/// # fn main() {}
/// ```
pub type Layered<'a, T, E> = Result<Answer<'a, T, E>, LayerError>;

/// The call that a layer runs around.
#[derive(Debug, Clone, Copy)]
pub struct LayerCall {
    function: &'static str,
}

impl LayerCall {
    /// The function's name.
    #[must_use]
    pub fn function(&self) -> &'static str {
        self.function
    }

    /// The id of the call in the host's log and responses; a call inside the plugin has the id of the call it serves.
    #[must_use]
    pub fn request_id(&self) -> Option<String> {
        let id = instance::described()?.request_id;
        Some(id.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// The caller by its name in the host's config; `None` for other callers and for plugins.
    #[must_use]
    pub fn caller(&self) -> Option<String> {
        instance::described()?.caller
    }

    /// The remaining time of the call.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        instance::described()?.remaining
    }

    /// When the call must have ended.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        Instant::now().checked_add(self.remaining()?)
    }

    /// The value of this type that `on_start` put into the context, as functions take it with `#[state]`.
    #[must_use]
    pub fn state<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        instance::state()
    }
}

/// The failure of a layer; any error converts into it with `?`.
///
/// It does not reject the call: if the body has not begun, it runs without the layer.
#[derive(Debug)]
pub struct LayerError(String);

impl LayerError {
    /// A failure of the layer itself.
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

impl<E: std::error::Error> From<E> for LayerError {
    fn from(error: E) -> Self {
        Self(with_causes(&error))
    }
}

/// The inner part of a call: the body, with the layers that are further inside.
#[must_use = "without `run`, `answer` or `refuse` the layer has no answer"]
pub struct Next<'a, T, E>(&'a Slot<T, E>);

impl<T, E> fmt::Debug for Next<'_, T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Next")
    }
}

impl<'a, T, E> Next<'a, T, E> {
    /// Runs it, once.
    ///
    /// ```compile_fail,E0382
    /// # use framex_sdk::prelude::*;
    /// async fn tries_again<T, E>(_: LayerCall, next: Next<'_, T, E>) -> Layered<'_, T, E> {
    ///     let answer = next.run().await;
    ///     if answer.is_ok() { Ok(answer) } else { Ok(next.run().await) }
    /// }
    /// ```
    ///
    /// # Cancel safety
    /// Dropping it cancels the body, and leaves the call without an answer.
    pub async fn run(self) -> Answer<'a, T, E> {
        let slot = self.0;
        let mut body = slot.begin();
        poll_fn(|context| slot.poll(&mut body, context)).await
    }

    /// Returns a result without running the body.
    pub fn answer(self, value: T) -> Answer<'a, T, E> {
        self.without_body(Ok(value))
    }

    /// Rejects the call with an error, without running the body.
    ///
    /// Callers are told that the function ran: its layers did, so the call is not retried elsewhere.
    pub fn refuse(self, error: E) -> Answer<'a, T, E> {
        self.without_body(Err(error))
    }

    fn without_body(self, result: Result<T, E>) -> Answer<'a, T, E> {
        *self.0.state() = State::Taken;
        Answer { slot: self.0, result: Some(result) }
    }
}

/// The answer of a call in the hands of a layer, which may look at it and change it.
///
/// If the layer fails after all, the call is answered with what is in it at that moment.
#[must_use = "a layer returns the answer"]
pub struct Answer<'a, T, E> {
    slot: &'a Slot<T, E>,
    /// Empty only after it was returned, or dropped.
    result: Option<Result<T, E>>,
}

/// The reason that the result of an [`Answer`] is present.
const HAS_RESULT: &str = "only the owner of the answer and its drop take the result";

impl<T, E> Deref for Answer<'_, T, E> {
    type Target = Result<T, E>;

    fn deref(&self) -> &Result<T, E> {
        self.result.as_ref().expect(HAS_RESULT)
    }
}

impl<T, E> DerefMut for Answer<'_, T, E> {
    fn deref_mut(&mut self) -> &mut Result<T, E> {
        self.result.as_mut().expect(HAS_RESULT)
    }
}

impl<T, E> Drop for Answer<'_, T, E> {
    fn drop(&mut self) {
        if let Some(result) = self.result.take() {
            *self.slot.state() = State::Known(result);
        }
    }
}

impl<T: fmt::Debug, E: fmt::Debug> fmt::Debug for Answer<'_, T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Answer").field(&self.result).finish()
    }
}

type Body<T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send>>;

/// The progress of the body inside of one layer, in one call.
#[doc(hidden)]
pub struct Slot<T, E>(Mutex<State<T, E>>);

enum State<T, E> {
    /// Nothing of it ran.
    New(Body<T, E>),
    /// It began and has not ended; or it was dropped before its end.
    Begun,
    /// The layer has the answer.
    Taken,
    /// The layer had the answer, and dropped it.
    Known(Result<T, E>),
    /// It panicked, with this payload.
    Panicked(Box<dyn Any + Send>),
}

/// A future whose type says nothing of what is inside.
#[doc(hidden)]
pub fn boxed<'a, T>(
    future: impl Future<Output = T> + Send + 'a,
) -> Pin<Box<dyn Future<Output = T> + Send + 'a>> {
    Box::pin(future)
}

/// The payload that unwinds through a layer whose body panicked; the body's own payload is kept apart.
struct BodyPanicked;

impl<T, E> fmt::Debug for Slot<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Slot")
    }
}

impl<T, E> Slot<T, E> {
    #[doc(hidden)]
    pub fn new(body: impl Future<Output = Result<T, E>> + Send + 'static) -> Self {
        Self(Mutex::new(State::New(Box::pin(body))))
    }

    /// For the one layer; asked for once.
    #[doc(hidden)]
    pub fn next(&self) -> Next<'_, T, E> {
        Next(self)
    }

    fn state(&self) -> MutexGuard<'_, State<T, E>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns true if nothing of the body ran, and no answer is there.
    fn is_new(&self) -> bool {
        matches!(*self.state(), State::New(_))
    }

    /// The body, which begins; nothing if there was more than one [`Next`].
    fn begin(&self) -> Option<Body<T, E>> {
        let mut state = self.state();
        match std::mem::replace(&mut *state, State::Begun) {
            State::New(body) => Some(body),
            other => {
                *state = other;
                None
            }
        }
    }

    fn poll(&self, body: &mut Option<Body<T, E>>, context: &mut Context<'_>) -> Poll<Answer<'_, T, E>> {
        let Some(running) = body else { return Poll::Pending };
        match catch_unwind(AssertUnwindSafe(|| running.as_mut().poll(context))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(result)) => {
                *body = None;
                *self.state() = State::Taken;
                Poll::Ready(Answer { slot: self, result: Some(result) })
            }
            Err(payload) => {
                *self.state() = State::Panicked(payload);
                resume_unwind(Box::new(BodyPanicked))
            }
        }
    }
}

/// The time that a layer may take before its inner part begins. It is read when the layer waits for the first time, so
/// that a layer that never waits costs nothing.
enum Patience {
    New,
    /// As long as the call.
    Endless,
    Until(Pin<Box<Sleep>>, Duration),
}

impl Patience {
    /// The time that the layer had, once that is over.
    fn over(&mut self, context: &mut Context<'_>) -> Option<Duration> {
        if let Self::New = self {
            *self = instance::layer_time()
                .map_or(Self::Endless, |time| Self::Until(Box::pin(tokio::time::sleep(time)), time));
        }
        let Self::Until(sleep, time) = self else { return None };
        sleep.as_mut().poll(context).is_ready().then_some(*time)
    }
}

/// The end of a layer without an answer.
enum Lost {
    Panicked(String),
    TookTooLong(Duration),
}

/// One layer of one function.
#[doc(hidden)]
#[derive(Debug)]
pub struct Layer {
    name: &'static str,
    function: &'static str,
    cell: &'static FunctionCell,
    warned: AtomicBool,
}

impl Layer {
    #[doc(hidden)]
    #[must_use]
    pub const fn new(name: &'static str, function: &'static str, cell: &'static FunctionCell) -> Self {
        Self { name, function, cell, warned: AtomicBool::new(false) }
    }

    #[doc(hidden)]
    #[must_use]
    pub fn call(&self) -> LayerCall {
        LayerCall { function: self.function }
    }

    /// Counts a failure, and logs the first one of the generation.
    fn warn(&self, failure: &str, so: &str) {
        self.cell.route.layer_failures.fetch_add(1, Ordering::Relaxed);
        if self.warned.swap(true, Ordering::Relaxed) {
            return;
        }
        let Self { name, function, .. } = self;
        let text = format!(
            "layer `{name}` of function `{function}` {failure}; {so}. More of this is counted in \
             framex_plugin_layer_failures_total, and not logged"
        );
        if instance::is_hosted() {
            crate::logging::write(log::Level::Warn, "layer", &text, "");
        } else {
            tracing::warn!("{text}");
        }
    }

    /// Runs the layer around the body of `slot`.
    #[doc(hidden)]
    pub async fn around<'a, T, E: ProxyError>(
        &self,
        slot: &'a Slot<T, E>,
        layer: impl Future<Output = Layered<'a, T, E>>,
    ) -> Result<T, E> {
        let failure = {
            let mut layer = pin!(layer);
            let mut patience = Patience::New;
            let ended = poll_fn(|context| match contain(|| layer.as_mut().poll(context)) {
                Ok(Poll::Pending) if slot.is_new() => match patience.over(context) {
                    Some(time) => Poll::Ready(Err(Lost::TookTooLong(time))),
                    None => Poll::Pending,
                },
                Ok(Poll::Pending) => Poll::Pending,
                Ok(Poll::Ready(ended)) => Poll::Ready(Ok(ended)),
                Err(panic) => Poll::Ready(Err(Lost::Panicked(panic))),
            });
            match ended.await {
                Ok(Ok(mut answer)) => match answer.result.take() {
                    Some(result) => return result,
                    None => "answered nothing".to_owned(),
                },
                Ok(Err(LayerError(reason))) => format!("failed: {reason}"),
                Err(Lost::Panicked(panic)) => format!("panicked: {panic}"),
                Err(Lost::TookTooLong(time)) => format!(
                    "did not come to the function within {} ms ([server] layer_percent)",
                    time.as_millis()
                ),
            }
        };
        let state = std::mem::replace(&mut *slot.state(), State::Taken);
        let lost = match state {
            State::New(body) => {
                self.warn(&failure, "the function runs without it");
                return body.await;
            }
            State::Known(result) => {
                self.warn(&failure, "the call is answered with what it had by then");
                return result;
            }
            // The layer is not at fault.
            State::Panicked(payload) => resume_unwind(payload),
            State::Begun => "while the function ran, so its result is not known",
            State::Taken => "when it had the result of the function, which is lost",
        };
        self.warn(&failure, "the call has no answer");
        let text = format!("layer `{}` of function `{}` failed {lost}", self.name, self.function);
        Err(E::from_call_error(CallError::ran(Code::Internal, text)))
    }
}
