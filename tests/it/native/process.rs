//! State that the whole process shares: the umask, the working directory, the locale, limits, the standard streams.

use std::fs;

use framex_tests::Daemon;
use serde_json::{Value, json};

use super::{check_works, host, proc_file, reload, warnings};

/// The state of a process that libraries can change, as the system reports it.
fn standing(host: &Daemon) -> Vec<String> {
    let read = |name| fs::read_to_string(proc_file(host, name)).unwrap();
    let link = |name| fs::read_link(proc_file(host, name)).unwrap().display().to_string();
    let (status, limits) = (read("status"), read("limits"));
    let line = |text: &str, begin| text.lines().find(|line| line.starts_with(begin)).unwrap().to_owned();
    vec![
        line(&status, "Umask:"),
        line(&limits, "Max open files"),
        link("cwd"),
        link("fd/0"),
        link("fd/1"),
        link("fd/2"),
    ]
}

#[test]
fn what_a_plugin_changes_is_put_back_and_the_plugin_is_named() {
    let quiet = host(&[]).start();
    let cases = [
        ("umask", "the umask"),
        ("directory", "the working directory"),
        ("locale", "the locale"),
        ("limit", "the limit of open files"),
        ("streams", "standard output, standard error"),
    ];
    for (does, changed) in cases {
        let host = host(&[does]).start();
        let said = format!("plugin `native` changed {changed} of the host's process: that was put back");
        assert_eq!(warnings(&host, "native"), json!([said]), "{}", host.log());
        assert_eq!(host.logged(&said)["plugin"], "native", "also where standard error was closed");
        let (now, of_quiet) = (standing(&host), standing(&quiet));
        // Each has a pipe of its own for its log.
        assert_eq!(now[..5], of_quiet[..5]);
        assert!(now[5].starts_with("pipe:"), "{now:?}");
        let descriptors = host.descriptors().len();
        reload(&host, "native", 3);
        assert_eq!(warnings(&host, "native"), json!([said]), "each build is told of once");
        assert_eq!(standing(&host), now);
        assert!(
            host.descriptors().len() <= descriptors + usize::from(does == "streams") * 3,
            "{:?}",
            host.descriptors()
        );
        check_works(&host);
        host.stop();
    }
    quiet.stop();
}

/// No process without rights can raise a hard limit again: what is left goes on, and only its plugin is named.
#[test]
fn a_hard_limit_that_stays_low_is_told_of_once() {
    let builder = host(&["hard_limit"]).plugin("demo");
    let without_the_right = ["setpriv", "--bounding-set=-sys_resource"];
    let is_root = rustix::process::geteuid().is_root();
    let host = if is_root { builder.wrapper(&without_the_right) } else { builder }.start();
    let limit = "the limit of open files (Operation not permitted (os error 1))";
    let text = format!(
        "plugin `native` changed {limit} of the host's process: that cannot be put back until the host is restarted"
    );
    assert_eq!(warnings(&host, "native"), json!([text]), "{}", host.log());
    let limits = fs::read_to_string(proc_file(&host, "limits")).unwrap();
    let files: Vec<&str> =
        limits.lines().find(|line| line.starts_with("Max open files")).unwrap().split_whitespace().collect();
    assert_eq!(files[3..5], ["300", "300"], "as high as it can be");
    reload(&host, "demo", 2);
    assert_eq!(warnings(&host, "demo"), json!([]), "{}", host.log());
    check_works(&host);
    host.stop();
}

#[test]
fn check_says_what_a_plugin_changes() {
    let checked = host(&["umask", "sigterm", "streams"]).run(&["check", "--output", "json"]);
    assert_eq!(checked.code, Some(0), "{}", checked.stderr);
    let said = "plugin `native` changed the handling of SIGTERM, the umask, standard output, standard error of the host's process: that was put back";
    let shown: Value =
        serde_json::from_str(&checked.stdout).unwrap_or_else(|error| panic!("{error}: {checked:?}"));
    assert!(shown["warnings"].as_array().unwrap().contains(&json!(said)), "{shown}");
    assert!(checked.stderr.contains(&format!("warning: {said}")), "{}", checked.stderr);
}
