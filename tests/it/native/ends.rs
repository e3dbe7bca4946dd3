//! Code that a library leaves to run later: at the end of the process, of a thread, at a timer.

use std::path::Path;

use framex_tests::{Daemon, broken};
use serde_json::json;

use super::{check_works, host, host_with, native, proc_file, reload, unload, zombies};

#[test]
fn what_the_c_library_forgets_with_a_library_does_not_keep_it() {
    let host = host(&["atexit"]).start();
    reload(&host, "native", 3);
    assert_eq!(zombies(&host, "native"), [""; 0]);
    host.stop();
}

#[test]
fn a_library_with_a_handler_of_the_end_stays_until_then() {
    let host = host(&["on_exit"]).start();
    reload(&host, "native", 2);
    assert_eq!(zombies(&host, "native"), ["its handler of the process's end could still be called"; 2]);
    // Which runs them.
    host.stop();
}

#[test]
fn a_library_with_a_timer_that_calls_it_stays_mapped() {
    let host = host(&["timer"]).start();
    reload(&host, "native", 2);
    unload(&host, "native");
    assert_eq!(zombies(&host, "native"), ["its timer could still be called"; 3]);
    assert_eq!(host.get("/health").status, 200, "{}", host.log());
    host.stop();
}

#[test]
fn an_allocator_that_registers_itself_while_it_is_mapped_goes_with_its_library() {
    let host = host_with(&[], &["-DLIKE_AN_ALLOCATOR"]).start();
    for _ in 0..10 {
        for _ in 0..16 {
            check_works(&host);
        }
        reload(&host, "native", 1);
    }
    assert_eq!(zombies(&host, "native"), [""; 0]);
    assert_eq!(host.mapped_copies().len(), 1);
    unload(&host, "native");
    host.stop();
}

#[test]
fn thread_keys_of_retired_libraries_are_given_back() {
    // 400 at a time.
    let host = host(&["all_keys"]).start();
    reload(&host, "native", 8);
    assert_eq!(zombies(&host, "native"), [""; 0]);
    host.stop();
}

#[test]
fn without_thread_keys_a_plugin_is_refused_before_any_of_its_code_runs() {
    let named = |name: &str| native(&[&format!("-DNAME=\"{name}\"")]);
    let names = ["one", "two", "three", "four"];
    let config = |name: &str| format!("plugins.{name}.does = [\"keys\"]");
    let builder = names.into_iter().fold(Daemon::builder(), |builder, name| builder.config(&config(name)));
    let builder = builder.plugin("demo");
    let builder = names[..2]
        .iter()
        .fold(builder, |builder, name| builder.plugin_bytes(&format!("lib{name}.so"), &named(name)));
    let host = builder.start();
    let load = |name: &str| {
        host.put(format!("lib{name}.so"), &named(name));
        host.admin_post("plugins", &json!({ "file": format!("lib{name}.so") }))
    };
    // It gets what there is: the C library's answer to the rest is that there are no more.
    assert_eq!(load("three").status, 200, "{}", host.log());
    let refused = load("four");
    let (status, code, detail) = refused.problem();
    assert_eq!((status, code.as_str()), (422, "reload_failed"), "{detail}");
    assert_eq!(refused.json()["step"], "load");
    assert!(detail.contains("of the 1024 thread keys of a process are taken"), "{detail}");
    assert!(detail.contains("unload plugins, run some in another host, or restart this one"), "{detail}");
    assert_eq!(host.reload("demo").problem().1, "reload_failed", "which goes on serving");
    let arguments = json!({"id": 7, "user": {"id": 7, "name": "Ada"}});
    for _ in 0..16 {
        assert_eq!(host.call("demo.some.example_func", &arguments).status, 200, "{}", host.log());
    }
    unload(&host, "one");
    reload(&host, "demo", 1);
    assert_eq!(load("four").status, 200, "{}", host.log());
    host.stop();
}

#[test]
fn a_library_that_a_plugin_brought_stays_if_its_code_may_be_called() {
    let folder = tempfile::tempdir().unwrap();
    let brought = folder.path().join("libbrought.so");
    let source = "#include <pthread.h>\n#include <signal.h>\n#include <unistd.h>\n\
        static pthread_key_t key;\n\
        static void destroy(void *value) { (void)value; _exit(9); }\n\
        static void handle(int signal) { (void)signal; }\n\
        __attribute__((constructor)) static void begin(void) {\n\
            signal(SIGUSR1, handle);\n\
            pthread_key_create(&key, destroy);\n\
        }\n\
        int brought(void) { return 1; }\n";
    std::fs::write(&brought, broken::compile_c_text(source)).unwrap();
    let path = brought.to_str().unwrap();
    let host = host_with(&[], &["-Wl,--no-as-needed", path]).start();
    host.wait_for_log("stays mapped for the life of the process: a plugin brought it");
    unload(&host, "native");
    assert_eq!(zombies(&host, "native"), [""; 0]);
    assert_eq!(host.mapped_copies().len(), 0);
    host.signal("USR1");
    assert_eq!(host.get("/health").status, 200, "{}", host.log());
    host.stop();
}

