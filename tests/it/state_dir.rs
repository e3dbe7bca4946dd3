//! The state directory: of the host's user alone, without links, and the same one from the check to the use.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use framex_tests::{Answer, Build, Daemon, DaemonBuilder, Mounts};
use serde_json::json;

/// A user that runs nothing.
const STRANGER: u32 = 45_678;

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A host with a state directory that is there already.
fn host() -> (DaemonBuilder, PathBuf) {
    let host = Daemon::builder().build(Build::new(1));
    let state = host.folder().join("state");
    fs::create_dir(&state).unwrap();
    set_mode(&state, 0o700);
    (host, state)
}

#[track_caller]
fn check_serves(host: &Daemon, build: Build) {
    let answer = host.call("changing.functions.build", &json!({}));
    assert_eq!((answer.status, &answer.json()[0]), (200, &json!(build.name())), "{}", host.log());
}

/// Checks that a change was refused, and returns the step that failed and the detail.
#[track_caller]
fn check_refused(answer: &Answer) -> (String, String) {
    let (status, code, detail) = answer.problem();
    assert_eq!((status, code.as_str()), (422, "reload_failed"), "{detail}");
    (answer.json()["step"].as_str().unwrap_or_default().to_owned(), detail)
}

/// Neither the daemon nor `check` takes the state directory, and both say why.
#[track_caller]
fn check_not_taken(host: &DaemonBuilder, sentence: &str) {
    let checked = host.run(&["check"]);
    check_not_run(host, sentence);
    assert_eq!(checked.code, Some(2), "{}", checked.stderr);
    assert!(checked.stderr.contains(sentence), "{} lacks {sentence}", checked.stderr);
}

#[track_caller]
fn check_not_run(host: &DaemonBuilder, sentence: &str) {
    let ran = host.run(&["run"]);
    assert_eq!(ran.code, Some(2), "{}", ran.stderr);
    assert!(ran.stderr.contains(sentence), "{} lacks {sentence}", ran.stderr);
}

#[test]
fn one_of_another_user_is_refused() {
    if !is_root() {
        return;
    }
    let (host, state) = host();
    fs::create_dir(state.join("staged")).unwrap();
    fs::write(state.join("staged/precious"), "precious").unwrap();
    chown(&state, Some(STRANGER), None).unwrap();
    let sentence = format!(
        "error: the state directory is not safe to use: {} belongs to user {STRANGER}, and this host runs as user 0",
        state.display()
    );
    check_not_taken(&host, &sentence);
    assert_eq!(fs::read(state.join("staged/precious")).unwrap(), b"precious");
    assert_eq!(fs::read_dir(&state).unwrap().count(), 1, "nothing is made in there");
}

#[test]
fn one_that_others_may_write_to_is_refused() {
    for mode in [0o777, 0o770, 0o1777, 0o702] {
        let (host, state) = host();
        set_mode(&state, mode);
        let state = state.display();
        check_not_taken(
            &host,
            &format!("{state} can be changed by other users (mode {mode:04o}): `chmod go-w {state}`"),
        );
    }
    let (host, state) = host();
    set_mode(&state, 0o755);
    host.start().stop();
}

#[test]
fn one_that_every_user_may_replace_is_refused() {
    let (host, _) = host();
    let above = host.folder().join("above");
    fs::create_dir(&above).unwrap();
    set_mode(&above, 0o777);
    let host = host.config("state_dir = \"above/state\"");
    check_not_taken(&host, "can be replaced by every user of this machine, who may write to ");

    // As in `/tmp`, where no user may rename another user's files.
    let (host, _) = self::host();
    let above = host.folder().join("above");
    fs::create_dir(&above).unwrap();
    set_mode(&above, 0o1777);
    host.config("state_dir = \"above/state\"").start().stop();
}

#[test]
fn a_link_that_another_user_made_is_not_followed() {
    if !is_root() {
        return;
    }
    let (host, state) = host();
    let link = host.folder().join("link");
    symlink(&state, &link).unwrap();
    std::os::unix::fs::lchown(&link, Some(STRANGER), None).unwrap();
    let host = host.config("state_dir = \"link\"");
    check_not_taken(&host, &format!("{} is a link that user {STRANGER} made", link.display()));
    assert_eq!(fs::read_dir(&state).unwrap().count(), 0);
}

#[test]
fn no_link_inside_it_is_followed() {
    let links = ["staged", "lock", "plugins.json", "admin.sock"];
    for name in links {
        let (host, state) = host();
        let precious = host.folder().join("precious");
        fs::create_dir(&precious).unwrap();
        fs::write(precious.join("file"), "precious").unwrap();
        let target = if name == "staged" { precious.clone() } else { precious.join("file") };
        symlink(target, state.join(name)).unwrap();
        let sentence = format!(
            "{} is a link, which this host does not follow there: remove it",
            state.join(name).display()
        );
        check_not_run(&host, &sentence);
        assert_eq!(fs::read(precious.join("file")).unwrap(), b"precious", "{name}");
        assert_eq!(fs::read_dir(&precious).unwrap().count(), 1, "{name}");
    }
    // One where the record is written first is replaced, and what it leads to stays as it is.
    let (host, state) = host();
    let precious = host.folder().join("precious");
    fs::write(&precious, "precious").unwrap();
    symlink(&precious, state.join("plugins.json.new")).unwrap();
    fs::create_dir(state.join("staged")).unwrap();
    symlink(&precious, state.join("staged/link.so")).unwrap();
    let host = host.start();
    assert_eq!(fs::read(&precious).unwrap(), b"precious");
    assert!(fs::symlink_metadata(state.join("staged/link.so")).is_err(), "what is not needed is removed");
    assert!(fs::read_to_string(state.join("plugins.json")).unwrap().contains("changing"));
    host.stop();
}

