//! Limits on lines of the log, so that strangers cannot fill the disk.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::base::Mutex;
use crate::wire::{KeyId, key_id_text};

/// Most lines in one window.
const LINES_MAX: u32 = 20;
/// A window begins with its first line.
const WINDOW: Duration = Duration::from_secs(60);

/// Counts lines of one kind.
#[derive(Debug, Default)]
pub(crate) struct Throttle(Mutex<Window>);

#[derive(Debug, Default)]
struct Window {
    began: Option<Instant>,
    lines: u32,
    left_out: u64,
}

impl Throttle {
    /// Returns the number of lines left out since the last one if there may be a line now, or else `None`.
    pub(crate) fn line(&self, now: Instant) -> Option<u64> {
        let mut window = self.0.lock();
        if window.began.is_none_or(|began| now.saturating_duration_since(began) >= WINDOW) {
            (window.began, window.lines) = (Some(now), 0);
        }
        if window.lines == LINES_MAX {
            window.left_out = window.left_out.saturating_add(1);
            return None;
        }
        window.lines += 1;
        Some(std::mem::take(&mut window.left_out))
    }
}

/// Between two lines of the same sender and key.
const PERIOD: Duration = Duration::from_secs(60);
/// Most senders and keys that are told apart, and so most lines in that time: a stranger can name any key.
const TOLD_APART_MAX: usize = 16;

/// The frames that no key of this host opens and that were logged within the last [`PERIOD`]. The sender is told nothing,
/// and the operator in a line for each sender and key, now and then.
#[derive(Debug, Default)]
pub(crate) struct WrongKeys(Mutex<Vec<Logged>>);

#[derive(Debug)]
struct Logged {
    from: IpAddr,
    key: Option<KeyId>,
    at: Instant,
    /// Frames since.
    unlogged: u64,
}

impl WrongKeys {
    /// Logs a frame of `from` that names a key which this host does not have.
    pub(crate) fn unknown(&self, from: IpAddr, key: KeyId) {
        if let Some(frames) = self.note(from, Some(key), Instant::now()) {
            let key_id = key_id_text(key);
            tracing::warn!(%from, key_id, frames, "a sealed frame names a key that this host does not have: compare its id with the ids that `framex-host check` lists on both hosts");
        }
    }

    /// Logs a frame of `from`, which no key of any host could open: this one has none.
    pub(crate) fn closed(&self, from: IpAddr) {
        if let Some(frames) = self.note(from, None, Instant::now()) {
            tracing::warn!(%from, frames, "sealed frames are refused, as this host has no key for them (plugins.proxy.auth.rules)");
        }
    }

    /// Returns the number of frames that a line is to stand for; `None` if no line is due.
    fn note(&self, from: IpAddr, key: Option<KeyId>, now: Instant) -> Option<u64> {
        let mut logged = self.0.lock();
        let is_due = |logged: &Logged| now.saturating_duration_since(logged.at) >= PERIOD;
        if let Some(known) = logged.iter_mut().find(|known| known.from == from && known.key == key) {
            known.unlogged += 1;
            if !is_due(known) {
                return None;
            }
            known.at = now;
            return Some(std::mem::take(&mut known.unlogged));
        }
        logged.retain(|known| !is_due(known));
        if logged.len() >= TOLD_APART_MAX {
            return None;
        }
        logged.push(Logged { from, key, at: now, unlogged: 0 });
        Some(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_has_so_many_lines_and_the_next_one_says_how_many_are_missing() {
        let (throttle, start) = (Throttle::default(), Instant::now());
        for _ in 0..LINES_MAX {
            assert_eq!(throttle.line(start), Some(0));
        }
        for _ in 0..3 {
            assert_eq!(throttle.line(start + WINDOW / 2), None);
        }
        assert_eq!(throttle.line(start + WINDOW), Some(3));
        assert_eq!(throttle.line(start + WINDOW), Some(0));
    }

    #[test]
    fn each_sender_and_key_has_a_line_now_and_then() {
        let (wrong, now) = (WrongKeys::default(), Instant::now());
        let from = |last: u8| IpAddr::from([10, 0, 0, last]);
        let key = Some([1; 8]);
        assert_eq!(wrong.note(from(1), key, now), Some(1));
        assert_eq!((wrong.note(from(1), key, now), wrong.note(from(1), key, now)), (None, None));
        assert_eq!(wrong.note(from(2), key, now), Some(1));
        assert_eq!(wrong.note(from(1), Some([2; 8]), now), Some(1));
        assert_eq!(wrong.note(from(1), None, now), Some(1));
        assert_eq!(wrong.note(from(1), key, now + PERIOD), Some(3));
        let flood = (0..200).filter(|last| wrong.note(from(*last), Some([9; 8]), now + PERIOD).is_some());
        assert!(flood.count() <= TOLD_APART_MAX);
    }
}
