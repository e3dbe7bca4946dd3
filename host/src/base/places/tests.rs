use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::*;

const LONG: Duration = Duration::from_secs(5);

fn limit(in_flight_max: usize, queue_max: usize) -> PlaceLimit {
    PlaceLimit { in_flight_max, queue_max }
}

fn places(in_flight_max: usize, queue_max: usize) -> Arc<Places> {
    Arc::new(Places::new(limit(in_flight_max, queue_max)))
}

type Entering<'a> = Pin<Box<dyn Future<Output = Result<Place, NoPlace>> + 'a>>;

/// One that asks for a place and was polled once.
fn entering(places: &Arc<Places>) -> Entering<'_> {
    let mut entering: Entering<'_> = Box::pin(places.enter(Deadline::after(LONG)));
    assert!(poll(&mut entering).is_none(), "it waits");
    entering
}

fn poll(entering: &mut Entering<'_>) -> Option<Result<Place, NoPlace>> {
    match entering.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(entered) => Some(entered),
        Poll::Pending => None,
    }
}

#[tokio::test(start_paused = true)]
async fn places_then_queue_then_full() {
    let places = places(1, 1);
    let place = places.try_enter().unwrap();
    let second = entering(&places);
    assert_eq!(places.enter(Deadline::after(LONG)).await.unwrap_err(), NoPlace::Full);
    assert_eq!((places.running(), places.waiting(), places.reached()), (1, 1, 1));
    drop(place);
    let place = second.await.unwrap();
    assert_eq!((places.running(), places.waiting()), (1, 0));
    drop(place);
    assert_eq!(places.running(), 0);
}

#[tokio::test(start_paused = true)]
async fn who_waits_enters_in_order_and_nobody_overtakes() {
    let places = places(1, 3);
    let place = places.try_enter().unwrap();
    let (mut first, mut second) = (entering(&places), entering(&places));
    drop(place);
    assert!(places.try_enter().is_none(), "the place is the first one's");
    assert!(poll(&mut second).is_none());
    let place = poll(&mut first).unwrap().unwrap();
    assert!(poll(&mut second).is_none());
    drop(place);
    assert!(poll(&mut second).unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn waiting_ends_at_the_deadline() {
    let places = places(1, 1);
    let _place = places.try_enter().unwrap();
    let begun = tokio::time::Instant::now();
    assert_eq!(places.enter(Deadline::after(LONG)).await.unwrap_err(), NoPlace::TimeRanOut);
    assert!(begun.elapsed() >= LONG - Duration::from_millis(10));
    assert_eq!((places.waiting(), places.reached()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn who_gives_up_leaves_the_queue() {
    let places = places(1, 1);
    let place = places.try_enter().unwrap();
    drop(entering(&places));
    let mut second = entering(&places);
    drop(place);
    assert!(poll(&mut second).unwrap().is_ok());
    // One that was given the place and never looked gives it on.
    let place = places.try_enter().unwrap();
    let third = entering(&places);
    drop(place);
    drop(third);
    assert_eq!((places.running(), places.waiting()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_lower_limit_counts_those_who_run() {
    let places = places(3, 1);
    let mut held: Vec<Place> = (0..3).map(|_| places.try_enter().unwrap()).collect();
    places.set(Some(limit(1, 1)));
    assert_eq!((places.running(), places.limit()), (3, Some(limit(1, 1))));
    let mut next = entering(&places);
    for left in [2, 1] {
        held.pop();
        assert_eq!(places.running(), left);
        assert!(poll(&mut next).is_none(), "{left} still run");
    }
    held.pop();
    let place = poll(&mut next).unwrap().unwrap();
    assert!(places.try_enter().is_none());
    drop(place);
    assert_eq!(places.running(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_higher_limit_or_none_lets_those_in_who_wait() {
    let places = places(1, 2);
    let _place = places.try_enter().unwrap();
    let (mut first, mut second) = (entering(&places), entering(&places));
    places.set(Some(limit(2, 0)));
    let _first = poll(&mut first).unwrap().unwrap();
    assert!(poll(&mut second).is_none());
    places.set(None);
    let _second = poll(&mut second).unwrap().unwrap();
    assert!(!places.are_limited() && places.limit().is_none());
    assert_eq!(places.running(), 3);
    places.set(Some(limit(4, 0)));
    let _fourth = places.try_enter().unwrap();
    assert!(places.try_enter().is_none(), "all who have a place count");
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_goes_up_and_down_loses_no_place() {
    let places = places(2, 0);
    for held in 0..=2 {
        let taken: Vec<Place> = (0..held).map(|_| places.try_enter().unwrap()).collect();
        for in_flight_max in [1, 5, 1, 3, 2] {
            places.set(Some(limit(in_flight_max, 0)));
            assert_eq!(places.running(), held);
        }
        drop(taken);
        let all: Vec<Place> = std::iter::from_fn(|| places.try_enter()).collect();
        assert_eq!(all.len(), 2, "after {held} were held");
    }
}

#[test]
fn held_places_are_known_by_who_they_are() {
    let (one, other) = (places(1, 0), places(1, 0));
    let held = HeldPlaces::default().with(&one);
    assert!(held.have(&one) && !held.have(&other));
    let both = held.with(&other);
    assert!(both.have(&one) && both.have(&other) && !held.have(&other));
}
