//! Files in the plugin directory that are not plugins, or not for this host: each is named with the reason,
//! and the good plugin beside it answers.

use std::fs;

use framex_tests::{Daemon, DaemonBuilder, broken, plugin_file};
use serde_json::json;

const DEMO: &str = "demo.some.example_func";

/// Starts the daemon with `demo` beside what is bad, and checks that `what` is refused with this sentence.
fn check(builder: DaemonBuilder, what: &str, sentence: &str) {
    let host = builder.plugin("demo").start();
    check_refused(&host, what, sentence);
    check_demo(&host);
    host.stop();
}

fn check_refused(host: &Daemon, what: &str, sentence: &str) {
    let reason = host.failure(what).unwrap_or_else(|| panic!("{what} is not refused:\n{}", host.log()));
    assert!(reason.contains(sentence), "{reason:?} lacks {sentence:?}");
    let logged = host.logged(&reason);
    assert_eq!((&logged["level"], &logged["plugin"]), (&json!("ERROR"), &json!(what)));
}

fn check_demo(host: &Daemon) {
    assert_eq!(host.get("/ready").status, 200);
    let answer = host.call(DEMO, &json!({"id": 7, "user": {"id": 7, "name": "Ada"}}));
    assert_eq!((answer.status, answer.json()), (200, json!("7: Ada")));
}

fn check_bytes(name: &str, bytes: &[u8], reason: &str) {
    let sentence = format!("plugin file `{name}` {reason}");
    check(Daemon::builder().plugin_bytes(name, bytes), name, &sentence);
}

#[test]
fn files_that_are_no_libraries() {
    let host = Daemon::builder()
        .plugin_bytes("libempty.so", b"")
        .plugin_bytes("libtext.so", b"This is not a library, but a text of some length.\n")
        .plugin_bytes("libwindows.so", &broken::windows_dll())
        .plugin_bytes("libobject.so", b"\x7fELF\x02\x01\x01")
        .plugin_bytes("README.md", b"not even asked")
        .plugin_bytes(".libhidden.so", b"not even asked");
    fs::create_dir(host.plugins().join("libfolder.so")).unwrap();
    std::os::unix::fs::symlink("nowhere", host.plugins().join("libdangling.so")).unwrap();
    let host = host.plugin("demo").start();
    for (name, reason) in [
        ("libempty.so", "is empty"),
        ("libtext.so", "is not a library: its first bytes are of no known format"),
        ("libwindows.so", "is a Windows DLL, this host needs an ELF library (Linux)"),
        ("libobject.so", "is not a library: its first bytes are of no known format"),
        ("libfolder.so", "is not a regular file"),
        ("libdangling.so", "cannot be opened: No such file or directory"),
    ] {
        check_refused(&host, name, &format!("plugin file `{name}` {reason}"));
    }
    assert_eq!(host.get("/ready").json()["failed_plugins"].as_array().unwrap().len(), 6);
    check_demo(&host);
    host.stop();
}

#[test]
fn a_pipe_in_the_plugin_directory_does_not_stall_the_start() {
    let host = Daemon::builder();
    let made = std::process::Command::new("mkfifo").arg(host.plugins().join("libpipe.so")).status();
    assert!(made.unwrap().success());
    check(host, "libpipe.so", "plugin file `libpipe.so` is not a regular file");
}

#[test]
fn a_library_that_is_cut_off_at_any_length() {
    let whole = fs::read(plugin_file("misbehave")).unwrap();
    let lengths = [16, 64, 100, 4096, whole.len() / 2, whole.len() - 1];
    let name = |length: usize| format!("libcut{length}.so");
    let host = lengths
        .iter()
        .fold(Daemon::builder(), |host, length| host.plugin_bytes(&name(*length), &whole[..*length]));
    let host = host.plugin("demo").start();
    for length in lengths {
        let reason = host.failure(&name(length)).unwrap();
        assert!(reason.contains("cut off"), "at {length} of {} bytes: {reason}", whole.len());
    }
    check_demo(&host);
    host.stop();
}

#[test]
fn a_library_for_another_machine() {
    let aarch64 = broken::for_machine("misbehave", 183);
    check_bytes("libfar.so", &aarch64, "is built for aarch64, this host is x86_64");
}

