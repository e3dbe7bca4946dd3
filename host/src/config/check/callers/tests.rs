//! Callers that are right, and each mistake in them.

use super::*;
use crate::api::REMOTE_PATH;
use crate::base::FunctionName;
use crate::config::testing::{config, load, problems};
use crate::config::{Config, Environment, Overrides, PresentedKey};

const KEY: &str = "0123456789abcdef";

fn check(text: &str, expected: &str) {
    assert_eq!(problems(text), expected, "{text}");
}

fn caller(name: &str, key: &str) -> String {
    format!("[auth.callers.{name}]\nkeys = [\"{key}\"]\nfunctions = [\"demo.*\"]\n")
}

#[test]
fn callers_are_found_by_each_of_their_keys() {
    let text = "[auth.callers.web]\nkeys = [\"env:WEB\", \"second\"]\nfunctions = [\"demo.*\", \"x.f\"]\n\
                [auth.callers.Job-1_b]\nkeys = [\"third\"]\nfunctions = [\"*\"]\n\
                [auth.callers.idle]\nkeys = [\"fourth\"]\nfunctions = []\n";
    let environment = [("WEB", "first")].into_iter().collect();
    let config = load(text, &environment, &Overrides::default()).unwrap();
    let named = |key: &str| {
        let found = config.callers.of_key(&PresentedKey::new(key.as_bytes()));
        found.map(|caller| (caller.name.to_string(), caller.functions.clone()))
    };
    let found = |key: &str| named(key).map(|(name, _)| name);
    assert_eq!(found("first").as_deref(), Some("web"));
    assert_eq!(found("second").as_deref(), Some("web"));
    assert_eq!(found("third").as_deref(), Some("Job-1_b"));
    for wrong in ["", "env:WEB", "firs", "firstt", "First"] {
        assert_eq!(found(wrong), None, "{wrong}");
    }
    let function = FunctionName::new("x.f").unwrap();
    for (key, may) in [("first", true), ("third", true), ("fourth", false)] {
        assert_eq!(named(key).unwrap().1.cover(&function), may, "{key}");
    }
    assert!(!config.callers.is_empty() && config.listener_rules().is_empty());
}

#[test]
fn callers_do_not_put_the_rules_of_the_proxy_aside() {
    let rules = "[plugins.proxy.auth]\nrules = { \"/api/v1/openapi.json\" = [\"k\"] }\n";
    let config = config(&format!("{rules}{}", caller("web", KEY)));
    assert!(config.listener_rules().keys_for("/api/v1/openapi.json").is_some());
}

#[test]
fn what_is_missing_or_empty_is_named() {
    check("[auth]\n", "config.toml line 1: `auth` needs the key `rules` or `callers`");
    check(
        "[auth]\ncallers = {}\n",
        "config.toml line 2: `auth.callers` is empty: name a caller, or remove the table, so that every client may \
         call",
    );
    check(
        "[auth.callers.web]\nkeys = [\"k\"]\n",
        "config.toml line 1: `auth.callers.web` needs the key `functions`",
    );
    check(
        "[auth.callers.web]\nfunctions = []\n",
        "config.toml line 1: `auth.callers.web` needs the key `keys` or `certificates`",
    );
    check(
        "[auth.callers.web]\nkeys = []\nfunctions = []\n",
        "config.toml line 2: `auth.callers.web.keys` needs at least one secret, found an empty list",
    );
    check(
        "[plugins.proxy.auth]\ncallers = {}\nrules = {}\n",
        "config.toml line 2: unknown key `plugins.proxy.auth.callers`, the nearest known key is `auth.callers`",
    );
}

