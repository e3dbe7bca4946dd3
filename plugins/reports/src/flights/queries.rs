//! The SQL. Every answer is bounded and has one order.

use super::{CarrierDelay, Day, Departure, Route, Status, arguments};
use crate::database::{Database, Row, Value};
use crate::error::ReportError;

/// Most routes in one answer.
const ROUTES_MAX: u32 = 100;

/// Most departures in one answer; the busiest day of one airport has some 360.
const DEPARTURES_MAX: u32 = 500;

/// From this delay on, a flight is late.
const LATE_MINUTES: i32 = 15;

pub(super) async fn busiest_routes(
    database: &Database,
    origin: Option<&str>,
    date: Option<&str>,
    limit: u32,
) -> Result<Vec<Route>, ReportError> {
    let limit = arguments::limit(limit, ROUTES_MAX)?;
    let (origin, date) = filters(database, origin, date).await?;
    let sql = "SELECT origin, destination, city, count(*) AS flights, count(departure_delay) AS departed, \
                      count(DISTINCT carrier) AS carriers, max(distance_miles) AS distance_miles, \
                      CAST(sum(departure_delay) AS SIGNED) AS delay \
               FROM flights JOIN airports ON code = destination \
               WHERE (? IS NULL OR origin = ?) AND (? IS NULL OR date = ?) \
               GROUP BY origin, destination, city ORDER BY flights DESC, origin, destination LIMIT ?";
    let (origin, date) = (Value::Text(origin.as_deref()), Value::Text(date));
    let values = [origin, origin, date, date, Value::Number(limit.into())];
    collect(&database.rows(sql, &values).await?, route)
}

pub(super) async fn carrier_delays(
    database: &Database,
    origin: Option<&str>,
    date: Option<&str>,
) -> Result<Vec<CarrierDelay>, ReportError> {
    let (origin, date) = filters(database, origin, date).await?;
    // The mean as a floating point number, to be ordered alike by all databases.
    let sql = "SELECT carrier, name, count(*) AS flights, count(departure_delay) AS departed, \
                      count(CASE WHEN arrival_delay >= ? THEN 1 END) AS late, \
                      count(arrival_delay) AS arrived, CAST(sum(arrival_delay) AS SIGNED) AS delay, \
                      max(arrival_delay) AS delay_max \
               FROM flights JOIN airlines USING (carrier) \
               WHERE (? IS NULL OR origin = ?) AND (? IS NULL OR date = ?) \
               GROUP BY carrier, name ORDER BY sum(arrival_delay) * 1e0 / count(arrival_delay) DESC, carrier";
    let (origin, date) = (Value::Text(origin.as_deref()), Value::Text(date));
    let values = [Value::Number(LATE_MINUTES.into()), origin, origin, date, date];
    collect(&database.rows(sql, &values).await?, carrier_delay)
}

pub(super) async fn day(database: &Database, airport: &str, date: &str) -> Result<Day, ReportError> {
    let airport = arguments::origin(database, airport).await?;
    let arguments::Day { date, previous_date } = arguments::day(database, date).await?;
    let sql = "SELECT (SELECT name FROM airports WHERE code = ?) AS name, \
                      count(*) AS flights, count(departure_delay) AS departed, \
                      count(CASE WHEN departure_delay >= ? THEN 1 END) AS late, \
                      count(DISTINCT destination) AS destinations, count(DISTINCT carrier) AS carriers, \
                      CAST(sum(departure_delay) AS SIGNED) AS delay \
               FROM flights WHERE origin = ? AND date = ?";
    let code = Value::Text(Some(&airport));
    let values = [code, Value::Number(LATE_MINUTES.into()), code, Value::Text(Some(date))];
    let rows = database.rows(sql, &values).await?;
    let day = |row: &Row| {
        let Counts { flights, cancelled, mean_delay_minutes } = Counts::of(row)?;
        Ok(Day {
            airport: airport.clone(),
            name: row.text("name")?,
            date: date.to_owned(),
            previous_date: previous_date.clone(),
            flights,
            cancelled,
            late: row.number("late")?,
            destinations: row.number("destinations")?,
            carriers: row.number("carriers")?,
            mean_departure_delay_minutes: mean_delay_minutes,
        })
    };
    // Without `GROUP BY` there is one row, even if there is nothing to count.
    collect(&rows, day)?.pop().ok_or(ReportError::Database)
}