#[test]
fn what_another_user_left_in_it_is_refused() {
    if !is_root() {
        return;
    }
    for name in ["staged", "lock", "plugins.json"] {
        let (host, state) = host();
        let entry = state.join(name);
        match name {
            "staged" => fs::create_dir(&entry).unwrap(),
            _ => fs::write(&entry, "").unwrap(),
        }
        chown(&entry, Some(STRANGER), None).unwrap();
        check_not_run(&host, &format!("{} belongs to user {STRANGER}", entry.display()));
        assert!(entry.exists());
    }
}

#[test]
fn an_admin_socket_of_another_user_is_not_removed() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    chown(&path, Some(STRANGER), None).unwrap();
    let host = Daemon::builder().config(&format!("admin.socket = {path:?}"));
    check_not_run(&host, &format!("{} belongs to user {STRANGER}", path.display()));
    assert!(path.exists());

    set_mode(folder.path(), 0o777);
    let host = Daemon::builder().config(&format!("admin.socket = {path:?}"));
    check_not_run(&host, "can be replaced by every user of this machine");
}

/// The user of the directory above may rename the state directory, and put one of its own there.
#[test]
fn a_directory_that_is_swapped_while_the_host_runs_is_not_taken() {
    if !is_root() {
        return;
    }
    let (host, _) = host();
    let above = host.folder().join("above");
    fs::create_dir(&above).unwrap();
    let host = host.config("state_dir = \"above/state\"\nadmin.socket = \"state/admin.sock\"").start();
    chown(&above, Some(STRANGER), None).unwrap();
    let (state, aside) = (above.join("state"), above.join("aside"));
    fs::rename(&state, &aside).unwrap();
    // With a copy of everything, which its own user may change.
    assert!(Command::new("cp").arg("-r").arg(&aside).arg(&state).status().unwrap().success());
    for path in [state.clone(), state.join("staged")] {
        chown(path, Some(STRANGER), None).unwrap();
    }
    host.put_build(Build::new(2));
    let (step, detail) = check_refused(&host.reload("changing"));
    assert_eq!(step, "stage");
    assert!(detail.contains(&format!("{} belongs to user {STRANGER}", state.display())), "{detail}");
    check_serves(&host, Build::new(1));
    fs::remove_dir_all(&state).unwrap();
    fs::rename(&aside, &state).unwrap();
    assert_eq!(host.reload("changing").status, 200);
    check_serves(&host, Build::new(2));
    host.stop();
}

#[test]
fn a_plugin_file_that_becomes_a_pipe_holds_nothing_up() {
    let host = Daemon::builder().build(Build::new(1)).start();
    let file = host.folder().join("plugins/libchanging.so");
    fs::remove_file(&file).unwrap();
    assert!(Command::new("mkfifo").arg(&file).status().unwrap().success());
    let begun = Instant::now();
    let (_, detail) = check_refused(&host.reload("changing"));
    assert!(detail.contains("is not a regular file"), "{detail}");
    check_serves(&host, Build::new(1));
    host.stop();
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

#[test]
fn a_mount_that_lets_nothing_be_run_is_named_and_not_the_plugin() {
    let Some(mounts) = Mounts::or_skip() else { return };
    let script = "mount -t tmpfs -o mode=700,noexec,size=256m tmpfs state";
    let builder = || Daemon::builder().build(Build::new(1)).mount(&mounts, script);
    let check = |reason: &str, state: &Path| {
        let state = state.display();
        assert!(reason.contains(&format!("lies on {state}, which is mounted with `noexec`")), "{reason}");
        assert!(reason.contains("set `state_dir` to a directory on another file system"), "{reason}");
        assert!(!reason.contains("libchanging.so"), "the file is not at fault: {reason}");
    };
    let host = builder().start();
    let state = fs::canonicalize(host.folder()).unwrap().join("state");
    check(&host.failure("changing").unwrap(), &state);
    host.mount(&mounts, "mount -o remount,exec state");
    assert_eq!(host.admin_post("plugins", &json!({ "file": "libchanging.so" })).status, 200);
    check_serves(&host, Build::new(1));
    host.mount(&mounts, "mount -o remount,noexec state");
    let (step, detail) = check_refused(&host.reload("changing"));
    assert_eq!(step, "load");
    check(&detail, &state);
    check_serves(&host, Build::new(1));
    host.stop();
    let builder = builder();
    let state = fs::canonicalize(builder.folder()).unwrap().join("state");
    let checked = builder.run(&["check"]);
    assert_eq!(checked.code, Some(1), "{}", checked.stderr);
    check(&checked.stderr, &state);
}