#[test]
fn wrong_values_are_named_and_not_repeated() {
    check(
        "[auth.callers.\"we b\"]\nkeys = [\"k\"]\nfunctions = [\"*\"]\n",
        "config.toml line 1: `auth.callers` must name callers in 1 to 64 characters of A-Z a-z 0-9 _ -, found `we b`",
    );
    check(
        "[auth.callers.web]\nkeys = [\"k\"]\nfunctions = [\"demo.f\",\n\"canary*\"]\n",
        "config.toml line 4: `auth.callers.web.functions[1]` is not a function: functions are named as `demo.f`, as \
         `demo.*` for all below `demo`, or as `*` for all",
    );
    check(
        "[auth.callers.web]\nkeys = [\"\",\n\"canary key\",\n\"fxk1_canary\"]\nfunctions = [\"*\"]\n",
        "config.toml line 2: `auth.callers.web.keys[0]` has an empty secret\n\
         config.toml line 3: `auth.callers.web.keys[1]` must be printable ASCII characters without spaces: it is \
         sent in a header\n\
         config.toml line 4: `auth.callers.web.keys[2]` starts like a generated key, but does not have the 43 characters \
         of one after `fxk1_`: make one with `framex-host keygen`",
    );
    check(
        "[auth.callers.web]\nkeys = \"canary\"\nfunctions = [\"*\"]\n",
        "config.toml line 2: `auth.callers.web.keys` must be a list of texts, found a text",
    );
}

#[test]
fn a_key_is_of_one_caller() {
    let twice = format!("{}{}", caller("a", KEY), caller("b", KEY));
    check(
        &twice,
        "config.toml line 5: `auth.callers.b.keys[0]` is the same as `auth.callers.a.keys[0]`: a key is of one \
         caller",
    );
    let environment: Environment = [("KEY", KEY)].into_iter().collect();
    let hidden = format!("{}{}", caller("a", KEY), caller("b", "env:KEY"));
    assert!(load(&hidden, &environment, &Overrides::default()).is_err());
    // The same one twice does no harm.
    check(&format!("[auth.callers.a]\nkeys = [\"{KEY}\", \"{KEY}\"]\nfunctions = []\n"), "");
}

/// Problems of `callers` with a TLS listener that has an authority for clients, or without one.
fn check_certificates(callers: &str, client_ca: bool, expected: &str) {
    let folder = tempfile::tempdir().unwrap();
    let own = rcgen::generate_simple_self_signed(["host-b".to_owned()]).unwrap();
    std::fs::write(folder.path().join("cert.pem"), own.cert.pem()).unwrap();
    std::fs::write(folder.path().join("key.pem"), own.signing_key.serialize_pem()).unwrap();
    let client_ca = if client_ca { "client_ca = \"cert.pem\"\n" } else { "" };
    let text = format!("{callers}[server.tls]\ncert = \"cert.pem\"\nkey = \"key.pem\"\n{client_ca}");
    let file = folder.path().join("config.toml");
    let loaded = Config::from_text(&text, &file, &Environment::default(), &Overrides::default());
    let found = loaded.err().map(|error| error.to_string()).unwrap_or_default();
    assert_eq!(found.replace(&format!("{}/", folder.path().display()), ""), expected, "{text}");
}

#[test]
fn certificates_are_of_one_caller_and_need_an_authority() {
    let with = |name: &str, rest: &str| format!("[auth.callers.{name}]\nfunctions = []\n{rest}\n");
    let a = with("a", "certificates = [\"a.test\", \"spiffe://test/a\", \"a.test\"]");
    check_certificates(&a, true, "");
    check_certificates(&with("a", &format!("certificates = [\"a.test\"]\nkeys = [\"{KEY}\"]")), true, "");
    let useless = "`auth.callers.a.certificates` has no effect without `server.tls.client_ca`: clients are not asked \
                   for certificates";
    check_certificates(&a, false, &format!("config.toml line 3: {useless}"));
    check(&a, &format!("config.toml line 3: {useless}"));
    let twice = format!("{a}{}", with("b", "certificates = [\"b.test\",\n\"spiffe://test/a\"]"));
    check_certificates(
        &twice,
        true,
        "config.toml line 7: `auth.callers.b.certificates[1]` is also of `auth.callers.a`: a certificate is of one \
         caller",
    );
    check_certificates(
        &with("a", "certificates = []"),
        true,
        "config.toml line 3: `auth.callers.a.certificates` needs at least one name, found an empty list",
    );
    for name in ["", "canary canary", "bücher.test", &"x".repeat(1025)] {
        check_certificates(
            &with("a", &format!("certificates = [{name:?}]")),
            true,
            "config.toml line 3: `auth.callers.a.certificates[0]` must be the first DNS name of a certificate, or \
             else its first URI: 1 to 1024 printable ASCII characters without spaces",
        );
    }
}

