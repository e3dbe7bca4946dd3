//! Known questions; the expected answers were computed from the CSV files without SQL.

use super::*;
use crate::database::tests::filled;

fn route(origin: &str, destination: &str, city: &str, counts: [u32; 4], mean: f64) -> Route {
    let [flights, cancelled, carriers, distance_miles] = counts;
    Route {
        origin: origin.to_owned(),
        destination: destination.to_owned(),
        city: city.to_owned(),
        flights,
        cancelled,
        carriers,
        distance_miles,
        mean_departure_delay_minutes: Some(mean),
    }
}

#[tokio::test]
async fn busiest_routes_of_the_week() {
    let (_folder, database) = filled().await;
    let expected = [
        route("JFK", "LAX", "Los Angeles", [219, 1, 5, 2475], 4.8),
        route("LGA", "ATL", "Atlanta", [197, 0, 3, 762], 1.7),
        route("JFK", "SFO", "San Francisco", [159, 0, 5, 2586], 7.9),
    ];
    assert_eq!(busiest_routes(&database, None, None, 3).await.unwrap(), expected);
}

#[tokio::test]
async fn busiest_routes_of_one_airport_and_day() {
    let (_folder, database) = filled().await;
    let expected = [
        route("JFK", "LAX", "Los Angeles", [33, 0, 5, 2475], 5.0),
        route("JFK", "SFO", "San Francisco", [24, 0, 5, 2586], 10.0),
        route("JFK", "BOS", "Boston", [16, 0, 4, 187], 16.6),
    ];
    assert_eq!(busiest_routes(&database, Some("jfk"), Some("2013-01-04"), 3).await.unwrap(), expected);
}

#[tokio::test]
async fn routes_are_bounded() {
    let (_folder, database) = filled().await;
    let all = busiest_routes(&database, None, None, ROUTES_MAX).await.unwrap();
    assert_eq!(all.len(), 100, "of 186");
    let of_one = busiest_routes(&database, Some("LGA"), None, ROUTES_MAX).await.unwrap();
    assert_eq!(of_one.len(), 44);
    assert_eq!(of_one.last(), Some(&route("LGA", "ROC", "Rochester", [1, 0, 1, 254], -8.0)));
    let error = busiest_routes(&database, None, None, ROUTES_MAX + 1).await.unwrap_err();
    assert_eq!(error, ReportError::InvalidLimit { limit: 101, max: 100 });
}

#[tokio::test]
async fn carriers_of_the_week_are_ordered_by_delay() {
    let (_folder, database) = filled().await;
    let carriers = carrier_delays(&database, None, None).await.unwrap();
    let order: Vec<&str> = carriers.iter().map(|carrier| carrier.carrier.as_str()).collect();
    assert_eq!(
        order,
        ["EV", "F9", "B6", "MQ", "9E", "AA", "HA", "FL", "UA", "WN", "YV", "US", "DL", "AS", "VX"]
    );
    assert_eq!(
        carriers[0],
        CarrierDelay {
            carrier: "EV".to_owned(),
            name: "ExpressJet Airlines Inc.".to_owned(),
            flights: 888,
            cancelled: 9,
            late: 350,
            mean_arrival_delay_minutes: Some(21.1),
            max_arrival_delay_minutes: Some(456),
        }
    );
    assert_eq!(carriers[14].mean_arrival_delay_minutes, Some(-23.4));
    assert_eq!(carriers.iter().map(|carrier| carrier.flights).sum::<u32>(), 6099);
    assert_eq!(carriers.iter().map(|carrier| carrier.cancelled).sum::<u32>(), 35);
}

#[tokio::test]
async fn carriers_of_one_airport_and_day() {
    let (_folder, database) = filled().await;
    let carriers = carrier_delays(&database, Some("EWR"), Some("2013-01-02")).await.unwrap();
    assert_eq!(carriers.len(), 10);
    let worst = &carriers[0];
    assert_eq!((worst.carrier.as_str(), worst.flights, worst.cancelled, worst.late), ("EV", 128, 5, 92));
    assert_eq!((worst.mean_arrival_delay_minutes, worst.max_arrival_delay_minutes), (Some(55.9), Some(288)));
}

