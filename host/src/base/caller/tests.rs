//! The decision against a model of its own, with names and patterns that are nearly each other.

use proptest::prelude::*;

use super::*;
use crate::base::Executed;

fn named(patterns: &[&str]) -> Caller {
    let patterns = patterns.iter().map(|text| FunctionPattern::new(text).unwrap()).collect();
    let functions = FunctionPatterns::new(patterns);
    Caller::Named(Arc::new(NamedCaller { name: "web".into(), functions }))
}

fn name(text: &str) -> FunctionName {
    FunctionName::new(text).unwrap()
}

#[test]
fn patterns_cover_on_the_boundaries_of_names() {
    for (pattern, function, expected) in [
        ("demo.f", "demo.f", true),
        ("demo.f", "demo.F", false),
        ("demo.f", "demo.f.g", false),
        ("demo.f", "demo", false),
        ("demo", "demo", true),
        ("demo", "demo.f", false),
        ("demo.*", "demo.f", true),
        ("demo.*", "demo.f.g", true),
        ("demo.*", "demo", false),
        ("demo.*", "demo2.x", false),
        ("demo.*", "Demo.f", false),
        ("demo.*", "x.demo.f", false),
        ("demo.f.*", "demo.f", false),
        ("demo.f.*", "demo.f.g", true),
        ("*", "demo.f", true),
    ] {
        assert_eq!(named(&[pattern]).may_call(&name(function)), expected, "{pattern} {function}");
    }
    assert!(!named(&[]).may_call(&name("demo.f")));
    assert!(named(&["x.f", "demo.*"]).may_call(&name("demo.f")));
}

#[test]
fn patterns_that_could_mislead_are_refused() {
    for text in [
        "",
        ".",
        ".*",
        "**",
        "*.*",
        "*.f",
        "demo*",
        "demo.f*",
        "demo..*",
        "demo.*.*",
        "demo.*.f",
        "demo.",
        " demo.f",
        "demo.* ",
        "demo%2ef",
        "demo.f\0",
        "demo.\0*",
        "d\u{435}mo.f",
        "demo\u{2024}f",
        "demo.\u{ff0a}",
        "demo/*",
        "demo.f?",
    ] {
        assert_eq!(FunctionPattern::new(text), Err(InvalidPattern), "{text:?}");
    }
}

#[test]
fn only_callers_with_names_are_limited() {
    let function = name("demo.f");
    for caller in
        [Caller::Plugin("p".into()), Caller::Peer(None, Credential::None), Caller::Client(Credential::None)]
    {
        assert!(caller.may_call(&function) && caller.may_see(&function) && caller.name().is_none());
        caller.authorise(&function).unwrap();
    }
    let caller = named(&["demo.g"]);
    assert!(!caller.may_see(&function) && caller.may_see(&name("demo.g")));
    let refused = caller.authorise(&function).unwrap_err();
    assert_eq!((refused.code, refused.executed), (ErrorCode::PermissionDenied, Executed::No));
    assert_eq!(refused.message, "caller `web` may not call function `demo.f`");
    assert!(Caller::Unnamed.may_see(&function) && !Caller::Unnamed.may_call(&function));
    let refused = Caller::Unnamed.authorise(&function).unwrap_err();
    assert!(refused.message.starts_with("the key of this request belongs to no caller"), "{refused}");
}

/// The same decision from the text of both, part by part; `None` for an invalid name or pattern.
fn model(pattern: &str, function: &str) -> Option<bool> {
    let is_part = |part: &&str| {
        !part.is_empty() && part.chars().all(|c| matches!(c, 'a'..='z' | 'A'..='Z' | '0'..='9' | '_' | '-'))
    };
    let parts = |text: &str| -> Option<Vec<String>> {
        let parts: Vec<&str> = text.split('.').collect();
        let right = text.len() <= 255 && parts.iter().all(is_part);
        right.then(|| parts.into_iter().map(str::to_owned).collect())
    };
    let function = parts(function)?;
    let mut wanted: Vec<&str> = pattern.split('.').collect();
    if wanted.last() != Some(&"*") {
        return Some(parts(pattern)? == function);
    }
    wanted.pop();
    if wanted.is_empty() {
        return Some(true);
    }
    let wanted = parts(&wanted.join("."))?;
    Some(function.len() > wanted.len() && function[..wanted.len()] == wanted[..])
}

/// Short texts of parts that are nearly each other, so that names and patterns often meet.
fn nearly(ends: &'static [&'static str]) -> impl Strategy<Value = String> {
    const PARTS: [&str; 16] = [
        "demo",
        "Demo",
        "demo2",
        "dem",
        "f",
        "F",
        "_",
        "-",
        "",
        "%2e",
        "d%65mo",
        "\0",
        "d\u{435}mo",
        "demo\u{2024}f",
        "*",
        " ",
    ];
    // Mostly right ones: otherwise hardly any text would be a name.
    let part = prop_oneof![8 => 0..5usize, 1 => 0..PARTS.len()].prop_map(|at| PARTS[at]);
    let parts = prop::collection::vec(part, 1..4);
    (parts, prop::sample::select(ends)).prop_map(|(parts, end)| parts.join(".") + end)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn the_decision_is_that_of_the_model(
        patterns in prop::collection::vec(nearly(&["", "", ".*", ".*", ".", "*", ".*.*"]), 0..4),
        function in nearly(&["", "", "", ".", "\0", "%00", ".*"]),
    ) {
        let Ok(function) = FunctionName::new(&function) else {
            prop_assert_eq!(model("*", &function), None);
            return Ok(());
        };
        let mut expected = false;
        let mut right = Vec::new();
        for pattern in &patterns {
            let parsed = FunctionPattern::new(pattern);
            let decided = model(pattern, function.as_str());
            prop_assert_eq!(parsed.is_ok(), decided.is_some(), "{:?}", pattern);
            if let (Ok(parsed), Some(decided)) = (parsed, decided) {
                prop_assert_eq!(parsed.covers(&function), decided, "{:?} {}", pattern, function);
                prop_assert_eq!(parsed.to_string(), pattern.clone());
                expected |= decided;
                right.push(parsed);
            }
        }
        let functions = FunctionPatterns::new(right);
        let caller = Caller::Named(Arc::new(NamedCaller { name: "web".into(), functions }));
        prop_assert_eq!(caller.may_call(&function), expected);
        prop_assert_eq!(caller.authorise(&function).is_ok(), expected);
    }

    #[test]
    fn any_text_is_decided_alike(pattern in "\\PC{0,12}(\\.\\*)?", function in "\\PC{0,12}") {
        let decided = FunctionPattern::new(&pattern).ok().zip(FunctionName::new(&function).ok());
        let decided = decided.map(|(pattern, function)| pattern.covers(&function));
        prop_assert_eq!(decided, model(&pattern, &function).filter(|_| model("*", &function).is_some()));
    }
}
