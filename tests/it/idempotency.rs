//! Calls with an idempotency key: each runs once, and its repeats get the same outcome.

mod shares;

use framex_tests::{Answer, Daemon, DaemonBuilder, FaultyPeer, FreeAddress, Pending, frames, send, until};
use serde_json::{Value, json};

const BOOKS: &str = "misbehave.bookings.books";
const BOOKED: &str = "misbehave.bookings.booked";
const AGAIN: &str = "misbehave.bookings.books_again";

/// Host `id`; bookings run on the peers of `urls`.
fn host(id: &str, urls: &[&str]) -> DaemonBuilder {
    let mut config = format!("host_id = {id:?}\nplugins.proxy.proxy_urls = {urls:?}\n");
    for url in urls {
        config.push_str(&format!("plugins.proxy.proxy_functions.{url:?} = [{BOOKS:?}]\n"));
    }
    Daemon::builder().config(&config).config(&frames::rules(&[frames::SECRET])).plugin("misbehave")
}

fn book(host: &Daemon, key: &str, arguments: &Value) -> Answer {
    send_as(host, None, key, arguments)
}

/// With the key of a caller.
fn send_as(host: &Daemon, caller: Option<&str>, key: &str, arguments: &Value) -> Answer {
    let url = format!("{}/api/v1/functions/{BOOKS}", host.url());
    let mut headers = vec![("content-type", "application/json"), ("idempotency-key", key)];
    headers.extend(caller.map(|caller| ("authorization", caller)));
    send("POST", &url, &headers, arguments.to_string().as_bytes())
}

fn begin(host: &Daemon, key: &str, arguments: &Value) -> Pending {
    host.begin_with(BOOKS, arguments, &format!("idempotency-key: {key}\r\n"))
}

/// Begins a booking, and leaves once it runs.
fn begin_and_leave(host: &Daemon, key: &str, arguments: &Value) {
    let before = booked(host).0;
    let caller = begin(host, key, arguments);
    until("the call runs", || booked(host).0 > before);
    drop(caller);
}

/// Returns how many bookings began on a host, and how many ended.
fn booked(host: &Daemon) -> (u64, u64) {
    serde_json::from_value(host.call(BOOKED, &json!({})).json()).unwrap()
}

#[test]
fn a_repeat_gets_the_outcome_of_the_first() {
    let host = host("a", &[]).start();
    let first = book(&host, "order-1", &json!({"order": "seat"}));
    assert_eq!((first.status, first.json()), (200, json!("seat 1")));
    for _ in 0..3 {
        let repeat = book(&host, "order-1", &json!({"order": "seat"}));
        assert_eq!((repeat.status, repeat.json()), (200, json!("seat 1")));
    }
    assert_eq!(book(&host, "order-2", &json!({"order": "seat"})).json(), json!("seat 2"));
    let failed = || book(&host, "order-3", &json!({"order": "seat", "fails": true}));
    for failure in [failed(), failed()] {
        assert_eq!((failure.status, &failure.json()["app_code"]), (422, &json!("sold_out")));
        assert_eq!(failure.json()["detail"], "seat is sold out, says booking 3");
    }
    assert_eq!(booked(&host), (3, 3));
    assert_eq!(host.metric("framex_idempotency_repeats_answered_total"), 4.0);
    assert_eq!(host.metric("framex_idempotency_remembered"), 3.0);
    host.stop();
}

/// Returns whether an answer says that it is the outcome of an earlier call.
fn is_replayed(answer: &Answer) -> bool {
    answer.header("idempotent-replayed") == Some("true")
}

