//! A limit of log lines, so that strangers cannot fill the disk.

use std::time::{Duration, Instant};

use crate::base::Mutex;

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
}
