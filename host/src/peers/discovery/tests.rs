use super::*;

fn endpoint(url: &str, priority: u8, weight: u16) -> Endpoint {
    Endpoint { url: PeerUrl::new(url).unwrap(), priority, weight }
}

fn found(urls: &[&str]) -> Endpoints {
    let endpoints = urls.iter().map(|url| Endpoint::at(PeerUrl::new(url).unwrap())).collect();
    Endpoints { endpoints, again: Duration::from_secs(1), error: None }
}

#[test]
fn a_file_lists_urls_or_more_of_each() {
    let text = br#"["http://b.test:1", {"url": "http://c.test:1", "priority": 2, "weight": 3}, {"url": "http://d.test:1", "weight": 0}]"#;
    let peers: Vec<Endpoint> = file::parse(text, false).unwrap().into_iter().collect();
    assert_eq!(
        peers,
        [
            endpoint("http://b.test:1", 0, 1),
            endpoint("http://c.test:1", 2, 3),
            endpoint("http://d.test:1", 0, 1)
        ]
    );
}

#[test]
fn what_is_wrong_with_a_file_is_said_without_repeating_it() {
    let many = format!("[{}]", vec!["\"http://b\""; ENDPOINTS_MAX + 1].join(","));
    let deep = "[".repeat(100_000);
    for (text, expected) in [
        ("", "a JSON list of URLs, or of { url, priority, weight }, is expected: line 1, column 0"),
        ("{}", "a JSON list"),
        ("[7]", "a JSON list"),
        (r#"[{"url": "http://b", "key": "canary"}]"#, "a JSON list"),
        (r#"[{"url": "http://b", "priority": 256}]"#, "a JSON list"),
        (r#"["http://b", "http://u:canary@b"]"#, "entry 2: a peer's URL has no user name or password"),
        (r#"["https://b"]"#, "entry 1: the peers of this URL are reached by http"),
        (&many, "it has 257 peers, 256 are the most"),
        (&deep, "a JSON list"),
    ] {
        let said = file::parse(text.as_bytes(), false).unwrap_err();
        assert!(said.starts_with(expected), "{said}");
        assert!(!said.contains("canary"), "{said}");
    }
    assert!(file::parse(br#"["http://b"]"#, true).unwrap_err().contains("reached by https"));
}

#[test]
fn what_may_not_be_called_is_left_out() {
    let allowed = AllowedAddresses::default();
    let left = permitted(found(&["http://169.254.169.254", "http://10.0.0.1"]), &allowed).unwrap();
    assert_eq!(left.endpoints, found(&["http://10.0.0.1"]).endpoints);
    let refused = permitted(found(&["http://169.254.169.254:80"]), &allowed).unwrap_err();
    assert!(
        refused.starts_with("http://169.254.169.254:80 is a link-local or metadata address"),
        "{refused}"
    );
    assert_eq!(permitted(found(&[]), &allowed).unwrap_err(), "there are none");
    let many: Vec<String> = (0..300).map(|port| format!("http://10.0.0.1:{}", port + 1)).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(permitted(found(&many), &allowed).unwrap().endpoints.len(), ENDPOINTS_MAX);
}

#[test]
fn a_peer_that_is_found_twice_is_one() {
    let twice = [endpoint("http://b", 3, 2), endpoint("http://b", 1, 4), endpoint("http://c", 0, 1)];
    let found = Endpoints { endpoints: twice.into(), again: Duration::ZERO, error: None };
    let left = permitted(found, &AllowedAddresses::default()).unwrap().endpoints;
    assert_eq!(left, BTreeSet::from([endpoint("http://b", 1, 6), endpoint("http://c", 0, 1)]));
}

/// Finds what it is told to, then nothing more.
struct Scripted(std::vec::IntoIter<Result<&'static [&'static str], &'static str>>);

impl Discovery for Scripted {
    fn find(&mut self) -> FindFuture<'_> {
        let next = self.0.next();
        Box::pin(async move {
            match next {
                Some(Ok(urls)) => Ok(found(urls)),
                Some(Err(why)) => Err(why.to_owned()),
                None => std::future::pending().await,
            }
        })
    }
}

#[tokio::test(start_paused = true)]
async fn only_what_is_new_is_told() {
    let script: Vec<Result<&[&str], &str>> = vec![
        Ok(&["http://b", "http://c"]),
        Ok(&["http://c", "http://b"]),
        Err("gone"),
        Err("gone"),
        Ok(&["http://b", "http://c"]),
        Ok(&["http://b"]),
    ];
    let (to, mut told) = mpsc::channel(1);
    let url = PeerUrl::new("http://all").unwrap();
    let tasks = Tasks::default();
    let scripted = Box::new(Scripted(script.into_iter()));
    let allowed = AllowedAddresses::default();
    let spec = DiscoverySpec { url, discover: Discover::Static, dns_servers: Vec::new(), allowed };
    let task = DiscoveryTask::run(&spec, scripted, to, &tasks);
    for expected in [Ok(2), Err("gone"), Ok(2), Ok(1), Err("no answer within 10 s")] {
        let outcome = told.recv().await.unwrap().outcome;
        assert_eq!(outcome.map(|found| found.len()), expected.map_err(str::to_owned));
    }
    drop(task);
    assert!(told.recv().await.is_none(), "it has ended");
}
