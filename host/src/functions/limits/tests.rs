use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::*;

fn name(text: &str) -> FunctionName {
    FunctionName::new(text).unwrap()
}

fn limit(in_flight_max: usize, queue_max: usize) -> PlaceLimit {
    PlaceLimit { in_flight_max, queue_max }
}

fn configured(plugin: Option<PlaceLimit>, function: FunctionLimit) -> CallLimits {
    CallLimits {
        plugins: plugin.into_iter().map(|limit| ("demo".to_owned(), limit)).collect(),
        functions: [(name("demo.f"), function)].into(),
    }
}

fn publish(book: &mut LimitBook, declared: DeclaredLimit) -> FunctionPlaces {
    book.publish(&name("demo.f"), &"demo".into(), declared)
}

const DECLARED: DeclaredLimit = DeclaredLimit { max_concurrency: 2, max_queue: 3 };

#[test]
fn each_key_of_the_config_is_stronger_than_the_attribute() {
    let check = |declared: DeclaredLimit, in_flight_max, queue_max, expected| {
        assert_eq!(declared.with(Some(&FunctionLimit { in_flight_max, queue_max })), expected);
    };
    let undeclared = DeclaredLimit::default();
    check(DECLARED, None, None, Some(limit(2, 3)));
    check(DECLARED, Some(7), None, Some(limit(7, 3)));
    check(DECLARED, None, Some(0), Some(limit(2, 0)));
    check(undeclared, Some(7), None, Some(limit(7, 0)));
    check(undeclared, None, Some(9), None);
}

#[test]
fn places_outlive_generations_and_configs() {
    let mut book = LimitBook::default();
    let first = publish(&mut book, DECLARED);
    let second = publish(&mut book, DeclaredLimit { max_concurrency: 5, max_queue: 0 });
    assert!(Arc::ptr_eq(&first.function, &second.function) && Arc::ptr_eq(&first.plugin, &second.plugin));
    assert_eq!((first.function.limit(), first.plugin.limit()), (Some(limit(5, 0)), None));
    let said = FunctionLimit { in_flight_max: Some(1), queue_max: None };
    book.configure(configured(Some(limit(9, 9)), said), None);
    assert_eq!((first.function.limit(), first.plugin.limit()), (Some(limit(1, 0)), Some(limit(9, 9))));
    let third = publish(&mut book, DECLARED);
    assert_eq!(third.function.limit(), Some(limit(1, 3)), "the config is still stronger");
    book.configure(CallLimits::default(), None);
    assert_eq!((third.function.limit(), third.plugin.limit()), (Some(limit(2, 3)), None));
}

#[tokio::test(start_paused = true)]
async fn a_call_within_a_call_waits_for_none_of_its_own_places() {
    let deadline = Deadline::after(Duration::from_secs(5));
    let mut book = LimitBook::default();
    let said = FunctionLimit { in_flight_max: Some(1), queue_max: Some(5) };
    book.configure(configured(Some(limit(1, 5)), said), None);
    let places = publish(&mut book, DeclaredLimit::default());
    let other = book.publish(&name("demo.g"), &"demo".into(), DeclaredLimit::default());
    let outside = HeldPlaces::default();
    let outer = places.try_enter(&outside).unwrap();
    let inside = places.held_within(&outside);
    assert!(other.try_enter(&outside).is_none(), "the plugin's place is taken");
    assert!(other.enter(&inside, deadline).await.is_ok());
    assert_eq!(places.enter(&inside, deadline).await.unwrap_err(), Limited::Within);
    let waited = other.enter(&outside, deadline).await.unwrap_err();
    assert_eq!(waited, Limited::Plugin(NoPlace::TimeRanOut));
    drop(outer);
    assert!(places.enter(&outside, deadline).await.is_ok());
    let [functions, plugins] = book.shown();
    assert_eq!((functions[0].1.reached(), plugins[0].1.reached()), (1, 1));
}

fn poll<F: Future>(entering: &mut Pin<Box<F>>) -> Option<F::Output> {
    match entering.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

/// One place of the plugin, which a call of `demo.g` has taken, and one of `demo.f`; and what is held within that call.
fn one_of_each() -> (FunctionPlaces, Entered, HeldPlaces) {
    let mut book = LimitBook::default();
    let function = FunctionLimit { in_flight_max: Some(1), queue_max: Some(5) };
    book.configure(configured(Some(limit(1, 5)), function), None);
    let f = publish(&mut book, DeclaredLimit::default());
    let g = book.publish(&name("demo.g"), &"demo".into(), DeclaredLimit::default());
    let outer = g.try_enter(&HeldPlaces::default()).unwrap();
    let inside = g.held_within(&HeldPlaces::default());
    (f, outer, inside)
}

#[tokio::test(start_paused = true)]
async fn a_call_within_runs_in_the_place_of_one_that_waits_for_the_plugin() {
    let deadline = Deadline::after(Duration::from_secs(5));
    let (f, outer, inside) = one_of_each();
    let outside = HeldPlaces::default();
    let mut waiting = Box::pin(f.enter(&outside, deadline));
    assert!(poll(&mut waiting).is_none());
    let within = f.enter(&inside, deadline).await.unwrap();
    let mut second = Box::pin(f.enter(&inside, deadline));
    assert!(poll(&mut second).is_none(), "there is one place, though two calls have to do with it");
    // The plugin's place alone does not let it run.
    drop(outer);
    assert!(poll(&mut waiting).is_none());
    drop(within);
    let within = poll(&mut second).unwrap().unwrap();
    assert!(poll(&mut waiting).is_none(), "the second one asked before");
    drop(within);
    let entered = poll(&mut waiting).unwrap().unwrap();
    assert!(f.function.try_enter().is_none());
    drop(entered);
    assert_eq!((f.function.running(), f.function.waiting(), f.plugin.running()), (0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_place_that_is_borrowed_stays_taken_when_its_lender_goes() {
    let deadline = Deadline::after(Duration::from_secs(5));
    let (f, outer, inside) = one_of_each();
    let outside = HeldPlaces::default();
    let mut waiting = Box::pin(f.enter(&outside, deadline));
    assert!(poll(&mut waiting).is_none());
    let within = f.try_enter(&inside).unwrap();
    drop(waiting);
    assert!(f.try_enter(&inside).is_none() && f.function.try_enter().is_none());
    // One that asks and goes changes nothing.
    let mut second = Box::pin(f.enter(&inside, deadline));
    assert!(poll(&mut second).is_none());
    drop(second);
    assert_eq!(f.function.running(), 1);
    drop(within);
    assert_eq!((f.function.running(), f.function.waiting()), (0, 0));
    assert!(f.try_enter(&inside).is_some());
    drop(outer);
    assert!(f.enter(&outside, deadline).await.is_ok());
}
