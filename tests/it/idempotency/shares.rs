//! Outcomes belong to callers, and each caller has a share of the memory.

use framex_host::base::ErrorCode;
use framex_host::wire::RequestEnvelope;
use framex_tests::{Daemon, DaemonBuilder, frames};
use serde_json::json;

use super::{BOOKS, booked, host, send_as};

const RULE: &str = "[auth]\nrules = { \"/api/v1/functions/misbehave.bookings.books\" = [\"first-rule-key\", \"second-rule-key\"] }";
const FIRST: Option<&str> = Some("Bearer first-rule-key");
const SECOND: Option<&str> = Some("Bearer second-rule-key");

/// A host with a small memory, and two keys that call it.
fn small() -> DaemonBuilder {
    host("a", &[]).config("server.idempotency_bytes_max = 65536").config(RULE)
}

/// Calls with new keys until one is refused, and returns how many ran.
#[track_caller]
fn fill(host: &Daemon, caller: Option<&str>, bytes: u64) -> usize {
    let some = json!({"order": "seat", "bytes": bytes});
    for order in 0..300 {
        let before = booked(host).0;
        let answer = send_as(host, caller, &format!("some-{order}"), &some);
        if answer.status != 200 {
            let (status, code, detail) = answer.problem();
            assert_eq!((status, code.as_str()), (429, "overloaded"), "{detail}");
            assert!(detail.contains("server.idempotency_bytes_max"), "{detail}");
            assert_eq!(answer.json()["executed"], false);
            assert_eq!(booked(host).0, before, "what is refused does not run");
            return order;
        }
    }
    panic!("nothing was refused");
}

#[test]
fn one_caller_does_not_push_out_the_outcomes_of_another() {
    let host = small().start();
    let seat = json!({"order": "mine", "bytes": 4000});
    let first = send_as(&host, FIRST, "mine", &seat);
    assert_eq!(first.status, 200);
    let fitted = fill(&host, SECOND, 8000);
    assert!((3..8).contains(&fitted), "{fitted}");
    let ran = booked(&host).0;
    // Each repeat gets its own outcome, of the greedy caller and of the other one.
    assert_eq!(send_as(&host, FIRST, "mine", &seat).json(), first.json());
    for order in 0..fitted {
        let repeat =
            send_as(&host, SECOND, &format!("some-{order}"), &json!({"order": "seat", "bytes": 8000}));
        assert_eq!(repeat.status, 200, "{}", repeat.json());
    }
    assert_eq!(booked(&host).0, ran);
    // The other one has room for more.
    assert_eq!(send_as(&host, FIRST, "more", &seat).status, 200);
    assert_eq!(
        send_as(&host, FIRST, "more", &seat).json(),
        json!(format!("mine {}{}", ran + 1, "x".repeat(4000)))
    );
    assert_eq!(host.metric("framex_idempotency_refused_total"), 1.0);
    assert_eq!(host.metric("framex_idempotency_forgotten_total"), 0.0);
    assert!(host.metric("framex_idempotency_memory_bytes") <= 65_536.0);
    host.stop();
}

#[test]
fn room_comes_back_as_outcomes_grow_old() {
    let host = host("a", &[])
        .config("server.idempotency_bytes_max = 65536\nserver.idempotency_keep_ms = 1500")
        .config(RULE)
        .start();
    fill(&host, FIRST, 4000);
    let again = || send_as(&host, FIRST, "later", &json!({"order": "seat", "bytes": 4000})).status == 200;
    framex_tests::until("there is room again", again);
    host.stop();
}

#[test]
fn keys_of_a_rule_are_callers_of_their_own() {
    let b = host("b", &[]).start();
    for host in [host("a", &[]).config(RULE).start(), host("a", &[&b.url()]).config(RULE).start()] {
        let seat = json!({"order": "seat"});
        assert_eq!(send_as(&host, FIRST, "1", &seat).json(), json!("seat 1"));
        // Neither another one's outcome, nor a key that another one has used up.
        assert_eq!(send_as(&host, SECOND, "1", &seat).json(), json!("seat 2"));
        assert_eq!(send_as(&host, SECOND, "2", &json!({"order": "poison"})).status, 200);
        assert_eq!(send_as(&host, FIRST, "2", &seat).json(), json!("seat 4"));
        for (caller, outcome) in [(FIRST, "seat 1"), (SECOND, "seat 2")] {
            assert_eq!(send_as(&host, caller, "1", &seat).json(), json!(outcome));
        }
        host.stop();
    }
    b.stop();
}

#[test]
fn hosts_with_other_keys_are_callers_of_their_own() {
    let host = Daemon::builder()
        .config("host_id = \"b\"")
        .config(&frames::rules(&[frames::SECRET, frames::OTHER_SECRET]))
        .plugin("misbehave")
        .start();
    let call = |secret: &str, hop: &str, key: &'static str, order: &str| {
        let envelope = RequestEnvelope {
            idempotency_key: Some(key.as_bytes().into()),
            hops: vec![hop.into()],
            ..frames::envelope(BOOKS, &json!({ "order": order }))
        };
        frames::call_sealed(&host.url(), &frames::key_of(secret), &envelope).outcome
    };
    let booked = |secret: &str, hop: &str| {
        frames::result_json(&call(secret, hop, "1", "seat").expect("it has an outcome"))
    };
    assert_eq!(booked(frames::SECRET, "a"), json!("seat 1"));
    // Regardless of the name that it gives itself.
    assert_eq!(booked(frames::OTHER_SECRET, "a"), json!("seat 2"));
    assert_eq!(booked(frames::OTHER_SECRET, "c"), json!("seat 2"));
    assert_eq!(booked(frames::SECRET, "c"), json!("seat 1"));
    assert!(call(frames::OTHER_SECRET, "a", "2", "poison").is_ok());
    assert!(call(frames::SECRET, "a", "2", "seat").is_ok());
    let misused = call(frames::SECRET, "a", "2", "other").unwrap_err();
    assert_eq!((misused.code, misused.executed.known()), (ErrorCode::InvalidArgument, Some(false)));
    host.stop();
}

#[test]
fn a_caller_with_several_keys_is_one() {
    let host = host("a", &[])
        .config("auth.callers.ada = { keys = [\"old-key-of-ada-16\", \"new-key-of-ada-16\"], functions = [\"*\"] }")
        .start();
    let seat = json!({"order": "seat"});
    assert_eq!(send_as(&host, Some("old-key-of-ada-16"), "1", &seat).json(), json!("seat 1"));
    assert_eq!(send_as(&host, Some("new-key-of-ada-16"), "1", &seat).json(), json!("seat 1"));
    host.stop();
}
