//! Which frames are fresh and new (WIRE.md, "Order on receipt", steps 5 and 6).
//!
//! Frames are remembered by the time that they are stamped with, in slots of an eighth of the window, and
//! a slot is forgotten only once every stamp in it is stale: so a frame is remembered for as long as it
//! could be accepted again. When the memory is full, the oldest slot goes early, and what is as old as
//! that slot is stale from then on: replays stay impossible, late frames are sealed again.
//!
//! A frame is remembered as a keyed 64-bit hash of request id and key id. That two frames share one by chance
//! makes one of 2^64 / (ids remembered) calls fail; nobody can bring it about without the process's seed.

use std::collections::hash_map::RandomState;
use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::hash::{BuildHasher as _, BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::base::RequestId;

use super::error::Refusal;
use super::keys::KeyId;

/// Independent parts, so that threads rarely wait for each other.
const SHARDS: usize = 16;
/// Slots in the time that a frame may be late.
const SLOTS_PER_WINDOW: u64 = 8;

/// Remembers the frames that were accepted. Pure but for its memory: times are passed in.
pub struct ReplayGuard {
    window_ms: u64,
    slot_ms: u64,
    started_at_ms: u64,
    shard_ids_max: usize,
    hashes: RandomState,
    shards: Box<[Mutex<Shard>]>,
    /// The latest time that was passed in: time never goes back in here.
    latest_ms: AtomicU64,
    /// The first slot that was not given up for want of memory.
    first_kept_slot: AtomicU64,
}

/// The frames whose hash falls to this part.
#[derive(Default)]
#[repr(align(64))] // A cache line each, or threads would wait for each other after all.
struct Shard {
    /// By slot, that is stamp divided by slot length.
    slots: BTreeMap<u64, HashSet<u64, BuildHasherDefault<Hashed>>>,
    /// In all slots.
    ids: usize,
    /// Everything before this slot is forgotten, and stale.
    first_slot: u64,
}

impl ReplayGuard {
    /// How early or late a frame may be, unless configured.
    pub const WINDOW_DEFAULT: Duration = Duration::from_secs(30);
    /// Ids that are remembered, unless configured: those of 34,000 calls a second by good clocks.
    pub const IDS_MAX_DEFAULT: usize = 1 << 20;
    /// Memory per id in bytes, at most: 9 a place in a hash set that is 7/16 full at least, and
    /// half as much again while it grows.
    pub const BYTES_PER_ID_MAX: usize = 32;

    /// A guard that has seen nothing.
    ///
    /// `window` is how early or late a frame may be. At most `ids_max` frames are remembered, rounded up to
    /// a multiple of 16, in at most [`ReplayGuard::BYTES_PER_ID_MAX`] bytes each and 64 KiB altogether;
    /// the memory is allocated as it is needed. `started_at_ms` is when the process started, Unix time.
    #[must_use]
    pub fn new(window: Duration, ids_max: usize, started_at_ms: u64) -> Self {
        // More than an age of the universe is no window; below that no sum here overflows.
        let window_ms = u64::try_from(window.as_millis()).unwrap_or(u64::MAX).min(u64::MAX / 4);
        Self {
            window_ms,
            slot_ms: window_ms.div_ceil(SLOTS_PER_WINDOW).max(1),
            started_at_ms,
            shard_ids_max: ids_max.div_ceil(SHARDS).max(1),
            hashes: RandomState::new(),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            latest_ms: AtomicU64::new(started_at_ms),
            first_kept_slot: AtomicU64::new(0),
        }
    }

    /// Accepts a frame, once.
    ///
    /// `now_ms` is Unix time by a clock that should not go back (the start of the process plus what a
    /// monotonic clock says since); where it does, the latest time that was passed in counts.
    ///
    /// # Errors
    /// [`Refusal::Stale`] for a stamp outside the window or before the process started,
    /// [`Refusal::Seen`] for a frame that was accepted before.
    pub fn check(
        &self,
        request_id: RequestId,
        key_id: KeyId,
        sent_at_ms: u64,
        now_ms: u64,
    ) -> Result<(), Refusal> {
        let now_ms = self.advance(now_ms);
        let stale = Err(Refusal::Stale { now_ms });
        if sent_at_ms < self.started_at_ms || sent_at_ms.abs_diff(now_ms) > self.window_ms {
            return stale;
        }
        let hash = self.hashes.hash_one((request_id.0, key_id));
        let slot = sent_at_ms / self.slot_ms;
        let mut shard = self.shard(hash);
        // Read under the lock: slots are given up under it, so none that is gone can look kept.
        let first_kept = self.first_kept_slot.load(Ordering::Acquire);
        shard.forget_before((now_ms.saturating_sub(self.window_ms) / self.slot_ms).max(first_kept));
        if slot < shard.first_slot {
            return stale;
        }
        if shard.slots.get(&slot).is_some_and(|hashes| hashes.contains(&hash)) {
            return Err(Refusal::Seen);
        }
        while shard.ids >= self.shard_ids_max {
            let oldest = shard.slots.first_key_value().map_or(slot, |(oldest, _)| slot.min(*oldest));
            shard.forget_before(oldest + 1);
            self.first_kept_slot.fetch_max(oldest + 1, Ordering::AcqRel);
        }
        if slot < shard.first_slot {
            return stale;
        }
        shard.slots.entry(slot).or_default().insert(hash);
        shard.ids += 1;
        Ok(())
    }

    /// How late a frame may be at present: the configured window, or less if the memory was full.
    #[must_use]
    pub fn window(&self, now_ms: u64) -> Duration {
        let first_kept_ms = self.first_kept_slot.load(Ordering::Acquire).saturating_mul(self.slot_ms);
        let now_ms = self.latest_ms.load(Ordering::Relaxed).max(now_ms);
        Duration::from_millis(now_ms.saturating_sub(first_kept_ms).min(self.window_ms))
    }

    /// How many frames are remembered; for metrics.
    #[must_use]
    pub fn remembered(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).ids).sum()
    }

    /// Moves time on, and returns the latest that was ever passed in.
    fn advance(&self, now_ms: u64) -> u64 {
        let latest_ms = self.latest_ms.load(Ordering::Relaxed);
        if now_ms <= latest_ms {
            return latest_ms;
        }
        self.latest_ms.fetch_max(now_ms, Ordering::Relaxed).max(now_ms)
    }

    fn shard(&self, hash: u64) -> MutexGuard<'_, Shard> {
        // Bits that the hash sets use neither for the place (the lowest) nor for the tag (the highest).
        lock(&self.shards[(hash >> 40) as usize % SHARDS])
    }
}

