//! Reads the proxies that calls to peers go through from the usual variables of the environment: `HTTPS_PROXY`, `HTTP_PROXY`,
//! `ALL_PROXY`, `NO_PROXY`, in upper or lower case, by the rules of curl.
//!
//! Two things differ. `HTTP_PROXY` counts as well, but not where `REQUEST_METHOD` is set: in a CGI script it would be
//! a header of the caller (<https://httpoxy.org>). And peers of this machine are never called through a proxy.

use std::sync::Arc;

use http::Uri;
use hyper_util::client::proxy::matcher::Matcher;

use super::validator::Validator;
use crate::config::{Environment, OutboundProxies, PeerUrl};

/// A variable with its value.
type Said = (&'static str, String);

impl Validator<'_> {
    /// Reads the variables. A fault is a problem only if a peer would be called through that proxy.
    pub(super) fn outbound_proxies<'p>(
        &mut self,
        peers: impl Iterator<Item = &'p PeerUrl> + Clone,
    ) -> OutboundProxies {
        let first = |names: &[&'static str]| -> Option<Said> {
            names.iter().find_map(|name| Some((*name, raw(self.environment, name)?)))
        };
        let is_cgi = raw(self.environment, "REQUEST_METHOD").is_some();
        let http = first(if is_cgi { &["http_proxy"] } else { &["http_proxy", "HTTP_PROXY"] });
        let https = first(&["https_proxy", "HTTPS_PROXY"]);
        let all = first(&["all_proxy", "ALL_PROXY"]);
        let no = first(&["no_proxy", "NO_PROXY"]);
        if http.is_none() && https.is_none() && all.is_none() {
            return OutboundProxies(None);
        }
        let mut matcher = Matcher::builder().no(no.map(|(_, value)| value).unwrap_or_default());
        let mut checked: Vec<&str> = Vec::new();
        for (is_https, own) in [(false, http), (true, https)] {
            let Some((name, value)) = own.or_else(|| all.clone()) else { continue };
            let concerns = |url: &PeerUrl| url.is_https() == is_https && !url.is_loopback();
            if peers.clone().any(concerns) && !checked.contains(&name) {
                checked.push(name);
                if let Some(fault) = fault(&value) {
                    self.problem_of_variable(name, format!("{fault}, as in http://proxy:3128"));
                }
            }
            matcher = if is_https { matcher.https(value) } else { matcher.http(value) };
        }
        OutboundProxies(Some(Arc::new(matcher.build())))
    }
}

/// Returns the value of a variable that is not empty.
fn raw(environment: &Environment, name: &str) -> Option<String> {
    let value = environment.variable(name)?;
    // The check of the URL refuses what is not text.
    let value = value.unwrap_or_else(|bytes| bytes.to_string_lossy().into_owned());
    Some(value).filter(|value| !value.is_empty())
}

/// Returns the fault of a proxy's URL, without the URL: it may hold a password.
fn fault(value: &str) -> Option<&'static str> {
    let found = Matcher::builder().all(value).build().intercept(&Uri::from_static("http://peer/"));
    let Some(found) = found else {
        return Some("this is not the URL of a proxy");
    };
    if found.uri().authority().is_none_or(|authority| authority.as_str().contains('@')) {
        return Some("an `@` in the user name or password of a proxy must be written %40");
    }
    (found.uri().scheme_str() != Some("http"))
        .then_some("only proxies that are reached by http are supported")
}

#[cfg(test)]
mod tests {
    use crate::config::Overrides;
    use crate::config::testing::{load, problems_of};

    const PEERS: &str = "[plugins.proxy]\nproxy_urls = [\"http://b\", \"https://c\"]\ntls.ca = \"CA\"\n";

    fn text() -> (tempfile::TempDir, String) {
        let scratch = tempfile::tempdir().unwrap();
        let ca = scratch.path().join("ca.pem");
        let certificate = rcgen::generate_simple_self_signed(["ca".to_owned()]).unwrap().cert;
        std::fs::write(&ca, certificate.pem()).unwrap();
        (scratch, PEERS.replace("CA", ca.to_str().unwrap()))
    }

    fn check(variables: &[(&str, &str)], url: &str, expected: Option<(&str, Option<&str>)>) {
        let (_scratch, text) = text();
        let environment = variables.iter().copied().collect();
        let proxies = load(&text, &environment, &Overrides::default()).unwrap().proxy.outbound;
        let found = proxies.of(&url.parse().unwrap());
        let found = found.as_ref().map(|proxy| {
            let authorization = proxy.authorization.as_ref().map(|value| value.to_str().unwrap());
            (proxy.uri.authority().unwrap().as_str(), authorization)
        });
        assert_eq!(found, expected, "{variables:?} {url}");
    }