#[test]
fn a_repeat_says_that_it_is_one() {
    let host = host("a", &[]).start();
    let order = json!({"order": "seat"});
    let fails = json!({"order": "seat", "fails": true});
    for (key, arguments, status) in [("order-1", &order, 200), ("order-2", &fails, 422)] {
        for is_repeat in [false, true, true] {
            let answer = book(&host, key, arguments);
            assert_eq!((answer.status, is_replayed(&answer)), (status, is_repeat), "{key}");
        }
    }
    let other = book(&host, "order-1", &json!({"order": "other"}));
    assert_eq!(
        (other.status, is_replayed(&other)),
        (400, false),
        "it is refused, and no outcome of any call"
    );
    let without_key = host.call(BOOKS, &order);
    assert_eq!((without_key.status, is_replayed(&without_key)), (200, false));
    let slow = json!({"order": "seat", "ms": 1500});
    let (first, joined) = (begin(&host, "order-3", &slow), || begin(&host, "order-3", &slow).answer());
    until("the call runs", || booked(&host).0 == 4);
    assert!(is_replayed(&joined()), "it waited for the outcome of the first");
    assert!(!is_replayed(&first.answer()));
    host.stop();
}

#[test]
fn a_repeat_says_so_where_only_the_peer_knows() {
    let b = host("b", &[]).start();
    let a = host("a", &[&b.url()]).start();
    let first = book(&a, "order-1", &json!({"order": "seat"}));
    assert_eq!((first.status, is_replayed(&first)), (200, false));
    // Host a forgets it.
    let a = a.start_again();
    for _ in 0..2 {
        let repeat = book(&a, "order-1", &json!({"order": "seat"}));
        assert_eq!((repeat.json(), is_replayed(&repeat)), (json!("seat 1"), true));
        assert_eq!(repeat.header("x-framex-served-by"), Some("b"));
    }
    assert_eq!(booked(&b), (1, 1));
}

#[test]
fn a_key_is_for_one_call() {
    let host = host("a", &[]).start();
    assert_eq!(book(&host, "order-1", &json!({"order": "seat"})).status, 200);
    let (status, code, detail) = book(&host, "order-1", &json!({"order": "other"})).problem();
    assert_eq!((status, code.as_str()), (400, "invalid_argument"), "{detail}");
    assert_eq!(
        detail,
        "the idempotency key came with other arguments before: each call needs a key of its own"
    );
    // Another function is another call.
    let url = format!("{}/api/v1/functions/{BOOKED}", host.url());
    let headers = [("content-type", "application/json"), ("idempotency-key", "order-1")];
    assert_eq!(send("POST", &url, &headers, b"{}").json(), json!([1, 1]));
    host.stop();
}

#[test]
fn what_did_not_run_is_not_remembered() {
    let host = host("a", &[]).start();
    // The arguments do not fit: the body never began.
    assert_eq!(book(&host, "order-1", &json!({"order": 7})).status, 400);
    assert_eq!(book(&host, "order-1", &json!({"order": "seat"})).json(), json!("seat 1"));
    host.stop();
}

#[test]
fn a_call_goes_on_without_its_caller_and_its_repeats_join_it() {
    let host = host("a", &[]).start();
    let arguments = json!({"order": "seat", "ms": 3000});
    begin_and_leave(&host, "order-1", &arguments);
    let joined: Vec<Pending> = (0..3).map(|_| begin(&host, "order-1", &arguments)).collect();
    for answer in joined {
        let answer = answer.answer();
        assert_eq!((answer.status, answer.json()), (200, json!("seat 1")));
    }
    assert_eq!(booked(&host), (1, 1));
    // Repeats with a shorter deadline learn that it runs.
    begin_and_leave(&host, "order-2", &arguments);
    let url = format!("{}/api/v1/functions/{BOOKS}", host.url());
    let headers =
        [("content-type", "application/json"), ("idempotency-key", "order-2"), ("x-framex-timeout-ms", "50")];
    let (status, code, detail) = send("POST", &url, &headers, arguments.to_string().as_bytes()).problem();
    assert_eq!((status, code.as_str()), (504, "deadline_exceeded"), "{detail}");
    until("it ends", || booked(&host).1 == 2);
    // One without a key ends with its caller.
    let without_key = host.begin(BOOKS, &arguments);
    until("it begins", || booked(&host).0 == 3);
    drop(without_key);
    until("none runs", || host.metric("framex_calls_in_flight") == 0.0);
    assert_eq!(booked(&host).1, 2);
    host.stop();
}

