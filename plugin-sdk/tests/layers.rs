//! Layers outside of a host, as in the unit tests of a plugin: each runs around the body, which runs once at most.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::{Context as TaskContext, Poll, Waker};

use framex_sdk::prelude::*;

thread_local! {
    static SEEN: Cell<String> = Cell::default();
}

/// Notes something, in order.
fn note(what: &str) {
    SEEN.set(format!("{} {what}", SEEN.take()).trim_start().to_owned());
}

/// Polls to its end something that waits for nothing outside; answers it, or the text of its panic.
fn run<T>(future: impl Future<Output = T>) -> (std::result::Result<T, String>, String) {
    SEEN.take();
    let ended = catch_unwind(AssertUnwindSafe(|| {
        let mut future = pin!(future);
        let mut context = TaskContext::from_waker(Waker::noop());
        (0..100)
            .find_map(|_| match future.as_mut().poll(&mut context) {
                Poll::Ready(output) => Some(output),
                Poll::Pending => None,
            })
            .expect("it waits for something")
    }));
    (ended.map_err(|panic| panic.downcast_ref::<&str>().copied().unwrap_or_default().to_owned()), SEEN.take())
}

async fn pause() {
    let mut paused = false;
    poll_fn(|_| if std::mem::replace(&mut paused, true) { Poll::Ready(()) } else { Poll::Pending }).await;
}

/// Runs `future` until it suspends, then drops it.
fn begin_and_drop(future: impl Future) -> String {
    SEEN.take();
    assert!(pin!(future).poll(&mut TaskContext::from_waker(Waker::noop())).is_pending());
    SEEN.take()
}

struct NoteDrop;

impl Drop for NoteDrop {
    fn drop(&mut self) {
        note("dropped");
    }
}

async fn body(number: u64) -> Result<u64> {
    let _dropped = NoteDrop;
    note("body");
    pause().await;
    match number {
        0 => Err(Error::new("zero", "nothing")),
        13 => panic!("the body panics"),
        number => Ok(number),
    }
}

