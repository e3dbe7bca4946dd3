use super::*;

const START: u64 = 1_790_000_000_000;
const WINDOW: u64 = 30_000;
const AHEAD: u64 = 10_000;
const KEY: KeyId = [1; 8];

fn guard(ids_max: usize) -> ReplayGuard {
    ReplayGuard::new(ReplayGuard::WINDOW_DEFAULT, ids_max, START)
}

fn id(number: u32) -> RequestId {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    RequestId(bytes)
}

#[test]
fn a_frame_is_accepted_once_for_as_long_as_it_is_fresh() {
    for sent in [START + 40_000 - WINDOW, START + 40_000, START + 40_000 + AHEAD] {
        let guard = guard(1000);
        let accepted_at = START + 40_000;
        assert_eq!(guard.check(id(1), KEY, sent, accepted_at), Ok(()));
        for now in (accepted_at..=sent + WINDOW).step_by(500) {
            assert_eq!(guard.check(id(1), KEY, sent, now), Err(Refusal::Seen), "{now}");
        }
        let late = sent + WINDOW + 1;
        assert_eq!(guard.check(id(1), KEY, sent, late), Err(Refusal::Stale { now_ms: late }));
    }
}

#[test]
fn ids_are_apart_by_id_and_by_key() {
    let guard = guard(1000);
    assert_eq!(guard.check(id(1), KEY, START, START), Ok(()));
    assert_eq!(guard.check(id(2), KEY, START, START), Ok(()));
    assert_eq!(guard.check(id(1), [2; 8], START, START), Ok(()));
    assert_eq!(guard.check(id(1), KEY, START, START), Err(Refusal::Seen));
    assert_eq!(guard.remembered(), 3);
}

#[test]
fn what_is_not_fresh_is_stale() {
    let guard = guard(1000);
    let now = START + 100_000;
    let stale = Err(Refusal::Stale { now_ms: now });
    for sent in [0, now - WINDOW - 1, now + AHEAD + 1, u64::MAX] {
        assert_eq!(guard.check(id(1), KEY, sent, now), stale, "{sent}");
    }
    for sent in [now - WINDOW, now + AHEAD] {
        assert_eq!(guard.check(id(1), KEY, sent, now), Ok(()), "{sent}");
    }
}

#[test]
fn what_was_sealed_before_the_start_is_stale() {
    let guard = guard(1000);
    let stale = Err(Refusal::Stale { now_ms: START + 1 });
    assert_eq!(guard.check(id(1), KEY, START - 1, START + 1), stale);
    assert_eq!(guard.check(id(1), KEY, START, START + 1), Ok(()));
}

#[test]
fn a_clock_that_goes_back_brings_no_frame_back() {
    let guard = guard(1000);
    assert_eq!(guard.check(id(1), KEY, START, START), Ok(()));
    let later = START + 200_000;
    assert_eq!(guard.check(id(2), KEY, later, later), Ok(()));
    assert_eq!(guard.check(id(1), KEY, START, START), Err(Refusal::Stale { now_ms: later }));
}

#[test]
fn memory_is_given_back_as_time_goes_on() {
    let guard = guard(200_000);
    assert!(guard.shards.iter().all(|shard| lock(shard).keys.is_empty()), "allocated up front");
    for number in 0..50_000 {
        assert_eq!(guard.check(id(number), KEY, START, START), Ok(()));
    }
    assert_eq!(guard.remembered(), 50_000);
    let later = START + 2 * WINDOW;
    for number in 50_000..51_000 {
        assert_eq!(guard.check(id(number), KEY, later, later), Ok(()));
    }
    assert_eq!(guard.remembered(), 1000);
    assert_eq!(guard.window(later), ReplayGuard::WINDOW_DEFAULT);
}