#[test]
fn a_library_without_a_descriptor() {
    let library = broken::compile_c_text("int answer(void) { return 42; }\n");
    check_bytes(
        "libanswer.so",
        &library,
        "is a library, but no framex plugin: it exports no `framex_plugin_v1`; mark its impl #[plugin] and build \
         it as a cdylib",
    );
}

#[test]
fn a_descriptor_that_is_something_else() {
    let text = "char framex_plugin_v1[200] = \"something else\";\n";
    check_bytes(
        "libelse.so",
        &broken::compile_c_text(text),
        "has a descriptor that does not begin with FXPLUGIN: it was built for something else",
    );
    let text = "#include <stdint.h>\n\
                struct { char magic[8]; uint32_t size; uint16_t major, minor; char rest[184]; } framex_plugin_v1 = \
                { {'F','X','P','L','U','G','I','N'}, 64, 1, 0, {0} };\n";
    check_bytes(
        "libshort.so",
        &broken::compile_c_text(text),
        "has a descriptor of 64 bytes, ABI 1.0 has 200",
    );
}

#[test]
fn a_plugin_of_another_abi() {
    let major = broken::with_descriptor("misbehave", broken::DESCRIPTOR_ABI_MAJOR, &2_u16.to_ne_bytes());
    let minor = broken::with_descriptor("misbehave", broken::DESCRIPTOR_ABI_MINOR, &9_u16.to_ne_bytes());
    let old = broken::with_descriptor("misbehave", broken::DESCRIPTOR_ABI_MAJOR, &0_u16.to_ne_bytes());
    let host = Daemon::builder()
        .plugin_bytes("libmajor.so", &major)
        .plugin_bytes("libminor.so", &minor)
        .plugin_bytes("libold.so", &old)
        .plugin("demo")
        .start();
    let newer = "use a newer host, or build it with an older SDK";
    for (name, abi, advice) in [
        ("libmajor.so", "2.1", newer),
        ("libminor.so", "1.9", newer),
        ("libold.so", "0.1", "build it with a newer SDK"),
    ] {
        let reason = format!(
            "plugin file `{name}` is built for ABI {abi}, this host needs 1.1 at most and 1.0 at least: {advice}"
        );
        check_refused(&host, name, &reason);
    }
    check_demo(&host);
    host.stop();
}

#[test]
fn a_plugin_that_does_not_contain_its_panics() {
    let abort = broken::with_descriptor("misbehave", broken::DESCRIPTOR_FLAGS, &0_u64.to_ne_bytes());
    check_bytes(
        "libabort.so",
        &abort,
        "does not contain its panics, so one would end the host: build it with panic = \"unwind\"",
    );
}

#[test]
fn a_plugin_of_a_name_that_it_cannot_have() {
    for (name, reason) in [
        (&b"Upper\0"[..], "has a descriptor whose name is not 1 to 63 characters of a-z 0-9 _ -"),
        (b"\0", "has a descriptor whose name is not 1 to 63 characters of a-z 0-9 _ -"),
        (
            b"proxy\0",
            "holds a plugin named `proxy`, which is the host's own section of the config: rename it",
        ),
    ] {
        let renamed = broken::with_descriptor("misbehave", broken::DESCRIPTOR_NAME, name);
        check_bytes("librenamed.so", &renamed, reason);
    }
}

#[test]
fn a_plugin_of_other_layouts() {
    check(
        Daemon::builder().plugin("wrong_layout"),
        "wrong_layout",
        "plugin file `libwrong_layout.so` has other layouts of the ABI's types than this host: ",
    );
}

#[test]
fn a_library_that_the_loader_refuses() {
    let text = "#include <stdint.h>\n\
                extern int not_there(void);\n\
                int needs_it(void) { return not_there(); }\n\
                struct { char magic[8]; uint32_t size; uint16_t major, minor; uint64_t flags; char name[64]; \
                char rest[112]; } framex_plugin_v1 = \
                { {'F','X','P','L','U','G','I','N'}, 200, 1, 0, 1, \"unlinked\", {0} };\n";
    let host = Daemon::builder()
        .plugin_bytes("libunlinked.so", &broken::compile_c_text(text))
        .plugin("demo")
        .start();
    let sentence = "plugin file `libunlinked.so` cannot be loaded: ";
    check_refused(&host, "unlinked", sentence);
    let reason = host.failure("unlinked").unwrap();
    assert!(reason.contains("undefined symbol: not_there"), "{reason}");
    let folder = host.folder().to_str().unwrap();
    assert!(!reason.contains(folder), "{reason:?} shows a path to any client");
    check_demo(&host);
    host.stop();
}

