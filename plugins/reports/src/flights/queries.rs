//! The SQL. Every answer is bounded and has one order.

use sqlx::sqlite::SqliteRow;
use sqlx::{FromRow, Row, SqlitePool};

use super::{CarrierDelay, Day, Departure, Route, Status, arguments};
use crate::error::ReportError;

/// Most routes in one answer.
const ROUTES_MAX: u32 = 100;

/// Most departures in one answer; the busiest day of one airport has some 360.
const DEPARTURES_MAX: u32 = 500;

/// From this delay on, a flight is late.
const LATE_MINUTES: i32 = 15;

pub(super) async fn busiest_routes(
    pool: &SqlitePool,
    origin: Option<&str>,
    date: Option<&str>,
    limit: u32,
) -> Result<Vec<Route>, ReportError> {
    let limit = arguments::limit(limit, ROUTES_MAX)?;
    let (origin, date) = filters(pool, origin, date).await?;
    let routes = sqlx::query_as(
        "SELECT origin, destination, city, count(*) AS flights, count(*) - count(departure_delay) AS cancelled, \
                count(DISTINCT carrier) AS carriers, max(distance_miles) AS distance_miles, \
                round(avg(departure_delay), 1) AS mean_departure_delay_minutes \
         FROM flights JOIN airports ON code = destination \
         WHERE (?1 IS NULL OR origin = ?1) AND (?2 IS NULL OR date = ?2) \
         GROUP BY origin, destination ORDER BY flights DESC, origin, destination LIMIT ?3",
    );
    let routes = routes.bind(origin).bind(date).bind(limit).fetch_all(pool).await;
    routes.map_err(|error| ReportError::from_database(&error))
}

pub(super) async fn carrier_delays(
    pool: &SqlitePool,
    origin: Option<&str>,
    date: Option<&str>,
) -> Result<Vec<CarrierDelay>, ReportError> {
    let (origin, date) = filters(pool, origin, date).await?;
    let carriers = sqlx::query_as(
        "SELECT carrier, name, count(*) AS flights, count(*) - count(departure_delay) AS cancelled, \
                count(*) FILTER (WHERE arrival_delay >= ?3) AS late, \
                round(avg(arrival_delay), 1) AS mean_arrival_delay_minutes, \
                max(arrival_delay) AS max_arrival_delay_minutes \
         FROM flights JOIN airlines USING (carrier) \
         WHERE (?1 IS NULL OR origin = ?1) AND (?2 IS NULL OR date = ?2) \
         GROUP BY carrier ORDER BY avg(arrival_delay) DESC, carrier",
    );
    let carriers = carriers.bind(origin).bind(date).bind(LATE_MINUTES).fetch_all(pool).await;
    carriers.map_err(|error| ReportError::from_database(&error))
}

pub(super) async fn day(pool: &SqlitePool, airport: &str, date: &str) -> Result<Day, ReportError> {
    let airport = arguments::origin(pool, airport).await?;
    let date = arguments::day(pool, date).await?;
    let day = sqlx::query_as(
        "SELECT ?1 AS airport, (SELECT name FROM airports WHERE code = ?1) AS name, \
                ?2 AS date, date(?2, '-1 day') AS previous_date, \
                count(*) AS flights, count(*) - count(departure_delay) AS cancelled, \
                count(*) FILTER (WHERE departure_delay >= ?3) AS late, \
                count(DISTINCT destination) AS destinations, count(DISTINCT carrier) AS carriers, \
                round(avg(departure_delay), 1) AS mean_departure_delay_minutes \
         FROM flights WHERE origin = ?1 AND date = ?2",
    );
    let day = day.bind(airport).bind(date).bind(LATE_MINUTES).fetch_one(pool).await;
    day.map_err(|error| ReportError::from_database(&error))
}

