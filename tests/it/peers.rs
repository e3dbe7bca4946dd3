//! Calls of peers that are slow, broken, hostile, elsewhere than expected, or gone.

mod answers;
mod balancing;
mod blame;
mod bulkheads;
mod catalogue;
mod chains;
mod discovery;
mod fallback;
mod faults;
mod lives;
mod names;
mod outbound;
mod places;
mod probes;
mod receivers;
mod repeated;
mod schedule;
mod steady;
mod tls;
mod truth;

use framex_host::base::{Failure, Outcome};
use framex_host::wire::{self, RequestEnvelope, ResponseEnvelope};
use framex_tests::{Answer, Daemon, DaemonBuilder, FaultyPeer, frames, http_answer};
use serde_json::{Value, json};

/// The function that runs on a peer; the log of the host that runs it says so.
const FUNCTION: &str = "misbehave.functions.logs";
/// The line that it logs.
const TRACE: &str = "the function ran on this host";

/// Host `id` with the plugins; `function` is configured to run at each of `urls`, the first of them first. Peers are
/// asked for nothing but calls.
fn host(id: &str, urls: &[&str], function: &str) -> DaemonBuilder {
    let mut config = format!("host_id = \"{id}\"\n");
    for (priority, url) in urls.iter().enumerate() {
        config.push_str(&format!("plugins.proxy.proxy_urls.\"{url}\".priority = {priority}\n"));
    }
    for url in urls {
        config.push_str(&format!("plugins.proxy.proxy_functions.\"{url}\" = [\"{function}\"]\n"));
    }
    Daemon::builder()
        .config(&config)
        .config("plugins.proxy.white_list = [\"/api/v1/proxy/remote\"]")
        .config(&frames::rules(&[frames::SECRET]))
        .plugin("demo")
        .plugin("misbehave")
}

/// Calls [`FUNCTION`].
fn call(host: &Daemon) -> Answer {
    call_within(host, 20_000)
}

fn call_within(host: &Daemon, timeout_ms: u64) -> Answer {
    host.call_within(FUNCTION, &json!({"text": TRACE}), timeout_ms)
}

/// The code and what is known of the execution, of a call that failed.
#[track_caller]
fn check_failed(answer: &Answer, status: u16, code: &str, executed: Option<bool>) {
    let problem = answer.json();
    assert_eq!(
        (answer.status, &problem["code"], problem.get("executed")),
        (status, &json!(code), Some(&executed.map_or(Value::Null, Value::Bool))),
        "{problem}"
    );
}

/// Returns how often [`FUNCTION`] ran on a host. Ask each host once: the line that it waits for stays in the log.
fn runs(host: &Daemon) -> usize {
    // The log is in order: when this line is there, every call before has left its own.
    assert_eq!(host.call("misbehave.functions.sleeps", &json!({"ms": 0})).status, 200);
    host.wait_for_log("begins to sleep");
    host.log().lines().filter(|line| line.contains(TRACE) && line.contains("an info")).count()
}

/// A peer that opens calls and seals what `answer` makes of them; it is told how many came before.
fn authentic(
    answer: impl Fn(usize, &RequestEnvelope) -> ResponseEnvelope + Send + Sync + 'static,
) -> FaultyPeer {
    let count = std::sync::atomic::AtomicUsize::new(0);
    FaultyPeer::answering(move |body| {
        let Some((opened, envelope)) = frames::open_request(body) else {
            return http_answer("401 Unauthorized", &[], b"");
        };
        let before = count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        opened.answer(&answer(before, &envelope))
    })
}

/// A frame as the answer that it comes in.
fn sealed(frame: &[u8]) -> Vec<u8> {
    http_answer("200 OK", &[("content-type", wire::CONTENT_TYPE)], frame)
}

/// An answer of the scripted peer.
fn answer(outcome: Outcome) -> ResponseEnvelope {
    frames::answer_by(frames::SCRIPTED, outcome)
}

fn success() -> ResponseEnvelope {
    answer(Ok(vec![0xc0].into()))
}

fn failure(failure: Failure) -> ResponseEnvelope {
    answer(Err(Box::new(failure)))
}
