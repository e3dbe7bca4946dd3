//! Callers, their keys and their functions change while the host runs, and no call fails of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;

use framex_tests::{Client, Daemon, frames};

use super::{DEMO, FUNCTIONS, ada, call};

/// The keys, one after the other.
const KEYS: [&str; 2] = [frames::SECRET, frames::OTHER_SECRET];
/// A caller that nothing happens to.
const OTHER: &str = "other-key-of-16-bytes";

fn config(host: &str, keys: &[&str], functions: &str) -> String {
    format!(
        "{host}\n[auth.callers]\nweb = {{ keys = {keys:?}, functions = {functions} }}\n\
         other = {{ keys = [{OTHER:?}], functions = [\"*\"] }}\n"
    )
}

#[track_caller]
fn reload(host: &Daemon, toml: &str) {
    host.put_config(toml);
    let answer = host.reload_host();
    assert_eq!(answer.status, 200, "{}", answer.json());
}

/// Clients that call with the key that is the right one at the time.
struct Clients {
    key: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    /// The number of calls that each client has made.
    done: Vec<Arc<AtomicU64>>,
    threads: Vec<JoinHandle<Vec<String>>>,
}

impl Clients {
    fn start(host: &Daemon) -> Self {
        let (key, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let mut clients = Self { key, stop, done: Vec::new(), threads: Vec::new() };
        clients.add({
            let url = host.url();
            move |key| sealed(&url, KEYS[key])
        });
        for _ in 0..2 {
            let (client, url) = (Client::default(), format!("{}{FUNCTIONS}/{DEMO}", host.url()));
            clients.add(move |key| plain(&client, &url, KEYS[key]));
        }
        let (client, url) = (Client::default(), format!("{}{FUNCTIONS}/{DEMO}", host.url()));
        clients.add(move |_| plain(&client, &url, OTHER));
        clients
    }

    fn add(&mut self, ask: impl Fn(usize) -> Result<(), String> + Send + 'static) {
        let done = Arc::new(AtomicU64::new(0));
        self.done.push(Arc::clone(&done));
        let (key, stop) = (Arc::clone(&self.key), Arc::clone(&self.stop));
        self.threads.push(std::thread::spawn(move || {
            let mut failed = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                failed.extend(ask(key.load(Ordering::SeqCst)).err());
                done.fetch_add(1, Ordering::SeqCst);
            }
            failed
        }));
    }

    /// Waits until each has begun and done some more calls.
    fn pass(&self) {
        let begun: Vec<u64> = self.done.iter().map(|done| done.load(Ordering::SeqCst)).collect();
        while self.done.iter().zip(&begun).any(|(done, begun)| done.load(Ordering::SeqCst) < begun + 3) {
            assert!(!self.threads.iter().any(JoinHandle::is_finished), "a client broke off");
            std::thread::yield_now();
        }
    }

    /// From here on, all use that key.
    fn switch(&self, key: usize) {
        self.key.store(key, Ordering::SeqCst);
        self.pass();
    }

    fn stop(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    }
}

fn plain(client: &Client, url: &str, key: &str) -> Result<(), String> {
    let headers = [("content-type", "application/json"), ("authorization", key)];
    let answer = client.send("POST", url, &headers, ada().to_string().as_bytes());
    if answer.status == 200 { Ok(()) } else { Err(format!("{}: {}", answer.status, answer.json())) }
}

fn sealed(url: &str, secret: &str) -> Result<(), String> {
    let key = frames::key_of(secret);
    let (id, frame) = frames::seal(&key, &frames::envelope(DEMO, &ada()));
    let answer = frames::post_frame(url, &frame);
    if answer.status != 200 {
        return Err(format!("sealed, {}: {}", answer.status, answer.json()));
    }
    frames::open(&key, id, &answer).outcome.map(|_| ()).map_err(|failure| failure.to_string())
}

#[test]
fn keys_rotate_under_load_without_a_failed_call() {
    let plain_config = "host_id = \"b\"";
    let demo = "[\"demo.*\"]";
    let host = Daemon::builder().config(&config(plain_config, &KEYS[..1], demo)).plugin("demo").start();
    let clients = Clients::start(&host);
    clients.pass();
    for round in 0..6 {
        let (old, new) = (round % 2, (round + 1) % 2);
        reload(&host, &config(plain_config, &[KEYS[old], KEYS[new]], demo));
        clients.pass();
        clients.switch(new);
        reload(&host, &config(plain_config, &[KEYS[new], KEYS[old]], demo));
        clients.pass();
        reload(&host, &config(plain_config, &[KEYS[new]], demo));
        clients.pass();
        // What was taken out opens nothing any more.
        assert_eq!(call(&host, DEMO, Some(KEYS[old]), &ada()).status, 401);
        assert!(sealed(&host.url(), KEYS[old]).unwrap_err().starts_with("sealed, 401"));
    }
    assert_eq!(clients.stop(), [""; 0]);
    host.stop();
}

#[test]
fn functions_and_callers_come_and_go() {
    let plain_config = "host_id = \"b\"";
    let host = Daemon::builder().config(plain_config).plugin("demo").start();
    let status = |key: Option<&str>| call(&host, DEMO, key, &ada()).status;
    assert_eq!((status(None), status(Some(KEYS[0]))), (200, 200), "without callers the door is open");
    reload(&host, &config(plain_config, &KEYS[..1], "[\"demo.*\"]"));
    assert_eq!((status(None), status(Some(KEYS[0])), status(Some(OTHER))), (401, 200, 200));
    assert_eq!(sealed(&host.url(), KEYS[0]), Ok(()));
    reload(&host, &config(plain_config, &KEYS[..1], "[]"));
    assert_eq!((status(None), status(Some(KEYS[0])), status(Some(OTHER))), (401, 403, 200));
    let refused = "permission_denied: caller `web` may not call function `demo.some.example_func`";
    assert_eq!(sealed(&host.url(), KEYS[0]), Err(refused.to_owned()));
    // What is wrong leaves everything as it was; an empty table would open what it closed.
    for wrong in ["[auth]\ncallers = {}", "[auth]", &config("", &[OTHER], "[\"*\"]")] {
        host.put_config(wrong);
        let answer = host.reload_host();
        assert_eq!((answer.status, answer.json()["step"].as_str()), (422, Some("config")), "{wrong}");
        assert_eq!((status(None), status(Some(KEYS[0])), status(Some(OTHER))), (401, 403, 200));
    }
    reload(&host, plain_config);
    assert_eq!((status(None), status(Some(KEYS[0]))), (200, 200));
    assert!(sealed(&host.url(), KEYS[0]).unwrap_err().starts_with("sealed, 401"));
    host.stop();
}

#[test]
fn a_key_in_a_file_changes_with_the_file() {
    let host = Daemon::builder().plugin("demo");
    let file = host.folder().join("web.key");
    std::fs::write(&file, "first-key-of-16-bytes\n").unwrap();
    let host = host
        .config("auth.callers.web = { keys = [\"file:web.key\"], functions = [\"demo.*\"] }")
        .config("reload.watch = true")
        .start();
    let status = |key: &str| call(&host, DEMO, Some(key), &ada()).status;
    assert_eq!((status("first-key-of-16-bytes"), status("second-key-of-16-bytes")), (200, 401));
    host.wait_for_log("\"message\":\"watching\"");
    std::fs::write(&file, "second-key-of-16-bytes\n").unwrap();
    // The file is watched as the config is.
    host.wait_for_log("\"message\":\"reloaded\"");
    assert_eq!((status("first-key-of-16-bytes"), status("second-key-of-16-bytes")), (401, 200));
    host.stop();
}
