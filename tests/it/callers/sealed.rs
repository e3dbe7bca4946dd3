//! Callers that seal: a frame shows by its key whose it is.

use framex_host::base::{ErrorCode, FunctionName};
use framex_tests::{Daemon, DaemonBuilder, frames};
use serde_json::json;

use super::{DEMO, LOGS, ada, call, host};

/// A key of the rule: hosts may call everything.
const PEER: &str = frames::SECRET;
/// A caller's that may call what is below `demo`.
const WEB: &str = frames::OTHER_SECRET;
/// The key that hosts of one machine seal with if none is configured.
const PUBLIC: &str = "fxk1_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
const PASSPHRASE: &str = "a-passphrase-of-a-caller";

fn with_callers(host: DaemonBuilder) -> DaemonBuilder {
    host.config(&format!(
        "[auth.callers]\nweb = {{ keys = [{WEB:?}, {PASSPHRASE:?}], functions = [\"demo.*\"] }}\n\
         ops = {{ keys = [\"ops-key-of-16-bytes\"], functions = [\"*\"] }}"
    ))
}

fn with_rule(host: DaemonBuilder) -> DaemonBuilder {
    with_callers(host)
        .config("[plugins.proxy.auth]")
        .config(&frames::rules(&[PEER]).replace("plugins.proxy.auth.", ""))
}

/// Calls with a sealed frame; the code and sentence of the failure, if there is one.
fn sealed(host: &Daemon, secret: &str, function: &str) -> Result<(), (ErrorCode, String)> {
    let arguments = if function == LOGS { json!({"text": "x"}) } else { ada() };
    let envelope = frames::envelope(function, &arguments);
    let answer = frames::call_sealed(&host.url(), &frames::key_of(secret), &envelope);
    assert_eq!(&*answer.host_id, "b");
    match answer.outcome {
        Ok(_) => Ok(()),
        Err(failure) => {
            assert_eq!(failure.executed.known(), Some(false));
            Err((failure.code, failure.message))
        }
    }
}

fn check_does_not_open(host: &Daemon, secret: &str) {
    let (_, frame) = frames::seal(&frames::key_of(secret), &frames::envelope(DEMO, &ada()));
    let (status, code, _) = frames::post_frame(&host.url(), &frame).problem();
    assert_eq!((status, code.as_str()), (401, "unauthenticated"), "{secret}");
}

#[test]
fn a_frame_of_a_caller_calls_its_functions_and_no_others() {
    let host = with_rule(host()).start();
    for secret in [WEB, PASSPHRASE] {
        assert_eq!(sealed(&host, secret, DEMO), Ok(()));
        for function in [LOGS, "misbehave.functions.logz", "demo", "Demo.some.example_func", "there.is.none"]
        {
            let sentence = format!("caller `web` may not call function `{function}`");
            assert_eq!(sealed(&host, secret, function), Err((ErrorCode::PermissionDenied, sentence)));
        }
    }
    for secret in [PEER, "ops-key-of-16-bytes"] {
        for function in [DEMO, LOGS] {
            assert_eq!(sealed(&host, secret, function), Ok(()), "{secret} {function}");
        }
    }
    // It learns about its own functions like every caller, and nothing about others.
    let (code, text) = sealed(&host, WEB, "demo.functions.logs").unwrap_err();
    assert_eq!(code, ErrorCode::NotFound);
    assert!(!text.contains("misbehave"), "{text}");
    check_does_not_open(&host, PUBLIC);
    host.wait_for_log("\"caller\":\"web\"");
    host.stop();
}

#[test]
fn a_frame_of_a_caller_says_no_name_of_its_own() {
    let host = with_rule(host()).start();
    // The key names the caller, regardless of the hosts that the frame lists.
    let mut envelope = frames::envelope(LOGS, &json!({"text": "x"}));
    envelope.hops = vec!["ops".into(), "host-a".into()];
    let answer = frames::call_sealed(&host.url(), &frames::key_of(WEB), &envelope);
    assert_eq!(answer.outcome.unwrap_err().code, ErrorCode::PermissionDenied);
    // Nor does a key in a header help it.
    let (id, frame) = frames::seal(&frames::key_of(WEB), &envelope);
    let headers =
        [("content-type", framex_host::wire::CONTENT_TYPE), ("authorization", "ops-key-of-16-bytes")];
    let url = format!("{}/api/v1/proxy/remote", host.url());
    let answer = frames::open(&frames::key_of(WEB), id, &framex_tests::send("POST", &url, &headers, &frame));
    assert_eq!(answer.outcome.unwrap_err().code, ErrorCode::PermissionDenied);
    host.stop();
}

