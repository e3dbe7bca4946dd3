//! A server that goes away and comes back, under a host that goes on, and under one that is started or changed meanwhile.

use std::time::{Duration, Instant};

use framex_tests::{Daemon, MariaDb};
use serde_json::json;

use super::{ROUTES, check_answers, check_unreachable, host, host_of};

/// The error of `on_start` without a server.
const WARNING: &str =
    "the database server cannot be reached: calls fail until it can, and nothing is checked or created";

fn routes(host: &Daemon) -> framex_tests::Answer {
    host.call(ROUTES, &json!({"limit": 1}))
}

/// Checks that nothing of older generations is left.
#[track_caller]
fn check_one_is_mapped(host: &Daemon) {
    assert_eq!(host.plugin_status("reports")["zombies"], json!([]), "{}", host.log());
    assert_eq!(host.mapped_copies().len(), 1);
}

#[test]
fn a_host_starts_without_the_server_and_serves_once_it_is_there() {
    let mut server = MariaDb::new();
    let host = host_of("b", &server).start();
    host.wait_for_log(WARNING);
    assert_eq!(host.get("/ready").status, 200);
    check_unreachable(&routes(&host));
    server.start();
    // It is empty: the plugin fills it at its start, and never during a call.
    let failed = routes(&host).json();
    assert_eq!((&failed["code"], &failed["app_code"]), (&json!("failed"), &json!("database")), "{failed}");
    assert_eq!(host.reload("reports").status, 200, "{}", host.log());
    check_answers(&routes(&host), &host);

    // What was filled once needs no more than to be there.
    server.kill();
    let host = host.start_again();
    host.wait_for_log(WARNING);
    check_unreachable(&routes(&host));
    server.start();
    check_answers(&routes(&host), &host);
    assert!(!server.is_betrayed_by(&host.log()), "{}", host.log());
    host.stop();
}

#[test]
fn many_calls_under_an_outage_end_in_time_and_leave_nothing_behind() {
    let mut server = MariaDb::new();
    server.start();
    let host = host_of("b", &server).start();
    check_answers(&routes(&host), &host);
    for kills in [false, true] {
        if kills {
            server.kill()
        } else {
            server.signal("STOP")
        }
        let began = Instant::now();
        let codes: Vec<String> = std::thread::scope(|scope| {
            let call = || routes(&host).json()["app_code"].as_str().unwrap_or_default().to_owned();
            let calls: Vec<_> = (0..16).map(|_| scope.spawn(call)).collect();
            calls.into_iter().map(|call| call.join().unwrap()).collect()
        });
        // Calls that found all connections taken do not know why the others are slow.
        assert!(codes.iter().all(|code| code == "unreachable" || code == "busy"), "{codes:?}");
        assert!(codes.iter().any(|code| code == "unreachable"), "{codes:?}");
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
        // Callers that leave: their queries end with them, and their connections are not waited for.
        for _ in 0..8 {
            drop(host.begin(ROUTES, &json!({})));
        }
        if kills {
            server.start()
        } else {
            server.signal("CONT")
        }
        check_answers(&routes(&host), &host);
    }
    host.stop();
}

#[test]
fn a_new_build_takes_over_and_the_old_one_is_unmapped_while_the_server_is_away() {
    let mut server = MariaDb::new();
    server.start();
    let host = host_of("b", &server).start();
    for round in 0..3 {
        check_answers(&routes(&host), &host);
        assert_eq!(host.reload("reports").status, 200, "{round}: {}", host.log());
        check_one_is_mapped(&host);
    }
    check_answers(&routes(&host), &host);
    server.signal("STOP");
    assert_eq!(host.reload("reports").status, 200, "{}", host.log());
    host.wait_for_log(WARNING);
    check_one_is_mapped(&host);
    check_unreachable(&routes(&host));
    server.signal("CONT");
    check_answers(&routes(&host), &host);
    server.kill();
    assert_eq!(host.reload("reports").status, 200, "{}", host.log());
    check_one_is_mapped(&host);
    server.start();
    check_answers(&routes(&host), &host);
    host.stop();
}

#[test]
fn a_file_in_its_place_is_unmapped_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("flights.db");
    let host = host("b", &format!("database = {path:?}\ncreate = true")).start();
    for _ in 0..3 {
        check_answers(&routes(&host), &host);
        assert_eq!(host.reload("reports").status, 200, "{}", host.log());
        check_one_is_mapped(&host);
    }
    host.stop();
}
