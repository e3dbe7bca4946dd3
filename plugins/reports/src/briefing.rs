//! Reports without a database of their own: this module calls the functions of [`flights`] by their names and types,
//! and does not know where they run.

use framex_sdk::prelude::*;

use crate::error::ReportError;
use crate::flights::{self, CarrierDelay, Day, Route};

/// Routes in a briefing.
const ROUTES: u32 = 3;

/// With fewer flights than this, an airline's mean says nothing about its day.
const CARRIER_FLIGHTS_MIN: u32 = 10;

/// One day at one airport, for people.
#[model]
#[derive(PartialEq)]
pub struct Briefing {
    /// The day in a few sentences.
    pub text: String,
    /// The figures of the day.
    pub day: Day,
    /// Flights more (or, negative, fewer) than the day before; null on the first day of the data.
    pub change: Option<i64>,
    /// The busiest routes of the day, three at most.
    pub routes: Vec<Route>,
    /// The most delayed airline among those with at least 10 flights.
    pub most_delayed: Option<CarrierDelay>,
}

/// Tells how a day at an airport went: its figures, routes and delays, and the change from the day before.
///
/// # Errors
/// An airport or day that the data does not have; a call of one of the functions that it combines that fails.
#[on_proxy(idempotent, timeout_ms = 10000)]
pub async fn morning(airport: String, date: String) -> Result<Briefing, ReportError> {
    let (day, routes, carriers) = tokio::try_join!(
        flights::day(airport.clone(), date.clone()),
        flights::busiest_routes(Some(airport.clone()), Some(date.clone()), ROUTES),
        flights::carrier_delays(Some(airport), Some(date)),
    )?;
    let before = match flights::day(day.airport.clone(), day.previous_date.clone()).await {
        Ok(before) => Some(before),
        // The data begins with this day, which is nothing to complain about.
        Err(ReportError::NoSuchDay { .. }) => None,
        Err(error) => return Err(error),
    };
    Ok(compose(day, before.as_ref(), routes, carriers))
}

fn compose(day: Day, before: Option<&Day>, routes: Vec<Route>, carriers: Vec<CarrierDelay>) -> Briefing {
    let change = before.map(|before| i64::from(day.flights) - i64::from(before.flights));
    let most_delayed = carriers.into_iter().find(|carrier| carrier.flights >= CARRIER_FLIGHTS_MIN);
    let mut text = format!(
        "{} on {}: {} departures{}, {} cancelled, {} late.",
        day.airport,
        day.date,
        day.flights,
        comparison(change),
        day.cancelled,
        day.late,
    );
    if let Some(route) = routes.first() {
        text +=
            &format!(" Busiest route: {} ({}), {} flights.", route.city, route.destination, route.flights);
    }
    if let Some(CarrierDelay { name, mean_arrival_delay_minutes: Some(minutes), .. }) = &most_delayed {
        text += &format!(" Most delayed: {name}, {minutes:.1} minutes on average.");
    }
    Briefing { text, day, change, routes, most_delayed }
}

fn comparison(change: Option<i64>) -> String {
    match change {
        None => String::new(),
        Some(0) => " (as many as the day before)".to_owned(),
        Some(more @ 1..) => format!(" ({more} more than the day before)"),
        Some(fewer) => format!(" ({} fewer than the day before)", fewer.unsigned_abs()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(date: &str, flights: u32) -> Day {
        Day {
            airport: "JFK".to_owned(),
            name: "John F Kennedy International Airport".to_owned(),
            date: date.to_owned(),
            previous_date: String::new(),
            flights,
            cancelled: 1,
            late: 2,
            destinations: 3,
            carriers: 4,
            mean_departure_delay_minutes: Some(5.5),
        }
    }

    fn carrier(name: &str, flights: u32, minutes: Option<f64>) -> CarrierDelay {
        CarrierDelay {
            carrier: "XX".to_owned(),
            name: name.to_owned(),
            flights,
            cancelled: 0,
            late: 0,
            mean_arrival_delay_minutes: minutes,
            max_arrival_delay_minutes: None,
        }
    }

    fn route() -> Route {
        Route {
            origin: "JFK".to_owned(),
            destination: "LAX".to_owned(),
            city: "Los Angeles".to_owned(),
            flights: 30,
            cancelled: 0,
            carriers: 4,
            distance_miles: 2475,
            mean_departure_delay_minutes: None,
        }
    }

    #[test]
    fn a_briefing_says_what_there_is() {
        let carriers = vec![carrier("Small Air", 9, Some(99.0)), carrier("Big Air Inc.", 10, Some(12.0))];
        let briefing =
            compose(day("2013-01-02", 320), Some(&day("2013-01-01", 330)), vec![route()], carriers);
        assert_eq!(
            briefing.text,
            "JFK on 2013-01-02: 320 departures (10 fewer than the day before), 1 cancelled, 2 late. \
             Busiest route: Los Angeles (LAX), 30 flights. Most delayed: Big Air Inc., 12.0 minutes on average."
        );
        assert_eq!(briefing.change, Some(-10));
        assert_eq!(briefing.most_delayed.unwrap().name, "Big Air Inc.");
    }

    #[test]
    fn days_are_compared_in_words() {
        assert_eq!(comparison(Some(45)), " (45 more than the day before)");
        assert_eq!(comparison(Some(0)), " (as many as the day before)");
    }

    #[test]
    fn a_briefing_leaves_out_what_there_is_not() {
        let briefing = compose(day("2013-01-01", 1), None, vec![], vec![carrier("None", 10, None)]);
        assert_eq!(briefing.text, "JFK on 2013-01-01: 1 departures, 1 cancelled, 2 late.");
        assert_eq!(briefing.change, None);
    }
}