#[tokio::test]
async fn figures_of_a_day() {
    let (_folder, database) = filled().await;
    let expected = Day {
        airport: "JFK".to_owned(),
        name: "John F Kennedy International Airport".to_owned(),
        date: "2013-01-04".to_owned(),
        previous_date: "2013-01-03".to_owned(),
        flights: 318,
        cancelled: 1,
        late: 75,
        destinations: 57,
        carriers: 10,
        mean_departure_delay_minutes: Some(10.4),
    };
    assert_eq!(day(&database, "jfk", "2013-01-04").await.unwrap(), expected);
    let first = day(&database, "LGA", "2013-01-01").await.unwrap();
    assert_eq!((first.flights, first.cancelled, first.late), (240, 2, 23));
    assert_eq!(first.previous_date, "2012-12-31");
}

#[tokio::test]
async fn the_day_before_the_first_is_no_such_day() {
    let (_folder, database) = filled().await;
    let error = day(&database, "JFK", "2012-12-31").await.unwrap_err();
    assert!(matches!(error, ReportError::NoSuchDay { first, .. } if first == "2013-01-01"));
}

#[tokio::test]
async fn timetable_tells_what_became_of_each_flight() {
    let (_folder, database) = filled().await;
    let departures = departures(&database, "EWR", "2013-01-01", Some("rdu"), 20).await.unwrap();
    let lines: Vec<_> = departures
        .iter()
        .map(|line| (line.scheduled.as_str(), line.flight.as_str(), line.status, line.arrival_delay_minutes))
        .collect();
    assert_eq!(
        lines,
        [
            ("08:51", "EV 4548", Status::OnTime, Some(-4)),
            ("11:29", "EV 4294", Status::OnTime, Some(-6)),
            ("16:30", "EV 4308", Status::Cancelled, None),
            ("20:10", "EV 4356", Status::Late, Some(34)),
        ]
    );
    assert_eq!(departures[0].city, "Raleigh/Durham");
    assert_eq!(departures[0].carrier_name, "ExpressJet Airlines Inc.");
    assert_eq!(departures[3].departure_delay_minutes, Some(27));
}

#[tokio::test]
async fn timetable_is_bounded() {
    let (_folder, database) = filled().await;
    assert_eq!(departures(&database, "JFK", "2013-01-04", None, DEPARTURES_MAX).await.unwrap().len(), 318);
    let two = departures(&database, "JFK", "2013-01-04", None, 2).await.unwrap();
    assert_eq!((two[0].flight.as_str(), two[1].flight.as_str()), ("AA 1141", "B6 725"));
    let error = departures(&database, "JFK", "2013-01-04", None, 0).await.unwrap_err();
    assert_eq!(error, ReportError::InvalidLimit { limit: 0, max: 500 });
}

#[tokio::test]
async fn unknown_things_are_refused_by_every_function() {
    let (_folder, database) = filled().await;
    let unknown = ReportError::UnknownAirport { code: "JKF".to_owned(), nearest: vec!["JFK".to_owned()] };
    let (nowhere, day_known) = ("JKF", "2013-01-04");
    assert_eq!(busiest_routes(&database, Some(nowhere), None, 1).await, Err(unknown.clone()));
    assert_eq!(carrier_delays(&database, Some(nowhere), None).await, Err(unknown.clone()));
    assert_eq!(day(&database, nowhere, day_known).await, Err(unknown.clone()));
    assert_eq!(departures(&database, nowhere, day_known, None, 1).await, Err(unknown.clone()));
    assert_eq!(departures(&database, "JFK", day_known, Some(nowhere), 1).await, Err(unknown));

    let invalid = ReportError::InvalidDate { date: "4 January".to_owned() };
    assert_eq!(busiest_routes(&database, None, Some("4 January"), 1).await, Err(invalid.clone()));
    assert_eq!(carrier_delays(&database, None, Some("4 January")).await, Err(invalid.clone()));
    assert_eq!(departures(&database, "JFK", "4 January", None, 1).await, Err(invalid));
}

#[tokio::test]
async fn what_the_database_says_stays_on_its_host() {
    let (_folder, database) = filled().await;
    database.close().await;
    assert_eq!(day(&database, "JFK", "2013-01-04").await, Err(ReportError::Database));
}
