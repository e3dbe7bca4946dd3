use super::*;
use crate::base::{CertificateName, Credential, Deadline, FunctionName, RequestId, ServedBy};

fn invocation(key: &str) -> Invocation {
    Invocation {
        id: RequestId::random(),
        function: FunctionName::new("a.f").unwrap(),
        caller: Caller::Client(Credential::None),
        deadline: Deadline::after(Duration::from_secs(5)),
        hops: Vec::new(),
        depth: 0,
        traceparent: None,
        idempotency_key: Some(Bytes::copy_from_slice(key.as_bytes())),
        served_by: ServedBy::default(),
        guards: crate::base::Guards::default(),
        host_permit: crate::base::HostPermit::default(),
        inherited: crate::base::InheritedPermits::default(),
    }
}

fn memory(keep_ms: u64, bytes_max: usize) -> Arc<Outcomes> {
    let repeats = Arc::<Outcomes>::default();
    repeats.set_bounds(OutcomeBounds { keep: Duration::from_millis(keep_ms), bytes_max });
    repeats
}

fn begin(repeats: &Arc<Outcomes>, key: &str, now: Instant) -> Lookup {
    repeats.begin(&invocation(key), b"arguments", now).unwrap()
}

#[track_caller]
fn first(found: Lookup) -> (FirstCall, Option<SentTo>) {
    match found {
        Lookup::First(running, sent_before) => (running, sent_before),
        other => panic!("not the first one: {other:?}"),
    }
}

#[track_caller]
fn ended(found: Lookup) -> Outcome {
    match found {
        Lookup::Ended(told) => told.outcome,
        Lookup::Refused(failure) => Err(failure),
        other => panic!("it has not ended: {other:?}"),
    }
}

fn failure(code: ErrorCode, executed: Executed) -> Outcome {
    Err(Box::new(Failure { executed, ..Failure::new(code, "text") }))
}

#[test]
fn an_outcome_is_kept_for_its_time() {
    let (repeats, now) = (memory(1000, 1 << 20), Instant::now());
    first(begin(&repeats, "k", now)).0.end(Ok(Bytes::from_static(b"result")));
    assert_eq!(ended(begin(&repeats, "k", now)), Ok(Bytes::from_static(b"result")));
    first(begin(&repeats, "other", now)).0.end(failure(ErrorCode::Failed, Executed::Yes));
    assert_eq!(ended(begin(&repeats, "other", now)), failure(ErrorCode::Failed, Executed::Yes));
    let later = Instant::now() + Duration::from_millis(1000);
    drop(first(begin(&repeats, "k", later)));
    assert_eq!((repeats.unkept.get(), repeats.answered.get()), (0, 2));
}

#[test]
fn what_provably_did_not_run_may_run() {
    let (repeats, now) = (memory(1000, 1 << 20), Instant::now());
    first(begin(&repeats, "k", now)).0.end(failure(ErrorCode::Overloaded, Executed::No));
    assert_eq!(repeats.size(), (0, 0));
    first(begin(&repeats, "k", now)).0.end(Ok(Bytes::new()));
    assert_eq!(ended(begin(&repeats, "k", now)), Ok(Bytes::new()));
}

#[test]
fn a_lost_call_runs_on_its_peer_or_not_at_all() {
    let (repeats, now) = (memory(1000, 1 << 20), Instant::now());
    let unknown = || failure(ErrorCode::Unavailable, Executed::Unknown);
    let (running, sent_before) = first(begin(&repeats, "k", now));
    assert_eq!(sent_before, None);
    repeats.mark_unknown(&invocation("k"), at("b:1"), false);
    running.end(unknown());
    // Again and again: also where this attempt did not run.
    for outcome in [unknown(), failure(ErrorCode::Unavailable, Executed::No), unknown()] {
        let (running, sent_before) = first(begin(&repeats, "k", now));
        assert_eq!(sent_before, Some(at("b:1")));
        let outcome_of_all = running.outcome();
        running.end(outcome);
        assert_eq!(outcome_of_all.borrow().clone(), Some(unknown().into()));
    }
    first(begin(&repeats, "k", now)).0.end(Ok(Bytes::from_static(b"found out")));
    assert_eq!(ended(begin(&repeats, "k", now)), Ok(Bytes::from_static(b"found out")));
    // An idempotent one may run anywhere.
    let (running, _) = first(begin(&repeats, "idempotent", now));
    repeats.mark_unknown(&invocation("idempotent"), at("b:1"), true);
    running.end(unknown());
    assert_eq!(first(begin(&repeats, "idempotent", now)).1, None);
}

