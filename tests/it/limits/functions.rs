//! Limits of functions and of plugins: calls up to them run or wait, and the rest is refused at once.

use std::path::Path;

use framex_tests::{Answer, Build, Daemon, DaemonBuilder, Pending, broken};
use serde_json::{Value, json};

use super::until;

const QUEUED: &str = "misbehave.limited.queued";
const BRIEFLY: &str = "misbehave.limited.queued_briefly";
const BEGUN: &str = "misbehave.limited.begun";
const REPEATS: &str = "misbehave.limited.repeats";
const SLEEPS: &str = "misbehave.functions.sleeps";
const HOUR: u64 = 3_600_000;

fn host(limits: &str) -> DaemonBuilder {
    Daemon::builder().plugin("misbehave").config(limits)
}

fn begin(host: &Daemon, function: &str, id: u64) -> Pending {
    host.begin(function, &json!({ "id": id, "ms": HOUR }))
}

#[track_caller]
fn shows(host: &Daemon, function: &str, running: u64, waiting: u64) {
    let metric =
        |name: &str| host.metric(&format!("framex_function_limit_{name}{{function=\"{function}\"}}")) as u64;
    until(&format!("{running} run and {waiting} wait"), || {
        (metric("running"), metric("waiting")) == (running, waiting)
    });
}

#[track_caller]
fn check_overloaded(answer: &Answer, detail: &str) {
    assert_eq!(answer.problem(), (429, "overloaded".to_owned(), detail.to_owned()));
    assert_eq!((answer.header("retry-after"), &answer.json()["executed"]), (Some("1"), &json!(false)));
}

fn begun(host: &Daemon) -> Value {
    host.call(BEGUN, &json!({})).json()
}

#[test]
fn calls_run_and_wait_up_to_the_limits_and_the_next_is_refused() {
    let host = host("").start();
    let mut held = Vec::new();
    // One after the other, so that the order is known.
    for id in 0..5 {
        held.push(begin(&host, QUEUED, id));
        shows(&host, QUEUED, (id + 1).min(2), (id + 1).saturating_sub(2));
    }
    let full = format!("function `{QUEUED}` runs as many calls as it may, and its queue is full");
    check_overloaded(&host.call(QUEUED, &json!({"id": 9})), &full);
    assert_eq!(host.call(SLEEPS, &json!({"ms": 1})).status, 200, "others are not held up");
    assert_eq!(begun(&host), json!([0, 1]));
    // Callers that go away give their places back: one that ran, then one that waits.
    drop(held.remove(0));
    shows(&host, QUEUED, 2, 2);
    assert_eq!(begun(&host), json!([0, 1, 2]));
    drop(held.remove(2));
    shows(&host, QUEUED, 2, 1);
    drop(held.remove(0));
    shows(&host, QUEUED, 2, 0);
    assert_eq!(begun(&host), json!([0, 1, 2, 4]), "the one that went away never ran");
    assert_eq!(host.metric(&format!("framex_function_limit_reached_total{{function=\"{QUEUED}\"}}")), 1.0);
    assert_eq!(host.metric("framex_limits_reached_total{limit=\"function\"}"), 1.0);
    drop(held);
    shows(&host, QUEUED, 0, 0);
    assert_eq!(host.call(QUEUED, &json!({"id": 5})).json(), json!(5));
}

#[test]
fn waiting_ends_at_the_deadline_of_the_call_and_at_the_functions() {
    let limits = format!("limits.functions.{QUEUED:?} = {{ in_flight_max = 1 }}\n");
    let host = host(&limits).start();
    let held = begin(&host, QUEUED, 0);
    shows(&host, QUEUED, 1, 0);
    let answer = host.call_within(QUEUED, &json!({"id": 1}), 200);
    let detail = format!("the time ran out while the call waited for a permit of function `{QUEUED}`");
    assert_eq!(answer.problem(), (504, "deadline_exceeded".to_owned(), detail));
    assert_eq!(answer.json()["executed"], false);
    shows(&host, QUEUED, 1, 0);
    assert_eq!(begun(&host), json!([0]));
    drop(held);
    // The same for the time that the function gives its calls: the first takes all of it, the second waits as long.
    let first = begin(&host, BRIEFLY, 10);
    shows(&host, BRIEFLY, 1, 0);
    let second = begin(&host, BRIEFLY, 11);
    assert_eq!(first.answer().problem().1, "deadline_exceeded");
    assert_eq!(second.answer().problem().1, "deadline_exceeded");
    shows(&host, BRIEFLY, 0, 0);
}

