//! The daemon as a service: what it tells its supervisor, and what the service file allows and denies.

mod place;

use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use framex_tests::{Daemon, DaemonBuilder, host_binary, run_to_end};
use serde_json::json;
use tempfile::TempDir;

/// The time that the watchdog of these tests waits, in microseconds: the host signals twice in it.
const WATCHDOG_USEC: u64 = 200_000;
/// The exposure that `systemd-analyze security` may find, times 10.
const EXPOSURE_MAX: &str = "--threshold=12";

/// A stand-in for systemd.
struct Supervisor {
    socket: UnixDatagram,
    folder: TempDir,
}

impl Supervisor {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        Self { socket, folder }
    }

    fn supervise(&self, builder: DaemonBuilder) -> DaemonBuilder {
        builder.variable("NOTIFY_SOCKET", self.folder.path().join("notify").to_str().unwrap())
    }

    /// The next message that comes within a time.
    fn within(&self, time: Duration) -> Option<String> {
        self.socket.set_read_timeout(Some(time)).unwrap();
        let mut bytes = [0; 1024];
        match self.socket.recv(&mut bytes) {
            Ok(length) => Some(String::from_utf8(bytes[..length].to_vec()).unwrap()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            Err(error) => panic!("{error}"),
        }
    }

    #[track_caller]
    fn next(&self) -> String {
        self.within(Duration::from_secs(60)).expect("the daemon says something in time")
    }

    /// Returns the next message besides signs of life.
    #[track_caller]
    fn next_change(&self) -> String {
        let deadline = Instant::now() + Duration::from_secs(60);
        while Instant::now() < deadline {
            let message = self.next();
            if message != "WATCHDOG=1\n" {
                return message;
            }
        }
        panic!("nothing but signs of life");
    }

    #[track_caller]
    fn check_reload(&self) {
        let message = self.next_change();
        let time =
            message.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").and_then(|rest| rest.strip_suffix('\n'));
        assert!(time.is_some_and(|time| time.parse::<u64>().is_ok()), "{message}");
        assert_eq!(self.next_change(), "READY=1\n");
    }
}

#[test]
fn a_supervisor_hears_of_start_reload_and_end() {
    let supervisor = Supervisor::new();
    let host = supervisor.supervise(Daemon::builder().plugin("demo")).start();
    assert_eq!(supervisor.next(), "READY=1\n");
    assert_eq!(host.reload_host().status, 200);
    supervisor.check_reload();
    host.put_config("host_id = 7");
    assert_eq!(host.reload_host().status, 422);
    supervisor.check_reload();
    host.put_config("");
    host.signal("HUP");
    supervisor.check_reload();
    host.stop();
    assert_eq!(supervisor.next(), "STOPPING=1\n");
    assert_eq!(
        supervisor.within(Duration::from_millis(1)),
        None,
        "without a watchdog there are no signs of life"
    );
}

#[test]
fn a_supervisor_may_listen_on_an_abstract_socket() {
    use std::os::linux::net::SocketAddrExt;
    let name = format!("framex-tests-{}", std::process::id());
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
    let supervisor = Supervisor {
        socket: UnixDatagram::bind_addr(&address).unwrap(),
        folder: tempfile::tempdir().unwrap(),
    };
    let host = Daemon::builder().variable("NOTIFY_SOCKET", &format!("@{name}")).start();
    assert_eq!(supervisor.next(), "READY=1\n");
    host.stop();
    assert_eq!(supervisor.next(), "STOPPING=1\n");
}

#[test]
fn a_host_is_not_reported_ready_before_it_is() {
    let supervisor = Supervisor::new();
    let hanging = Daemon::builder().config("plugins.misbehave.start = \"hang\"").plugin("misbehave");
    let mut host = supervisor.supervise(hanging).start_until("hangs in on_start");
    assert_eq!(supervisor.within(Duration::from_millis(1)), None);
    host.signal("TERM");
    assert_eq!(host.wait(), Some(143), "{}", host.log());
    assert_eq!(supervisor.within(Duration::from_millis(1)), None);
}

#[test]
fn signs_of_life_come_until_the_runtime_is_stuck() {
    let supervisor = Supervisor::new();
    let watched = Daemon::builder().plugin("misbehave").variable("WATCHDOG_USEC", &WATCHDOG_USEC.to_string());
    let host = supervisor.supervise(watched).start();
    assert_eq!(supervisor.next(), "READY=1\n");
    for _ in 0..5 {
        assert_eq!(supervisor.next(), "WATCHDOG=1\n");
    }

    // Every worker is held by a call that waits for this socket.
    let path = supervisor.folder.path().join("hold");
    let listener = UnixListener::bind(&path).unwrap();
    let (release, released) = mpsc::channel::<()>();
    let holder = std::thread::spawn(move || {
        let mut held = Vec::new();
        listener.set_nonblocking(true).unwrap();
        while released.try_recv() == Err(mpsc::TryRecvError::Empty) {
            match listener.accept() {
                Ok((stream, _)) => held.push(stream),
                Err(_) => std::thread::yield_now(),
            }
        }
        // Later connections are refused with the listener.
        drop(listener);
        for mut stream in held {
            stream.write_all(b"go\n").unwrap();
        }
    });
    let workers = std::thread::available_parallelism().unwrap().get();
    let arguments = json!({ "socket": path });
    let calls: Vec<_> =
        (0..workers * 2).map(|_| host.begin("misbehave.functions.holds_worker", &arguments)).collect();
    let deadline = Instant::now() + Duration::from_secs(60);
    while supervisor.within(Duration::from_micros(WATCHDOG_USEC) * 3).is_some() {
        assert!(Instant::now() < deadline, "there are signs of life from a stuck runtime");
    }
    release.send(()).unwrap();
    holder.join().unwrap();
    for call in calls {
        let _answered_or_refused = call.answer();
    }
    assert_eq!(supervisor.next(), "WATCHDOG=1\n");
    host.stop();
}

