//! A caller's host, two hosts that it calls, a relay before each of them, and a ledger on each of the three.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use framex_tests::{Copied, Daemon, DaemonBuilder, Fault, FreeAddress, Relay, frames, until};
use rand::RngExt as _;

use super::calls::{IDEMPOTENT, Made, ONCE, client};
use super::{CALLS, CLIENTS, Event, Seed, chance};

/// The possible fates of a request, with their weights. Delays have their time from elsewhere.
const FAULTS: [(Fault, u32); 13] = [
    (Fault::Delay(Duration::ZERO), 20),
    (Fault::CloseUnsent, 12),
    (Fault::CloseSent, 8),
    (Fault::CloseAnswered, 12),
    (Fault::CutAnswer, 10),
    (Fault::BadGateway, 12),
    (Fault::Junk(false), 5),
    (Fault::Junk(true), 5),
    (Fault::Hold, 4),
    (Fault::Reset(false), 6),
    (Fault::Reset(true), 6),
    (Fault::OldCopy, 10),
    (Fault::CopyFirst, 6),
];

/// The weights of the fates of a request.
#[derive(Debug, Clone, Copy)]
pub(super) enum Weather {
    Fine,
    Rough,
    Storm,
}

impl Weather {
    /// Each as often as it is here.
    pub(super) const ALL: [Self; 6] =
        [Self::Fine, Self::Fine, Self::Rough, Self::Rough, Self::Rough, Self::Storm];

    fn percent(self) -> usize {
        match self {
            Self::Fine => 3,
            Self::Rough => 15,
            Self::Storm => 60,
        }
    }
}

/// Returns the fate of the request of that number at a relay.
fn fault(seed: u64, relay: u64, number: usize, percent: usize) -> Fault {
    let mut chance = chance(seed, [2, relay, number as u64]);
    if chance.random_range(0..100) >= percent {
        return Fault::None;
    }
    let mut left = chance.random_range(0..FAULTS.iter().map(|(_, weight)| weight).sum());
    let chosen = FAULTS.iter().find(|(_, weight)| {
        let is_it = left < *weight;
        left = left.saturating_sub(*weight);
        is_it
    });
    match chosen {
        Some((Fault::Delay(_), _)) => Fault::Delay(Duration::from_millis(chance.random_range(1..40))),
        Some((fault, _)) => *fault,
        None => Fault::None,
    }
}

/// Config that makes a host refuse calls now and then.
const NARROW: &str = "server.in_flight_max = 3\nserver.queue_max = 1";

/// The number of runs of each id, on each host.
pub(super) type Runs = HashMap<String, [usize; 3]>;

/// The hosts and what is between them.
pub(super) struct Rig {
    a: Daemon,
    /// As the config of the caller's host has it.
    config: String,
    has_fallback: bool,
    hosts: [Option<Daemon>; 2],
    relays: [Relay; 2],
    percents: [Arc<AtomicUsize>; 2],
    /// Of the caller's host first.
    ledgers: [PathBuf; 3],
}

fn host(id: &str, config: &str) -> (DaemonBuilder, PathBuf) {
    let builder = Daemon::builder();
    let ledger = builder.folder().join("ledger");
    let builder = builder.config(&config_of(id, config, &ledger)).plugin("misbehave");
    (builder, ledger)
}

fn config_of(id: &str, config: &str, ledger: &std::path::Path) -> String {
    let rules = frames::rules(&[frames::SECRET]);
    format!("host_id = {id:?}\n{rules}\n{config}\nplugins.misbehave.ledger = {ledger:?}\n")
}

impl Rig {
    pub(super) fn start(seed: u64) -> Self {
        let percents = [(); 2].map(|()| Arc::new(AtomicUsize::new(0)));
        let ats = [FreeAddress::find(), FreeAddress::find()];
        let relays = [0, 1].map(|place| {
            let (percent, target) =
                (Arc::clone(&percents[place]), format!("{}:{}", ats[place].ip(), ats[place].port()));
            Relay::start(&target, move |number| {
                fault(seed, place as u64, number, percent.load(Ordering::Relaxed))
            })
        });
        let mut config = "plugins.proxy.fallback = \"none\"\n".to_owned();
        for relay in &relays {
            config.push_str(&format!("plugins.proxy.proxy_urls.{:?}.weight = 1\n", relay.url()));
            config.push_str(&format!(
                "plugins.proxy.proxy_functions.{:?} = [{ONCE:?}, {IDEMPOTENT:?}]\n",
                relay.url()
            ));
        }
        let (a, of_a) = host("a", &config);
        let [(b, of_b), (c, of_c)] = [("b", ""), ("c", NARROW)].map(|(id, config)| host(id, config));
        let hosts = [b.listen(ats[0]).start(), c.listen(ats[1]).start()].map(Some);
        let config = config_of("a", &config, &of_a);
        let ledgers = [of_a, of_b, of_c];
        Self { a: a.start(), config, has_fallback: false, hosts, relays, percents, ledgers }
    }