#[test]
fn a_call_that_goes_on_holds_its_place_until_it_ends() {
    let host = host("a", &[]).config("server.in_flight_max = 1\nserver.queue_max = 0").start();
    let caller = begin(&host, "order-1", &json!({"order": "seat", "ms": 3000}));
    until("the call runs", || host.metric("framex_calls_in_flight") == 1.0);
    drop(caller);
    assert_eq!(host.call(BOOKED, &json!({})).status, 429);
    until("it ends", || host.metric("framex_calls_in_flight") == 0.0);
    assert_eq!(booked(&host), (1, 1));
    host.stop();
}

#[test]
fn a_nested_call_that_goes_on_holds_the_places_of_the_call_that_made_it() {
    for limit in
        ["server.in_flight_max = 1\nserver.queue_max = 0", "limits.plugins.misbehave = { in_flight_max = 1 }"]
    {
        let host = host("a", &[]).config(limit).start();
        let arguments = json!({"order": "seat", "ms": 3000, "key": "k", "timeout_ms": 5000, "times": 1});
        let caller = host.begin(AGAIN, &arguments);
        let running = || host.metric("framex_function_calls_running{function=\"misbehave.bookings.books\"}");
        until("it runs", || running() == 1.0);
        drop(caller);
        until("its caller is gone", || {
            host.metric("framex_function_calls_running{function=\"misbehave.bookings.books_again\"}") == 0.0
        });
        assert_eq!(running(), 1.0);
        let refused = host.call(BOOKED, &json!({}));
        assert_eq!(refused.status, 429, "{limit}: {}", refused.json());
        until("it ends", || running() == 0.0);
        until("the places are free", || host.call(BOOKED, &json!({})).status == 200);
        assert_eq!(booked(&host), (1, 1));
        host.stop();
    }
}

#[test]
fn a_call_that_goes_on_elsewhere_does_not_keep_the_plugin_that_made_it() {
    let b = host("b", &[]).start();
    let a = host("a", &[&b.url()]).start();
    let arguments = json!({"order": "seat", "ms": 5000, "key": "k", "timeout_ms": 20_000, "times": 1});
    let caller = a.begin(AGAIN, &arguments);
    until("it runs", || booked(&b).0 == 1);
    drop(caller);
    assert_eq!(a.reload("misbehave").status, 200);
    until("the old code is gone", || a.plugin_status("misbehave")["zombies"] == json!([]));
    assert_eq!(booked(&b), (1, 0), "it still runs");
    [a, b].into_iter().for_each(Daemon::stop);
}

#[test]
fn the_host_ends_after_the_calls_that_go_on() {
    let host = host("a", &[]).start();
    begin_and_leave(&host, "order-1", &json!({"order": "seat", "ms": 700}));
    host.signal("TERM");
    host.wait_for_log("stopped");
    assert!(!host.log().contains("drain deadline"), "{}", host.log());
    host.stop();
}

#[test]
fn the_memory_is_bounded_in_time_and_size() {
    let forgets = host("a", &[]).config("server.idempotency_keep_ms = 300").start();
    assert_eq!(book(&forgets, "order-1", &json!({"order": "seat"})).json(), json!("seat 1"));
    let is_forgotten = || book(&forgets, "order-1", &json!({"order": "seat"})).json() == json!("seat 2");
    until("the first one is forgotten", is_forgotten);
    forgets.stop();
    let host = host("a", &[]).config("server.idempotency_bytes_max = 65536").start();
    // An eighth of the memory is the most for one.
    let large = json!({"order": "seat", "bytes": 10_000});
    assert_eq!(book(&host, "large", &large).status, 200);
    let (status, code, detail) = book(&host, "large", &large).problem();
    assert_eq!((status, code.as_str()), (500, "internal"), "{detail}");
    assert!(detail.starts_with("the call with this idempotency key ran; its outcome of 100"), "{detail}");
    assert_eq!(booked(&host).0, 1);
    host.stop();
}

#[test]
fn no_memory_if_it_is_switched_off() {
    let host = host("a", &[]).config("server.idempotency_keep_ms = 0").start();
    assert_eq!(book(&host, "order-1", &json!({"order": "seat"})).json(), json!("seat 1"));
    assert_eq!(book(&host, "order-1", &json!({"order": "seat"})).json(), json!("seat 2"));
    assert_eq!(host.metric("framex_idempotency_remembered"), 0.0);
    host.stop();
}