#[test]
fn a_watchdog_of_another_process_is_ignored() {
    let supervisor = Supervisor::new();
    let builder = Daemon::builder().variable("WATCHDOG_USEC", "1000").variable("WATCHDOG_PID", "1");
    let host = supervisor.supervise(builder).start();
    assert_eq!(supervisor.next(), "READY=1\n");
    host.stop();
    assert_eq!(supervisor.next(), "STOPPING=1\n");
}

#[test]
fn a_supervisor_that_is_gone_is_no_reason_to_end() {
    let builder = Daemon::builder().plugin("demo").variable("NOTIFY_SOCKET", "/nonexistent/notify");
    let host = builder.start();
    host.wait_for_log("the supervisor cannot be told");
    assert_eq!(host.get("/health").status, 200);
    host.stop();
}

/// The soft and the hard limit of core dumps, as Linux shows them.
fn core_limits(limits: &str) -> Vec<&str> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max core file size")).unwrap();
    line.split_ascii_whitespace().take(2).collect()
}

#[test]
fn core_dumps_are_not_written_by_the_daemon_or_what_plugins_start() {
    let limits_of = |host: &Daemon| fs::read_to_string(format!("/proc/{}/limits", host.pid())).unwrap();
    let host = Daemon::builder().plugin("misbehave").start();
    assert_eq!(core_limits(&limits_of(&host)), ["1", "1"]);
    let arguments = json!({ "command": ["sh", "-c", "cat /proc/self/limits >&2"] });
    let child = host.call("misbehave.functions.runs_process", &arguments).json();
    assert_eq!(core_limits(child[1].as_str().unwrap()), ["1", "1"]);
    host.stop();

    let own = fs::read_to_string("/proc/self/limits").unwrap();
    for flags in [&["--core-dumps"][..], &["run", "--core-dumps"]] {
        let builder = flags.iter().fold(Daemon::builder(), |builder, flag| builder.flag(flag));
        let host = builder.start();
        assert_eq!(core_limits(&limits_of(&host)), core_limits(&own));
        host.stop();
    }
}

/// `MemoryDenyWriteExecute=` of the service file, as newer systemd asks Linux for it (`PR_SET_MDWE`, prctl(2)).
const NO_NEW_CODE: &str = "import ctypes, os, sys
if ctypes.CDLL(None).prctl(65, 1, 0, 0, 0) != 0: sys.exit(99)
os.execv(sys.argv[1], sys.argv[1:])";

#[test]
fn plugins_run_and_reload_where_no_memory_becomes_code() {
    let python = ["/usr/bin/python3", "-c", NO_NEW_CODE];
    let tried = run_to_end(Command::new(python[0]).args(&python[1..]).arg("/bin/true"));
    if tried.code != Some(0) {
        eprintln!(
            "skipped: this kernel has no PR_SET_MDWE (Linux 6.3), or there is no Python: {}",
            tried.stderr
        );
        return;
    }
    let builder = Daemon::builder().plugin("demo").plugin("reports").plugin("misbehave");
    let host = builder.wrapper(&python).start();
    let arguments = json!({"id": 7, "user": {"id": 7, "name": "Ada"}});
    assert_eq!(host.call("demo.some.example_func", &arguments).json(), json!("7: Ada"));
    assert_eq!(host.call("misbehave.functions.panics", &json!({"message": "caught"})).status, 500);
    // One after the other of the same name on the same path of code; the old library is unmapped.
    for plugin in ["demo", "misbehave"] {
        let status = format!("/proc/{}/root{}", host.pid(), host.folder().join("state/admin.sock").display());
        assert!(Path::new(&status).exists());
        let answer = host.reload(plugin);
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    assert_eq!(host.call("demo.some.example_func", &arguments).json(), json!("7: Ada"));
    host.stop();
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests are a folder of the project").to_owned()
}

fn unit() -> String {
    fs::read_to_string(root().join("config/framex-host.service")).unwrap()
}

#[test]
fn the_service_file_gives_the_drain_its_time() {
    let unit = unit();
    let of = |key: &str| {
        unit.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).unwrap().to_owned()
    };
    let stop: u64 = of("TimeoutStopSec").parse().unwrap();
    let config = fs::read_to_string(root().join("config/config.toml")).unwrap();
    let config: toml::Table = config.parse().unwrap();
    let [delay, drain] =
        ["shutdown_delay_ms", "drain_timeout_ms"].map(|key| config["server"][key].as_integer().unwrap());
    assert!(
        i64::try_from(stop * 1000).unwrap() > delay + drain + 5000,
        "plugins and connections end after the drain"
    );
    assert_eq!(
        (of("NotifyAccess"), of("LimitCORE"), of("UMask")),
        ("main".into(), "1".into(), "0077".into())
    );
}

#[test]
fn systemd_understands_the_service_file_and_finds_it_shut() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        eprintln!("skipped: systemd-analyze is missing (on Debian: systemd)");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("framex-host.service");
    fs::write(&path, unit().replace("/usr/bin/framex-host", host_binary().to_str().unwrap())).unwrap();
    let verified = run_to_end(Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&path));
    assert_eq!((verified.code, verified.stderr.as_str(), verified.stdout.as_str()), (Some(0), "", ""));
    let mut analyze = Command::new("systemd-analyze");
    let exposed = run_to_end(analyze.args(["security", "--offline=true", EXPOSURE_MAX]).arg(&path));
    assert_eq!(exposed.code, Some(0), "{}{}", exposed.stdout, exposed.stderr);
}