#[test]
fn a_plugin_has_a_limit_of_calls_and_its_nested_calls_share_it() {
    let limits = "limits.plugins.misbehave = { in_flight_max = 1, queue_max = 1 }\n";
    let host = host(limits).start();
    // Deeper than there are places: each goes along with the one that made it.
    assert_eq!(host.call(REPEATS, &json!({"depth": 5})).json(), json!(5));
    let held = host.begin(SLEEPS, &json!({ "ms": HOUR }));
    let running = || host.metric("framex_plugin_limit_running{plugin=\"misbehave\"}");
    let waiting = || host.metric("framex_plugin_limit_waiting{plugin=\"misbehave\"}");
    until("one runs", || running() == 1.0);
    let next = host.begin(REPEATS, &json!({"depth": 3}));
    until("one waits", || waiting() == 1.0);
    let full = "plugin `misbehave` runs as many calls as it may, and its queue is full";
    check_overloaded(&host.call(BEGUN, &json!({})), full);
    assert_eq!(host.metric("framex_limits_reached_total{limit=\"plugin\"}"), 1.0);
    drop(held);
    assert_eq!(next.answer().json(), json!(3));
    until("all is given back", || running() == 0.0);
}

#[test]
fn a_call_within_a_call_of_the_same_function_does_not_wait_for_itself() {
    let limits = format!("limits.functions.{REPEATS:?} = {{ in_flight_max = 2, queue_max = 5 }}\n");
    let host = host(&limits).start();
    assert_eq!(host.call(REPEATS, &json!({"depth": 1})).json(), json!(1));
    let answer = host.call(REPEATS, &json!({"depth": 2}));
    let (status, code, detail) = answer.problem();
    assert_eq!((status, code.as_str()), (429, "overloaded"));
    assert!(detail.ends_with("a call that is made within one of them does not wait for itself"), "{detail}");
    assert_eq!(answer.json()["executed"], true, "the outer one did run");
}

#[test]
fn a_call_within_a_call_does_not_wait_for_one_that_waits_for_the_plugin() {
    const BOOKS: &str = "misbehave.bookings.books";
    let one = "{ in_flight_max = 1, queue_max = 5 }";
    let host = host(&format!("limits.plugins.misbehave = {one}\nlimits.functions.{BOOKS:?} = {one}\n"))
        .config("server.idempotency_keep_ms = 0\n")
        .start();
    // It books twice, one after the other, while it has the only place of the plugin.
    let arguments = json!({ "order": "inner", "ms": 2000, "key": "k", "timeout_ms": 30_000, "times": 2 });
    let outer = host.begin("misbehave.bookings.books_again", &arguments);
    shows(&host, BOOKS, 1, 0);
    // After the first booking, this one has the place of the function, and waits for the plugin's.
    let outside = host.begin(BOOKS, &json!({"order": "outer"}));
    shows(&host, BOOKS, 1, 1);
    assert_eq!(outer.answer().json(), json!(["inner 1", "inner 2"]));
    assert_eq!(outside.answer().json(), json!("outer 3"));
    shows(&host, BOOKS, 0, 0);
}

#[test]
fn a_reload_changes_limits_under_those_who_run_and_wait() {
    let limits = |queued: &str| {
        format!("plugin_dir = \"plugins\"\nlimits.functions.{QUEUED:?} = {{ in_flight_max = {queued} }}\n")
    };
    let host = host(&limits("1, queue_max = 4")).start();
    let mut held: Vec<Pending> = (0..3).map(|id| begin(&host, QUEUED, id)).collect();
    shows(&host, QUEUED, 1, 2);
    // More places: those who wait begin.
    host.put_config(&limits("2, queue_max = 4"));
    assert_eq!(host.reload_host().status, 200);
    shows(&host, QUEUED, 2, 1);
    // Fewer: running calls continue, and waiting calls wait until the number is below the new limit.
    host.put_config(&limits("1, queue_max = 0"));
    assert_eq!(host.reload_host().status, 200);
    shows(&host, QUEUED, 2, 1);
    assert_eq!(host.call(QUEUED, &json!({"id": 9})).status, 429);
    // Without the table, the code's own limit is in force again.
    host.put_config("plugin_dir = \"plugins\"\n");
    assert_eq!(host.reload_host().status, 200);
    let functions = host.admin_get("functions").json();
    let function = functions["functions"].as_array().unwrap().iter().find(|one| one["name"] == QUEUED);
    let expected = json!({"in_flight_max": 2, "queue_max": 3, "running": 2, "waiting": 1});
    assert_eq!(function.unwrap()["limit"], expected);
    held.clear();
    shows(&host, QUEUED, 0, 0);
    // A config that is wrong changes nothing.
    host.put_config(&limits("0"));
    let refused = host.reload_host();
    assert!(refused.json()["detail"].as_str().unwrap().contains("must be a whole number from 1"));
    assert_eq!(host.call(QUEUED, &json!({"id": 4})).status, 200);
}