#[test]
fn names_of_certificates_are_compared_with_those_of_their_kind() {
    let name = |text: &str| CertificateName::of_text(text.to_owned());
    assert_eq!(name("web.test"), CertificateName::Dns("web.test".to_owned()));
    let spiffe = "spiffe://test/robot";
    assert_eq!(name(spiffe), CertificateName::Uri(spiffe.to_owned()));
    let known = NamedCaller { name: "web".into(), functions: FunctionPatterns::default() };
    let certificates = vec![name("web.test"), name(spiffe)];
    let callers = Callers(vec![ConfiguredCaller { caller: Arc::new(known), keys: Vec::new(), certificates }]);
    for (shown, is_known) in [
        (CertificateName::Dns("web.test".to_owned()), true),
        (CertificateName::Uri(spiffe.to_owned()), true),
        (CertificateName::Uri("web.test".to_owned()), false),
        (CertificateName::Dns(spiffe.to_owned()), false),
    ] {
        assert_eq!(callers.of_certificate(&shown).is_some(), is_known, "{shown:?}");
    }
}

#[test]
fn a_key_of_hosts_is_of_no_caller() {
    let conflict = format!(
        "`auth.callers.web.keys[0]` is also a key of the rule for `{REMOTE_PATH}`, with which a host may call \
         everything"
    );
    let web = caller("web", KEY);
    for rules in [
        format!("[auth]\nrules = {{ \"{REMOTE_PATH}\" = [\"other\", \"{KEY}\"] }}\n"),
        format!("[plugins.proxy.auth]\nrules = {{ \"{REMOTE_PATH}\" = [\"{KEY}\"] }}\n"),
        format!("[plugins.proxy.auth]\nrules = {{ \"/api/*\" = [\"{KEY}\"] }}\n"),
    ] {
        check(&format!("{web}{rules}"), &format!("config.toml line 2: {conflict}"));
    }
    // A rule for callers' paths may have it as well.
    check(&format!("{web}[auth]\nrules = {{ \"/api/*\" = [\"{KEY}\"] }}\n"), "");
}

#[test]
fn doubtful_callers_are_warned_of() {
    let warned = |text: &str, expected: &[&str]| assert_eq!(config(text).warnings(), expected, "{text}");
    warned(&caller("web", KEY), &[]);
    warned(
        &caller("web", &KEY[1..]),
        &[
            "a key of `auth.callers.web` has fewer than 16 characters, and can be guessed: `framex-host keygen` \
           makes a better one",
        ],
    );
    let open = "[server]\nhost = \"0.0.0.0\"\n";
    warned(&format!("{open}{}", caller("web", KEY)), &[]);
    let peers = "[plugins.proxy]\nproxy_urls = [\"http://127.0.0.1:1\"]\n";
    let answers = "`/api/v1/proxy/remote` answers only `auth.callers`: `plugins.proxy.auth.rules` has no key for \
                   that path, which other hosts of this machine need as well where there are callers";
    warned(&format!("{peers}{}", caller("web", KEY)), &[answers]);
    let rules = format!(
        "[auth]\nrules = {{ \"/api/v1/functions/*\" = [\"{KEY}\"], \"/*\" = [\"other-key-of-16-bytes\"] }}\n"
    );
    warned(&format!("{}{rules}", caller("web", KEY)), &[]);
    warned(
        &format!("{}{}", caller("web", KEY), rules.replace(KEY, "another-key-of-16")),
        &[
            "a key of the rule for `/api/v1/functions/*` belongs to no caller, so it may not call any function: \
           add the key to a caller of `auth.callers`",
        ],
    );
}