#[test]
fn a_reload_of_the_plugin_keeps_outcomes_and_not_the_old_code() {
    let host = host("a", &[]).start();
    assert_eq!(book(&host, "order-1", &json!({"order": "seat"})).json(), json!("seat 1"));
    assert_eq!(host.reload("misbehave").status, 200);
    assert_eq!(book(&host, "order-1", &json!({"order": "seat"})).json(), json!("seat 1"));
    assert_eq!(booked(&host), (0, 0), "it did not run in the new generation");
    until("the old code is gone", || host.plugin_status("misbehave")["zombies"] == json!([]));
    host.stop();
}

#[test]
fn callers_do_not_get_each_others_outcomes() {
    let callers = |host: DaemonBuilder| {
        host.config(
            "[auth.callers]\nada = { keys = [\"key-of-ada-16-bytes\"], functions = [\"misbehave.*\"] }\n\
             bob = { keys = [\"key-of-bob-16-bytes\"], functions = [\"misbehave.*\"] }",
        )
    };
    let (ada, bob) = (Some("key-of-ada-16-bytes"), Some("key-of-bob-16-bytes"));
    let seat = json!({"order": "seat"});
    let b = host("b", &[]).start();
    let here = callers(host("a", &[])).start();
    let there = callers(host("a", &[&b.url()])).start();
    for host in [here, there] {
        assert_eq!(send_as(&host, ada, "1", &seat).json(), json!("seat 1"));
        assert_eq!(send_as(&host, bob, "1", &seat).json(), json!("seat 2"));
        assert_eq!(send_as(&host, ada, "1", &seat).json(), json!("seat 1"));
        assert_eq!(send_as(&host, bob, "1", &seat).json(), json!("seat 2"));
        host.stop();
    }
    b.stop();
}

#[test]
fn a_plugin_makes_its_call_safe_as_well() {
    let b = host("b", &[]).start();
    let a = host("a", &[&b.url()]).start();
    for host in [&b, &a] {
        let arguments = json!({"order": "seat", "ms": 0, "key": host.url(), "timeout_ms": 5000, "times": 3});
        let answers: Vec<String> = serde_json::from_value(host.call(AGAIN, &arguments).json()).unwrap();
        assert!(
            answers[0].starts_with("seat ") && answers.iter().all(|answer| *answer == answers[0]),
            "{answers:?}"
        );
    }
    assert_eq!(booked(&b), (2, 2));
    // The first one takes too long for the caller and goes on; the repeat gets what came of it.
    let arguments = json!({"order": "late", "ms": 1200, "key": "late", "timeout_ms": 300, "times": 8});
    let answers: Vec<String> = serde_json::from_value(a.call(AGAIN, &arguments).json()).unwrap();
    assert_eq!(answers[0], "deadline_exceeded", "{answers:?}");
    assert_eq!(booked(&b).0, 3, "{answers:?}");
    let no_key = json!({"order": "x", "ms": 0, "key": "", "timeout_ms": 1, "times": 1});
    assert_eq!(a.call(AGAIN, &no_key).json(), json!(["invalid_argument"]));
    a.stop();
    b.stop();
}

#[test]
fn a_repeat_learns_what_came_of_a_call_whose_answer_was_lost() {
    let b = host("b", &[]).start();
    // Takes the call to B and loses the answer, once.
    let lossy = losing_first_answer(&b);
    let a = host("a", &[&lossy.url()]).start();
    let first = book(&a, "order-1", &json!({"order": "seat"}));
    assert_eq!((first.status, &first.json()["executed"]), (503, &Value::Null), "{}", first.json());
    for _ in 0..2 {
        let repeat = book(&a, "order-1", &json!({"order": "seat"}));
        assert_eq!((repeat.status, repeat.json()), (200, json!("seat 1")));
        assert_eq!(repeat.header("x-framex-served-by"), Some("b"), "the host that ran it");
    }
    assert_eq!(booked(&b), (1, 1));
    a.stop();
    b.stop();
}

