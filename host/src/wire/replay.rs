//! Detection of stale and repeated frames (WIRE.md, "Order on receipt", steps 5 and 6).
//!
//! Frames are remembered by the time that they are stamped with, in slots of an eighth of the window, and
//! a slot is forgotten only once every stamp in it is stale: so a frame is remembered for as long as it
//! could be accepted again. A frame may be late by the whole window, and ahead by a third of it: what is ahead is
//! remembered for longer.
//!
//! Each key has a share of the memory, as much as is left free: alone half of it, and each of n the (n + 1)th part. When
//! a key has more, its own oldest slot goes early, and what is as old as that is stale from then on: replays stay
//! impossible, late frames of that key are sealed again, and other keys are not affected.
//!
//! A frame is remembered as a keyed 64-bit hash of request id and key id. That two frames share one by chance
//! makes one of 2^64 / (ids remembered) calls fail; causing it on purpose takes the process's seed.

use std::collections::hash_map::RandomState;
use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::hash::{BuildHasher as _, BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::base::{Mutex, MutexGuard, RequestId};

use super::error::Refusal;
use super::keys::KeyId;

/// Independent parts, so that threads rarely wait for each other.
const SHARDS: usize = 16;
/// Slots in the time that a frame may be late.
const SLOTS_PER_WINDOW: u64 = 8;
/// The part of the window by which a frame may be ahead.
const AHEAD_PART: u64 = 3;

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
}

/// The frames whose hash falls to this part.
#[derive(Default)]
#[repr(align(64))] // A cache line each, or threads would wait for each other after all.
struct Shard {
    keys: BTreeMap<KeyId, Frames>,
    /// Of all keys.
    ids: usize,
    /// Everything before this slot is stale by its time.
    first_fresh_slot: u64,
}

/// Frames of one key.
#[derive(Default)]
struct Frames {
    /// By slot, that is stamp divided by slot length.
    slots: BTreeMap<u64, HashSet<u64, BuildHasherDefault<Hashed>>>,
    /// In all slots.
    ids: usize,
    /// Everything before this slot was given up for want of memory, and is stale.
    first_kept_slot: u64,
}

impl ReplayGuard {
    /// The default maximum age of a frame; a frame may be ahead by a third of that.
    pub const WINDOW_DEFAULT: Duration = Duration::from_secs(30);
    /// The default number of remembered ids: for one key, 34,000 calls a second by good clocks.
    pub const IDS_MAX_DEFAULT: usize = 1 << 21;
    /// Memory per id in bytes, at most: 9 a place in a hash set that is 7/16 full at least, and
    /// half as much again while it grows.
    pub const BYTES_PER_ID_MAX: usize = 32;

    /// A guard that has seen nothing.
    ///
    /// `window` is how late a frame may be. At most `ids_max` frames are remembered, rounded up to a multiple of 16, in at
    /// most [`ReplayGuard::BYTES_PER_ID_MAX`] bytes each and 32 KiB for each key; the memory is allocated as it is
    /// needed. `started_at_ms` is when the process started, Unix time.
    pub fn new(window: Duration, ids_max: usize, started_at_ms: u64) -> Self {
        // A window longer than the age of the universe is pointless; below that no sum here overflows.
        let window_ms = u64::try_from(window.as_millis()).unwrap_or(u64::MAX).min(u64::MAX / 4);
        Self {
            window_ms,
            slot_ms: window_ms.div_ceil(SLOTS_PER_WINDOW).max(1),
            started_at_ms,
            // One for the half that stays free.
            shard_ids_max: ids_max.div_ceil(SHARDS).max(2),
            hashes: RandomState::new(),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            latest_ms: AtomicU64::new(started_at_ms),
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
        let oldest_ms = now_ms.saturating_sub(self.window_ms).max(self.started_at_ms);
        let newest_ms = now_ms.saturating_add(self.window_ms / AHEAD_PART);
        if !(oldest_ms..=newest_ms).contains(&sent_at_ms) {
            return stale;
        }
        let hash = self.hashes.hash_one((request_id.0, key_id));
        let slot = sent_at_ms / self.slot_ms;
        let mut shard = self.shard(hash);
        shard.forget_before(now_ms.saturating_sub(self.window_ms) / self.slot_ms);
        let Shard { keys, ids, first_fresh_slot } = &mut *shard;
        let frames = keys.entry(key_id).or_default();
        if slot < frames.first_kept_slot.max(*first_fresh_slot) {
            return stale;
        }
        if frames.slots.get(&slot).is_some_and(|hashes| hashes.contains(&hash)) {
            return Err(Refusal::Seen);
        }
        while frames.ids >= self.shard_ids_max.saturating_sub(*ids) {
            let oldest = frames.slots.first_key_value().map_or(slot, |(oldest, _)| slot.min(*oldest));
            *ids -= frames.give_up_before(oldest + 1);
            if slot < frames.first_kept_slot {
                return stale;
            }
        }
        frames.slots.entry(slot).or_default().insert(hash);
        frames.ids += 1;
        *ids += 1;
        Ok(())
    }

    /// Returns the current maximum age of a frame: the configured window, or less if a key has more frames than its
    /// share.
    pub fn window(&self, now_ms: u64) -> Duration {
        let kept =
            |shard: &Mutex<Shard>| lock(shard).keys.values().map(|frames| frames.first_kept_slot).max();
        let first_kept_ms =
            self.shards.iter().filter_map(kept).max().unwrap_or_default().saturating_mul(self.slot_ms);
        let now_ms = self.latest_ms.load(Ordering::Relaxed).max(now_ms);
        Duration::from_millis(now_ms.saturating_sub(first_kept_ms).min(self.window_ms))
    }

    /// Returns the number of remembered frames, for metrics.
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
    /// Drops all slots before one that is stale by its time, and the keys that have nothing left; never goes back.
    fn forget_before(&mut self, first_fresh_slot: u64) {
        if first_fresh_slot <= self.first_fresh_slot {
            return;
        }
        self.first_fresh_slot = first_fresh_slot;
        for frames in self.keys.values_mut() {
            self.ids -= frames.drop_before(first_fresh_slot);
        }
        self.keys.retain(|_, frames| frames.ids > 0 || frames.first_kept_slot > first_fresh_slot);
    }
}

impl Frames {
    /// Drops all slots before one, with their memory; returns how many frames that were.
    fn drop_before(&mut self, first_slot: u64) -> usize {
        let before = self.ids;
        while let Some(oldest) = self.slots.first_entry()
            && *oldest.key() < first_slot
        {
            self.ids -= oldest.remove().len();
        }
        before - self.ids
    }

    /// As [`Frames::drop_before`], of slots that are fresh still: their frames are stale from now on.
    fn give_up_before(&mut self, first_slot: u64) -> usize {
        self.first_kept_slot = self.first_kept_slot.max(first_slot);
        self.drop_before(first_slot)
    }
}

/// A panic elsewhere cannot leave a shard half changed, so one that was poisoned is as good as any.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock()
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
mod tests;
