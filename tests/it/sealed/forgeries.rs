//! Forged frames: one answer for all of them, byte by byte, and in the same time.

use std::time::{Duration, Instant};

use framex_host::wire;
use framex_tests::{Answer, Client, Daemon, frames};
use serde_json::json;

use super::{DEMO, ada, host, visible};

/// A client with one connection, and the answer that all forgeries have to get.
struct Forger<'a> {
    host: &'a Daemon,
    client: Client,
    refusal: Answer,
}

impl<'a> Forger<'a> {
    fn new(host: &'a Daemon) -> Self {
        let refusal = frames::post_frame(&host.url(), b"no frame");
        assert_eq!(
            refusal.problem(),
            (401, "unauthenticated".to_owned(), "this path needs a valid key".to_owned())
        );
        Self { host, client: Client::default(), refusal }
    }

    fn post(&self, frame: &[u8]) -> Answer {
        let url = format!("{}/api/v1/proxy/remote", self.host.url());
        self.client.send("POST", &url, &[("content-type", wire::CONTENT_TYPE)], frame)
    }

    #[track_caller]
    fn check(&self, what: &str, frame: &[u8]) {
        assert_eq!(visible(&self.post(frame)), visible(&self.refusal), "{what}");
    }
}

#[test]
fn every_changed_byte_and_every_prefix_has_the_same_answer() {
    let host = host();
    let forger = Forger::new(&host);
    let key = frames::key();
    let (id, good) = frames::seal(&key, &frames::envelope(DEMO, &ada()));
    for position in 0..good.len() {
        for mask in [1, 0x80, 0xff] {
            let mut frame = good.clone();
            frame[position] ^= mask;
            if position == 3 && frame[position].is_ascii_digit() {
                let answer = forger.post(&frame);
                assert_eq!(
                    (answer.problem().1.as_str(), answer.header("x-framex-wire")),
                    ("incompatible", Some("1"))
                );
                continue;
            }
            forger.check(&format!("byte {position} changed by {mask:#x}"), &frame);
        }
    }
    for length in 0..good.len() {
        forger.check(&format!("{length} bytes"), &good[..length]);
    }
    // None of that has used the frame up.
    let answer = frames::open(&key, id, &forger.post(&good));
    assert_eq!(answer.outcome.map(|result| frames::result_json(&result)), Ok(json!("7: Ada")));
    host.stop();
}

#[test]
fn every_other_kind_and_flag_has_the_same_answer_however_it_is_sealed() {
    let host = host();
    let forger = Forger::new(&host);
    let raw = frames::RawKeys::of(frames::SECRET);
    let plaintext = frames::RawKeys::request(DEMO, &rmp_serde::to_vec_named(&ada()).unwrap());
    for byte in 0..=u8::MAX {
        for as_request in [true, false] {
            let sealed = |form| raw.seal_form(as_request, form, &plaintext);
            // The one good form, with the one good key.
            if !(byte == 1 && as_request) {
                forger.check(&format!("kind {byte}"), &sealed([byte, 0, 0, 0]));
            }
            if byte > 1 {
                forger.check(&format!("flags {byte:#x}"), &sealed([1, byte, 0, 0]));
            }
            if byte > 0 {
                forger.check(&format!("gap {byte:#x}"), &sealed([1, 0, byte, 0]));
                forger.check(&format!("gap {byte:#x}"), &sealed([1, 0, 0, byte]));
            }
        }
    }
    // Which was the form's fault alone.
    assert_eq!(forger.post(&raw.seal_form(true, [1, 0, 0, 0], &plaintext)).status, 200);
    host.stop();
}

#[test]
fn other_versions_have_one_answer() {
    let host = host();
    let forger = Forger::new(&host);
    let (_, good) = frames::seal(&frames::key(), &frames::envelope(DEMO, &ada()));
    let mut answers = Vec::new();
    for version in (b'0'..=b'9').filter(|version| *version != b'1') {
        for length in [4, 5, 64, good.len()] {
            let mut frame = good[..length].to_vec();
            frame[3] = version;
            answers.push(visible(&forger.post(&frame)));
        }
    }
    assert_eq!(answers[0].0, 400);
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    host.stop();
}

/// All of these have the same secret part; a difference beyond the noise would tell one from another.
/// Frames are short: it takes no secret to find out that a key id is known, since every frame shows it.
#[test]
fn no_cause_takes_longer_than_another() {
    const ROUNDS: usize = 200;
    let host = host();
    let forger = Forger::new(&host);
    let (_, good) = frames::seal(&frames::key(), &frames::envelope(DEMO, &ada()));
    let other_key = frames::key_of(frames::OTHER_SECRET);
    let (_, unknown_key_id) = frames::seal(&other_key, &frames::envelope(DEMO, &ada()));
    let mut wrong_key = unknown_key_id.clone();
    wrong_key[8..16].copy_from_slice(&frames::key().id());
    let changed = |position: usize| {
        let mut frame = good.clone();
        frame[position] ^= 1;
        frame
    };
    let (first_of_tag, last_of_tag) = (changed(good.len() - 16), changed(good.len() - 1));
    let causes = [&unknown_key_id, &wrong_key, &first_of_tag, &last_of_tag];
    let mut took = causes.map(|_| Vec::with_capacity(ROUNDS));
    for round in 0..ROUNDS {
        for place in 0..causes.len() {
            // Each comes after each other one.
            let cause = (place + round) % causes.len();
            let begun = Instant::now();
            let answer = forger.post(causes[cause]);
            took[cause].push(begun.elapsed());
            assert_eq!(answer.status, 401);
        }
    }
    let medians = took.map(|mut took| {
        took.sort_unstable();
        took[ROUNDS / 2]
    });
    let (least, most) = (medians.iter().min().unwrap(), medians.iter().max().unwrap());
    assert!(*most - *least < *least / 2 + Duration::from_micros(500), "{medians:?}");
    host.stop();
}
