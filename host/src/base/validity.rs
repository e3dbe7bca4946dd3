//! Until when something stays good, found out by asking a check that takes the time.

/// Returns the last second, at most `within` seconds from `now`, at which `is_good_at` holds; `None` if it does not
/// hold now.
///
/// Validity ends once, so a binary search finds the end: a certificate's dates need no parser of their own.
pub fn good_until(now: u64, within: u64, is_good_at: impl Fn(u64) -> bool) -> Option<u64> {
    if !is_good_at(now) {
        return None;
    }
    let (mut good, mut end) = (now, now.saturating_add(within));
    if is_good_at(end) {
        return Some(end);
    }
    while end - good > 1 {
        let middle = good + (end - good) / 2;
        if is_good_at(middle) {
            good = middle;
        } else {
            end = middle;
        }
    }
    Some(good)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_good_second_is_found() {
        for end in 0..=40 {
            let found = good_until(10, 20, |time| time <= end);
            let expected = (end >= 10).then_some(end.min(30));
            assert_eq!(found, expected, "{end}");
        }
        assert_eq!(good_until(u64::MAX, 20, |_| true), Some(u64::MAX));
    }
}
