//! What callers write, checked against the data: codes of airports, days, limits.

use sqlx::SqlitePool;

use crate::error::ReportError;

/// Most airports that an error suggests.
const NEAREST_MAX: usize = 3;

/// An airport that the data has departures from; the code in capitals.
///
/// # Errors
/// `UnknownAirport` or `NoDepartures`.
pub(super) async fn origin(pool: &SqlitePool, code: &str) -> Result<String, ReportError> {
    let code = code.to_ascii_uppercase();
    if exists(pool, "SELECT EXISTS (SELECT 1 FROM flights WHERE origin = ?1)", &code).await? {
        return Ok(code);
    }
    let code = airport(pool, &code).await?;
    Err(ReportError::NoDepartures { code, origins: origins(pool).await? })
}

/// Any airport in the data; the code in capitals.
///
/// # Errors
/// `UnknownAirport`.
pub(super) async fn airport(pool: &SqlitePool, code: &str) -> Result<String, ReportError> {
    let code = code.to_ascii_uppercase();
    if exists(pool, "SELECT EXISTS (SELECT 1 FROM airports WHERE code = ?1)", &code).await? {
        return Ok(code);
    }
    let mut known = origins(pool).await?;
    known.extend(
        texts(pool, "SELECT code FROM airports WHERE code NOT IN (SELECT origin FROM flights) ORDER BY code")
            .await?,
    );
    let is_near = |known: &String| strsim::damerau_levenshtein(known, &code) == 1;
    let nearest = known.into_iter().filter(is_near).take(NEAREST_MAX).collect();
    Err(ReportError::UnknownAirport { code, nearest })
}

/// A day that the data has flights on.
///
/// # Errors
/// `InvalidDate` or `NoSuchDay`.
pub(super) async fn day<'a>(pool: &SqlitePool, date: &'a str) -> Result<&'a str, ReportError> {
    // SQLite's `date` answers a real day unchanged, and another text or nothing for anything else.
    let (is_day, is_known, first, last): (bool, bool, String, String) = sqlx::query_as(
        "SELECT date(?1) IS ?1, EXISTS (SELECT 1 FROM flights WHERE date = ?1), \
         (SELECT min(date) FROM flights), (SELECT max(date) FROM flights)",
    )
    .bind(date)
    .fetch_one(pool)
    .await
    .map_err(|error| ReportError::from_database(&error))?;
    let date_owned = || date.to_owned();
    match (is_day, is_known) {
        (true, true) => Ok(date),
        (true, false) => Err(ReportError::NoSuchDay { date: date_owned(), first, last }),
        (false, _) => Err(ReportError::InvalidDate { date: date_owned() }),
    }
}

/// A number of rows from 1 to `max`.
///
/// # Errors
/// `InvalidLimit`.
pub(super) fn limit(limit: u32, max: u32) -> Result<u32, ReportError> {
    if (1..=max).contains(&limit) { Ok(limit) } else { Err(ReportError::InvalidLimit { limit, max }) }
}

async fn origins(pool: &SqlitePool) -> Result<Vec<String>, ReportError> {
    texts(pool, "SELECT DISTINCT origin FROM flights ORDER BY origin").await
}

async fn texts(pool: &SqlitePool, sql: &'static str) -> Result<Vec<String>, ReportError> {
    sqlx::query_scalar(sql).fetch_all(pool).await.map_err(|error| ReportError::from_database(&error))
}

async fn exists(pool: &SqlitePool, sql: &'static str, code: &str) -> Result<bool, ReportError> {
    let found = sqlx::query_scalar(sql).bind(code).fetch_one(pool).await;
    found.map_err(|error| ReportError::from_database(&error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::tests::filled;

    #[tokio::test]
    async fn airports_are_found_in_either_case() {
        let (_folder, pool) = filled().await;
        assert_eq!(origin(&pool, "jfk").await.unwrap(), "JFK");
        assert_eq!(airport(&pool, "Bos").await.unwrap(), "BOS");
    }

    #[tokio::test]
    async fn an_unknown_airport_names_the_nearest() {
        let (_folder, pool) = filled().await;
        for (code, expected) in
            [("jkf", &["JFK"][..]), ("LAG", &["LGA", "LAS", "LAX"]), ("Wien", &[]), ("", &[])]
        {
            let error = origin(&pool, code).await.unwrap_err();
            let nearest = expected.iter().map(ToString::to_string).collect();
            assert_eq!(error, ReportError::UnknownAirport { code: code.to_ascii_uppercase(), nearest });
        }
    }

    #[tokio::test]
    async fn a_mere_destination_has_no_departures() {
        let (_folder, pool) = filled().await;
        let origins = ["EWR", "JFK", "LGA"].map(str::to_owned).to_vec();
        let expected = ReportError::NoDepartures { code: "BOS".to_owned(), origins };
        assert_eq!(origin(&pool, "bos").await, Err(expected));
    }

    #[tokio::test]
    async fn days_are_days_of_the_data() {
        let (_folder, pool) = filled().await;
        assert_eq!(day(&pool, "2013-01-07").await, Ok("2013-01-07"));
        for date in ["2012-12-31", "2013-01-08", "2024-02-29"] {
            let (first, last) = ("2013-01-01".to_owned(), "2013-01-07".to_owned());
            assert_eq!(
                day(&pool, date).await,
                Err(ReportError::NoSuchDay { date: date.to_owned(), first, last })
            );
        }
        for date in ["", "now", "2013-1-4", "2013-02-30", "2013-01-04 ", "20130104", "2013-01-04T00:00:00"] {
            assert_eq!(day(&pool, date).await, Err(ReportError::InvalidDate { date: date.to_owned() }));
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
