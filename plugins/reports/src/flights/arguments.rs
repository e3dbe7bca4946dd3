//! The arguments of callers, checked against the data: codes of airports, days, limits.

use super::calendar;
use crate::database::{Database, Value};
use crate::error::ReportError;

/// Most airports that an error suggests.
const NEAREST_MAX: usize = 3;

/// A day that the data has flights on.
pub(super) struct Day<'a> {
    pub(super) date: &'a str,
    /// The day before in the calendar.
    pub(super) previous_date: String,
}

/// An airport that the data has departures from; the code in capitals.
///
/// # Errors
/// `UnknownAirport` or `NoDepartures`.
pub(super) async fn origin(database: &Database, code: &str) -> Result<String, ReportError> {
    let code = code.to_ascii_uppercase();
    if has(database, "SELECT origin AS found FROM flights WHERE origin = ? LIMIT 1", &code).await? {
        return Ok(code);
    }
    let code = airport(database, &code).await?;
    Err(ReportError::NoDepartures { code, origins: origins(database).await? })
}

/// Any airport in the data; the code in capitals.
///
/// # Errors
/// `UnknownAirport`.
pub(super) async fn airport(database: &Database, code: &str) -> Result<String, ReportError> {
    let code = code.to_ascii_uppercase();
    if has(database, "SELECT code AS found FROM airports WHERE code = ?", &code).await? {
        return Ok(code);
    }
    let mut known = origins(database).await?;
    let others =
        "SELECT code AS found FROM airports WHERE code NOT IN (SELECT origin FROM flights) ORDER BY code";
    known.extend(texts(database, others).await?);
    let is_near = |known: &String| strsim::damerau_levenshtein(known, &code) == 1;
    let nearest = known.into_iter().filter(is_near).take(NEAREST_MAX).collect();
    Err(ReportError::UnknownAirport { code, nearest })
}

/// A day that the data has flights on.
///
/// # Errors
/// `InvalidDate` or `NoSuchDay`.
pub(super) async fn day<'a>(database: &Database, date: &'a str) -> Result<Day<'a>, ReportError> {
    let Some(previous_date) = calendar::day(date).and_then(calendar::previous) else {
        return Err(ReportError::InvalidDate { date: date.to_owned() });
    };
    if has(database, "SELECT date AS found FROM flights WHERE date = ? LIMIT 1", date).await? {
        return Ok(Day { date, previous_date });
    }
    let range = "SELECT min(date) AS first, max(date) AS last FROM flights";
    let Some(row) = database.first(range, &[]).await? else { return Err(ReportError::Database) };
    let column = |name: &str| row.text(name).map_err(|error| ReportError::from_database(&error));
    Err(ReportError::NoSuchDay { date: date.to_owned(), first: column("first")?, last: column("last")? })
}

/// A number of rows from 1 to `max`.
///
/// # Errors
/// `InvalidLimit`.
pub(super) fn limit(limit: u32, max: u32) -> Result<u32, ReportError> {
    if (1..=max).contains(&limit) { Ok(limit) } else { Err(ReportError::InvalidLimit { limit, max }) }
}

async fn origins(database: &Database) -> Result<Vec<String>, ReportError> {
    texts(database, "SELECT DISTINCT origin AS found FROM flights ORDER BY origin").await
}

async fn texts(database: &Database, sql: &'static str) -> Result<Vec<String>, ReportError> {
    let rows = database.rows(sql, &[]).await?;
    let texts = rows.iter().map(|row| row.text("found")).collect::<sqlx::Result<_>>();
    texts.map_err(|error| ReportError::from_database(&error))
}

/// Returns true if the database has exactly this text. It is compared here as well: a server may take `jfk` or `JFK ` for `JFK`.
async fn has(database: &Database, sql: &'static str, text: &str) -> Result<bool, ReportError> {
    let Some(row) = database.first(sql, &[Value::Text(Some(text))]).await? else { return Ok(false) };
    let found = row.text("found").map_err(|error| ReportError::from_database(&error))?;
    Ok(found == text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::tests::filled;

    #[tokio::test]
    async fn airports_are_found_in_either_case() {
        let (_folder, database) = filled().await;
        assert_eq!(origin(&database, "jfk").await.unwrap(), "JFK");
        assert_eq!(airport(&database, "Bos").await.unwrap(), "BOS");
    }

    #[tokio::test]
    async fn an_unknown_airport_names_the_nearest() {
        let (_folder, database) = filled().await;
        for (code, expected) in
            [("jkf", &["JFK"][..]), ("LAG", &["LGA", "LAS", "LAX"]), ("Wien", &[]), ("", &[])]
        {
            let error = origin(&database, code).await.unwrap_err();
            let nearest = expected.iter().map(ToString::to_string).collect();
            assert_eq!(error, ReportError::UnknownAirport { code: code.to_ascii_uppercase(), nearest });
        }
    }

    #[tokio::test]
    async fn a_mere_destination_has_no_departures() {
        let (_folder, database) = filled().await;
        let origins = ["EWR", "JFK", "LGA"].map(str::to_owned).to_vec();
        let expected = ReportError::NoDepartures { code: "BOS".to_owned(), origins };
        assert_eq!(origin(&database, "bos").await, Err(expected));
    }

    #[tokio::test]
    async fn days_are_days_of_the_data() {
        let (_folder, database) = filled().await;
        let known = day(&database, "2013-01-07").await.unwrap();
        assert_eq!((known.date, known.previous_date.as_str()), ("2013-01-07", "2013-01-06"));
        for date in ["2012-12-31", "2013-01-08", "2024-02-29"] {
            let (first, last) = ("2013-01-01".to_owned(), "2013-01-07".to_owned());
            let expected = ReportError::NoSuchDay { date: date.to_owned(), first, last };
            assert_eq!(day(&database, date).await.err(), Some(expected));
        }
        for date in ["", "now", "2013-1-4", "2013-02-30", "2013-01-04 ", "20130104", "2013-01-04T00:00:00"] {
            let expected = ReportError::InvalidDate { date: date.to_owned() };
            assert_eq!(day(&database, date).await.err(), Some(expected));
        }
    }

    #[test]
    fn limits_have_an_end() {
        assert_eq!(limit(1, 100), Ok(1));
        assert_eq!(limit(100, 100), Ok(100));
        assert_eq!(limit(0, 100), Err(ReportError::InvalidLimit { limit: 0, max: 100 }));
        assert_eq!(limit(101, 100), Err(ReportError::InvalidLimit { limit: 101, max: 100 }));
    }
}