async fn outer<T, E>(_: LayerCall, next: Next<'_, T, E>) -> Layered<'_, T, E> {
    note("outer(");
    let answer = next.run().await;
    note(if answer.is_ok() { "ok)" } else { "error)" });
    Ok(answer)
}

async fn inner<T, E>(call: LayerCall, next: Next<'_, T, E>) -> Layered<'_, T, E> {
    note(&format!("inner {}(", call.function()));
    assert!(call.request_id().is_none() && call.deadline().is_none() && call.caller().is_none());
    let answer = next.run().await;
    note(")");
    Ok(answer)
}

async fn fails_before<T, E>(_: LayerCall, _: Next<'_, T, E>) -> Layered<'_, T, E> {
    pause().await;
    let number: u32 = "no number".parse()?;
    panic!("{number} is one")
}

async fn panics_before<T, E>(_: LayerCall, _: Next<'_, T, E>) -> Layered<'_, T, E> {
    panic!("the layer panics")
}

async fn fails_after<T, E>(_: LayerCall, next: Next<'_, T, E>) -> Layered<'_, T, E> {
    let _answer = next.run().await;
    Err(LayerError::new("too late"))
}

async fn panics_after<T, E>(_: LayerCall, next: Next<'_, T, E>) -> Layered<'_, T, E> {
    let _answer = next.run().await;
    panic!("the layer panics")
}

/// Gives the body up while it runs.
async fn panics_during<T, E>(_: LayerCall, next: Next<'_, T, E>) -> Layered<'_, T, E> {
    let mut running = pin!(next.run());
    poll_fn(|context| {
        assert!(running.as_mut().poll(context).is_pending());
        Poll::Ready(())
    })
    .await;
    panic!("the layer panics")
}

async fn keeps_answer<T, E>(_: LayerCall, next: Next<'_, T, E>) -> Layered<'_, T, E> {
    let answer = next.run().await;
    #[expect(clippy::mem_forget, reason = "a layer that does what it must not")]
    std::mem::forget(answer);
    Err(LayerError::new("lost it"))
}

async fn adds_one(_: LayerCall, next: Next<'_, u64, Error>) -> Layered<'_, u64, Error> {
    let mut answer = next.run().await;
    match &mut *answer {
        Ok(number) => *number += 1,
        Err(_) => *answer = Ok(100),
    }
    Ok(answer)
}

async fn refuses<T, E: ProxyError>(_: LayerCall, next: Next<'_, T, E>) -> Layered<'_, T, E> {
    Ok(next.refuse(E::from_call_error(CallError::new(Code::PermissionDenied, "not you"))))
}

async fn remembers(_: LayerCall, next: Next<'_, u64, Error>) -> Layered<'_, u64, Error> {
    Ok(next.answer(42))
}

async fn refuses_and_fails(_: LayerCall, next: Next<'_, u64, Error>) -> Layered<'_, u64, Error> {
    let _refused = next.refuse(Error::new("refused", "not you"));
    Err(LayerError::new("and then it failed"))
}

macro_rules! functions {
    ($($name:ident: $($layer:ident),+;)+) => {
        $(#[on_proxy($(layer = $layer),+)]
        async fn $name(number: u64) -> Result<u64> {
            body(number).await
        })+
    };
}

functions! {
    in_order: outer, inner;
    one_failed_before: outer, fails_before, inner;
    one_panicked_before: outer, panics_before, inner;
    one_failed_after: outer, fails_after, inner;
    one_panicked_after: outer, panics_after;
    one_panicked_during: outer, panics_during, inner;
    one_kept_the_answer: keeps_answer;
    changed: outer, adds_one;
    refused: outer, refuses, inner;
    remembered: outer, remembers;
    refused_all_the_same: refuses_and_fails;
}

#[on_proxy(layer = outer, blocking)]
fn blocking(number: u64) -> Result<u64> {
    note("body");
    Ok(number)
}

#[test]
fn the_first_layer_is_the_outermost() {
    let (outcome, seen) = run(in_order(7));
    assert_eq!((outcome.unwrap().unwrap(), &*seen), (7, "outer( inner layers.in_order( body dropped ) ok)"));
    let (outcome, seen) = run(in_order(0));
    assert_eq!(outcome.unwrap().unwrap_err().app_code(), Some("zero"));
    assert_eq!(seen, "outer( inner layers.in_order( body dropped ) error)");
}

#[test]
fn the_body_runs_without_a_layer_that_fails_before_it() {
    let (outcome, seen) = run(one_failed_before(7));
    let others = |name: &str| format!("outer( inner layers.{name}( body dropped ) ok)");
    assert_eq!((outcome.unwrap().unwrap(), seen), (7, others("one_failed_before")));
    let (outcome, seen) = run(one_panicked_before(7));
    assert_eq!((outcome.unwrap().unwrap(), seen), (7, others("one_panicked_before")));
}

#[test]
fn what_the_body_answered_is_the_answer_if_a_layer_fails_after_it() {
    let (outcome, seen) = run(one_failed_after(7));
    let expected = "outer( inner layers.one_failed_after( body dropped ) ok)";
    assert_eq!((outcome.unwrap().unwrap(), &*seen), (7, expected));
    let (outcome, seen) = run(one_panicked_after(0));
    assert_eq!(outcome.unwrap().unwrap_err().app_code(), Some("zero"));
    assert_eq!(seen, "outer( body dropped error)");
}

#[test]
fn a_body_that_a_layer_gave_up_or_whose_answer_it_lost_is_not_run_again() {
    let (outcome, seen) = run(one_panicked_during(7));
    let error = outcome.unwrap().unwrap_err();
    assert_eq!(
        error.message(),
        "layer `panics_during` of function `layers.one_panicked_during` failed while the function ran, so its result is not known"
    );
    assert_eq!((error.code(), error.executed()), (Code::Internal, Some(true)));
    assert_eq!(seen, "outer( inner layers.one_panicked_during( body dropped error)");
    let (outcome, seen) = run(one_kept_the_answer(7));
    let error = outcome.unwrap().unwrap_err();
    assert!(error.message().ends_with("failed when it had the result of the function, which is lost"));
    assert_eq!(seen, "body dropped");
}

#[test]
fn a_layer_may_change_refuse_and_answer() {
    assert_eq!(run(changed(7)).0.unwrap().unwrap(), 8);
    assert_eq!(run(changed(0)).0.unwrap().unwrap(), 100);
    let (outcome, seen) = run(refused(7));
    assert_eq!(outcome.unwrap().unwrap_err().code(), Code::PermissionDenied);
    assert_eq!(seen, "outer( error)");
    let (outcome, seen) = run(remembered(7));
    assert_eq!((outcome.unwrap().unwrap(), &*seen), (42, "outer( ok)"));
    let (outcome, seen) = run(refused_all_the_same(7));
    assert_eq!(outcome.unwrap().unwrap_err().app_code(), Some("refused"));
    assert_eq!(seen, "", "what was refused is refused");
}

#[test]
fn a_panic_of_the_body_is_the_functions() {
    let (outcome, seen) = run(in_order(13));
    assert_eq!(outcome.unwrap_err(), "the body panics");
    assert_eq!(seen, "outer( inner layers.in_order( body dropped");
    let (outcome, seen) = run(one_failed_after(13));
    assert_eq!(outcome.unwrap_err(), "the body panics");
    assert_eq!(seen, "outer( inner layers.one_failed_after( body dropped");
}

#[test]
fn a_call_that_is_dropped_drops_through_all_layers() {
    assert_eq!(begin_and_drop(in_order(7)), "outer( inner layers.in_order( body dropped");
}

#[test]
fn a_function_that_blocks_has_layers() {
    let (outcome, seen) = run(blocking(7));
    assert_eq!((outcome.unwrap().unwrap(), &*seen), (7, "outer( body ok)"));
}