    #[test]
    fn variables_choose_the_proxy_by_scheme() {
        check(&[], "http://b:1/x", None);
        check(&[("http_proxy", "http://p:1")], "http://b:1/x", Some(("p:1", None)));
        check(&[("http_proxy", "http://p:1")], "https://b:1/x", None);
        check(&[("HTTPS_PROXY", "p:1")], "https://b:1/x", Some(("p:1", None)));
        check(&[("ALL_PROXY", "http://p:1/"), ("https_proxy", "q:1")], "http://b/", Some(("p:1", None)));
        check(&[("ALL_PROXY", "http://p:1/"), ("https_proxy", "q:1")], "https://b/", Some(("q:1", None)));
        check(
            &[("http_proxy", "http://low:1"), ("HTTP_PROXY", "http://up:1")],
            "http://b/",
            Some(("low:1", None)),
        );
        check(&[("HTTP_PROXY", "http://up:1")], "http://b/", Some(("up:1", None)));
        check(&[("HTTP_PROXY", "http://up:1"), ("REQUEST_METHOD", "GET")], "http://b/", None);
        check(&[("http_proxy", ""), ("HTTP_PROXY", "http://up:1")], "http://b/", Some(("up:1", None)));
        check(&[("http_proxy", "http://me:a%40b@p:1")], "http://b/", Some(("p:1", Some("Basic bWU6YUBi"))));
    }

    #[test]
    fn some_peers_are_called_directly() {
        let proxy = ("all_proxy", "http://p:1");
        for here in ["http://localhost:1/", "http://127.0.0.1:1/", "https://[::1]:1/", "http://127.9.9.9/"] {
            check(&[proxy], here, None);
        }
        let no = ("NO_PROXY", "b.test, 10.0.0.0/8");
        check(&[proxy, no], "http://b.test:1/", None);
        check(&[proxy, no], "http://x.b.test:1/", None);
        check(&[proxy, no], "http://10.1.2.3/", None);
        check(&[proxy, no], "http://ab.test:1/", Some(("p:1", None)));
        check(&[proxy, ("no_proxy", "*")], "https://b/", None);
    }

    #[test]
    fn proxies_that_cannot_be_used_are_named_without_their_passwords() {
        let (_scratch, text) = text();
        let check = |name: &str, value: &str, expected: &str| {
            let environment = [(name, value)].into_iter().collect();
            assert_eq!(problems_of(&text, &environment, &Overrides::default()), expected, "{value}");
        };
        check(
            "ALL_PROXY",
            "socks5://me:canary@p:1",
            "variable ALL_PROXY: only proxies that are reached by http are supported, as in http://proxy:3128",
        );
        check(
            "https_proxy",
            "https://p:1",
            "variable https_proxy: only proxies that are reached by http are supported, as in http://proxy:3128",
        );
        for value in ["http://", "canary canary", "ftp://p:1", "\u{e9}"] {
            let expected = "variable HTTP_PROXY: this is not the URL of a proxy, as in http://proxy:3128";
            check("HTTP_PROXY", value, expected);
        }
        check("HTTP_PROXY", "http://me:can@ary@p:1", {
            "variable HTTP_PROXY: an `@` in the user name or password of a proxy must be written %40, as in \
             http://proxy:3128"
        });
        let loopback = "[plugins.proxy]\nproxy_urls = [\"http://127.0.0.1:1\"]\n";
        let environment = [("ALL_PROXY", "socks5://p:1")].into_iter().collect();
        assert_eq!(
            problems_of(loopback, &environment, &Overrides::default()),
            "",
            "no peer is called through it"
        );
    }

    #[test]
    fn passwords_of_proxies_show_nowhere() {
        let (_scratch, text) = text();
        let environment = [("ALL_PROXY", "http://me:canary@p:1")].into_iter().collect();
        let config = load(&text, &environment, &Overrides::default()).unwrap();
        let proxy = config.proxy.outbound.of(&"http://b/".parse().unwrap()).unwrap();
        let shown = format!("{config:?} {proxy:?} {} {:?}", config.dump(), config.warnings());
        assert!(!shown.contains("canary") && !shown.contains("Y2FuYXJ5"), "{shown}");
        assert!(proxy.authorization.is_some());
    }
}