#[test]
fn one_that_was_given_up_is_not_run_again() {
    let (repeats, now) = (memory(1000, 1 << 20), Instant::now());
    let (running, _) = first(begin(&repeats, "k", now));
    let Lookup::Runs(outcome) = begin(&repeats, "k", now) else { panic!("it runs") };
    drop(running);
    let told = outcome.borrow().clone().unwrap().outcome;
    assert_eq!(
        (told.as_ref().unwrap_err().code, told.as_ref().unwrap_err().executed),
        (ErrorCode::Cancelled, Executed::Unknown)
    );
    assert_eq!(ended(begin(&repeats, "k", now)), told);
}

#[test]
fn a_caller_has_what_is_left_free_and_nothing_goes_before_its_time() {
    const MAX: usize = 64 * ENTRY_BYTES;
    let (repeats, now) = (memory(1_000_000, MAX), Instant::now());
    let by = |caller: u8, key: &str| Invocation {
        caller: Caller::Client(Credential::Key([caller; 16])),
        ..invocation(key)
    };
    let call = |caller: u8, key: &str, bytes: usize| match repeats.begin(&by(caller, key), b"", now).unwrap()
    {
        Lookup::First(running, _) => {
            running.end(Ok(Bytes::from(vec![caller; bytes])));
            Ok(())
        }
        found => Err(ended(found)),
    };
    let kept = |caller: u8, key: &str, bytes: usize| {
        let found = call(caller, key, 0).unwrap_err();
        assert_eq!(found, Ok(Bytes::from(vec![caller; bytes])), "{caller} {key}");
    };
    call(1, "first", ENTRY_BYTES).unwrap();
    // One that takes all it can: about half, then its new calls are refused, and did not run.
    let fill = |caller: u8, bytes: usize| {
        let fits = (0..100).take_while(|key| call(caller, &format!("k{key}"), bytes).is_ok()).count();
        let refused = call(caller, "more", 0).unwrap_err().unwrap_err();
        assert_eq!((refused.code, refused.executed), (ErrorCode::Overloaded, Executed::No));
        assert!(repeats.size().1 <= MAX);
        fits
    };
    let fits = fill(2, 7 * ENTRY_BYTES);
    assert!((4..=5).contains(&fits), "{fits}");
    (0..fits).for_each(|key| kept(2, &format!("k{key}"), 7 * ENTRY_BYTES));
    kept(1, "first", ENTRY_BYTES);
    // Each that comes later finds half of what is left.
    for caller in 3..6 {
        let fits = fill(caller, 0);
        assert!(fits >= 1, "{caller}: {fits}");
    }
    (0..fits).for_each(|key| kept(2, &format!("k{key}"), 7 * ENTRY_BYTES));
    kept(1, "first", ENTRY_BYTES);
    assert_eq!((repeats.unkept.get(), repeats.refused.get()), (0, 8));
    // In the end all of it is free again.
    let later = Instant::now() + Duration::from_secs(1000);
    drop(repeats.begin(&invocation("other"), b"", later));
    assert_eq!(repeats.size().0, 1);
    assert_eq!(repeats.state().callers.len(), 1);
}

