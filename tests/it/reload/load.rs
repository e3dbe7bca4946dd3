//! Reloads under a steady load of local, cross-plugin and sealed remote calls: none fails, none mixes two builds.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use framex_tests::{Build, Client, Daemon, is_instrumented};
use serde_json::{Value, json};

use super::{BUILD, SOMETIMES, check_done, check_mapped, check_serves, host, sealed};

/// Clients that call as fast as they are answered.
pub(super) struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    clients: Vec<JoinHandle<Tally>>,
}

/// The outcome of a load.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Calls that were answered as they should be, by build.
    pub(super) builds: BTreeMap<String, usize>,
    /// Everything else.
    pub(super) failed: Vec<String>,
    pub(super) took: Vec<Duration>,
}

impl Tally {
    pub(super) fn calls(&self) -> usize {
        self.took.len()
    }

    /// The time that this part (0 to 1) of the calls did not exceed.
    pub(super) fn percentile(&mut self, part: f64) -> Duration {
        self.took.sort_unstable();
        let place = (self.took.len() as f64 * part) as usize;
        self.took.get(place.min(self.took.len().saturating_sub(1))).copied().unwrap_or_default()
    }

    fn note(&mut self, status: u16, answer: &Value, took: Duration) {
        self.took.push(took);
        let of_one = answer.as_array().filter(|all| all.len() == 3 && all.iter().all(|one| *one == all[0]));
        match of_one.and_then(|all| all[0].as_str()).filter(|name| name.starts_with("build-")) {
            Some(name) if status == 200 => *self.builds.entry(name.to_owned()).or_default() += 1,
            _ => self.failed.push(format!("{status}: {answer}")),
        }
    }

    fn add(&mut self, other: Self) {
        for (name, count) in other.builds {
            *self.builds.entry(name).or_default() += count;
        }
        self.failed.extend(other.failed);
        self.took.extend(other.took);
    }
}

impl Load {
    /// One client for each URL and function; all of these answer the name of a build, three times.
    pub(super) fn start(targets: &[(String, &str)]) -> Self {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let client = |(host, function): &(String, &str)| {
            let url = format!("{host}/api/v1/functions/{function}");
            let (stop, done) = (Arc::clone(&stop), Arc::clone(&done));
            std::thread::spawn(move || {
                let client = Client::default();
                let mut tally = Tally::default();
                let mut ms = 0;
                while !stop.load(Ordering::Relaxed) {
                    let begun = Instant::now();
                    let answer = client.post(&url, &json!({ "ms": ms }));
                    tally.note(answer.status, &answer.json(), begun.elapsed());
                    done.fetch_add(1, Ordering::Relaxed);
                    ms = (ms + 1) % 3;
                }
                tally
            })
        };
        let clients = targets.iter().map(client).collect();
        Self { stop, done, clients }
    }

    /// Waits until this number of further calls were answered.
    pub(super) fn pass(&self, calls: u64) {
        let until = self.done.load(Ordering::Relaxed) + calls;
        while self.done.load(Ordering::Relaxed) < until {
            assert!(!self.clients.iter().any(JoinHandle::is_finished), "a client broke off");
            std::thread::yield_now();
        }
    }

    pub(super) fn stop(self) -> Tally {
        self.stop.store(true, Ordering::Relaxed);
        let mut tally = Tally::default();
        self.clients.into_iter().for_each(|client| tally.add(client.join().unwrap()));
        tally
    }
}

/// A host with the changing plugin and one that calls it, and a peer whose calls come sealed.
pub(super) struct Pair {
    pub(super) host: Daemon,
    pub(super) peer: Daemon,
}

impl Pair {
    pub(super) fn start(config: &str) -> Self {
        let host = sealed(host()).config(config).plugin("misbehave").start();
        let url = host.url();
        let routes = format!(
            "plugins.proxy.proxy_urls = [{url:?}]\nplugins.proxy.proxy_functions.{url:?} = [{BUILD:?}, {SOMETIMES:?}]\n"
        );
        let peer = sealed(Daemon::builder()).config(&routes).start();
        Self { host, peer }
    }

    /// Two clients each of local, cross-plugin and sealed remote calls.
    pub(super) fn load(&self) -> Load {
        let kinds = [
            (self.host.url(), BUILD),
            (self.host.url(), "misbehave.functions.asks_build"),
            (self.peer.url(), BUILD),
        ];
        Load::start(&[kinds.clone(), kinds].concat())
    }

    /// Replaces the last build with a good one, and checks that it serves.
    #[track_caller]
    pub(super) fn change_to(&self, build: Build, generation: u64) {
        self.host.put_build(build);
        let done = check_done(&self.host.reload("changing"));
        assert_eq!(
            (&done["generation"], &done["cancelled_calls"]),
            (&json!(generation), &json!(0)),
            "{done}"
        );
        assert_eq!(done["previous"], generation - 1, "{done}");
    }
}

#[test]
fn a_hundred_reloads_under_load_fail_no_call() {
    let builds = [Build::new(1), Build::new(2)];
    let pair = Pair::start("");
    check_serves(&pair.host, builds[0]);
    let load = pair.load();
    load.pass(100);
    let mut generation = 1;
    let mut reload = |times: usize| {
        for _ in 0..times {
            generation += 1;
            pair.change_to(builds[(generation as usize + 1) % 2], generation);
            load.pass(6);
        }
    };
    reload(20);
    let (resident, descriptors) = (pair.host.resident_bytes(), pair.host.descriptors());
    reload(80);
    let grown = pair.host.resident_bytes().saturating_sub(resident);
    let mut tally = load.stop();
    assert!(
        tally.failed.is_empty(),
        "{} failed: {:?}\n{}",
        tally.failed.len(),
        tally.failed,
        pair.host.log()
    );
    assert_eq!(tally.builds.len(), 2, "both builds answered, and no other: {:?}", tally.builds);
    assert!(tally.calls() >= 700, "{}", tally.calls());
    check_mapped(&pair.host, 2);
    let status = pair.host.plugin_status("changing");
    assert_eq!((&status["zombies"], &status["generation"]), (&json!([]), &json!(101)));
    assert!(is_instrumented() || grown < 10 << 20, "{grown} bytes more are resident after 80 reloads");
    assert_eq!(pair.host.descriptors(), descriptors, "descriptors were left open");
    println!("{} calls, p99 {:?}, {grown} bytes", tally.calls(), tally.percentile(0.99));
    pair.peer.stop();
    pair.host.stop();
}

#[test]
fn a_peer_is_answered_by_the_build_that_serves() {
    let pair = Pair::start("");
    for (number, generation) in [(1, 1), (2, 2), (3, 3)] {
        if generation > 1 {
            pair.change_to(Build::new(number), generation);
        }
        for place in [&pair.peer, &pair.host] {
            check_serves(place, Build::new(number));
        }
        let asked = pair.host.call("misbehave.functions.asks_build", &json!({}));
        assert_eq!(asked.json()[0], Build::new(number).name(), "a route that was resolved once goes on");
    }
}
