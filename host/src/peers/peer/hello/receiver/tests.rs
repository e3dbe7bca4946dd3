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
        (answer(Some(TO), None), false, AnsweredBy::Receiver),
        (answer(Some(TO), None), true, AnsweredBy::Receiver),
        (answer(Some(OTHER), None), false, AnsweredBy::Stranger),
        (answer(Some(OTHER), None), true, AnsweredBy::Stranger),
        (answer(None, None), true, AnsweredBy::Stranger),
        (answer(None, Some(1000)), true, AnsweredBy::Stranger),
        (answer(Some(OTHER), Some(51)), true, AnsweredBy::Successor),
        (answer(Some(OTHER), Some(51)), false, AnsweredBy::Stranger),
        (answer(Some(OTHER), Some(50)), true, AnsweredBy::Stranger),
        (answer(Some(OTHER), Some(0)), true, AnsweredBy::Stranger),
    ] {
        assert_eq!(answered_by(&bound(), &answer, is_misdirected, took), expected, "{answer:?}");
        assert_eq!(answered_by(&Receiver::Any, &answer, is_misdirected, took), AnsweredBy::Any, "{answer:?}");
    }
}

#[test]
fn what_another_mouth_says_proves_nothing() {
    let failure = |code, executed| Failure { executed, ..Failure::new(code, "") };
    let not_found = failure(ErrorCode::NotFound, Executed::No);
    let panic = failure(ErrorCode::Panic, Executed::Yes);
    let replayed = failure(ErrorCode::Replayed, Executed::No);
    for (by, failure, is_proven_way, expected) in [
        (AnsweredBy::Receiver, &not_found, false, Executed::No),
        (AnsweredBy::Receiver, &panic, false, Executed::Yes),
        (AnsweredBy::Receiver, &replayed, true, Executed::Unknown),
        (AnsweredBy::Successor, &not_found, false, Executed::No),
        (AnsweredBy::Stranger, &not_found, true, Executed::Unknown),
        (AnsweredBy::Stranger, &panic, true, Executed::Unknown),
        (AnsweredBy::Any, &not_found, true, Executed::No),
        (AnsweredBy::Any, &not_found, false, Executed::Unknown),
        (AnsweredBy::Any, &panic, false, Executed::Yes),
        (AnsweredBy::Any, &replayed, true, Executed::Unknown),
    ] {
        assert_eq!(executed(by, failure, is_proven_way), expected, "{by:?} {failure}");
    }
}
