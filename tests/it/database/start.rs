//! The start of the plugin with a database to fill, one to use, or one that is not its own.

use framex_tests::{Authority, MariaDb};
use serde_json::json;

use super::{ROUTES, check_answers, host, host_of, questions, said};

#[test]
fn a_server_and_a_file_give_the_same_answers() {
    let mut server = MariaDb::new();
    server.start();
    let of_server = host_of("b", &server).start();
    of_server.wait_for_log("the database was empty and has been filled");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("flights.db");
    let of_file = host("b", &format!("database = {path:?}\ncreate = true")).start();
    for (function, arguments) in questions() {
        let (server, file) = (of_server.call(function, &arguments), of_file.call(function, &arguments));
        assert_eq!(said(&server), said(&file), "{function} {arguments}\n{}", of_server.log());
    }
    for host in [&of_server, &of_file] {
        for level in ["\"level\":\"ERROR\"", "\"level\":\"WARN\""] {
            assert!(
                !host.log().lines().any(|line| line.contains(level) && line.contains("reports")),
                "{}",
                host.log()
            );
        }
    }
    // As it is now, an account that may only read is enough.
    let reader = host("c", "database_url = \"env:DATABASE_URL\"\ncreate = true")
        .variable("DATABASE_URL", &server.url_of_reader())
        .start();
    check_answers(&reader.call(ROUTES, &json!({"limit": 1})), &reader);
    assert!(!reader.log().contains("has been filled"), "{}", reader.log());
}

#[test]
fn a_database_that_is_not_to_be_used_is_refused_by_name_and_without_the_password() {
    let mut server = MariaDb::new();
    server.start();
    let (url, place) = (server.url(), format!("{}/flights", server.address()));
    let wrong_password = url.replace("canary%2F", "canary%2Fwrong");
    let no_permission = server.url_of_reader();
    for (config, url, expected) in [
        ("", &url, format!("`{place}` is not a database of this plugin")),
        ("create = true", &wrong_password, format!("the database server of `{place}` refuses this host")),
        ("create = true", &no_permission, format!("the database `{place}` cannot be made")),
        ("create = true", &format!("{url}-other"), "refuses this host".to_owned()),
        ("create = true", &url.replace("mysql://", "postgres://"), "not a URL like mysql://".to_owned()),
        ("create = true", &url.replace("/flights", ""), "not a URL like mysql://".to_owned()),
    ] {
        let builder = host("b", &format!("database_url = \"env:DATABASE_URL\"\n{config}"))
            .config("[log]\nlevel = \"trace\"")
            .variable("DATABASE_URL", url);
        let checked = builder.run(&["check", "--output", "json"]);
        let host = builder.start();
        let reason = host.failure("reports").or_else(|| host.failure("libreports.so"));
        let reason = reason.unwrap_or_else(|| panic!("it is served:\n{}", host.log()));
        assert!(reason.contains(&expected), "{reason}");
        for text in [reason, host.log(), checked.stdout, checked.stderr] {
            assert!(!server.is_betrayed_by(&text), "{text}");
        }
    }
}

#[test]
fn the_url_comes_from_the_config_a_variable_or_a_file_and_shows_nowhere() {
    let mut server = MariaDb::new();
    server.start();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("url");
    std::fs::write(&file, format!("{}\n", server.url())).unwrap();
    for url in [format!("file:{}", file.display()), server.url()] {
        let builder =
            host("b", &format!("database_url = {url:?}\ncreate = true")).config("[log]\nlevel = \"trace\"");
        let dump = builder.run(&["check", "--output", "json"]);
        assert_eq!(dump.code, Some(0), "{}", dump.stderr);
        assert!(dump.stdout.contains("database_url"), "{}", dump.stdout);
        let host = builder.start();
        check_answers(&host.call(ROUTES, &json!({"limit": 1})), &host);
        let status = host.plugin_status("reports").to_string();
        for text in [dump.stdout, dump.stderr, host.log(), status] {
            assert!(!server.is_betrayed_by(&text), "{text}");
        }
        host.stop();
    }
}

#[test]
fn a_server_is_recognised_by_its_certificate_where_the_url_asks_for_that() {
    let mut server = MariaDb::new();
    let authority = Authority::default();
    server.start_with_certificate(&authority.issue(&[&server.ip()]));
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, authority: &Authority| {
        let path = folder.path().join(name);
        std::fs::write(&path, &authority.pem).unwrap();
        format!("{}?ssl-mode=VERIFY_IDENTITY&ssl-ca={}", server.url(), path.display())
    };
    let known = host("b", "database_url = \"env:DATABASE_URL\"\ncreate = true")
        .variable("DATABASE_URL", &put("ca.pem", &authority))
        .start();
    check_answers(&known.call(ROUTES, &json!({"limit": 1})), &known);
    assert_eq!(known.reload("reports").status, 200);
    assert_eq!(known.plugin_status("reports")["zombies"], json!([]), "TLS leaves nothing behind");
    let stranger = host("b", "database_url = \"env:DATABASE_URL\"")
        .variable("DATABASE_URL", &put("other.pem", &Authority::default()))
        .start();
    let reason = stranger.failure("reports").or_else(|| stranger.failure("libreports.so")).unwrap();
    assert!(reason.contains("refuses this host") && reason.contains("UnknownIssuer"), "{reason}");
}
