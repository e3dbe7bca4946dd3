//! Days as callers write them, and their neighbours. Databases do not agree on what a day is.

use time::{Date, Month};

/// A day written as year-month-day, like `2013-01-04`; `None` for every other text.
pub(super) fn day(text: &str) -> Option<Date> {
    let digits = |part: &str, length: usize| {
        let are_digits = part.len() == length && part.bytes().all(|byte| byte.is_ascii_digit());
        are_digits.then(|| part.parse::<u16>().ok()).flatten()
    };
    let mut parts = text.splitn(3, '-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    let month = Month::try_from(u8::try_from(digits(month, 2)?).ok()?).ok()?;
    Date::from_calendar_date(digits(year, 4)?.into(), month, u8::try_from(digits(day, 2)?).ok()?).ok()
}

/// The day before, written in the same way; none before the first day of year 0.
pub(super) fn previous(day: Date) -> Option<String> {
    let (year, month, day) = day.previous_day()?.to_calendar_date();
    (year >= 0).then(|| format!("{year:04}-{:02}-{day:02}", u8::from(month)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_previous(text: &str, expected: &str) {
        assert_eq!(previous(day(text).unwrap()).as_deref(), Some(expected));
    }

    #[test]
    fn the_day_before_crosses_months_and_years() {
        check_previous("2013-01-04", "2013-01-03");
        check_previous("2013-01-01", "2012-12-31");
        check_previous("2024-03-01", "2024-02-29");
        check_previous("2100-03-01", "2100-02-28");
        assert_eq!(previous(day("0000-01-01").unwrap()), None);
    }

    #[test]
    fn only_days_of_the_calendar_are_days() {
        for text in [
            "",
            "now",
            "2013-1-4",
            "2013-02-30",
            "2013-13-01",
            "2013-00-01",
            "2013-01-00",
            "2013-01-04 ",
            " 2013-01-04",
            "20130104",
            "2013-01-04T00:00:00",
            "2013-01-04-01",
            "+013-01-04",
            "2013-+1-04",
            "2023-02-29",
            "\u{0662}013-01-04",
        ] {
            assert_eq!(day(text), None, "{text}");
        }
    }
}
