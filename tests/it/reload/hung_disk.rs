//! A disk that hangs holds nothing up but the look at it.

use std::io::Read;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use framex_tests::{Build, Daemon, Mounts, say_skipped};

use super::{BUILD, host};
use serde_json::json;

/// Mounts a file system over the folder of plugins that answers nothing, for as long as the child runs.
///
/// It is a FUSE mount without a server: each access waits for one.
fn hang(host: &Daemon, mounts: &Mounts) -> Option<Child> {
    let script = "exec 3<>/dev/fuse \
        && mount -i -t fuse -o fd=3,rootmode=40000,user_id=0,group_id=0 none \"$0/plugins\" && echo hangs && exec cat";
    let mut command = mounts.beside(host.pid());
    command.args(["sh", "-c", script]).arg(host.folder());
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut hangs = [0; 6];
    if child.stdout.as_mut().unwrap().read_exact(&mut hangs).is_ok() {
        return Some(child);
    }
    let output = child.wait_with_output().unwrap();
    say_skipped(&format!("FUSE cannot be mounted: {}", String::from_utf8_lossy(&output.stderr).trim()));
    None
}

#[test]
fn a_disk_that_hangs_is_a_warning_of_ready_and_calls_go_on() {
    let Some(mounts) = Mounts::or_skip() else { return };
    let host = host().build(Build::new(1)).mount(&mounts, "true").start();
    let Some(mut hanging) = hang(&host, &mounts) else { return };
    let begun = Instant::now();
    for _ in 0..2 {
        let ready = host.get("/ready");
        let warnings = ready.json()["warnings"].to_string();
        assert_eq!(ready.status, 200, "{warnings}");
        assert!(warnings.contains("the disk did not answer in time"), "{warnings}");
        assert_eq!(ready.json()["plugins"], json!(["changing"]));
        assert_eq!(host.get("/health").status, 200);
        assert_eq!(host.call(BUILD, &json!({})).status, 200);
    }
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    drop(hanging.stdin.take());
    hanging.wait().unwrap();
    host.mount(&mounts, "umount plugins");
    framex_tests::until("the disk answers", || host.get("/ready").json()["warnings"] == json!([]));
    host.stop();
}
