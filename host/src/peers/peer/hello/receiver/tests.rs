use super::*;

const TO: InstanceId = InstanceId([1; 16]);
const OTHER: InstanceId = InstanceId([2; 16]);

fn bound() -> Receiver {
    Receiver::Bound(By { host_id: "host-b".into(), instance: TO })
}

fn answer(by: Option<InstanceId>, took_over_ms: Option<u64>) -> ResponseExtensions {
    let by = by.map(|instance| By { host_id: "host-b".into(), instance });
    ResponseExtensions { by, took_over_ms, ..ResponseExtensions::default() }
}

#[test]
fn only_the_receiver_and_a_successor_from_before_the_call_speak_for_it() {
    let took = Duration::from_millis(50);
    for (answer, is_misdirected, expected) in [
        (answer(Some(TO), None), false, Mouth::Receiver),
        (answer(Some(TO), None), true, Mouth::Receiver),
        (answer(Some(OTHER), None), false, Mouth::Stranger),
        (answer(Some(OTHER), None), true, Mouth::Stranger),
        (answer(None, None), true, Mouth::Stranger),
        (answer(None, Some(1000)), true, Mouth::Stranger),
        (answer(Some(OTHER), Some(51)), true, Mouth::Successor),
        (answer(Some(OTHER), Some(51)), false, Mouth::Stranger),
        (answer(Some(OTHER), Some(50)), true, Mouth::Stranger),
        (answer(Some(OTHER), Some(0)), true, Mouth::Stranger),
    ] {
        assert_eq!(mouth(&bound(), &answer, is_misdirected, took), expected, "{answer:?}");
        assert_eq!(mouth(&Receiver::Any, &answer, is_misdirected, took), Mouth::Any, "{answer:?}");
    }
}

#[test]
fn what_another_mouth_says_proves_nothing() {
    let failure = |code, executed| Failure { executed, ..Failure::new(code, "") };
    let not_found = failure(ErrorCode::NotFound, Some(false));
    let panic = failure(ErrorCode::Panic, Some(true));
    let replayed = failure(ErrorCode::Replayed, Some(false));
    for (mouth, failure, is_proven_way, expected) in [
        (Mouth::Receiver, &not_found, false, Some(false)),
        (Mouth::Receiver, &panic, false, Some(true)),
        (Mouth::Receiver, &replayed, true, None),
        (Mouth::Successor, &not_found, false, Some(false)),
        (Mouth::Stranger, &not_found, true, None),
        (Mouth::Stranger, &panic, true, None),
        (Mouth::Any, &not_found, true, Some(false)),
        (Mouth::Any, &not_found, false, None),
        (Mouth::Any, &panic, false, Some(true)),
        (Mouth::Any, &replayed, true, None),
    ] {
        assert_eq!(executed(mouth, failure, is_proven_way), expected, "{mouth:?} {failure}");
    }
}
