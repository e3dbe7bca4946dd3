//! Requests that cannot be met, and one that comes from inside.

use framex_tests::Build;
use serde_json::json;

use super::{check_done, check_mapped, check_refused, check_serves, host};

#[test]
fn only_files_of_the_plugin_directory_can_be_loaded() {
    let host = host().start();
    let outside = host.folder().join("libdemo.so");
    std::fs::copy(framex_tests::plugin_file("demo"), &outside).unwrap();
    for file in
        ["../libdemo.so", "", ".", "..", "plugins/libdemo.so", "/etc/passwd", &outside.to_string_lossy()]
    {
        let answer = host.admin_post("plugins", &json!({ "file": file }));
        let (_, detail) = check_refused(&answer, 400, "invalid_argument");
        assert!(detail.ends_with("is not the name of a file in the plugin directory"), "{detail}");
    }
    for file in ["libdemo.so.old", "demo", ".libdemo.so", "libdemo.so.minisig"] {
        std::fs::copy(&outside, host.plugins().join(file)).unwrap();
        let answer = host.admin_post("plugins", &json!({ "file": file }));
        let (_, detail) = check_refused(&answer, 400, "invalid_argument");
        let why = "the name of a plugin file ends in .so and begins with no dot";
        assert_eq!(detail, format!("`{file}` is not loaded: {why}"));
    }
    for file in ["libnone.so", "lib\0.so"] {
        let answer = host.admin_post("plugins", &json!({ "file": file }));
        assert_eq!(check_refused(&answer, 422, "reload_failed").0, "stage");
    }
    check_mapped(&host, 1);
    std::fs::rename(outside, host.plugins().join("libdemo.so")).unwrap();
    let done = check_done(&host.admin_post("plugins", &json!({ "file": "libdemo.so" })));
    assert_eq!((&done["plugin"], &done["generation"]), (&json!("demo"), &json!(1)));
    check_mapped(&host, 2);
}

#[test]
fn what_is_asked_must_be_well_formed_and_of_a_known_plugin() {
    let host = host().start();
    let check = |path: &str, body: serde_json::Value, status: u16, code: &str| {
        check_refused(&host.admin_post(path, &body), status, code)
    };
    let (_, detail) = check("plugins/chanign/reload", json!({}), 404, "not_found");
    assert!(detail.contains("the nearest is `changing`"), "{detail}");
    check("plugins/none/unload", json!({}), 404, "not_found");
    check("plugins/none/rollback", json!({}), 404, "not_found");
    check("plugins/changing/rollback", json!({}), 400, "invalid_argument");
    check("plugins/changing/reload", json!({ "allow_braking": true }), 400, "invalid_argument");
    check("plugins/changing/reload", json!("now"), 400, "invalid_argument");
    check("plugins", json!({}), 400, "invalid_argument");
    assert_eq!(host.admin_post("plugins/changing", &json!({})).status, 405);
    assert_eq!(host.admin_get("plugins/changing/reload").status, 405);
    assert_eq!(host.admin_get("nothing").status, 404);
    assert_eq!(host.plugin_status("changing")["generation"], 1);
    check_serves(&host, Build::new(1));
}

#[test]
fn a_reload_from_inside_a_plugin_is_refused_at_once() {
    let host = host().plugin("misbehave").start();
    let request = "POST /admin/v1/plugins/misbehave/reload HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
                   content-length: 0\r\n\r\n";
    let arguments = json!({ "socket": host.admin_socket(), "request": request });
    let answer = host.call("misbehave.functions.asks_socket", &arguments);
    assert_eq!((answer.status, answer.json()), (200, json!("HTTP/1.1 403 Forbidden")));
    assert_eq!(host.plugin_status("misbehave")["generation"], 1);
    assert_eq!(host.reload("misbehave").json()["generation"], 2, "from outside it is done");
}
