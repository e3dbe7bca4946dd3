use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::*;

fn name(text: &str) -> FunctionName {
    FunctionName::new(text).unwrap()
}

fn limit(in_flight_max: usize, queue_max: usize) -> ConcurrencyLimit {
    ConcurrencyLimit { in_flight_max, queue_max }
}

fn configured(plugin: Option<ConcurrencyLimit>, function: FunctionLimit) -> CallLimits {
    CallLimits {
        plugins: plugin.into_iter().map(|limit| ("demo".to_owned(), limit)).collect(),
        functions: [(name("demo.f"), function)].into(),
    }
}

fn publish(book: &mut LimitBook, declared: DeclaredLimit) -> FunctionLimits {
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
fn limiters_outlive_generations_and_configs() {
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
async fn a_call_within_a_call_waits_for_none_of_its_own_permits() {
    let deadline = Deadline::after(Duration::from_secs(5));
    let mut book = LimitBook::default();
    let said = FunctionLimit { in_flight_max: Some(1), queue_max: Some(5) };
    book.configure(configured(Some(limit(1, 5)), said), None);
    let f = publish(&mut book, DeclaredLimit::default());
    let other = book.publish(&name("demo.g"), &"demo".into(), DeclaredLimit::default());
    let outside = InheritedPermits::default();
    let outer = f.try_acquire(&outside).unwrap();
    let inside = f.inherited_within(&outside);
    assert!(other.try_acquire(&outside).is_none(), "the plugin's permit is taken");
    assert!(other.acquire(&inside, deadline).await.is_ok());
    assert_eq!(f.acquire(&inside, deadline).await.unwrap_err(), Rejected::Within);
    let waited = other.acquire(&outside, deadline).await.unwrap_err();
    assert_eq!(waited, Rejected::Plugin(AcquireError::TimeRanOut));
    drop(outer);
    assert!(f.acquire(&outside, deadline).await.is_ok());
    let [functions, plugins] = book.shown();
    assert_eq!((functions[0].1.rejected(), plugins[0].1.rejected()), (1, 1));
}

fn poll<F: Future>(entering: &mut Pin<Box<F>>) -> Option<F::Output> {
    match entering.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

/// One permit of the plugin, which a call of `demo.g` has taken, and one of `demo.f`; and what calls within that one inherit.
fn one_of_each() -> (FunctionLimits, Permits, InheritedPermits) {
    let mut book = LimitBook::default();
    let function = FunctionLimit { in_flight_max: Some(1), queue_max: Some(5) };
    book.configure(configured(Some(limit(1, 5)), function), None);
    let f = publish(&mut book, DeclaredLimit::default());
    let g = book.publish(&name("demo.g"), &"demo".into(), DeclaredLimit::default());
    let outer = g.try_acquire(&InheritedPermits::default()).unwrap();
    let inside = g.inherited_within(&InheritedPermits::default());
    (f, outer, inside)
}

#[tokio::test(start_paused = true)]
async fn a_call_within_takes_the_permit_that_one_outside_waits_for_with_the_plugins() {
    let deadline = Deadline::after(Duration::from_secs(5));
    let (f, outer, inside) = one_of_each();
    let outside = InheritedPermits::default();
    let mut waiting = Box::pin(f.acquire(&outside, deadline));
    assert!(poll(&mut waiting).is_none());
    let within = f.acquire(&inside, deadline).await.unwrap();
    let mut second = Box::pin(f.acquire(&inside, deadline));
    assert!(poll(&mut second).is_none(), "there is one permit");
    drop(within);
    assert!(poll(&mut waiting).is_none(), "the plugin's is taken");
    let within = poll(&mut second).unwrap().unwrap();
    // The plugin's permit alone does not let it run.
    drop(outer);
    assert!(poll(&mut waiting).is_none());
    drop(within);
    let permits = poll(&mut waiting).unwrap().unwrap();
    assert!(f.function.try_acquire().is_none());
    drop(permits);
    assert_eq!((f.function.running(), f.function.waiting(), f.plugin.running()), (0, 0, 0));
}

#[test]
fn a_name_that_another_plugin_takes_over_is_limited_with_that_one() {
    let mut book = LimitBook::default();
    let before = publish(&mut book, DECLARED);
    let after = book.publish(&name("demo.f"), &"other".into(), DECLARED);
    assert!(before.function.is_beside(&before.plugin) && after.function.is_beside(&after.plugin));
    assert!(after.try_acquire(&InheritedPermits::default()).is_some());
    assert!(Arc::ptr_eq(&before.share_of_host, &after.share_of_host));
}