#[test]
fn generations_share_their_places_and_one_that_waits_runs_on_the_new_one() {
    const WAITS: &str = "changing.functions.waits";
    let host = Daemon::builder()
        .build(Build::new(1))
        .config(&format!("limits.functions.{WAITS:?} = {{ in_flight_max = 1, queue_max = 2 }}\n"))
        .config("reload.drain_timeout_ms = 3600000\n")
        .start();
    let old = host.begin(WAITS, &json!({ "ms": HOUR }));
    shows(&host, WAITS, 1, 0);
    let waiting = host.begin(WAITS, &json!({"ms": 1}));
    shows(&host, WAITS, 1, 1);
    host.put_build(Build::new(2));
    std::thread::scope(|scope| {
        let reload = scope.spawn(|| host.reload("changing"));
        until("build 2 serves", || host.metric("framex_plugin_generation{plugin=\"changing\"}") == 2.0);
        shows(&host, WAITS, 1, 1);
        // The old one still has the only place.
        assert_eq!(host.call_within(WAITS, &json!({"ms": 1}), 100).problem().1, "deadline_exceeded");
        drop(old);
        let name = Build::new(2).name();
        assert_eq!(waiting.answer().json(), json!([name, name]));
        assert_eq!(reload.join().unwrap().status, 200);
    });
    shows(&host, WAITS, 0, 0);
    // One that waits for a plugin that is gone then is told so.
    let old = host.begin(WAITS, &json!({ "ms": HOUR }));
    shows(&host, WAITS, 1, 0);
    let waiting = host.begin(WAITS, &json!({"ms": 1}));
    shows(&host, WAITS, 1, 1);
    std::thread::scope(|scope| {
        let unload = scope.spawn(|| host.admin_post("plugins/changing/unload", &json!({})));
        until("it is gone", || host.call_within(WAITS, &json!({"ms": 1}), 50).status == 404);
        drop(old);
        let answer = waiting.answer();
        assert_eq!((answer.status, &answer.json()["executed"]), (404, &json!(false)), "{}", answer.json());
        assert_eq!(unload.join().unwrap().status, 200);
    });
}

#[test]
fn a_blocking_call_holds_its_place_until_it_ends_also_without_its_caller() {
    const ASKS: &str = "misbehave.functions.asks_socket";
    let host = Daemon::builder()
        .plugin("misbehave")
        .config(&format!("limits.functions.{ASKS:?} = {{ in_flight_max = 1, queue_max = 0 }}"))
        .start();
    let socket = host.folder().join("asked.sock");
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let arguments = json!({"socket": socket, "request": "how are you?\n"});
    let given_up = host.call_within(ASKS, &arguments, 200);
    assert_eq!((given_up.status, &given_up.json()["executed"]), (504, &json!(true)));
    let (mut asked, _) = listener.accept().unwrap();
    assert_eq!(host.call(ASKS, &arguments).status, 429, "its thread is still at it");
    std::io::Write::write_all(&mut asked, b"well\n").unwrap();
    until("the place is free", || {
        host.metric(&format!("framex_function_limit_running{{function={ASKS:?}}}")) == 0.0
    });
    std::thread::scope(|scope| {
        let next = scope.spawn(|| host.call(ASKS, &arguments));
        // Open until the other side has said what it wants.
        let (mut asked, _) = listener.accept().unwrap();
        std::io::Write::write_all(&mut asked, b"well\n").unwrap();
        assert_eq!(next.join().unwrap().json(), json!("well"));
    });
    host.stop();
}

#[test]
fn a_call_that_waited_over_a_reload_has_the_time_of_the_function_that_it_runs() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let include = format!("-I{}", tests.join("../plugin-sdk/abi/include").display());
    let build = |timeout: &str| {
        let timeout = format!("-DTIMEOUT_MS={timeout}");
        broken::compile_c(&tests.join("c/hooks.c"), &["-std=c11", &include, &timeout])
    };
    let folder = tempfile::tempdir().unwrap();
    let gate = folder.path().join("gate");
    let config = "limits.functions.\"native.sleeps\" = { in_flight_max = 1, queue_max = 1 }";
    let host = Daemon::builder().config(config).variable("GATE", gate.to_str().unwrap());
    let host = host.plugin_bytes("libnative.so", &build("FRAMEX_NO_DEADLINE")).start();
    let first = host.begin("native.sleeps", &json!({}));
    shows(&host, "native.sleeps", 1, 0);
    let waits = host.begin("native.sleeps", &json!({}));
    shows(&host, "native.sleeps", 1, 1);
    host.put("libnative.so", &build("100"));
    std::thread::scope(|scope| {
        // It ends with the first call.
        let reload = scope.spawn(|| host.reload("native"));
        until("the new build serves", || host.plugin_status("native")["generation"] == 2);
        std::fs::write(&gate, "").unwrap();
        assert_eq!(reload.join().unwrap().status, 200, "{}", host.log());
    });
    assert_eq!(first.answer().json(), "slept");
    let (status, code, detail) = waits.answer().problem();
    assert_eq!((status, code.as_str()), (504, "deadline_exceeded"), "{detail}");
    host.stop();
}