    pub(super) fn set_weather(&self, weather: [Weather; 2]) {
        for (percent, weather) in self.percents.iter().zip(weather) {
            percent.store(weather.percent(), Ordering::Relaxed);
        }
    }

    /// All clients make their calls, while something happens.
    pub(super) fn round(&mut self, seed: &Seed, round: usize, event: Event) -> Vec<Made> {
        let ended = AtomicUsize::new(0);
        let pass = |part: usize| {
            until("the clients have made their calls", || {
                ended.load(Ordering::Relaxed) >= CLIENTS * CALLS * part / 4
            });
        };
        let Self { a, hosts, relays, config, has_fallback, .. } = self;
        let a = &*a;
        std::thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS)
                .map(|number| {
                    let chance = seed.chance([3, round as u64, number as u64]);
                    let (name, ended) = (format!("{round}-{number}"), &ended);
                    scope.spawn(move || client(a, &name, chance, event.is_forgetful(), ended))
                })
                .collect();
            pass(1);
            match event {
                Event::Nothing => {}
                Event::Kill(place) => hosts[place] = hosts[place].take().map(Daemon::start_again),
                Event::Restart(place) => {
                    hosts[place] = hosts[place].take().map(|mut host| {
                        host.signal("TERM");
                        assert_eq!(host.wait(), Some(0), "{}", host.log());
                        host.start_again()
                    });
                }
                Event::Away(place) => {
                    relays[place].leave();
                    pass(3);
                    relays[place].come_back();
                }
                Event::BothAway => {
                    relays.iter_mut().for_each(Relay::leave);
                    pass(2);
                    relays.iter_mut().for_each(Relay::come_back);
                }
                Event::Fallback => {
                    *has_fallback = !*has_fallback;
                    let to = if *has_fallback { "fallback = \"local\"" } else { "fallback = \"none\"" };
                    a.put_config(&config.replace("fallback = \"none\"", to));
                    let reloaded = a.reload_host();
                    assert_eq!(reloaded.status, 200, "{reloaded:?}");
                }
            }
            clients.into_iter().flat_map(|client| client.join().expect("a client failed")).collect()
        })
    }

    /// Waits until no host has anything to do.
    pub(super) fn wait_until_idle(&self) {
        for host in self.hosts.iter().flatten().chain([&self.a]) {
            assert_eq!(host.get("/health").status, 200);
            until("no call runs", || host.metric("framex_calls_in_flight") == 0.0);
            for function in [ONCE, IDEMPOTENT] {
                let running = format!("framex_function_calls_running{{function={function:?}}}");
                until("no function runs", || host.metric(&running) == 0.0);
            }
        }
        for relay in &self.relays {
            let running = format!("framex_peer_calls_running{{peer={:?}}}", relay.url());
            assert!(self.a.metrics().contains(&running), "{}", self.a.metrics());
            until("no call runs on a peer", || self.a.metric(&running) == 0.0);
        }
    }

    /// Returns how often peers were called.
    pub(super) fn attempts(&self) -> usize {
        self.relays.iter().map(Relay::calls).sum()
    }

    /// Returns how many repeats the caller's host answered from memory.
    pub(super) fn remembered(&self) -> usize {
        self.a.metric("framex_idempotency_repeats_answered_total") as usize
    }

    /// The copies that hosts were sent.
    pub(super) fn copied(&self) -> Vec<Copied> {
        self.relays.iter().flat_map(Relay::copied).collect()
    }

    /// Stops all hosts, and returns what ran on them.
    pub(super) fn stop(self) -> Runs {
        let mut runs = Runs::new();
        for (host, ledger) in self.ledgers.iter().enumerate() {
            // A host on which nothing ran has an empty one.
            for id in std::fs::read_to_string(ledger).expect("the ledger is there").lines() {
                runs.entry(id.to_owned()).or_default()[host] += 1;
            }
        }
        let Self { a, hosts, .. } = self;
        hosts.into_iter().flatten().chain([a]).for_each(Daemon::stop);
        runs
    }
}
