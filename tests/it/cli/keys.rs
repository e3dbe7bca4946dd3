//! `keygen`: keys in files that only their user reads, and a warning about others.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use framex_tests::{Daemon, host_binary, host_command, run_to_end};

use super::{binary, check, json_of};

#[test]
fn keygen_writes_new_private_files_only() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let key = at("proxy.key");
    let made = binary(&["keygen", "--out", &key]);
    let id = binary(&["keygen", "--id", &key]).stdout;
    check(&made, 0, &format!("a new key is in {key}; its id is {id}"), "");
    let written = fs::read_to_string(&key).unwrap();
    assert!(written.len() == 49 && written.starts_with("fxk1_") && written.ends_with('\n'), "{written}");
    let mode = std::os::unix::fs::MetadataExt::mode(&fs::metadata(&key).unwrap());
    assert_eq!(mode & 0o777, 0o600);
    std::os::unix::fs::symlink(at("nowhere"), at("link")).unwrap();
    for taken in [key.clone(), at("link"), at(".")] {
        let refused = binary(&["keygen", "--out", &taken]);
        assert_eq!(refused.code, Some(1), "{taken}");
        assert!(refused.stderr.starts_with(&format!("error: {taken} ")), "{}", refused.stderr);
    }
    assert_eq!(fs::read_to_string(&key).unwrap(), written);
    assert!(!folder.path().join("nowhere").exists());
}

#[test]
fn keygen_makes_a_new_key_that_the_config_takes_without_a_warning() {
    let (first, second) = (binary(&["keygen"]), binary(&["keygen"]));
    let key = first.stdout.trim_end();
    assert!(key.starts_with("fxk1_") && key.len() == 48, "{key}");
    assert_ne!(first.stdout, second.stdout);
    assert_eq!(json_of(&binary(&["keygen", "--output", "json"]))["key"].as_str().unwrap().len(), 48);
    let rules = format!("plugins.proxy.auth.rules = {{ \"/api/v1/proxy/remote\" = [\"{key}\"] }}");
    let builder = Daemon::builder().config(&rules);
    let config = builder.folder().join("config.toml");
    fs::write(&config, "").unwrap();
    fs::set_permissions(&config, PermissionsExt::from_mode(0o600)).unwrap();
    let exit = builder.run(&["check"]);
    assert_eq!((exit.code, exit.stderr.as_str()), (Some(0), ""));
}

#[test]
fn a_key_in_a_file_that_others_may_read_is_warned_of() {
    let folder = tempfile::tempdir().unwrap();
    let written = |mode: u32| {
        let path = folder.path().join(format!("{mode:o}"));
        // Regardless of the umask of this process.
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        // The harness takes the output of its commands for itself.
        let mut shell = Command::new("sh");
        shell.args(["-c", "exec \"$0\" keygen >\"$1\""]).arg(host_binary()).arg(&path);
        let exit = run_to_end(shell.env_clear().env("PATH", "/usr/bin:/bin").stdin(Stdio::null()));
        assert_eq!(exit.code, Some(0), "{}", exit.stderr);
        assert!(fs::read_to_string(&path).unwrap().starts_with("fxk1_"));
        exit.stderr
    };
    for mode in [0o644, 0o640, 0o604, 0o666] {
        let expected = format!(
            "warning: others may read the file that this key was written to (mode {mode:04o}): `chmod 600` it, or let \
             `keygen --out FILE` make it\n"
        );
        assert_eq!(written(mode), expected);
    }
    assert_eq!(written(0o600), "");
    // A pipe has no file to protect.
    assert_eq!(binary(&["keygen"]).stderr, "");
}

#[test]
fn check_and_the_start_warn_of_files_of_keys_that_every_user_can_read() {
    let rules = "plugins.proxy.auth.rules = { \"/api/v1/proxy/remote\" = [\"file:proxy.key\"] }";
    let builder = || {
        let builder = Daemon::builder().config(rules);
        let file = builder.folder().join("proxy.key");
        let made = run_to_end(host_command().args(["keygen", "--out"]).arg(&file));
        assert_eq!(made.code, Some(0), "{}", made.stderr);
        (builder, file)
    };
    let (private, _) = builder();
    assert!(!private.run(&["check"]).stderr.contains("every user of this machine can read"));
    let (open, file) = builder();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let warning =
        format!("is in file {}, which every user of this machine can read: chmod o-r", file.display());
    let checked = open.run(&["check"]);
    assert_eq!(checked.code, Some(0), "{}", checked.stderr);
    assert!(
        checked
            .stderr
            .contains(&format!("warning: `plugins.proxy.auth.rules.\"/api/v1/proxy/remote\"` {warning}")),
        "{}",
        checked.stderr
    );
    let host = open.start();
    assert!(host.log().contains(&warning), "{}", host.log());
    host.stop();
}

#[test]
fn the_id_of_a_key_is_shown_and_no_key() {
    let folder = tempfile::tempdir().unwrap();
    let file = |text: &[u8]| {
        let file = folder.path().join("key");
        fs::write(&file, text).unwrap();
        file.to_str().unwrap().to_owned()
    };
    // As in the vectors of the wire.
    let key = "fxk1_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";
    for end in ["", "\n", "\r\n"] {
        let file = file(format!("{key}{end}").as_bytes());
        check(&binary(&["keygen", "--id", &file]), 0, "1f15f1d7e2ba2734\n", "");
    }
    let passphrase = binary(&["keygen", "--id", &file(b"proxy-key")]);
    assert_eq!((passphrase.code, passphrase.stdout.len()), (Some(0), 17), "{}", passphrase.stderr);
    for bad in [&b""[..], b"fxk1_short", b"\xff", &[b'x'; 70_000]] {
        let refused = binary(&["keygen", "--id", &file(bad)]);
        assert_eq!((refused.code, refused.stdout.as_str()), (Some(1), ""), "{}", refused.stderr);
    }
    assert_eq!(binary(&["keygen", "--id", "/nowhere"]).code, Some(1));
    assert_eq!(binary(&["keygen", "--id", "one", "--out", "other"]).code, Some(2));
}

#[test]
fn check_says_that_only_this_machine_reaches_a_loopback_listener() {
    let rule = "plugins.proxy.auth.rules = { \"/api/v1/proxy/remote\" = [\"env:PROXY_KEY\"] }";
    let key = "fxk1_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";
    for (host, is_said) in [("127.0.0.1", true), ("0.0.0.0", false)] {
        let builder = Daemon::builder().config(&format!("server.host = \"{host}\"\n{rule}"));
        let exit = builder.variable("PROXY_KEY", key).run(&["check"]);
        assert_eq!(exit.code, Some(0), "{}", exit.stderr);
        assert_eq!(
            exit.stdout.contains("from this machine alone, as `server.host`"),
            is_said,
            "{}",
            exit.stdout
        );
        assert!(exit.stdout.contains("1f15f1d7e2ba2734") && !exit.stdout.contains(key), "{}", exit.stdout);
    }
}
