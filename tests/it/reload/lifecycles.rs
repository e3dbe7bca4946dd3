//! Many reloads in one life of a host that was started in ways in which its state directory is not its own real path:
//! nothing of a retired build stays mapped, memory stays flat, and no thread key is lost.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use framex_tests::{Build, Daemon, broken, is_instrumented};
use serde_json::json;

use super::{check_done, check_serves, host};

/// Scripts that start the daemon in the folder `$0`: its binary is `$1`.
const WAYS: [(&str, &str); 3] = [
    ("by a relative path", "cd \"$0/plugins\" && exec \"$1\" --config ../plugins/../config.toml"),
    ("by a link", "ln -s . \"$0/link\" && exec \"$1\" --config \"$0/link/config.toml\""),
    (
        // Where `DynamicUser=yes` has the directory that `StateDirectory=` makes.
        "as the unit file does",
        "mkdir -m 700 \"$0/private\" \"$0/private/framex-host\" && ln -s private/framex-host \"$0/state\" && \
         FRAMEX_STATE_DIR=\"$0/state\" exec \"$@\"",
    ),
];
/// Maximum growth of resident memory, in bytes: much less than one more build that stays mapped for each reload.
const GROWTH_BYTES_MAX: usize = 24 << 20;

/// A plugin that says, when it starts, which thread key comes next.
fn key_teller() -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("keys.c");
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = format!(
        "#include <pthread.h>\n#include <stdio.h>\n#include \"{}\"\n\
         __attribute__((constructor)) static void tell(void) {{\npthread_key_t key;\n\
         if (pthread_key_create(&key, NULL) != 0) return;\nfprintf(stderr, \"next key %u\\n\", key);\n\
         pthread_key_delete(key);\n}}\n",
        tests.join("c/plugin.c").display()
    );
    fs::write(&source, text).unwrap();
    let include = format!("-I{}", tests.join("../plugin-sdk/abi/include").display());
    broken::compile_c(&source, &["-std=gnu11", &include])
}

/// The copies that are mapped.
fn mapped(host: &Daemon) -> BTreeSet<String> {
    let maps = fs::read_to_string(format!("/proc/{}/maps", host.pid())).unwrap();
    let paths = maps.lines().filter_map(|line| line.splitn(6, ' ').nth(5));
    paths.map(|path| path.trim().to_owned()).filter(|path| path.contains("/staged/")).collect()
}

/// The thread key that comes next.
fn next_key(host: &Daemon) -> u32 {
    check_done(&host.reload("tiny"));
    let log = host.log();
    let mut told = log.lines().rev().filter_map(|line| line.strip_prefix("next key "));
    told.next().unwrap().parse().unwrap()
}

fn check(way: &str, script: &str, reloads: u64) {
    let builder = host().plugin_bytes("libtiny.so", &key_teller());
    let folder = builder.folder().to_str().unwrap().to_owned();
    let host = builder.wrapper(&["sh", "-c", script, &folder]).start();
    let reload = |times: u64| {
        for _ in 0..times {
            check_done(&host.reload("changing"));
            check_serves(&host, Build::new(1));
        }
    };
    reload(20);
    let (key, resident, descriptors) = (next_key(&host), host.resident_bytes(), host.descriptors());
    let begun = std::time::Instant::now();
    reload(reloads);
    let took = begun.elapsed();
    let grown = host.resident_bytes().saturating_sub(resident);
    eprintln!("{way}: {reloads} reloads in {:.1} s, {grown} bytes more are resident", took.as_secs_f64());
    assert_eq!(next_key(&host), key, "{way}: thread keys were lost");
    assert_eq!(mapped(&host).len(), 2, "{way}: {:?}", mapped(&host));
    let status = host.plugin_status("changing");
    assert_eq!(status["zombies"], json!([]), "{way}");
    assert!(status["mapped_bytes"].as_u64() > Some(100_000), "{way}: what serves is found: {status}");
    assert_eq!(status["generation"], reloads + 21, "{way}");
    assert_eq!(host.descriptors(), descriptors, "{way}");
    assert!(is_instrumented() || grown < GROWTH_BYTES_MAX, "{way}: {grown} bytes more are resident");
    host.stop();
}

fn check_all(reloads: u64) {
    std::thread::scope(|scope| {
        for (way, script) in WAYS {
            scope.spawn(move || check(way, script, reloads));
        }
    });
}

#[test]
fn thirty_reloads_leave_nothing_behind() {
    check_all(30);
}

#[test]
#[ignore = "takes minutes: run scripts/reload-soak.sh"]
fn twelve_hundred_reloads_leave_nothing_behind() {
    check_all(1200);
}