pub(super) async fn departures(
    pool: &SqlitePool,
    airport: &str,
    date: &str,
    destination: Option<&str>,
    limit: u32,
) -> Result<Vec<Departure>, ReportError> {
    let limit = arguments::limit(limit, DEPARTURES_MAX)?;
    let airport = arguments::origin(pool, airport).await?;
    let date = arguments::day(pool, date).await?;
    let destination = match destination {
        Some(destination) => Some(arguments::airport(pool, destination).await?),
        None => None,
    };
    let departures = sqlx::query_as(
        "SELECT scheduled_departure, carrier || ' ' || flight AS flight, airlines.name AS carrier_name, \
                destination, city, departure_delay, arrival_delay \
         FROM flights JOIN airlines USING (carrier) JOIN airports ON code = destination \
         WHERE origin = ?1 AND date = ?2 AND (?3 IS NULL OR destination = ?3) \
         ORDER BY scheduled_departure, carrier, flights.flight LIMIT ?4",
    );
    let departures = departures.bind(airport).bind(date).bind(destination).bind(limit).fetch_all(pool).await;
    departures.map_err(|error| ReportError::from_database(&error))
}

/// Checks the two filters that several functions have.
async fn filters<'a>(
    pool: &SqlitePool,
    origin: Option<&str>,
    date: Option<&'a str>,
) -> Result<(Option<String>, Option<&'a str>), ReportError> {
    let origin = match origin {
        Some(origin) => Some(arguments::origin(pool, origin).await?),
        None => None,
    };
    let date = match date {
        Some(date) => Some(arguments::day(pool, date).await?),
        None => None,
    };
    Ok((origin, date))
}

impl FromRow<'_, SqliteRow> for Route {
    fn from_row(row: &SqliteRow) -> sqlx::Result<Self> {
        Ok(Self {
            origin: row.try_get("origin")?,
            destination: row.try_get("destination")?,
            city: row.try_get("city")?,
            flights: row.try_get("flights")?,
            cancelled: row.try_get("cancelled")?,
            carriers: row.try_get("carriers")?,
            distance_miles: row.try_get("distance_miles")?,
            mean_departure_delay_minutes: row.try_get("mean_departure_delay_minutes")?,
        })
    }
}

impl FromRow<'_, SqliteRow> for CarrierDelay {
    fn from_row(row: &SqliteRow) -> sqlx::Result<Self> {
        Ok(Self {
            carrier: row.try_get("carrier")?,
            name: row.try_get("name")?,
            flights: row.try_get("flights")?,
            cancelled: row.try_get("cancelled")?,
            late: row.try_get("late")?,
            mean_arrival_delay_minutes: row.try_get("mean_arrival_delay_minutes")?,
            max_arrival_delay_minutes: row.try_get("max_arrival_delay_minutes")?,
        })
    }
}

impl FromRow<'_, SqliteRow> for Day {
    fn from_row(row: &SqliteRow) -> sqlx::Result<Self> {
        Ok(Self {
            airport: row.try_get("airport")?,
            name: row.try_get("name")?,
            date: row.try_get("date")?,
            previous_date: row.try_get("previous_date")?,
            flights: row.try_get("flights")?,
            cancelled: row.try_get("cancelled")?,
            late: row.try_get("late")?,
            destinations: row.try_get("destinations")?,
            carriers: row.try_get("carriers")?,
            mean_departure_delay_minutes: row.try_get("mean_departure_delay_minutes")?,
        })
    }
}

impl FromRow<'_, SqliteRow> for Departure {
    fn from_row(row: &SqliteRow) -> sqlx::Result<Self> {
        let departure_delay: Option<i32> = row.try_get("departure_delay")?;
        Ok(Self {
            scheduled: row.try_get("scheduled_departure")?,
            flight: row.try_get("flight")?,
            carrier_name: row.try_get("carrier_name")?,
            destination: row.try_get("destination")?,
            city: row.try_get("city")?,
            status: match departure_delay {
                None => Status::Cancelled,
                Some(minutes) if minutes >= LATE_MINUTES => Status::Late,
                Some(_) => Status::OnTime,
            },
            departure_delay_minutes: departure_delay,
            arrival_delay_minutes: row.try_get("arrival_delay")?,
        })
    }
}

#[cfg(test)]
mod tests;
