//! Handlers of signals.

use std::process::Command;

use framex_tests::{Daemon, until};
use serde_json::json;

use super::{check_works, host, host_with, reload, unload, warnings, zombies};

const KEPT: &str = "its handler of SIGUSR1 could still be called";

#[test]
fn a_library_whose_handler_may_be_called_stays_mapped() {
    let host = host(&["sigusr1"]).start();
    reload(&host, "native", 2);
    assert_eq!(zombies(&host, "native"), [KEPT, KEPT]);
    host.signal("USR1");
    until("the handler was called", || host.call("native.was_handled", &json!({})).json() == "yes");
    unload(&host, "native");
    host.signal("USR1");
    assert_eq!(host.get("/health").status, 200, "{}", host.log());
    assert_eq!(zombies(&host, "native"), [KEPT, KEPT, KEPT]);
    assert_eq!(warnings(&host, "native"), json!([]));
    host.stop();
}

#[test]
fn a_handler_that_was_installed_in_a_call_counts_as_well() {
    let host = host(&[]).start();
    assert_eq!(host.call("native.takes_over", &json!({})).json(), "done");
    unload(&host, "native");
    assert_eq!(zombies(&host, "native"), [KEPT]);
    host.signal("USR1");
    assert_eq!(host.get("/health").status, 200, "{}", host.log());
    host.stop();
}

#[test]
fn a_handler_that_was_taken_back_is_gone() {
    let host = host(&["sigusr1", "takes_it_back"]).start();
    reload(&host, "native", 3);
    assert_eq!(zombies(&host, "native"), [""; 0]);
    unload(&host, "native");
    assert_eq!(host.mapped_copies().len(), 0);
    host.signal("USR1");
    assert_eq!(host.get("/health").status, 200, "a late signal does no harm: {}", host.log());
    host.stop();
}

#[test]
fn a_handler_that_another_may_call_stays_until_that_one_is_gone() {
    // The crate keeps the handler that it finds, and calls it.
    let host = host(&["sigusr1"]).plugin("hooks").config("plugins.hooks.does = []").start();
    host.put_config(&format!(
        "{}\nplugins.hooks.does = [\"signal_hook\"]\n",
        std::fs::read_to_string(host.folder().join("config.toml"))
            .unwrap()
            .replace("plugins.hooks.does = []", "")
    ));
    assert_eq!(host.reload_host().status, 200, "{}", host.log());
    unload(&host, "native");
    assert_eq!(zombies(&host, "native"), [KEPT]);
    host.signal("USR1");
    assert_eq!(host.call("hooks.functions.works", &json!({})).json(), "works", "{}", host.log());
    host.stop();
}

#[test]
fn the_crate_signal_hook_keeps_its_library_and_not_the_hosts_signals() {
    let host = Daemon::builder().plugin("hooks").config("plugins.hooks.does = [\"signal_hook\"]").start();
    let said = "plugin `hooks` changed the handling of SIGTERM of the host's process: that was put back";
    assert_eq!(warnings(&host, "hooks"), json!([said]));
    reload(&host, "hooks", 2);
    assert_eq!(zombies(&host, "hooks"), [KEPT, KEPT]);
    unload(&host, "hooks");
    for _ in 0..3 {
        host.signal("USR1");
        assert_eq!(host.get("/health").status, 200, "{}", host.log());
    }
    host.stop();
}

#[test]
fn the_crate_ctrlc_does_not_keep_the_host_from_stopping() {
    let builder = Daemon::builder().plugin("hooks").config("plugins.hooks.does = [\"ctrlc\"]");
    let checked = builder.run(&["check"]);
    assert_eq!(checked.code, Some(0), "{}", checked.stderr);
    let said = "plugin `hooks` changed the handling of SIGHUP, the handling of SIGINT, the handling of SIGTERM of the host's process: that was put back";
    assert!(checked.stderr.contains(&format!("warning: {said}")), "{}", checked.stderr);
    let host = builder.start();
    assert_eq!(host.logged(said)["plugin"], "hooks");
    reload(&host, "hooks", 1);
    host.signal("HUP");
    host.wait_for_log("\"signal\":\"SIGHUP\"");
    // With 0, after the drain.
    host.stop();
}

#[test]
fn the_hosts_signals_stay_its_own_whenever_they_are_taken() {
    let cases: [(&[&str], &[&str], &str); 5] = [
        (&["sigterm"], &[], "the handling of SIGTERM"),
        (&["sigint_by_system_call"], &[], "the handling of SIGINT"),
        (&["sigpipe"], &[], "the handling of SIGPIPE"),
        (&["sigchld"], &[], "the handling of SIGCHLD"),
        (&[], &["-DWHILE_MAPPED"], "the handling of SIGPIPE, the handling of SIGTERM, the umask"),
    ];
    for (does, flags, changed) in cases {
        let host = host_with(does, flags).start();
        let said = format!("plugin `native` changed {changed} of the host's process: that was put back");
        assert_eq!(warnings(&host, "native"), json!([said]), "{}", host.log());
        check_works(&host);
        for ends in ["TERM", "INT"] {
            let again = host_with(does, flags).start();
            again.signal("PIPE");
            again.signal(ends);
            let mut again = again;
            assert_eq!(again.wait(), Some(0), "{does:?} {ends}: {}", again.log());
        }
        host.stop();
    }
    let host = host(&["sigpipe_as_it_is"]).start();
    assert_eq!(warnings(&host, "native"), json!([]), "nothing has changed");
    assert_eq!(host.call("native.takes_over", &json!({})).json(), "done", "in a call as well");
    host.signal("HUP");
    host.wait_for_log("\"signal\":\"SIGHUP\"");
    host.stop();
}

#[test]
fn a_timer_whose_signal_has_no_handler_does_not_end_the_host() {
    let host = host(&["alarm"]).start();
    let caught = || {
        let status = std::fs::read_to_string(super::proc_file(&host, "status")).unwrap();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap().trim().to_owned();
        u64::from_str_radix(&caught, 16).unwrap() & 1 << 13 != 0
    };
    assert!(caught(), "SIGALRM does nothing");
    let begun = std::time::Instant::now();
    until("the alarm has come", || {
        assert_eq!(host.get("/health").status, 200, "{}", host.log());
        begun.elapsed().as_millis() > 1500
    });
    host.stop();
}

#[test]
fn workers_without_signals_and_with_a_stack_of_a_plugin_are_no_harm() {
    let host = host(&[]).start();
    let everywhere = |function: &str| {
        // More than there are workers.
        (0..64).map(|_| host.call(function, &json!({})).json().to_string()).collect::<Vec<_>>()
    };
    everywhere("native.changes_thread");
    assert!(everywhere("native.has_that_stack").contains(&"\"yes\"".to_owned()));
    reload(&host, "native", 1);
    let stacks = everywhere("native.has_that_stack");
    assert!(stacks.iter().all(|has| has == "\"no\""), "each has its own again: {stacks:?}");
    assert_eq!(zombies(&host, "native"), [""; 0]);
    // Any one of its threads takes it.
    for tid in std::fs::read_dir(super::proc_file(&host, "task")).unwrap() {
        let sent = Command::new("kill").arg("-USR1").arg(tid.unwrap().file_name()).status();
        // Threads of the blocking pool end by themselves.
        let _may_be_gone = sent.unwrap();
    }
    check_works(&host);
    host.stop();
}