#[test]
fn a_key_beyond_its_share_has_a_shorter_window_and_is_never_accepted_twice() {
    const IDS_MAX: usize = 32_000;
    let guard = guard(IDS_MAX);
    // A thousand a second for 60 seconds: what fits is a quarter of that.
    let arrival = |number: u32| START + u64::from(number);
    for number in 0..60_000 {
        assert_eq!(guard.check(id(number), KEY, arrival(number), arrival(number)), Ok(()), "{number}");
        assert!(guard.remembered() <= IDS_MAX / 2 + SHARDS);
    }
    let now = arrival(60_000);
    let window = u64::try_from(guard.window(now).as_millis()).unwrap();
    assert!((5_000..16_000).contains(&window), "{window}");
    for number in 0..60_000 {
        let again = guard.check(id(number), KEY, arrival(number), now);
        if now - arrival(number) <= window {
            assert_eq!(again, Err(Refusal::Seen), "{number}");
        }
        assert!(again.is_err(), "{number}");
    }
    let calm = now + 2 * WINDOW;
    assert_eq!(guard.check(id(60_000), KEY, calm - WINDOW, calm), Ok(()));
    assert_eq!(guard.window(calm), ReplayGuard::WINDOW_DEFAULT);
}

#[test]
fn a_key_that_floods_takes_nothing_from_others() {
    const IDS_MAX: usize = 16_000;
    const OTHER: KeyId = [2; 8];
    let guard = guard(IDS_MAX);
    let mut flooded = 0;
    for second in 0..60 {
        let now = START + second * 1000;
        // The other key's frames are late by all of the window, or ahead by as much as they may.
        for (place, late) in (0..).zip([0, WINDOW, WINDOW - 1000]) {
            let sent = (now + AHEAD / 2).saturating_sub(late).max(START);
            let number = u32::try_from(second).unwrap() * 10 + place;
            assert_eq!(guard.check(id(number), OTHER, sent, now), Ok(()), "{second} {late}");
            assert_eq!(guard.check(id(number), OTHER, sent, now), Err(Refusal::Seen), "{second} {late}");
        }
        for number in 0..5000 {
            let one = id((1 << 20) + u32::try_from(second).unwrap() * 5000 + number);
            flooded += u32::from(guard.check(one, KEY, now + u64::from(number) % 900, now).is_ok());
        }
        assert!(guard.remembered() <= IDS_MAX);
    }
    assert!(flooded > 0);
    // Five more keys find room as well, and all of them together stay within the bound.
    let now = START + 60_000;
    for key in 10..15 {
        for number in 0..500 {
            assert_eq!(guard.check(id(number), [key; 8], now, now), Ok(()), "{key} {number}");
        }
    }
    assert!(guard.remembered() <= IDS_MAX);
    // What has no frames takes no memory.
    let later = now + 3 * WINDOW;
    for number in 0..1000 {
        assert_eq!(guard.check(id(number), KEY, later, later), Ok(()));
    }
    assert!(guard.shards.iter().all(|shard| lock(shard).keys.len() <= 1));
}

#[test]
fn more_than_fits_into_one_slot_is_refused_until_the_next() {
    let guard = guard(32);
    let accepted = (0..1000).filter(|number| guard.check(id(*number), KEY, START, START).is_ok()).count();
    assert!((1..=16).contains(&accepted), "{accepted}");
    for number in 0..1000 {
        assert_eq!(guard.check(id(number), KEY, START, START), Err(Refusal::Stale { now_ms: START }));
    }
    let next = START + WINDOW / SLOTS_PER_WINDOW + 1;
    assert_eq!(guard.check(id(0), KEY, next, next), Ok(()));
}

#[test]
fn threads_cannot_pass_one_frame_twice() {
    let guard = guard(100_000);
    let accepted: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let pass = |number: &u32| guard.check(id(*number), KEY, START, START).is_ok();
                scope.spawn(move || (0..20_000).filter(pass).count())
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(accepted, 20_000);
}

#[test]
fn extreme_times_and_windows_do_not_overflow() {
    for window in [Duration::ZERO, Duration::from_millis(1), Duration::MAX] {
        for now in [0, u64::MAX] {
            let guard = ReplayGuard::new(window, 0, 0);
            assert_eq!(guard.check(id(1), KEY, now, now), Ok(()), "{window:?} {now}");
            assert_eq!(guard.check(id(1), KEY, now, now), Err(Refusal::Seen), "{window:?} {now}");
        }
    }
}
