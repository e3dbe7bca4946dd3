//! A value is the same in its plugin, from another plugin, on a peer and in JSON; or it is
//! refused.

mod clients;
mod json;
mod openapi;

use framex_tests::{Answer, Daemon, frames};
use serde_json::json;

/// Both plugins have it: each kind of type, and values of it.
const KINDS: &str = include_str!("../plugins/types/src/kinds.rs");

fn host() -> Daemon {
    Daemon::builder().plugin("types").plugin("typecalls").start()
}

/// The functions that return what they are given.
fn echoes() -> Vec<&'static str> {
    KINDS.split('"').filter(|text| text.starts_with("types.echo.")).collect()
}

/// The function found every value as it had sent it.
fn check_all_same(answer: &Answer) {
    assert_eq!((answer.status, answer.json()), (200, json!([])));
}

#[test]
fn values_are_the_same_in_their_plugin_and_from_another_one() {
    let host = host();
    check_all_same(&host.call("types.echo.here", &json!({})));
    check_all_same(&host.call("typecalls.outside", &json!({})));
    host.stop();
}

#[test]
fn values_are_the_same_on_a_peer() {
    let rules = frames::rules(&[frames::SECRET]);
    let serving = Daemon::builder().config("host_id = \"b\"").config(&rules).plugin("types").start();
    let url = serving.url();
    let routes = format!(
        "plugins.proxy.proxy_urls = [\"{url}\"]\nplugins.proxy.proxy_functions = {{ \"{url}\" = {:?} }}",
        echoes()
    );
    let calling = Daemon::builder().config(&routes).config(&rules).plugin("typecalls").start();
    check_all_same(&calling.call("typecalls.outside", &json!({})));
    // From within their own plugin as well, where a function of it runs elsewhere.
    let both = Daemon::builder().config(&routes).config(&rules).plugin("types").start();
    check_all_same(&both.call("types.echo.here", &json!({})));
    assert_eq!(both.call("types.echo.text", &json!({"value": "a"})).header("x-framex-served-by"), Some("b"));
    for host in [calling, both, serving] {
        host.stop();
    }
}

#[test]
fn values_that_would_arrive_as_others_are_refused() {
    let host = host();
    let refusals = host.call("typecalls.refused", &json!({})).json();
    let refusals: Vec<&str> = refusals.as_array().unwrap().iter().filter_map(|one| one.as_str()).collect();
    for (refusal, (variant, other)) in
        refusals.iter().zip([("Large", "Small"), ("Text", "Blob"), ("Other", "Known")])
    {
        let expected =
            format!("`{variant}` of an untagged enum would arrive as another value: it fits `{other}`");
        assert!(
            refusal.starts_with("invalid_argument: the arguments cannot be encoded: ")
                && refusal.contains(&expected),
            "{refusal}"
        );
    }
    assert_eq!(refusals.len(), 3);
    let (status, code, detail) = host.call("types.odd.ambiguous_result", &json!({})).problem();
    assert_eq!((status, code.as_str()), (500, "internal"));
    assert!(detail.contains("the result cannot be encoded: `Large` of an untagged enum"), "{detail}");
    host.stop();
}
