//! `inspect`: what it says of a file's signature, and whether a host with this config would take the file.

use std::fs;

use framex_tests::{Build, Daemon, DaemonBuilder};
use serde_json::{Value, json};

use super::{FILE, SIGNATURE, Signer, host, set_mode, sha256};

/// Returns the output of `inspect`: JSON, and the lines of the text on signature and trust.
fn inspect(builder: &DaemonBuilder) -> (Value, String) {
    let file = builder.plugins().join(FILE);
    let file = file.to_str().unwrap();
    let scripted = builder.run(&["inspect", file, "--output", "json"]);
    let text = builder.run(&["inspect", file]);
    assert_eq!((scripted.code, text.code), (Some(0), Some(0)), "{}{}", scripted.stderr, text.stderr);
    let lines =
        text.stdout.lines().filter(|line| line.starts_with("signature") || line.starts_with("trusted"));
    (serde_json::from_str(&scripted.stdout).unwrap(), lines.collect::<Vec<_>>().join("\n"))
}

/// Checks `trusted`, and a part of the reason.
#[track_caller]
fn check_trusted(builder: &DaemonBuilder, trusted: Option<bool>, reason: &str) -> Value {
    let (shown, text) = inspect(builder);
    assert_eq!(shown["trusted"], json!(trusted), "{shown}");
    let found = shown["trust_reason"].as_str().unwrap_or_default();
    assert!(found.contains(reason) && (found.is_empty() == reason.is_empty()), "{found:?} lacks {reason:?}");
    let row = match trusted {
        Some(true) => "trusted       yes".to_owned(),
        Some(false) => format!("trusted       no: {found}"),
        None => format!("trusted       not configured: {found}"),
    };
    assert!(text.ends_with(&row), "{text:?} lacks {row:?}");
    shown
}

#[test]
fn a_signature_is_shown_and_judged_by_the_config() {
    let signer = Signer::new();
    let signed = host(&signer);
    let id = signer.key_id();
    let shown = check_trusted(&signed, Some(true), "");
    let signature = json!({"key_id": id, "trusted_comment": "a release\tof today", "verified": true});
    assert_eq!((&shown["signature"], &shown["signature_problem"]), (&signature, &Value::Null));
    assert!(
        inspect(&signed).1.contains(&format!("signature     by key {id}, verified: a release\\tof today\n"))
    );

    set_mode(&signed.plugins().join(FILE), 0o666);
    check_trusted(&signed, Some(false), "can be changed by every user");
    set_mode(&signed.plugins().join(FILE), 0o644);

    let signed = signed.config(&format!("trust.sha256.changing = \"{}\"", "0".repeat(64)));
    let shown = check_trusted(&signed, Some(false), "which [trust] does not have for plugin `changing`");
    assert_eq!(shown["signature"]["verified"], true);

    fs::remove_file(signed.plugins().join(SIGNATURE)).unwrap();
    let shown = check_trusted(&signed, Some(false), "plugin file `libchanging.so` has no signature");
    assert_eq!((&shown["signature"], &shown["signature_problem"]), (&Value::Null, &Value::Null));
    assert!(inspect(&signed).1.contains("signature     none\n"));

    fs::write(signed.plugins().join(SIGNATURE), "garbage").unwrap();
    let shown = check_trusted(&signed, Some(false), "is not a minisign signature");
    assert_eq!((&shown["signature"], &shown["signature_problem"]), (&Value::Null, &shown["trust_reason"]));
    assert!(
        inspect(&signed)
            .1
            .contains("signature     unusable: plugin file `libchanging.so` has a signature file")
    );
}

#[test]
fn a_signature_of_somebody_else_is_shown_as_not_verified() {
    let stranger = Signer::new();
    let builder = host(&Signer::new());
    let forged = stranger.sign(&Build::new(1).bytes()).replace("a release\tof today", "\u{1b}[31mtrust me");
    fs::write(builder.plugins().join(SIGNATURE), forged).unwrap();
    let shown = check_trusted(&builder, Some(false), &format!("is signed by key {}", stranger.key_id()));
    let signature = &shown["signature"];
    assert_eq!((&signature["key_id"], &signature["verified"]), (&json!(stranger.key_id()), &json!(false)));
    let (_, text) = inspect(&builder);
    let row = format!("by key {}, not verified: \\u{{1b}}[31mtrust me", stranger.key_id());
    assert!(text.contains(&row) && !text.contains('\u{1b}'), "{text:?}");
}

#[test]
fn a_pinned_digest_is_enough_without_keys() {
    let build = Build::new(1);
    let pinned = |digest: &str| {
        Daemon::builder().config(&format!("trust.sha256.changing = \"{digest}\"")).build(build)
    };
    check_trusted(&pinned(&sha256(&build.bytes()).to_uppercase()), Some(true), "");
    check_trusted(&pinned(&"0".repeat(64)), Some(false), "has the SHA-256 ");
    let other = Daemon::builder().config(&format!("trust.sha256.demo = \"{}\"", "0".repeat(64))).build(build);
    check_trusted(&other, Some(false), "holds plugin `changing`, which [trust] does not name");
}

#[test]
fn inspect_needs_no_config_and_no_secrets() {
    let signer = Signer::new();
    let with = |config: &str| Daemon::builder().config(config).build(Build::new(1));
    let unresolvable = "auth.rules = { \"/a\" = [\"env:NOT_SET\", \"file:not.there\"] }";
    check_trusted(&with(unresolvable), None, "config.toml has no [trust]");
    let refused = with(&format!("{unresolvable}\n{}", signer.trusted()));
    check_trusted(&refused, Some(false), "has no signature");
    check_trusted(&with("prot = 1"), None, "config.toml line 1: unknown key `prot`");
    check_trusted(&with("trust = {}"), None, "`trust` needs the key `keys` or `sha256`");

    let none = Daemon::builder().build(Build::new(1));
    let file = none.plugins().join(FILE);
    let exit = framex_tests::run_to_end(
        std::process::Command::new(framex_tests::host_binary())
            .env_clear()
            .current_dir(none.folder())
            .args(["inspect", file.to_str().unwrap(), "--output", "json"]),
    );
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    let shown: Value = serde_json::from_str(&exit.stdout).unwrap();
    assert_eq!(shown["trusted"], Value::Null);
    assert_eq!(shown["trust_reason"], "config file `config.toml` does not exist");
}
