use super::*;
use crate::base::{Deadline, FunctionName, RequestId, ServedBy};

fn invocation(key: &str) -> Invocation {
    Invocation {
        id: RequestId::random(),
        function: FunctionName::new("a.f").unwrap(),
        caller: Caller::Client,
        deadline: Deadline::after(Duration::from_secs(5)),
        hops: Vec::new(),
        traceparent: None,
        idempotency_key: Some(Bytes::copy_from_slice(key.as_bytes())),
        served_by: ServedBy::default(),
        held: crate::base::Held::default(),
        within: crate::base::HeldPlaces::default(),
    }
}

fn memory(keep_ms: u64, bytes_max: usize) -> Arc<Repeats> {
    let repeats = Arc::<Repeats>::default();
    repeats.set_bounds(RepeatBounds { keep: Duration::from_millis(keep_ms), bytes_max });
    repeats
}

fn begin(repeats: &Arc<Repeats>, key: &str, now: Instant) -> Found {
    repeats.begin(&invocation(key), b"arguments", now).unwrap()
}

#[track_caller]
fn first(found: Found) -> (Running, Option<Arc<str>>) {
    match found {
        Found::First(running, sent_before) => (running, sent_before),
        other => panic!("not the first one: {other:?}"),
    }
}

#[track_caller]
fn ended(found: Found) -> Outcome {
    match found {
        Found::Ended(told) => told.outcome,
        other => panic!("it has not ended: {other:?}"),
    }
}

fn failure(code: ErrorCode, executed: Option<bool>) -> Outcome {
    Err(Box::new(Failure { executed, ..Failure::new(code, "text") }))
}

#[test]
fn an_outcome_is_kept_for_its_time() {
    let (repeats, now) = (memory(1000, 1 << 20), Instant::now());
    first(begin(&repeats, "k", now)).0.end(Ok(Bytes::from_static(b"result")));
    assert_eq!(ended(begin(&repeats, "k", now)), Ok(Bytes::from_static(b"result")));
    first(begin(&repeats, "other", now)).0.end(failure(ErrorCode::Failed, Some(true)));
    assert_eq!(ended(begin(&repeats, "other", now)), failure(ErrorCode::Failed, Some(true)));
    let later = Instant::now() + Duration::from_millis(1000);
    drop(first(begin(&repeats, "k", later)));
    assert_eq!((repeats.forgotten.get(), repeats.answered.get()), (0, 2));
}

#[test]
fn what_provably_did_not_run_may_run() {
    let (repeats, now) = (memory(1000, 1 << 20), Instant::now());
    first(begin(&repeats, "k", now)).0.end(failure(ErrorCode::Overloaded, Some(false)));
    assert_eq!(repeats.size(), (0, 0));
    first(begin(&repeats, "k", now)).0.end(Ok(Bytes::new()));
    assert_eq!(ended(begin(&repeats, "k", now)), Ok(Bytes::new()));
}

#[test]
fn a_lost_call_runs_on_its_peer_or_not_at_all() {
    let (repeats, now) = (memory(1000, 1 << 20), Instant::now());
    let unknown = || failure(ErrorCode::Unavailable, None);
    let (running, sent_before) = first(begin(&repeats, "k", now));
    assert_eq!(sent_before, None);
    repeats.lose(&invocation("k"), "b:1", false);
    running.end(unknown());
    // Again and again: also where this attempt did not run.
    for outcome in [unknown(), failure(ErrorCode::Unavailable, Some(false)), unknown()] {
        let (running, sent_before) = first(begin(&repeats, "k", now));
        assert_eq!(sent_before.as_deref(), Some("b:1"));
        let outcome_of_all = running.outcome();
        running.end(outcome);
        assert_eq!(outcome_of_all.borrow().clone(), Some(unknown().into()));
    }
    first(begin(&repeats, "k", now)).0.end(Ok(Bytes::from_static(b"found out")));
    assert_eq!(ended(begin(&repeats, "k", now)), Ok(Bytes::from_static(b"found out")));
    // An idempotent one may run anywhere.
    let (running, _) = first(begin(&repeats, "idempotent", now));
    repeats.lose(&invocation("idempotent"), "b:1", true);
    running.end(unknown());
    assert_eq!(first(begin(&repeats, "idempotent", now)).1, None);
}

