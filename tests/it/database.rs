//! A real database: asked from a host that cannot reach it, gone and back, refused, and asked over a new build.

mod away;
mod networks;
mod start;

use framex_tests::{Answer, Daemon, DaemonBuilder, MariaDb, frames};
use serde_json::{Value, json};

const ROUTES: &str = "reports.flights.busiest_routes";
const DAY: &str = "reports.flights.day";
/// Runs where it is asked for, and calls the others from there.
const MORNING: &str = "reports.briefing.morning";
/// All that needs the database.
const OF_DATABASE: [&str; 4] = [ROUTES, "reports.flights.carrier_delays", DAY, "reports.flights.departures"];

/// Calls that are answered, and such that are refused, with every function.
fn questions() -> Vec<(&'static str, Value)> {
    let [routes, carriers, day, departures] = OF_DATABASE;
    vec![
        (routes, json!({})),
        (routes, json!({"limit": 100})),
        (routes, json!({"origin": "lga", "date": "2013-01-03", "limit": 5})),
        (routes, json!({"origin": "BOS"})),
        (routes, json!({"origin": "JFK "})),
        (routes, json!({"limit": 101})),
        (carriers, json!({})),
        (carriers, json!({"origin": "EWR", "date": "2013-01-02"})),
        (carriers, json!({"date": "2013-01-08"})),
        (day, json!({"airport": "JFK", "date": "2013-01-04"})),
        (day, json!({"airport": "LGA", "date": "2013-01-01"})),
        (day, json!({"airport": "jkf", "date": "2013-01-01"})),
        (day, json!({"airport": "W\u{fc}r\0", "date": "2013-01-01"})),
        (day, json!({"airport": "JFK", "date": "2013-02-30"})),
        (day, json!({"airport": "JFK", "date": "2013-01-04' OR '1' = '1"})),
        (departures, json!({"airport": "JFK", "date": "2013-01-04", "limit": 500})),
        (departures, json!({"airport": "EWR", "date": "2013-01-01", "destination": "rdu"})),
        (MORNING, json!({"airport": "EWR", "date": "2013-01-02"})),
        (MORNING, json!({"airport": "EWR", "date": "2013-01-01"})),
    ]
}

/// Host `id` with the plugin, which is configured like this.
fn host(id: &str, reports: &str) -> DaemonBuilder {
    Daemon::builder()
        .config(&format!("host_id = {id:?}"))
        .config(&frames::rules(&[frames::SECRET]))
        .config(&format!("[plugins.reports]\n{reports}"))
        .plugin("reports")
}

/// Host `id` with the database of a server, which it fills if need be.
fn host_of(id: &str, server: &MariaDb) -> DaemonBuilder {
    host(id, "database_url = \"env:DATABASE_URL\"\ncreate = true").variable("DATABASE_URL", &server.url())
}

/// Returns the answer without the parts that differ from call to call.
fn said(answer: &Answer) -> (u16, Value) {
    let mut body = answer.json();
    if let Some(problem) = body.as_object_mut().filter(|_| answer.status != 200) {
        for key in ["request_id", "instance"] {
            problem.remove(key);
        }
    }
    (answer.status, body)
}

/// A known answer out of the data.
#[track_caller]
fn check_answers(answer: &Answer, host: &Daemon) {
    assert_eq!(answer.status, 200, "{answer:?}\n{}", host.log());
    let first = &answer.json()[0];
    assert_eq!(
        (&first["origin"], &first["destination"], &first["flights"]),
        (&json!("JFK"), &json!("LAX"), &json!(219))
    );
}

/// The error of the plugin for a server that is away.
#[track_caller]
fn check_unreachable(answer: &Answer) {
    let problem = answer.json();
    assert_eq!(
        (&problem["code"], &problem["app_code"]),
        (&json!("failed"), &json!("unreachable")),
        "{problem}"
    );
}