#[test]
fn the_original_may_be_overwritten_truncated_or_deleted() {
    let host = Daemon::builder().plugin("demo").start();
    let original = host.folder().join("plugins/libdemo.so");
    let bytes = fs::metadata(&original).unwrap().len();
    let file = fs::OpenOptions::new().write(true).open(&original).unwrap();
    std::io::Write::write_all(&mut &file, &vec![0xff; usize::try_from(bytes).unwrap()]).unwrap();
    check_demo(&host);
    file.set_len(0).unwrap();
    check_demo(&host);
    fs::remove_file(&original).unwrap();
    check_demo(&host);
    host.stop();
}

#[test]
fn staged_copies_are_private() {
    use std::os::unix::fs::PermissionsExt;
    let host = Daemon::builder().plugin("demo").start();
    let staged = host.folder().join("state/staged");
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&staged), 0o700);
    assert_eq!(mode(staged.parent().unwrap()), 0o700);
    let copies: Vec<_> = fs::read_dir(&staged).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(copies.iter().map(|copy| mode(copy)).collect::<Vec<_>>(), [0o500]);
    host.stop();
}

#[test]
fn required_plugins_are_there_or_the_daemon_ends() {
    let check = |builder: DaemonBuilder, required: &str, sentences: &[&str]| {
        let exit = builder.config(&format!("load_plugins = {required}")).plugin("demo").run_to_end();
        assert_eq!(exit.code, Some(1), "{}", exit.stderr);
        for sentence in sentences {
            assert!(exit.stderr.contains(sentence), "{} lacks {sentence}", exit.stderr);
        }
        assert!(exit.stderr.lines().last().unwrap().starts_with("error: plugin"), "{}", exit.stderr);
    };
    check(
        Daemon::builder(),
        r#"["demo", "absent"]"#,
        &["error: plugin `absent` is required by load_plugins, but no file in "],
    );
    let cut = &fs::read(plugin_file("misbehave")).unwrap()[..1000];
    check(
        Daemon::builder().plugin_bytes("libmisbehave.so", cut),
        r#"["demo", "misbehave"]"#,
        &["`libmisbehave.so` is ", "cut off", "error: plugin `misbehave` is required by load_plugins"],
    );
    check(
        Daemon::builder().plugin("wrong_layout"),
        r#"["wrong_layout"]"#,
        &["error: plugin file `libwrong_layout.so` has other layouts"],
    );
    check(
        Daemon::builder().plugin("misbehave").config("plugins.misbehave.start = \"fail\""),
        r#"["misbehave"]"#,
        &["error: plugin `misbehave` failed to start: ", "this plugin fails when it starts"],
    );
}

#[test]
fn load_plugins_restricts_what_is_loaded() {
    let host = Daemon::builder()
        .config("load_plugins = [\"demo\"]")
        .plugin("misbehave")
        .plugin_bytes("libbroken.so", b"broken, and not required")
        .plugin("demo")
        .start();
    let ready = host.get("/ready").json();
    assert_eq!(ready["plugins"], json!(["demo"]));
    check_refused(&host, "libbroken.so", "is not a library");
    assert_eq!(host.call("misbehave.functions.echo", &json!({"data": ""})).status, 404);
    check_demo(&host);
    host.stop();
}

#[test]
fn a_plugin_directory_that_is_not_there() {
    let exit = Daemon::builder().config("plugin_dir = \"elsewhere\"").run_to_end();
    assert_eq!(exit.code, Some(2), "{}", exit.stderr);
    assert!(exit.stderr.contains("elsewhere cannot be read: No such file or directory"), "{}", exit.stderr);
    assert!(exit.stderr.contains("create it, or set plugin_dir"), "{}", exit.stderr);
}

#[test]
fn the_default_plugin_directory_may_be_missing() {
    let builder = Daemon::builder();
    fs::remove_dir(builder.folder().join("plugins")).unwrap();
    let host = builder.start();
    assert_eq!(host.get("/api/v1/functions").json()["functions"], serde_json::json!([]));
    assert!(host.log().contains("there is no plugin directory"), "{}", host.log());
    host.stop();
}