#[test]
fn one_that_was_given_up_is_not_run_again() {
    let (repeats, now) = (memory(1000, 1 << 20), Instant::now());
    let (running, _) = first(begin(&repeats, "k", now));
    let Found::Runs(outcome) = begin(&repeats, "k", now) else { panic!("it runs") };
    drop(running);
    let told = outcome.borrow().clone().unwrap().outcome;
    assert_eq!(
        (told.as_ref().unwrap_err().code, told.as_ref().unwrap_err().executed),
        (ErrorCode::Cancelled, None)
    );
    assert_eq!(ended(begin(&repeats, "k", now)), told);
}

#[test]
fn the_oldest_make_room_and_those_that_run_never() {
    let (repeats, now) = (memory(1_000_000, 16 * ENTRY_BYTES), Instant::now());
    let (running, _) = first(begin(&repeats, "runs", now));
    for key in 0..40 {
        let (one, _) = first(begin(&repeats, &format!("k{key}"), now));
        one.end(Ok(Bytes::from(vec![0; ENTRY_BYTES])));
        assert!(repeats.size().1 <= 16 * ENTRY_BYTES);
    }
    assert!(repeats.forgotten.get() >= 32, "{}", repeats.forgotten.get());
    assert!(matches!(begin(&repeats, "runs", now), Found::Runs(_)));
    assert!(ended(begin(&repeats, "k39", now)).is_ok());
    let more: Vec<Running> = (0..15).map(|key| first(begin(&repeats, &format!("r{key}"), now)).0).collect();
    let refused = ended(begin(&repeats, "one more", now)).unwrap_err();
    assert_eq!((refused.code, refused.executed), (ErrorCode::Overloaded, Some(false)));
    drop((running, more));
    // What is too large is not kept, but that it ran is.
    first(begin(&repeats, "large", now)).0.end(Ok(Bytes::from(vec![0; 2 * ENTRY_BYTES + 1])));
    let told = ended(begin(&repeats, "large", now)).unwrap_err();
    assert_eq!((told.code, told.executed), (ErrorCode::Internal, Some(true)));
}

#[test]
fn other_arguments_callers_and_functions_are_told_apart() {
    let (repeats, now) = (memory(1000, 1 << 20), Instant::now());
    first(begin(&repeats, "k", now)).0.end(Ok(Bytes::new()));
    let refused = ended(repeats.begin(&invocation("k"), b"others", now).unwrap()).unwrap_err();
    assert_eq!((refused.code, refused.executed), (ErrorCode::InvalidArgument, Some(false)));
    let of = |caller: Caller, function: &str| Invocation {
        caller,
        function: FunctionName::new(function).unwrap(),
        ..invocation("k")
    };
    let plugin = || Caller::Plugin("a".into());
    let others = [
        of(Caller::Client, "a.g"),
        of(plugin(), "a.f"),
        of(Caller::Plugin("b".into()), "a.f"),
        of(Caller::Peer(None), "a.f"),
    ];
    for other in &others {
        first(repeats.begin(other, b"arguments", now).unwrap()).0.end(Ok(Bytes::new()));
    }
    // The hosts that a call may come through are one.
    let through_other = of(Caller::Peer(Some("h".into())), "a.f");
    assert_eq!(ended(repeats.begin(&through_other, b"arguments", now).unwrap()), Ok(Bytes::new()));
    let keys: std::collections::HashSet<_> = others.iter().map(Invocation::key_for_peers).collect();
    assert_eq!(keys.len(), 3, "for peers, one key of a plugin is not that of another");
    assert_eq!(invocation("k").key_for_peers().as_deref(), Some(&b"k"[..]));
}

#[test]
fn what_was_kept_goes_when_nothing_is_to_be_kept_any_more() {
    let (repeats, now) = (memory(1000, 1 << 20), Instant::now());
    let told = Told { outcome: Ok(Bytes::from_static(b"result")), served_by: Some("b".into()) };
    first(begin(&repeats, "k", now)).0.end(told.clone());
    let Found::Ended(kept) = begin(&repeats, "k", now) else { panic!("it has ended") };
    assert_eq!(kept, told);
    repeats.set_bounds(RepeatBounds::default());
    assert!(repeats.begin(&invocation("other"), b"", Instant::now()).is_none());
    assert_eq!(repeats.size(), (0, 0));
}

#[test]
fn nothing_is_kept_without_time() {
    assert!(memory(0, 1 << 20).begin(&invocation("k"), b"", Instant::now()).is_none());
}