#[test]
fn a_standard_library_that_plugins_would_share_is_refused() {
    let libraries = std::process::Command::new("rustc").args(["--print", "target-libdir"]).output().unwrap();
    let libraries = std::str::from_utf8(&libraries.stdout).unwrap().trim().to_owned();
    let is_std = |name: &str| name.starts_with("libstd-") && name.ends_with(".so");
    let entries = std::fs::read_dir(libraries).unwrap().map(Result::unwrap);
    let std = entries.into_iter().find(|entry| is_std(&entry.file_name().to_string_lossy())).unwrap();
    let shares = native(&["-Wl,--no-as-needed", std.path().to_str().unwrap()]);
    let host = host(&[]).start();
    host.put("libnative.so", &shares);
    let (status, _, detail) = host.reload("native").problem();
    assert_eq!(status, 422, "{detail}");
    let name = std.file_name().into_string().unwrap();
    assert!(
        detail.ends_with(&format!("needs `{name}`, a standard library that it would share with other plugins: build it without `-C prefer-dynamic`")),
        "{detail}"
    );
    check_works(&host);
    host.stop();
}

/// A plugin `tiny` whose constructor does not return until a file is there.
fn hanging(until: &Path) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source.c");
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = format!(
        "#include \"{}\"\n#include <unistd.h>\n\
         __attribute__((constructor)) static void hang(void) {{ while (access({until:?}, F_OK) != 0) usleep(10000); }}\n",
        tests.join("c/plugin.c").display()
    );
    std::fs::write(&source, text).unwrap();
    let include = format!("-I{}", tests.join("../plugin-sdk/abi/include").display());
    broken::compile_c(&source, &["-std=gnu11", &include])
}

/// The system's loader runs one constructor at a time: what comes after one that hangs is refused, and does not wait.
#[test]
fn a_constructor_that_hangs_holds_up_nothing_but_loads() {
    let folder = tempfile::tempdir().unwrap();
    let go = folder.path().join("go");
    let config = "reload.start_timeout_ms = 300\nreload.probe = \"off\"";
    let host = Daemon::builder().config(config).plugin("demo").start();
    host.put("libtiny.so", &hanging(&go));
    let load = || host.admin_post("plugins", &json!({ "file": "libtiny.so" }));
    let threads = || std::fs::read_dir(proc_file(&host, "task")).unwrap().count();
    let (status, _, detail) = load().problem();
    assert_eq!(status, 422, "{detail}");
    assert!(detail.contains("its constructors did not end within 300 ms"), "{detail}");
    let (before, begun) = (threads(), std::time::Instant::now());
    for _ in 0..20 {
        for answer in [load(), host.reload("demo")] {
            let (status, _, detail) = answer.problem();
            assert_eq!(status, 422, "{detail}");
            let held = "a constructor or destructor of plugin `tiny` has not returned since 20";
            assert!(detail.contains(held) && detail.contains("restart the host"), "{detail}");
        }
    }
    assert!(threads() <= before + 2, "{before} threads, then {}", threads());
    assert!(begun.elapsed() < std::time::Duration::from_secs(20), "{:?}", begun.elapsed());
    let arguments = json!({ "id": 7, "user": { "id": 7, "name": "Ada" } });
    assert_eq!(host.call("demo.some.example_func", &arguments).status, 200, "what served goes on");
    std::fs::write(&go, "").unwrap();
    framex_tests::until("the constructor has returned", || host.reload("demo").status == 200);
    assert_eq!(load().status, 200, "{}", host.log());
    host.stop();
}

/// At the end of a process, the C library waits for the loader's lock.
#[test]
fn a_host_ends_although_a_constructor_hangs() {
    let folder = tempfile::tempdir().unwrap();
    // The second signal comes after the shutdown, when only exit handlers are left, or without a look at the shutdown.
    for (second, code) in [(None, 0), (Some("stopped"), 143), (Some("stopping: "), 143)] {
        let config = "reload.start_timeout_ms = 300\nreload.probe = \"off\"\nserver.shutdown_delay_ms = 0";
        let mut host = Daemon::builder().config(config).plugin("demo").start();
        host.put("libtiny.so", &hanging(&folder.path().join("never")));
        assert_eq!(host.admin_post("plugins", &json!({ "file": "libtiny.so" })).status, 422);
        let begun = std::time::Instant::now();
        host.signal("TERM");
        if let Some(log) = second {
            host.wait_for_log(log);
            host.signal("TERM");
        }
        assert_eq!(host.wait(), Some(code), "{}", host.log());
        if second == Some("stopped") {
            host.wait_for_log("a signal while the host ends: ending at once");
        }
        assert!(begun.elapsed() < std::time::Duration::from_secs(20), "{:?}", begun.elapsed());
    }
}

#[test]
fn a_plugin_never_ends_the_host_as_if_that_had_done_its_work() {
    for (function, call) in [
        ("exits", "exit(0)"),
        ("exits_quickly", "quick_exit(0)"),
        ("exits_at_once", "_exit(0)"),
        ("exits_with_256", "exit(256)"),
    ] {
        let mut host = host(&["on_exit"]).start();
        assert_eq!(host.call("native.forks", &json!({})).json(), "yes", "{}", host.log());
        let _no_answer = host.begin(&format!("native.{function}"), &json!({})).try_answer();
        assert_eq!(host.wait(), Some(1), "{}", host.log());
        let logged = host.logged(&format!("code of a plugin called `{call}`, which ends the host"));
        assert_eq!(logged["function"], format!("native.{function}"));
    }
    let started = host(&["exit"]).run(&["run"]);
    assert_eq!(started.code, Some(1), "{}", started.stderr);
    let checked = host(&["exit"]).run(&["check"]);
    assert_eq!(checked.code, Some(1), "{}", checked.stderr);
    assert!(checked.stderr.contains("error: code of the plugin called `exit(0)`"), "{}", checked.stderr);
}
