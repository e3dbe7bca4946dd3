//! A model of hosts that share a key, with an attacker on every way between them, under random schedules.
//!
//! The attacker has no key. It sees every frame and every answer, delivers each to any process, in any order, as often
//! as it likes, redirects connections, and ends processes at any moment. No call may run twice on any host.

use std::collections::HashMap;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};

use super::*;
use crate::base::RequestId;
use crate::wire::ReplayGuard;

const SCHEDULES: u64 = 4000;
const STEPS: usize = 60;
const HOSTS: usize = 3;
const KEY: [u8; 8] = [1; 8];

/// One process at a time for each host; host 0 is the one that makes the calls.
struct SimulatedProcess {
    instance: InstanceId,
    predecessors: Vec<InstanceId>,
    took_over: u64,
    guard: ReplayGuard,
}

#[derive(Clone, Copy)]
struct SimulatedFrame {
    id: RequestId,
    call: usize,
    to: Option<InstanceId>,
    stamp: u64,
}

/// A call as its sender sees it.
#[derive(Default)]
struct SimulatedCall {
    /// The attempt that is waited for: its frame, its receiver, and when it was sealed.
    waits: Option<(RequestId, Receiver, u64)>,
    has_ended: bool,
}

struct World {
    random: StdRng,
    now: u64,
    binds: bool,
    processes: Vec<SimulatedProcess>,
    frames: Vec<SimulatedFrame>,
    answers: Vec<(RequestId, ResponseExtensions, Failure)>,
    calls: Vec<SimulatedCall>,
    runs: HashMap<usize, u32>,
}

impl World {
    fn new(seed: u64, binds: bool) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let now = 1_790_000_000_000;
        let processes = (0..HOSTS).map(|_| Self::process(&mut random, now, Vec::new())).collect();
        let (frames, answers, calls, runs) = (Vec::new(), Vec::new(), Vec::new(), HashMap::new());
        Self { random, now, binds, processes, frames, answers, calls, runs }
    }

    fn process(random: &mut StdRng, now: u64, predecessors: Vec<InstanceId>) -> SimulatedProcess {
        let guard = ReplayGuard::new(ReplayGuard::WINDOW_DEFAULT, 1 << 10, now);
        SimulatedProcess { instance: InstanceId(random.random()), predecessors, took_over: now, guard }
    }

    fn step(&mut self) {
        self.now += self.random.random_range(0..3000);
        match self.random.random_range(0..10) {
            0..3 => self.send(),
            3..6 => self.deliver(),
            6..9 => self.hand_over(),
            _ => self.restart(),
        }
    }

    /// A call is begun, or made again; the attacker chooses who answered the hello, perhaps long ago.
    fn send(&mut self) {
        let idle: Vec<usize> = (0..self.calls.len())
            .filter(|call| !self.calls[*call].has_ended && self.calls[*call].waits.is_none())
            .collect();
        let call = idle.choose(&mut self.random).copied().unwrap_or_else(|| {
            self.calls.push(SimulatedCall::default());
            self.calls.len() - 1
        });
        let receiver = if self.binds {
            let process = &self.processes[self.random.random_range(1..HOSTS)];
            let earlier = process.predecessors.choose(&mut self.random).copied();
            let instance =
                if self.random.random_bool(0.3) { earlier } else { None }.unwrap_or(process.instance);
            Receiver::Bound(By { host_id: "host".into(), instance })
        } else {
            Receiver::Any
        };
        let id = RequestId(self.random.random());
        // The sender's clock may be off a little.
        let stamp = self.now.saturating_add_signed(self.random.random_range(-8000..8000));
        self.frames.push(SimulatedFrame { id, call, to: receiver.to(), stamp });
        self.calls[call].waits = Some((id, receiver, self.now));
    }

    /// Any frame gets to any process, also to that of the sender.
    fn deliver(&mut self) {
        let Some(frame) = self.frames.choose(&mut self.random).copied() else { return };
        let process = &self.processes[self.random.random_range(0..HOSTS)];
        let by = By { host_id: "host".into(), instance: process.instance };
        let mut said = ResponseExtensions { by: Some(by), ..ResponseExtensions::default() };
        let failure = match process.guard.check(frame.id, KEY, frame.stamp, self.now) {
            Err(refusal) => refusal.to_failure(),
            Ok(()) => match frame.to.filter(|to| *to != process.instance) {
                Some(to) => {
                    let is_successor = process.predecessors.contains(&to);
                    said.took_over_ms = is_successor.then_some(self.now - process.took_over);
                    Failure::not_executed(ErrorCode::Misdirected, "")
                }
                None if self.random.random_bool(0.3) => Failure::not_executed(ErrorCode::Overloaded, ""),
                None => {
                    *self.runs.entry(frame.call).or_default() += 1;
                    // Its result ends the call as any failure after it ran does.
                    Failure::executed(ErrorCode::Failed, "")
                }
            },
        };
        self.answers.push((frame.id, said, failure));
    }

    /// The sender gets any answer that opens for it; later than it was given, or never.
    fn hand_over(&mut self) {
        let open = |(id, _, _): &&(RequestId, ResponseExtensions, Failure)| {
            self.calls.iter().any(|call| call.waits.as_ref().is_some_and(|(waits, _, _)| waits == id))
        };
        let openable: Vec<_> = self.answers.iter().filter(open).cloned().collect();
        let Some((id, said, failure)) = openable.choose(&mut self.random).cloned() else { return };
        let call = self.calls.iter_mut().find(|call| call.waits.as_ref().is_some_and(|waits| waits.0 == id));
        let Some(call) = call else { return };
        let Some((_, receiver, sealed_at)) = call.waits.take() else { return };
        let took = Duration::from_millis(self.now - sealed_at);
        let by = answered_by(&receiver, &said, failure.code == ErrorCode::Misdirected, took);
        // What provably did not run is made again, here or on a peer.
        call.has_ended = executed(by, &failure, true) != Executed::No;
    }

    fn restart(&mut self) {
        let host = self.random.random_range(0..HOSTS);
        let ended = &self.processes[host];
        let lives = ended.predecessors.iter().copied().chain([ended.instance]).collect();
        // It takes a moment.
        self.now += self.random.random_range(1..2000);
        self.processes[host] = Self::process(&mut self.random, self.now, lives);
    }
}

/// Returns the number of schedules that made a call run twice, and the number of calls that ran.
fn explore(binds: bool) -> (u64, usize) {
    let (mut broken, mut ran) = (0, 0);
    for seed in 0..SCHEDULES {
        let mut world = World::new(seed, binds);
        (0..STEPS).for_each(|_| world.step());
        broken += u64::from(world.runs.values().any(|runs| *runs > 1));
        ran += world.runs.len();
    }
    (broken, ran)
}

#[test]
fn no_schedule_makes_a_bound_call_run_twice() {
    let (broken, ran) = explore(true);
    assert_eq!(broken, 0);
    assert!(ran > 5000, "the model runs calls: {ran}");
}

#[test]
fn schedules_make_unbound_calls_run_twice() {
    let (broken, _) = explore(false);
    assert!(broken > 100, "the model finds what binding prevents: {broken}");
}
