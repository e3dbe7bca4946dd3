use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::*;
use crate::base::{Deadline, InheritedPermits};

const LONG: Duration = Duration::from_secs(5);

fn limit(in_flight_max: usize, queue_max: usize) -> ConcurrencyLimit {
    ConcurrencyLimit { in_flight_max, queue_max }
}

fn limiter(in_flight_max: usize, queue_max: usize) -> Arc<Limiter> {
    Arc::new(Limiter::new(limit(in_flight_max, queue_max)))
}

type Entering<'a> = Pin<Box<dyn Future<Output = Result<Permit, AcquireError>> + 'a>>;

/// One that asks for a permit and was polled once.
fn entering(limiter: &Arc<Limiter>) -> Entering<'_> {
    let mut entering: Entering<'_> = Box::pin(limiter.acquire(Deadline::after(LONG)));
    assert!(poll(&mut entering).is_none(), "it waits");
    entering
}

fn poll(entering: &mut Entering<'_>) -> Option<Result<Permit, AcquireError>> {
    poll_once(entering)
}

fn poll_once<F: Future + ?Sized>(future: &mut Pin<Box<F>>) -> Option<F::Output> {
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

#[tokio::test(start_paused = true)]
async fn permits_then_queue_then_full() {
    let limiter = limiter(1, 1);
    let permit = limiter.try_acquire().unwrap();
    let second = entering(&limiter);
    assert_eq!(limiter.acquire(Deadline::after(LONG)).await.unwrap_err(), AcquireError::QueueFull);
    assert_eq!((limiter.running(), limiter.waiting(), limiter.rejected()), (1, 1, 1));
    drop(permit);
    let permit = second.await.unwrap();
    assert_eq!((limiter.running(), limiter.waiting()), (1, 0));
    drop(permit);
    assert_eq!(limiter.running(), 0);
}

#[tokio::test(start_paused = true)]
async fn calls_that_wait_enter_in_order() {
    let limiter = limiter(1, 3);
    let permit = limiter.try_acquire().unwrap();
    let (mut first, mut second) = (entering(&limiter), entering(&limiter));
    drop(permit);
    assert!(limiter.try_acquire().is_none(), "the permit is the first one's");
    assert!(poll(&mut second).is_none());
    let permit = poll(&mut first).unwrap().unwrap();
    assert!(poll(&mut second).is_none());
    drop(permit);
    assert!(poll(&mut second).unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn waiting_ends_at_the_deadline() {
    let limiter = limiter(1, 1);
    let _permit = limiter.try_acquire().unwrap();
    let begun = tokio::time::Instant::now();
    assert_eq!(limiter.acquire(Deadline::after(LONG)).await.unwrap_err(), AcquireError::TimeRanOut);
    assert!(begun.elapsed() >= LONG - Duration::from_millis(10));
    assert_eq!((limiter.waiting(), limiter.rejected()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_gives_up_leaves_the_queue() {
    let limiter = limiter(1, 1);
    let permit = limiter.try_acquire().unwrap();
    drop(entering(&limiter));
    let mut second = entering(&limiter);
    drop(permit);
    assert!(poll(&mut second).unwrap().is_ok());
    // One that was given the permit and never looked gives it on.
    let permit = limiter.try_acquire().unwrap();
    let third = entering(&limiter);
    drop(permit);
    drop(third);
    assert_eq!((limiter.running(), limiter.waiting()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_lower_limit_counts_the_calls_that_run() {
    let limiter = limiter(3, 1);
    let mut held: Vec<Permit> = (0..3).map(|_| limiter.try_acquire().unwrap()).collect();
    limiter.set(Some(limit(1, 1)));
    assert_eq!((limiter.running(), limiter.limit()), (3, Some(limit(1, 1))));
    let mut next = entering(&limiter);
    for left in [2, 1] {
        held.pop();
        assert_eq!(limiter.running(), left);
        assert!(poll(&mut next).is_none(), "{left} still run");
    }
    held.pop();
    let permit = poll(&mut next).unwrap().unwrap();
    assert!(limiter.try_acquire().is_none());
    drop(permit);
    assert_eq!(limiter.running(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_higher_limit_or_none_lets_waiting_calls_in() {
    let limiter = limiter(1, 2);
    let _permit = limiter.try_acquire().unwrap();
    let (mut first, mut second) = (entering(&limiter), entering(&limiter));
    limiter.set(Some(limit(2, 0)));
    let _first = poll(&mut first).unwrap().unwrap();
    assert!(poll(&mut second).is_none());
    limiter.set(None);
    let _second = poll(&mut second).unwrap().unwrap();
    assert!(!limiter.is_limited() && limiter.limit().is_none());
    assert_eq!(limiter.running(), 3);
    limiter.set(Some(limit(4, 0)));
    let _fourth = limiter.try_acquire().unwrap();
    assert!(limiter.try_acquire().is_none(), "all who have a permit count");
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_goes_up_and_down_loses_no_permit() {
    let limiter = limiter(2, 0);
    for held in 0..=2 {
        let taken: Vec<Permit> = (0..held).map(|_| limiter.try_acquire().unwrap()).collect();
        for in_flight_max in [1, 5, 1, 3, 2] {
            limiter.set(Some(limit(in_flight_max, 0)));
            assert_eq!(limiter.running(), held);
        }
        drop(taken);
        let all: Vec<Permit> = std::iter::from_fn(|| limiter.try_acquire()).collect();
        assert_eq!(all.len(), 2, "after {held} were held");
    }
}

/// Two limiters of one queue, with these limits.
fn two(one: ConcurrencyLimit, other: ConcurrencyLimit) -> [Arc<Limiter>; 2] {
    let first = Limiter::new(one);
    let second = first.beside();
    second.set(Some(other));
    [Arc::new(first), Arc::new(second)]
}

#[tokio::test(start_paused = true)]
async fn both_permits_or_none_are_taken_and_none_is_held_while_a_call_waits() {
    let [function, plugin] = two(limit(1, 5), limit(1, 5));
    let both = [Some(&function), Some(&plugin)];
    let of_plugin = plugin.try_acquire().unwrap();
    assert!(Permits::try_acquire(both).is_none());
    let mut waiting = Box::pin(Permits::acquire(both, Deadline::after(LONG)));
    assert!(poll_once(&mut waiting).is_none());
    assert_eq!((function.running(), function.waiting(), plugin.waiting()), (0, 0, 1));
    // The permit of the function goes to a call that needs no other.
    let of_function = function.try_acquire();
    let of_function = of_function.unwrap_or_else(|| panic!("it is free"));
    drop(of_plugin);
    assert!(poll_once(&mut waiting).is_none(), "one of the two does not let it run");
    assert_eq!(plugin.running(), 0);
    drop(of_function);
    assert!(poll_once(&mut waiting).unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_full_limit_does_not_hold_up_calls_of_another_and_the_first_that_fits_goes_first() {
    let [one, all] = two(limit(1, 5), limit(3, 5));
    let other = Arc::new(all.beside());
    other.set(Some(limit(2, 5)));
    let of_one = Permits::try_acquire([Some(&one), Some(&all)]).unwrap();
    let _of_other = Permits::try_acquire([Some(&other), Some(&all)]).unwrap();
    let mut second = Box::pin(Permits::acquire([Some(&one), Some(&all)], Deadline::after(LONG)));
    assert!(poll_once(&mut second).is_none());
    let of_other = Permits::try_acquire([Some(&other), Some(&all)]).expect("there is room for others");
    let mut third = Box::pin(Permits::acquire([Some(&other), Some(&all)], Deadline::after(LONG)));
    assert!(poll_once(&mut third).is_none());
    drop(of_one);
    assert!(poll_once(&mut third).is_none());
    let second = poll_once(&mut second).unwrap().unwrap();
    drop((second, of_other));
    assert!(poll_once(&mut third).unwrap().is_ok());
}

#[test]
fn no_permit_is_lost_or_given_twice_among_threads() {
    let [function, plugin] = two(limit(2, 64), limit(3, 64));
    let ran = AtomicUsize::new(0);
    let within = |limiter: &Limiter, most| assert!(limiter.running() <= most);
    std::thread::scope(|scope| {
        for thread in 0..4_usize {
            let (function, plugin, ran) = (&function, &plugin, &ran);
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
                let task = async |index: usize| {
                    for turn in 0..500 {
                        let needs = match (thread + index + turn) % 3 {
                            0 => [Some(function), Some(plugin)],
                            1 => [Some(function), None],
                            _ => [Some(plugin), None],
                        };
                        if turn % 7 == 0 {
                            let mut given_up = Box::pin(Permits::acquire(needs, Deadline::after(LONG)));
                            drop(poll_once(&mut given_up));
                        }
                        let permits = Permits::acquire(needs, Deadline::after(LONG)).await.unwrap();
                        within(function, 2);
                        within(plugin, 3);
                        tokio::task::yield_now().await;
                        drop(permits);
                        ran.fetch_add(1, Relaxed);
                    }
                };
                runtime.block_on(async { tokio::join!(task(0), task(1), task(2)) });
            });
        }
    });
    assert_eq!(ran.into_inner(), 4 * 3 * 500);
    for limiter in [&function, &plugin] {
        assert_eq!((limiter.running(), limiter.waiting(), limiter.wanted.load(SeqCst)), (0, 0, 0));
    }
}

#[test]
fn inherited_permits_are_known_by_their_limiter() {
    let (one, other) = (limiter(1, 0), limiter(1, 0));
    let inherited = InheritedPermits::default().with(&one);
    assert!(inherited.contain(&one) && !inherited.contain(&other));
    let both = inherited.with(&other);
    assert!(both.contain(&one) && both.contain(&other) && !inherited.contain(&other));
}
