//! The calls of a client, and the answers.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use framex_tests::{Client, Daemon};
use rand::RngExt as _;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use super::CALLS;

/// Notes in the ledger that it runs, and gives its id back.
pub(super) const ONCE: &str = "misbehave.ledger.notes";
/// The same, marked idempotent.
pub(super) const IDEMPOTENT: &str = "misbehave.ledger.notes_idempotent";

/// One call, and its repeats with the same idempotency key.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) id: String,
    pub(super) is_idempotent: bool,
    work_ms: u64,
    pub(super) has_key: bool,
    pub(super) timeout: Duration,
    /// The client does not wait for longer, the first time.
    leaves_after: Option<Duration>,
    times: usize,
}

/// The outcome of one request.
#[derive(Debug, Clone)]
pub(super) enum Heard {
    /// The client left before that.
    Nothing,
    Answer(Answer),
}

/// An answer, and what it took.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Value,
    pub(super) served_by: String,
    pub(super) took: Duration,
}

/// One call and what was heard of it and its repeats.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) plan: Plan,
    pub(super) heard: Vec<Heard>,
}

impl Made {
    pub(super) fn answers(&self) -> impl Iterator<Item = &Answer> {
        self.heard.iter().filter_map(|heard| match heard {
            Heard::Nothing => None,
            Heard::Answer(answer) => Some(answer),
        })
    }

    /// The delay of an answer beyond its deadline.
    pub(super) fn late(&self) -> Duration {
        let late = self.answers().map(|answer| answer.took.saturating_sub(self.plan.timeout));
        late.max().unwrap_or_default()
    }

    pub(super) fn ended_well(&self) -> bool {
        self.answers().any(|answer| answer.status == 200)
    }
}

impl Plan {
    fn choose(id: String, chance: &mut StdRng, hosts_forget: bool) -> Self {
        let has_key = chance.random_bool(0.3);
        let work_ms = match chance.random_range(0..10) {
            0..5 => 0,
            5..9 => chance.random_range(1..10),
            _ => chance.random_range(20..60),
        };
        let timeout_ms = if chance.random_bool(0.15) {
            chance.random_range(10..100)
        } else {
            chance.random_range(600..1500)
        };
        let leaves = chance.random_bool(0.05);
        let leaves_after = Duration::from_millis(chance.random_range(0..20));
        let times = chance.random_range(1..4);
        Self {
            id,
            is_idempotent: chance.random_bool(0.4),
            work_ms,
            has_key,
            timeout: Duration::from_millis(timeout_ms),
            leaves_after: leaves.then_some(leaves_after),
            // What is forgotten may run again.
            times: if has_key && !hosts_forget { times } else { 1 },
        }
    }

    fn function(&self) -> &'static str {
        if self.is_idempotent { IDEMPOTENT } else { ONCE }
    }

    fn arguments(&self) -> Value {
        json!({"id": self.id, "ms": self.work_ms})
    }

    fn headers(&self) -> Vec<(&'static str, String)> {
        let timeout = ("x-framex-timeout-ms", self.timeout.as_millis().to_string());
        let key = self.has_key.then(|| ("idempotency-key", self.id.clone()));
        [timeout].into_iter().chain(key).collect()
    }

    fn make(self, host: &Daemon, client: &Client) -> Made {
        let mut heard = Vec::new();
        for time in 0..self.times {
            let leaves_after = self.leaves_after.filter(|_| time == 0);
            heard.push(match leaves_after {
                Some(after) => self.begin_and_leave(host, after),
                None => self.ask(host, client),
            });
        }
        Made { plan: self, heard }
    }

    fn ask(&self, host: &Daemon, client: &Client) -> Heard {
        let url = format!("{}/api/v1/functions/{}", host.url(), self.function());
        let headers = self.headers();
        let headers = headers.iter().map(|(name, value)| (*name, value.as_str()));
        let headers: Vec<_> = headers.chain([("content-type", "application/json")]).collect();
        let begun = Instant::now();
        let answer = client.send("POST", &url, &headers, self.arguments().to_string().as_bytes());
        let served_by = answer.header("x-framex-served-by").unwrap_or_default().to_owned();
        Heard::Answer(Answer { status: answer.status, body: answer.json(), served_by, took: begun.elapsed() })
    }

    fn begin_and_leave(&self, host: &Daemon, after: Duration) -> Heard {
        let headers =
            self.headers().iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect::<String>();
        let pending = host.begin_with(self.function(), &self.arguments(), &headers);
        // That is how patient the client is; nothing waits for it.
        std::thread::park_timeout(after);
        drop(pending);
        Heard::Nothing
    }
}

/// Makes the calls of one client in one round, and counts the ended ones.
pub(super) fn client(
    host: &Daemon,
    name: &str,
    mut chance: StdRng,
    hosts_forget: bool,
    ended: &AtomicUsize,
) -> Vec<Made> {
    let client = Client::default();
    let make = |number| {
        let made = Plan::choose(format!("{name}-{number}"), &mut chance, hosts_forget).make(host, &client);
        ended.fetch_add(1, Ordering::Relaxed);
        made
    };
    (0..CALLS).map(make).collect()
}