impl fmt::Debug for ReplayGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplayGuard")
            .field("window_ms", &self.window_ms)
            .field("ids_max", &(self.shard_ids_max * SHARDS))
            .finish_non_exhaustive()
    }
}

impl Shard {
    /// Drops all slots before `first_slot` and their memory; never goes back.
    fn forget_before(&mut self, first_slot: u64) {
        if first_slot <= self.first_slot {
            return;
        }
        self.first_slot = first_slot;
        while let Some(oldest) = self.slots.first_entry()
            && *oldest.key() < first_slot
        {
            self.ids -= oldest.remove().len();
        }
    }
}

/// A panic elsewhere cannot leave a shard half changed, so one that was poisoned is as good as any.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Passes a number on that is a hash already.
#[derive(Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        // Only `u64` is ever hashed; anything else would still be right, and slow.
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 1_790_000_000_000;
    const WINDOW: u64 = 30_000;
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
        for sent in [START + 40_000 - WINDOW, START + 40_000, START + 40_000 + WINDOW] {
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
        for sent in [0, now - WINDOW - 1, now + WINDOW + 1, u64::MAX] {
            assert_eq!(guard.check(id(1), KEY, sent, now), stale, "{sent}");
        }
        for sent in [now - WINDOW, now + WINDOW] {
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
        let guard = guard(100_000);
        assert!(guard.shards.iter().all(|shard| lock(shard).slots.is_empty()), "allocated up front");
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
    fn a_full_guard_shrinks_its_window_and_never_accepts_twice() {
        const IDS_MAX: usize = 16_000;
        let guard = guard(IDS_MAX);
        // A thousand a second for 60 seconds: what fits is a quarter of that.
        let arrival = |number: u32| START + u64::from(number);
        for number in 0..60_000 {
            assert_eq!(guard.check(id(number), KEY, arrival(number), arrival(number)), Ok(()), "{number}");
            assert!(guard.remembered() <= IDS_MAX);
        }
        let now = arrival(60_000);
        let window = u64::try_from(guard.window(now).as_millis()).unwrap();
        assert!((5_000..16_000).contains(&window), "{window}");
        for number in 0..60_000 {
            let again = guard.check(id(number), KEY, arrival(number), now);
            let expected = if now - arrival(number) <= window {
                Err(Refusal::Seen)
            } else {
                Err(Refusal::Stale { now_ms: now })
            };
            assert_eq!(again, expected, "{number}");
        }
        let calm = now + 2 * WINDOW;
        assert_eq!(guard.window(calm), ReplayGuard::WINDOW_DEFAULT);
        assert_eq!(guard.check(id(60_000), KEY, calm - WINDOW, calm), Ok(()));
    }

    #[test]
    fn more_than_fits_into_one_slot_is_refused_until_the_next() {
        let guard = guard(16);
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
}
