//! The catalogue and OpenAPI of a host with many functions, which many clients ask for.

use std::time::{Duration, Instant};

use framex_tests::{Client, Daemon, FaultyPeer, frames, http_answer, until};
use serde_json::{Value, json};

/// As many as a host takes from one peer.
const FUNCTIONS: usize = 10_000;

fn peer() -> FaultyPeer {
    let entry =
        |number: usize| json!({ "name": format!("far.f{number}"), "runs": "local", "description": "far" });
    let catalogue =
        json!({ "host_id": "far", "functions": (0..FUNCTIONS).map(entry).collect::<Vec<Value>>() });
    let body = catalogue.to_string().into_bytes();
    FaultyPeer::serving(move |_, _| http_answer("200 OK", &[("content-type", "application/json")], &body))
}

fn listed(host: &Daemon) -> usize {
    host.get("/api/v1/functions").json()["functions"].as_array().map_or(0, Vec::len)
}

#[test]
fn documents_are_made_once_for_all_clients() {
    let peer = peer();
    let host = Daemon::builder()
        .plugin("misbehave")
        .config(&frames::rules(&[frames::SECRET]))
        .config(&format!(
            "plugins.proxy.proxy_urls = [{:?}]\nplugins.proxy.catalogue_interval_ms = 86400000",
            peer.url()
        ))
        .start();
    until("the peer's catalogue is known", || listed(&host) > FUNCTIONS);
    for path in ["/api/v1/functions", "/api/v1/openapi.json"] {
        let whole = host.get(path);
        let tag = whole.header("etag").unwrap().to_owned();
        let url = format!("{}{path}", host.url());
        let client = Client::default();
        let known = client.send("GET", &url, &[("if-none-match", &tag)], b"");
        assert_eq!((known.status, known.body.len()), (304, 0));
        let head = client.send("HEAD", &url, &[], b"");
        assert_eq!((head.status, head.header("etag")), (200, Some(tag.as_str())));
        // Sixteen clients that ask as fast as they can; no other client waits for that.
        let ends = Instant::now() + Duration::from_secs(2);
        let (mut slowest, mut asked) = (Duration::ZERO, 0);
        std::thread::scope(|scope| {
            let clients: Vec<_> = (0..16)
                .map(|number| {
                    let (url, tag) = (&url, &tag);
                    scope.spawn(move || {
                        let (client, mut count) = (Client::default(), 0);
                        while Instant::now() < ends {
                            let headers: &[(&str, &str)] =
                                if number % 2 == 0 { &[("if-none-match", tag)] } else { &[] };
                            let answer =
                                client.send(if number % 2 == 0 { "GET" } else { "HEAD" }, url, headers, b"");
                            assert!([200, 304].contains(&answer.status), "{}", answer.status);
                            count += 1;
                        }
                        count
                    })
                })
                .collect();
            while Instant::now() < ends {
                let begun = Instant::now();
                assert_eq!(host.get("/health").status, 200);
                slowest = slowest.max(begun.elapsed());
            }
            asked = clients.into_iter().map(|client| client.join().unwrap()).sum::<usize>();
        });
        println!("{path}: {asked} answers in two seconds, /health within {slowest:?}");
        // Made for each request, that would be 16 to 40 of them, and each takes a tenth of a second or more.
        assert!(asked > 300, "{asked} answers in two seconds");
        assert!(slowest < Duration::from_secs(2), "/health took {slowest:?}");
    }
    host.stop();
}

#[test]
fn documents_follow_their_sources() {
    let host = Daemon::builder().plugin("misbehave").start();
    let tag = |host: &Daemon| host.get("/api/v1/functions").header("etag").unwrap().to_owned();
    let before = (listed(&host), tag(&host));
    assert_eq!((listed(&host), tag(&host)), before);
    // Another generation, with the same functions.
    assert_eq!(host.reload("misbehave").status, 200);
    assert_ne!(tag(&host), before.1);
    assert_eq!(listed(&host), before.0);
    assert_eq!(host.admin_post("plugins/misbehave/unload", &json!({})).status, 200);
    assert_eq!(listed(&host), 0);
    let openapi = host.get("/api/v1/openapi.json").json();
    assert_eq!(openapi["paths"], json!({}));
    // A function that config sends elsewhere.
    let other = framex_tests::ClosedPort::take();
    let url = other.url();
    let config = std::fs::read_to_string(host.folder().join("config.toml")).unwrap();
    host.put_config(&format!(
        "{config}\nplugins.proxy.proxy_urls = [{url:?}]\nplugins.proxy.proxy_functions = {{ {url:?} = [\"far.f\"] }}\n"
    ));
    assert_eq!(host.reload_host().status, 200);
    let far = host.get("/api/v1/functions").json();
    let runs =
        far["functions"].as_array().unwrap().iter().find(|function| function["name"] == "far.f").unwrap();
    assert_eq!(runs["runs"], json!(url));
    host.stop();
}