/// Passes requests on to a host, but for the first answer, in whose place the connection is closed.
fn losing_first_answer(to: &Daemon) -> FaultyPeer {
    let (url, count) = (to.url(), std::sync::atomic::AtomicUsize::new(0));
    FaultyPeer::start(move |conversation| {
        while let Some(body) = conversation.request() {
            let answer = frames::post_frame(&url, &body);
            let is_hello = frames::greeting(&body).is_some();
            if !is_hello && count.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0 {
                return;
            }
            let content_type = answer.header("content-type").unwrap_or_default().to_owned();
            let answer =
                framex_tests::http_answer("200 OK", &[("content-type", &content_type)], &answer.body);
            if !conversation.send(&answer) {
                return;
            }
        }
    })
    .knows_no_hellos()
}

#[test]
fn a_repeat_of_a_call_that_may_have_run_goes_nowhere_else() {
    let at_b = FreeAddress::find();
    let b = host("b", &[]).listen(at_b).start();
    let c = host("c", &[]).start();
    let lossy = losing_first_answer(&b);
    let config = format!(
        "plugins.proxy.fallback = \"local\"\nplugins.proxy.proxy_urls.\"{}\".priority = 0\n\
         plugins.proxy.proxy_urls.\"{}\".priority = 1\n\
         plugins.proxy.proxy_functions = {{ {:?} = [{BOOKS:?}], {:?} = [{BOOKS:?}] }}",
        lossy.url(),
        c.url(),
        lossy.url(),
        c.url(),
    );
    let a = Daemon::builder()
        .config("host_id = \"a\"")
        .config(&config)
        .config(&frames::rules(&[frames::SECRET]))
        .plugin("misbehave")
        .start();
    let seat = json!({"order": "seat"});
    assert_eq!(book(&a, "order-1", &seat).json()["executed"], Value::Null);
    drop(lossy);
    // The peer is gone: whether it ran is unknown, so neither C nor A may run it.
    for _ in 0..3 {
        let repeat = book(&a, "order-1", &seat);
        assert_eq!((repeat.status, &repeat.json()["executed"]), (503, &Value::Null), "{}", repeat.json());
    }
    assert_eq!((booked(&b).0, booked(&c).0, booked(&a).0), (1, 0, 0));
    // Another call does not repeat it.
    assert_eq!(book(&a, "order-2", &seat).json(), json!("seat 1"));
    assert_eq!(booked(&c).0, 1);
    [a, b, c].into_iter().for_each(Daemon::stop);
}

/// The URL of the peer is led to another host with the same key, once the answer of the first one was lost.
#[test]
fn a_repeat_does_not_run_on_another_host_behind_the_same_url() {
    let (b, c) = (host("b", &[]).start(), host("c", &[]).start());
    let (at_b, at_c) = (b.url(), c.url());
    let lost = std::sync::atomic::AtomicBool::new(false);
    let way = FaultyPeer::start(move |conversation| {
        while let Some(frame) = conversation.request() {
            let is_lost = lost.load(std::sync::atomic::Ordering::SeqCst);
            let answer = frames::post_frame(if is_lost { &at_c } else { &at_b }, &frame);
            if !is_lost && frames::greeting(&frame).is_none() {
                lost.store(true, std::sync::atomic::Ordering::SeqCst);
                return;
            }
            let kind = answer.header("content-type").unwrap_or_default().to_owned();
            if !conversation.send(&framex_tests::http_answer(
                "200 OK",
                &[("content-type", &kind)],
                &answer.body,
            )) {
                return;
            }
        }
    })
    .knows_no_hellos();
    let a = host("a", &[&way.url()]).start();
    let seat = json!({"order": "seat"});
    assert_eq!(book(&a, "order-1", &seat).json()["executed"], Value::Null);
    for _ in 0..3 {
        let repeat = book(&a, "order-1", &seat);
        assert_eq!((repeat.status, &repeat.json()["executed"]), (503, &Value::Null), "{}", repeat.json());
    }
    assert_eq!((booked(&b).0, booked(&c).0, booked(&a).0), (1, 0, 0));
    // Another call may go where the URL leads.
    assert_eq!(book(&a, "order-2", &seat).json(), json!("seat 1"));
    assert_eq!((booked(&b).0, booked(&c).0), (1, 1));
}
