//! The answers that callers may get, given what ran.

use std::collections::BTreeMap;
use std::time::Duration;

use super::calls::{Answer, Heard, Made};
use super::rig::Runs;

/// Maximum delay of an answer beyond its deadline, on a busy machine.
const SLACK: Duration = Duration::from_secs(4);
/// Maximum time before its deadline that a call may end with `deadline_exceeded`: each host counts whole milliseconds.
const EARLY: Duration = Duration::from_millis(20);
/// The hosts, in the order of [`Runs`].
const HOSTS: [&str; 3] = ["a", "b", "c"];

/// The codes that these faults can lead to, each with its status.
const CODES: [(&str, u16); 4] =
    [("unavailable", 503), ("deadline_exceeded", 504), ("replayed", 409), ("overloaded", 429)];

/// Returns the fault of a call, if it has one.
pub(super) fn wrong(made: &Made, runs: &Runs) -> Option<String> {
    let ran = runs.get(&made.plan.id).copied().unwrap_or_default();
    let found = wrong_runs(made, ran.iter().sum())
        .or_else(|| (made.late() > SLACK).then_some("it was answered too late"))
        .or_else(|| made.answers().find_map(|answer| wrong_answer(made, answer, ran)))?;
    Some(format!("{found}; ran on {HOSTS:?}: {ran:?}; {made:?}"))
}

fn wrong_runs(made: &Made, ran: usize) -> Option<&'static str> {
    if !made.plan.is_idempotent && ran > 1 {
        return Some("it ran more than once");
    }
    let has_heard_all = made.answers().count() == made.heard.len();
    let says_no = |answer: &Answer| executed(answer) == Some(false);
    if has_heard_all && made.answers().all(says_no) && ran > 0 {
        return Some("it ran, and did not by all answers");
    }
    // Each repeat speaks of all that came before it.
    let last = made.answers().last().filter(|_| has_heard_all && !made.plan.is_idempotent);
    if last.is_some_and(says_no) && ran > 0 {
        return Some("it ran, and did not by the last answer");
    }
    let first = made.heard.first();
    if let Some(Heard::Answer(first)) = first
        && first.body["code"] == "deadline_exceeded"
        && first.took + EARLY < made.plan.timeout
    {
        return Some("its time had not run out");
    }
    None
}

fn wrong_answer(made: &Made, answer: &Answer, ran: [usize; 3]) -> Option<&'static str> {
    let plan = &made.plan;
    if executed(answer) == Some(true) && ran.iter().sum::<usize>() == 0 {
        return Some("it did not run, and did by an answer");
    }
    if answer.status == 200 {
        let host = HOSTS.iter().position(|host| *host == answer.served_by);
        return match host {
            _ if answer.body != *plan.id => Some("it has the result of another call"),
            None => Some("no host served it"),
            // The host that remembers the first call serves a repeat.
            Some(host) if !plan.has_key && ran[host] == 0 => {
                Some("it did not run on the host that served it")
            }
            Some(_) => None,
        };
    }
    let code = answer.body["code"].as_str().unwrap_or_default();
    if !CODES.contains(&(code, answer.status)) || answer.body["status"] != answer.status {
        return Some("it has another code or status than may come of these faults");
    }
    if answer.body.get("executed").is_none() {
        return Some("an answer does not say whether it ran");
    }
    match (code, executed(answer)) {
        // The host ran what it saw before, a copy, or did not.
        ("replayed", Some(_)) => Some("a call with a copy cannot be known to have run"),
        ("unavailable", Some(true)) => Some("what ran was available"),
        _ => None,
    }
}

/// Returns whether the function ran, by an answer.
fn executed(answer: &Answer) -> Option<bool> {
    if answer.status == 200 { Some(true) } else { answer.body["executed"].as_bool() }
}

/// The number of answers of each kind.
pub(super) fn counts(made: &[Made]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for heard in made.iter().flat_map(|made| &made.heard) {
        let kind = match heard {
            Heard::Nothing => "the client left".to_owned(),
            Heard::Answer(answer) if answer.status == 200 => format!("200 by {}", answer.served_by),
            Heard::Answer(answer) => {
                format!(
                    "{}, executed {:?}",
                    answer.body["code"].as_str().unwrap_or_default(),
                    executed(answer)
                )
            }
        };
        *counts.entry(kind).or_default() += 1;
    }
    counts
}