pub(super) async fn departures(
    database: &Database,
    airport: &str,
    date: &str,
    destination: Option<&str>,
    limit: u32,
) -> Result<Vec<Departure>, ReportError> {
    let limit = arguments::limit(limit, DEPARTURES_MAX)?;
    let airport = arguments::origin(database, airport).await?;
    let date = arguments::day(database, date).await?.date;
    let destination = match destination {
        Some(destination) => Some(arguments::airport(database, destination).await?),
        None => None,
    };
    let sql = "SELECT scheduled_departure, carrier, flight, airlines.name AS carrier_name, \
                      destination, city, departure_delay, arrival_delay \
               FROM flights JOIN airlines USING (carrier) JOIN airports ON code = destination \
               WHERE origin = ? AND date = ? AND (? IS NULL OR destination = ?) \
               ORDER BY scheduled_departure, carrier, flight LIMIT ?";
    let (airport, date) = (Value::Text(Some(&airport)), Value::Text(Some(date)));
    let destination = Value::Text(destination.as_deref());
    let values = [airport, date, destination, destination, Value::Number(limit.into())];
    collect(&database.rows(sql, &values).await?, departure)
}

/// Checks the two filters that several functions have.
async fn filters<'a>(
    database: &Database,
    origin: Option<&str>,
    date: Option<&'a str>,
) -> Result<(Option<String>, Option<&'a str>), ReportError> {
    let origin = match origin {
        Some(origin) => Some(arguments::origin(database, origin).await?),
        None => None,
    };
    let date = match date {
        Some(date) => Some(arguments::day(database, date).await?.date),
        None => None,
    };
    Ok((origin, date))
}

/// Returns the value of each row.
fn collect<T>(rows: &[Row], of_row: impl Fn(&Row) -> sqlx::Result<T>) -> Result<Vec<T>, ReportError> {
    let collected = rows.iter().map(of_row).collect::<sqlx::Result<_>>();
    collected.map_err(|error| ReportError::from_database(&error))
}

/// Columns that several queries have: the number of `flights`, how many of them `departed`, and the sum of their delays.
struct Counts {
    flights: u32,
    cancelled: u32,
    mean_delay_minutes: Option<f64>,
}

impl Counts {
    fn of(row: &Row) -> sqlx::Result<Self> {
        let (flights, departed): (u32, u32) = (row.number("flights")?, row.number("departed")?);
        Ok(Self {
            flights,
            cancelled: flights.saturating_sub(departed),
            mean_delay_minutes: mean(row.number_or_null("delay")?, departed),
        })
    }
}

/// To one decimal, halves away from zero; computed here because databases differ in how they round.
fn mean(sum: Option<i32>, count: u32) -> Option<f64> {
    let mean = f64::from(sum?) / f64::from(count);
    (count > 0).then(|| (mean * 10.0).round() / 10.0)
}

fn route(row: &Row) -> sqlx::Result<Route> {
    let Counts { flights, cancelled, mean_delay_minutes } = Counts::of(row)?;
    Ok(Route {
        origin: row.text("origin")?,
        destination: row.text("destination")?,
        city: row.text("city")?,
        flights,
        cancelled,
        carriers: row.number("carriers")?,
        distance_miles: row.number("distance_miles")?,
        mean_departure_delay_minutes: mean_delay_minutes,
    })
}

fn carrier_delay(row: &Row) -> sqlx::Result<CarrierDelay> {
    let (flights, departed): (u32, u32) = (row.number("flights")?, row.number("departed")?);
    Ok(CarrierDelay {
        carrier: row.text("carrier")?,
        name: row.text("name")?,
        flights,
        cancelled: flights.saturating_sub(departed),
        late: row.number("late")?,
        mean_arrival_delay_minutes: mean(row.number_or_null("delay")?, row.number("arrived")?),
        max_arrival_delay_minutes: row.number_or_null("delay_max")?,
    })
}

fn departure(row: &Row) -> sqlx::Result<Departure> {
    let departure_delay: Option<i32> = row.number_or_null("departure_delay")?;
    let number: u32 = row.number("flight")?;
    Ok(Departure {
        scheduled: row.text("scheduled_departure")?,
        flight: format!("{} {number}", row.text("carrier")?),
        carrier_name: row.text("carrier_name")?,
        destination: row.text("destination")?,
        city: row.text("city")?,
        status: match departure_delay {
            None => Status::Cancelled,
            Some(minutes) if minutes >= LATE_MINUTES => Status::Late,
            Some(_) => Status::OnTime,
        },
        departure_delay_minutes: departure_delay,
        arrival_delay_minutes: row.number_or_null("arrival_delay")?,
    })
}

#[cfg(test)]
mod tests;
