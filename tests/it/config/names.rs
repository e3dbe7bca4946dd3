//! Names in the config that name nothing: warned of by `check`, the start and a reload, with the nearest that there is.

use framex_tests::Daemon;

use super::json_of;

const SLIPS: &str = "[plugins.dmo]\n\
                     [limits.functions.\"demo.some.exampel_func\"]\nin_flight_max = 1\n\
                     [auth.callers.web]\nkeys = [\"0123456789abcdef\"]\nfunctions = [\"demmo.*\"]\n\
                     [plugins.proxy]\nwhite_list = [\"/api/v1/proxy/remot\"]\n";
const WARNINGS: [&str; 4] = [
    "`plugins.dmo` names no plugin of this host; the nearest is `demo`",
    "`limits.functions.\"demo.some.exampel_func\"` names no function of this host; the nearest is \
     `demo.some.example_func`",
    "`demmo.*` in `auth.callers.web.functions` names no function of this host; the nearest is `demo.*`",
    "`/api/v1/proxy/remot` in `plugins.proxy.white_list` is a path that no host has; the nearest is \
     `/api/v1/proxy/remote`",
];

#[test]
fn check_and_the_start_warn_of_them() {
    let builder = Daemon::builder().config(SLIPS).plugin("demo");
    let checked = builder.run(&["check"]);
    assert_eq!(checked.code, Some(0), "{}", checked.stderr);
    for warning in WARNINGS {
        assert!(
            checked.stderr.contains(&format!("warning: {warning}\n")),
            "{} lacks {warning}",
            checked.stderr
        );
    }
    let said = json_of(&builder.run(&["check", "--output", "json"]))["warnings"].clone();
    for warning in WARNINGS {
        assert!(said.as_array().unwrap().iter().any(|said| said == warning), "{said} lacks {warning}");
    }
    let host = builder.start();
    for warning in WARNINGS {
        assert_eq!(host.logged(warning)["level"], "WARN");
    }
    host.stop();
}

#[test]
fn a_reload_warns_of_them() {
    let host = Daemon::builder().plugin("demo").start();
    assert!(!host.log().contains(" of this host"), "{}", host.log());
    host.put_config(SLIPS);
    let exit = host.run(&["reload"]);
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    for warning in WARNINGS {
        assert!(exit.stdout.contains(&format!("warning: {warning}\n")), "{} lacks {warning}", exit.stdout);
    }
    host.stop();
}

#[test]
fn names_of_peers_and_broken_plugins_are_not_warned_of() {
    let config = "[plugins.proxy]\nproxy_urls = [\"http://127.0.0.1:9\"]\n\
                  proxy_functions = { \"http://127.0.0.1:9\" = [\"far.away\"] }\n\
                  [limits.functions.\"other.f\"]\nin_flight_max = 1\n\
                  [auth.callers.web]\nkeys = [\"0123456789abcdef\"]\nfunctions = [\"far.*\", \"other.*\", \"demo.*\"]\n";
    let checked = Daemon::builder().config(config).plugin("demo").run(&["check"]);
    assert_eq!(checked.code, Some(0), "{}", checked.stderr);
    assert!(!checked.stderr.contains(" of this host"), "{}", checked.stderr);

    // The table that it lacks is the likely reason why it fails: the slip is named beside it.
    let config = "[plugins.misbehaev]\n[plugins.misbehave]\nstart = \"fail\"\n\
                  [limits.functions.\"misbehave.functions.echo\"]\nin_flight_max = 1\n";
    let checked = Daemon::builder().config(config).plugin("misbehave").run(&["check"]);
    assert_eq!(checked.code, Some(1), "{}", checked.stderr);
    let warnings: Vec<&str> = checked.stderr.lines().filter(|line| line.contains(" of this host")).collect();
    assert_eq!(
        warnings,
        ["warning: `plugins.misbehaev` names no plugin of this host; the nearest is `misbehave`"]
    );
}

#[test]
fn a_required_plugin_that_is_not_there_is_named_with_the_nearest() {
    let checked = Daemon::builder().config("load_plugins = [\"dmo\"]").plugin("demo").run(&["check"]);
    assert_eq!(checked.code, Some(1), "{}", checked.stderr);
    assert!(
        checked.stderr.contains("`dmo` is required by load_plugins, but no file in "),
        "{}",
        checked.stderr
    );
    assert!(checked.stderr.ends_with("holds it; the nearest is `demo`\n"), "{}", checked.stderr);
}