/// A request as raw MessagePack, with any text as the name of the function.
fn raw_envelope(name: &str) -> Vec<u8> {
    let arguments = rmp_serde::to_vec_named(&json!({"text": "canary"})).unwrap();
    let length = |bytes: &[u8]| u8::try_from(bytes.len()).expect("it is short");
    let name = [&[0xd9, length(name.as_bytes())], name.as_bytes()].concat();
    let arguments = [&[0xc4, length(&arguments)], &arguments[..]].concat();
    [b"\x97", &name[..], &arguments, b"\x00\x90\xc0\xc0\x80"].concat()
}

#[test]
fn names_that_are_nearly_right_are_none() {
    let host = with_rule(host()).start();
    let raw = frames::RawKeys::of(WEB);
    for name in [
        "demo.",
        "demo..x",
        ".demo",
        "demo.some.example_func\0",
        "demo.some.example_func.",
        "demo%2esome.example_func",
        "d\u{435}mo.some.example_func",
        "demo.*",
        "demo.x/../misbehave.functions.logs",
    ] {
        assert!(FunctionName::new(name).is_err(), "{name:?}");
        let (id, frame) = raw.seal(0, [0, 0], &raw_envelope(name));
        let answer = frames::open(&frames::key_of(WEB), id, &frames::post_frame(&host.url(), &frame));
        assert_eq!(answer.outcome.unwrap_err().code, ErrorCode::InvalidArgument, "{name:?}");
    }
    assert!(!host.log().contains("canary"));
    host.stop();
}

#[test]
fn with_callers_hosts_of_one_machine_need_a_key() {
    let b = with_callers(host()).start();
    check_does_not_open(&b, PUBLIC);
    check_does_not_open(&b, PEER);
    assert_eq!(sealed(&b, WEB, DEMO), Ok(()));
    b.stop();
}

#[test]
fn callers_are_answered_also_on_a_listener_that_others_reach() {
    let open = host().config("[server]\nhost = \"0.0.0.0\"");
    let b = with_callers(open).start();
    let port = b.address().rsplit_once(':').expect("an address has a port").1;
    let url = format!("http://127.0.0.1:{port}");
    let answer = frames::call_sealed(&url, &frames::key_of(WEB), &frames::envelope(DEMO, &ada()));
    assert!(answer.outcome.is_ok(), "{:?}", answer.outcome);
    let (_, frame) = frames::seal(&frames::key_of(PUBLIC), &frames::envelope(DEMO, &ada()));
    assert_eq!(frames::post_frame(&url, &frame).status, 401);
    b.stop();
}

#[test]
fn a_host_with_a_callers_key_has_the_rights_of_the_caller() {
    let b = with_rule(host()).start();
    let url = b.url();
    let a = Daemon::builder()
        .config(&format!(
            "[plugins.proxy]\nproxy_urls.{url:?} = {{ key = {WEB:?} }}\nproxy_functions.{url:?} = [{DEMO:?}, {LOGS:?}]\n\
             fallback = \"local\""
        ))
        .plugin("demo")
        .plugin("misbehave")
        .start();
    let answer = a.call(DEMO, &ada());
    assert_eq!((answer.status, answer.header("x-framex-served-by")), (200, Some("b")));
    // Refused is refused: it does not run here instead.
    let (status, code, detail) = a.call(LOGS, &json!({"text": "canary"})).problem();
    // Nor is it the client of A who lacks a right.
    assert_eq!((status, code.as_str()), (503, "unavailable"));
    assert_eq!(detail, format!("the peer that function `{LOGS}` runs on does not let this host call it"));
    let error = a.admin_get("peers").json()["peers"][0]["last_error"].clone();
    let says =
        "it answered `permission_denied`: caller `web` may not call function `misbehave.functions.logs`";
    assert_eq!((&error["cause"], &error["reason"]), (&json!("permission_denied"), &json!(says)));
    assert!(!a.log().contains("canary") && !b.log().contains("canary"));
    a.stop();
    b.stop();
}

#[test]
fn a_callers_key_seals_nothing_that_goes_out() {
    // `a` has a caller and no key for hosts: what it sends is sealed as before, and `b` takes it as a host's.
    let b = Daemon::builder().config("host_id = \"b\"").plugin("demo").start();
    let url = b.url();
    let a = with_callers(Daemon::builder().config(&format!(
        "[plugins.proxy]\nproxy_urls = [{url:?}]\nproxy_functions = {{ {url:?} = [{DEMO:?}] }}"
    )))
    .plugin("demo")
    .start();
    let answer = call(&a, DEMO, Some(WEB), &ada());
    assert_eq!((answer.status, answer.header("x-framex-served-by")), (200, Some("b")));
    a.stop();
    b.stop();
}