#[test]
fn calls_that_run_take_of_the_share_and_what_has_no_room_is_known_to_have_run() {
    const MAX: usize = 64 * ENTRY_BYTES;
    let (repeats, now) = (memory(1_000_000, MAX), Instant::now());
    let mut running = Vec::new();
    while let Lookup::First(one, _) = begin(&repeats, &format!("r{}", running.len()), now) {
        running.push(one);
    }
    assert_eq!(running.len(), 32, "half of the memory");
    for one in running {
        one.end(Ok(Bytes::from(vec![0; 8 * ENTRY_BYTES])));
        assert!(repeats.size().1 <= MAX);
    }
    let kept = |key: usize| ended(begin(&repeats, &format!("r{key}"), now));
    let outcomes: Vec<Outcome> = (0..32).map(kept).collect();
    let unkept: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).collect();
    assert!(unkept.len() < 32 && unkept.len() as u64 == repeats.unkept.get());
    for failure in unkept {
        assert_eq!((failure.code, failure.executed), (ErrorCode::Internal, Executed::Yes));
        assert!(failure.message.ends_with("found this caller's share full"), "{failure}");
    }
    // What is too large is not kept either.
    let repeats = memory(1_000_000, MAX);
    first(begin(&repeats, "large", now)).0.end(Ok(Bytes::from(vec![0; 8 * ENTRY_BYTES + 1])));
    let told = ended(begin(&repeats, "large", now)).unwrap_err();
    assert_eq!((told.code, told.executed), (ErrorCode::Internal, Executed::Yes));
    assert!(told.message.ends_with("was too large to keep"), "{told}");
}

#[test]
fn other_arguments_callers_and_functions_are_told_apart() {
    let (repeats, now) = (memory(1000, 1 << 20), Instant::now());
    first(begin(&repeats, "k", now)).0.end(Ok(Bytes::new()));
    let refused = ended(repeats.begin(&invocation("k"), b"others", now).unwrap()).unwrap_err();
    assert_eq!((refused.code, refused.executed), (ErrorCode::InvalidArgument, Executed::No));
    let of = |caller: Caller, function: &str| Invocation {
        caller,
        function: FunctionName::new(function).unwrap(),
        ..invocation("k")
    };
    let plugin = || Caller::Plugin("a".into());
    let peer = |host: Option<&str>, key: u8| Caller::Peer(host.map(Into::into), Credential::Sealed([key; 8]));
    let others = [
        of(Caller::Client(Credential::None), "a.g"),
        of(plugin(), "a.f"),
        of(Caller::Plugin("b".into()), "a.f"),
        of(peer(None, 1), "a.f"),
        of(peer(None, 2), "a.f"),
        of(Caller::Client(Credential::Key([1; 16])), "a.f"),
        of(Caller::Client(Credential::Key([2; 16])), "a.f"),
        of(Caller::Client(Credential::Certificate(CertificateName::Dns("a".into()))), "a.f"),
    ];
    for other in &others {
        first(repeats.begin(other, b"arguments", now).unwrap()).0.end(Ok(Bytes::new()));
    }
    // The hosts that a call may come through are one.
    let through_other = of(peer(Some("h"), 1), "a.f");
    assert_eq!(ended(repeats.begin(&through_other, b"arguments", now).unwrap()), Ok(Bytes::new()));
    let keys: std::collections::HashSet<_> = others.iter().map(|other| other.key_for_peers([1; 8])).collect();
    assert_eq!(keys.len(), 7, "for peers, the key of one caller is not that of another");
    for same in [invocation("k"), through_other] {
        assert_eq!(same.key_for_peers([1; 8]).as_deref(), Some(&b"k"[..]));
    }
    // What stands for the key of a plugin can be computed, and must not be of use to anyone else.
    let digest = of(plugin(), "a.f").key_for_peers([1; 8]);
    let forged = Invocation { idempotency_key: digest.clone(), ..invocation("k") };
    assert_ne!(forged.key_for_peers([1; 8]), digest);
}

#[test]
fn what_was_kept_goes_when_nothing_is_to_be_kept_any_more() {
    let (repeats, now) = (memory(1000, 1 << 20), Instant::now());
    let told = RecordedOutcome { outcome: Ok(Bytes::from_static(b"result")), served_by: Some("b".into()) };
    first(begin(&repeats, "k", now)).0.end(told.clone());
    let Lookup::Ended(kept) = begin(&repeats, "k", now) else { panic!("it has ended") };
    assert_eq!(kept, told);
    repeats.set_bounds(OutcomeBounds::default());
    assert!(repeats.begin(&invocation("other"), b"", Instant::now()).is_none());
    assert_eq!(repeats.size(), (0, 0));
}

#[test]
fn nothing_is_kept_without_time() {
    assert!(memory(0, 1 << 20).begin(&invocation("k"), b"", Instant::now()).is_none());
}

fn at(authority: &str) -> SentTo {
    SentTo { authority: authority.into(), host: Some("host-b".into()) }
}
