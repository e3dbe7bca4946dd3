//! A plugin in C against the generated header, which must match the ABI's source.

use std::fs;
use std::path::{Path, PathBuf};

use framex_tests::{Daemon, broken, host_command, run_to_end};
use serde_json::json;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests are a folder of the project").to_owned()
}

/// The header as cbindgen makes it of the sources.
fn header() -> String {
    let abi = root().join("plugin-sdk/abi");
    let config = cbindgen::Config::from_file(abi.join("cbindgen.toml")).unwrap();
    let sources = ["descriptor.rs", "future.rs", "host.rs", "memory.rs"];
    let builder = sources
        .into_iter()
        .fold(cbindgen::Builder::new(), |builder, source| builder.with_src(abi.join("src").join(source)));
    let mut text = Vec::new();
    builder.with_config(config).generate().unwrap().write(&mut text);
    String::from_utf8(text).unwrap()
}

#[test]
fn abi_header_is_current() {
    let path = root().join("plugin-sdk/abi/include/framex.h");
    let header = header();
    if std::env::var_os("WRITE_ABI_HEADER").is_some() {
        fs::write(&path, &header).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap();
    assert!(
        found == header,
        "{} is not of these sources: run `WRITE_ABI_HEADER=1 cargo test -p framex-tests abi_header_is_current`",
        path.display()
    );
}

#[test]
fn a_plugin_in_c_is_a_plugin() {
    let host = Daemon::builder().plugin_bytes("libtiny.so", &broken::c_plugin()).plugin("demo").start();
    assert_eq!(host.get("/ready").json()["plugins"], json!(["demo", "tiny"]));
    let arguments = json!({"id": 7, "user": {"id": 7, "name": "Ada"}});
    let echo = host.call("tiny.echo", &arguments);
    assert_eq!((echo.status, echo.json()), (200, arguments.clone()));
    let logged = host.logged("echo in C");
    assert_eq!((&logged["plugin"], &logged["fields"]), (&json!("tiny"), &json!("language=\"C\"")));
    assert_eq!(logged["request_id"].as_str(), echo.header("x-framex-request-id"));
    assert_eq!(host.call("tiny.later", &json!({})).json(), json!("later"));
    let failed = host.call("tiny.fails", &json!({}));
    assert_eq!(failed.problem(), (422, "failed".to_owned(), "no C!".to_owned()));
    assert_eq!(failed.json()["app_code"], "c_code");
    assert_eq!(host.call("tiny.calls", &arguments).json(), json!("7: Ada"));
    assert_eq!(host.call("tiny.calls", &json!({})).problem().1, "invalid_argument");
    let catalogue = host.get("/api/v1/functions").json();
    let function =
        catalogue["functions"].as_array().unwrap().iter().find(|one| one["name"] == "tiny.echo").unwrap();
    assert_eq!((&function["description"], &function["arguments"]), (&json!("Written in C."), &json!({})));
    let mut host = host;
    host.signal("TERM");
    assert_eq!(host.wait(), Some(0), "{}", host.log());
    assert_eq!(host.logged("C stops")["plugin"], "tiny");
}

#[test]
fn a_plugin_of_an_older_minor_abi_works() {
    let host = Daemon::builder()
        .plugin_bytes("libtiny.so", &broken::c_plugin_of_abi_1_0())
        .plugin_bytes(
            "libdemo.so",
            &broken::with_descriptor("demo", broken::DESCRIPTOR_ABI_MINOR, &0_u16.to_ne_bytes()),
        )
        .start();
    assert_eq!(host.get("/ready").json()["plugins"], json!(["demo", "tiny"]));
    let arguments = json!({"id": 7, "user": {"id": 7, "name": "Ada"}});
    assert_eq!(host.call("tiny.echo", &arguments).json(), arguments);
    assert_eq!(host.call("tiny.calls", &arguments).json(), json!("7: Ada"));
    let functions = host.admin_get("functions").json();
    for function in functions["functions"].as_array().unwrap() {
        assert_eq!(function["limit"], json!(null), "what is zero limits nothing: {function}");
    }
    let inspected = run_to_end(host_command().arg("inspect").arg(host.folder().join("plugins/libtiny.so")));
    assert!(inspected.stdout.contains("1.0"), "{}", inspected.stdout);
    host.stop();
}

#[test]
fn a_plugin_in_c_suspends_across_hosts() {
    let b = Daemon::builder().config("host_id = \"b\"").plugin("demo").start();
    let a = Daemon::builder()
        .config(&format!("plugins.proxy.proxy_urls = [\"{}\"]", b.url()))
        .config(&format!(
            "plugins.proxy.proxy_functions = {{ \"{}\" = [\"demo.some.example_func\"] }}",
            b.url()
        ))
        .plugin_bytes("libtiny.so", &broken::c_plugin())
        .start();
    let answer = a.call("tiny.calls", &json!({"id": 7, "user": {"id": 7, "name": "Ada"}}));
    assert_eq!(answer.json(), json!("7: Ada"));
    a.stop();
    b.stop();
}

#[test]
fn a_plugin_in_c_has_no_layout_to_check() {
    let scratch = Daemon::builder().plugin_bytes("libtiny.so", &broken::c_plugin());
    let exit = run_to_end(host_command().arg("inspect").arg(scratch.plugins().join("libtiny.so")));
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    assert!(exit.stdout.contains("no, as of a plugin in C"), "{}", exit.stdout);
    assert!(exit.stdout.contains("1.2.3") && exit.stdout.contains("a C compiler"), "{}", exit.stdout);
}
