//! The functions that ask the database: they run on a host that has one.
//!
//! Airport codes are accepted in either case. A flight counts for the day and airport that it leaves from;
//! it is late from 15 minutes on, as the Bureau of Transportation Statistics counts.

mod arguments;
mod calendar;
mod queries;

use framex_sdk::prelude::*;

use crate::database::Database;
use crate::error::ReportError;
use crate::slow::log_slow;

/// All flights from one airport to another.
#[model]
#[derive(PartialEq)]
pub struct Route {
    /// Airport code.
    pub origin: String,
    /// Airport code.
    pub destination: String,
    /// City of the destination.
    pub city: String,
    /// Scheduled flights, cancelled ones included.
    pub flights: u32,
    /// Of those, cancelled.
    pub cancelled: u32,
    /// Airlines that fly it.
    pub carriers: u32,
    /// Length in miles.
    pub distance_miles: u32,
    /// Mean delay at departure, negative for early; null if every flight was cancelled.
    pub mean_departure_delay_minutes: Option<f64>,
}

/// The punctuality of one airline.
#[model]
#[derive(PartialEq)]
pub struct CarrierDelay {
    /// Two-character code.
    pub carrier: String,
    /// Full name.
    pub name: String,
    /// Scheduled flights, cancelled ones included.
    pub flights: u32,
    /// Of those, cancelled.
    pub cancelled: u32,
    /// Of those, arrived at least 15 minutes late.
    pub late: u32,
    /// Mean delay at arrival, negative for early; null if no flight arrived.
    pub mean_arrival_delay_minutes: Option<f64>,
    /// Greatest delay at arrival; null if no flight arrived.
    pub max_arrival_delay_minutes: Option<i32>,
}

/// One day of departures at one airport.
#[model]
#[derive(PartialEq)]
pub struct Day {
    /// Airport code.
    pub airport: String,
    /// Name of the airport.
    pub name: String,
    /// The day, `2013-01-04`.
    pub date: String,
    /// The day before in the calendar, whether the data has it or not.
    pub previous_date: String,
    /// Scheduled departures, cancelled ones included.
    pub flights: u32,
    /// Of those, cancelled.
    pub cancelled: u32,
    /// Of those, departed at least 15 minutes late.
    pub late: u32,
    /// Airports that they go to.
    pub destinations: u32,
    /// Airlines.
    pub carriers: u32,
    /// Mean delay at departure, negative for early; null if every flight was cancelled.
    pub mean_departure_delay_minutes: Option<f64>,
}

/// The outcome of a departure.
#[model]
#[derive(Copy, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Departed less than 15 minutes late, or early.
    OnTime,
    /// Departed at least 15 minutes late.
    Late,
    /// Did not depart.
    Cancelled,
}

/// One line of a timetable.
#[model]
#[derive(PartialEq)]
pub struct Departure {
    /// Scheduled time in local time, `05:15`.
    pub scheduled: String,
    /// Airline and number, `UA 1545`.
    pub flight: String,
    /// Full name of the airline.
    pub carrier_name: String,
    /// Airport code.
    pub destination: String,
    /// City of the destination.
    pub city: String,
    /// The outcome of the departure.
    pub status: Status,
    /// Delay at departure in minutes, negative for early; null for a cancelled flight.
    pub departure_delay_minutes: Option<i32>,
    /// Delay at arrival in minutes; null for a flight that did not arrive there.
    pub arrival_delay_minutes: Option<i32>,
}

/// The routes with the most flights, busiest first.
///
/// `origin` is one airport's code, `date` one day like 2013-01-04; without them it counts all.
/// `limit` is 1 to 100, 10 where it is left out.
///
/// # Errors
/// An airport or day that the data does not have, a limit out of range, a database that fails.
#[on_proxy(idempotent, timeout_ms = 5000, layer = log_slow)]
pub async fn busiest_routes(
    origin: Option<String>,
    date: Option<String>,
    #[default(10)] limit: u32,
    #[state] database: &Database,
) -> Result<Vec<Route>, ReportError> {
    queries::busiest_routes(database, origin.as_deref(), date.as_deref(), limit).await
}

/// The airlines and their delays at arrival, the most delayed first.
///
/// `origin` is one airport's code, `date` one day like 2013-01-04; without them it counts all.
///
/// # Errors
/// An airport or day that the data does not have, a database that fails.
#[on_proxy(idempotent, timeout_ms = 5000, layer = log_slow)]
pub async fn carrier_delays(
    origin: Option<String>,
    date: Option<String>,
    #[state] database: &Database,
) -> Result<Vec<CarrierDelay>, ReportError> {
    queries::carrier_delays(database, origin.as_deref(), date.as_deref()).await
}

/// The figures of one day at one airport.
///
/// # Errors
/// An airport or day that the data does not have, a database that fails.
#[on_proxy(idempotent, timeout_ms = 5000, layer = log_slow)]
pub async fn day(airport: String, date: String, #[state] database: &Database) -> Result<Day, ReportError> {
    queries::day(database, &airport, &date).await
}

/// The timetable of one day at one airport, as it was flown.
///
/// `destination` picks the flights to one airport. `limit` is 1 to 500, 20 where it is left out.
///
/// # Errors
/// An airport or day that the data does not have, a limit out of range, a database that fails.
#[on_proxy(idempotent, timeout_ms = 5000, layer = log_slow)]
pub async fn departures(
    airport: String,
    date: String,
    destination: Option<String>,
    #[default(20)] limit: u32,
    #[state] database: &Database,
) -> Result<Vec<Departure>, ReportError> {
    queries::departures(database, &airport, &date, destination.as_deref(), limit).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn without_a_database_a_call_answers_unavailable() {
        let Err(ReportError::Call(error)) = day("JFK".to_owned(), "2013-01-04".to_owned()).await else {
            panic!("a function answers that has no database");
        };
        assert_eq!((error.code(), error.executed()), (Code::Unavailable, Some(false)));
        assert!(error.message().contains("Database"), "{error}");
    }
}
