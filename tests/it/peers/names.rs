//! Peers that are known by a name, which leads nowhere, to several addresses, or to another one than before.

use std::fs;
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use framex_tests::{Daemon, DaemonBuilder, FreeAddress, Mounts};

use super::{FUNCTION, call, check_failed, host, runs};

/// A name that is in the daemon's own `/etc/hosts`, or nowhere.
const NAME: &str = "host-b.test";

/// Host A, which calls [`NAME`] at this port, and looks names up in the file `hosts` of its folder alone.
fn host_a(mounts: &Mounts, port: &str, hosts: &str) -> Daemon {
    let a: DaemonBuilder = host("a", &[&format!("http://{NAME}:{port}")], FUNCTION);
    fs::write(a.folder().join("hosts"), hosts).unwrap();
    fs::write(a.folder().join("nsswitch.conf"), "hosts: files\n").unwrap();
    let script = "mount --bind hosts /etc/hosts && \
                  { [ ! -e /etc/nsswitch.conf ] || mount --bind nsswitch.conf /etc/nsswitch.conf; }";
    a.mount(mounts, script).start()
}

/// Writes into the mounted file: a replacement would not be seen.
fn put_hosts(a: &Daemon, hosts: &str) {
    fs::write(a.folder().join("hosts"), hosts).unwrap();
}

fn port(host: &Daemon) -> &str {
    host.address().rsplit_once(':').unwrap().1
}

fn ip(at: FreeAddress) -> String {
    at.url().replace("http://", "").split(':').next().unwrap().to_owned()
}

#[track_caller]
fn check_served_by(a: &Daemon, id: &str) {
    let served = call(a);
    assert_eq!((served.status, served.header("x-framex-served-by")), (200, Some(id)), "{}", a.log());
}

/// Calls until another host serves; calls that fail meanwhile did not run.
#[track_caller]
fn check_comes_to_serve(a: &Daemon, id: &str) {
    let patience = Instant::now() + Duration::from_secs(10);
    loop {
        let answer = call(a);
        if answer.status == 200 {
            assert_eq!(answer.header("x-framex-served-by"), Some(id));
            return;
        }
        check_failed(&answer, 503, "unavailable", Some(false));
        assert!(Instant::now() < patience, "{}", a.log());
    }
}

#[test]
fn a_name_that_leads_nowhere_proves_that_nothing_ran_and_is_looked_up_again() {
    let Some(mounts) = Mounts::or_skip() else { return };
    let b = host("b", &[], FUNCTION).start();
    let a = host_a(&mounts, port(&b), "");
    check_failed(&call(&a), 503, "unavailable", Some(false));
    a.wait_for_log("failed to lookup address information");
    put_hosts(&a, &format!("127.0.0.1 {NAME}\n"));
    check_comes_to_serve(&a, "b");
    assert_eq!((runs(&a), runs(&b)), (0, 1));
    a.stop();
}

#[test]
fn a_dead_address_before_a_good_one_does_not_fail_a_call() {
    let Some(mounts) = Mounts::or_skip() else { return };
    let b = host("b", &[], FUNCTION).start();
    let hosts = format!("::1 {NAME}\n127.0.0.1 {NAME}\n");
    // Nothing listens there: refused, or no such address if there is no IPv6.
    let a = host_a(&mounts, port(&b), &hosts);
    check_served_by(&a, "b");
    a.stop();

    // A listener that accepts no more connections: what is sent there is lost, as on a broken path.
    let at = SocketAddr::from((Ipv6Addr::LOCALHOST, port(&b).parse().unwrap()));
    let Ok(full) = TcpListener::bind(at) else { return };
    let brief = Duration::from_millis(200);
    let waiting: Vec<TcpStream> =
        (0..10_000).map_while(|_| TcpStream::connect_timeout(&at, brief).ok()).collect();
    assert!(waiting.len() < 10_000, "it takes them all");
    let a = host_a(&mounts, port(&b), &hosts);
    for _ in 0..3 {
        let began = Instant::now();
        check_served_by(&a, "b");
        assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    }
    drop((waiting, full));
    assert_eq!(runs(&b), 4);
    a.stop();
}

#[test]
fn a_name_whose_address_has_changed_is_followed_once_the_old_host_is_gone() {
    let Some(mounts) = Mounts::or_skip() else { return };
    let (old_at, new_at) = (FreeAddress::find(), FreeAddress::find());
    let old = host("old", &[], FUNCTION).listen(old_at).start();
    let port = old_at.port().to_string();
    let a = host_a(&mounts, &port, &format!("{} {NAME}\n", ip(old_at)));
    check_served_by(&a, "old");
    let new =
        host("new", &[], FUNCTION).config(&new_at.host()).variable("FRAMEX_SERVER__PORT", &port).start();
    put_hosts(&a, &format!("{} {NAME}\n", ip(new_at)));
    // The connection that there is goes on.
    check_served_by(&a, "old");
    old.stop();
    check_comes_to_serve(&a, "new");
    check_served_by(&a, "new");
    assert_eq!((runs(&a), runs(&new)), (0, 2));

    // The same without a word: the host is killed, and its connection with it.
    let old = host("old", &[], FUNCTION).listen(old_at).start();
    put_hosts(&a, &format!("{} {NAME}\n", ip(old_at)));
    drop(new);
    check_comes_to_serve(&a, "old");
    old.stop();
    a.stop();
}
