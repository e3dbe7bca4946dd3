//! The host that a request names, and the page that sent it: `Host` or the target, `Origin` and `Sec-Fetch-Site`.
//!
//! A browser can reach a loopback listener, and any page can have it send requests. Its owner can bind a name to
//! 127.0.0.1 (DNS rebinding), and then reads the answers as well. What a page cannot choose are the headers that say
//! where it comes from and whom it asks. Headers of proxies, as `X-Forwarded-Host`, a page can choose: they do not count.

use std::net::{Ipv4Addr, Ipv6Addr};

use http::header::{HOST, HeaderName, ORIGIN};
use http::request::Parts;
use http::{HeaderMap, Method};

use crate::base::ErrorCode;
use crate::http::response::Problem;

pub(crate) const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

/// The reason for which a request without a key is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SiteError {
    #[error(
        "a request without a key must name this host by an IP address, as localhost, or by a name in `server.names` of \
         its config, and this one names another"
    )]
    Name,
    #[error(
        "a request without a key must not come from a page of another origin: `server.names` in the host's config has \
         the names of sites whose pages may ask"
    )]
    Origin,
}

impl From<SiteError> for Problem {
    fn from(error: SiteError) -> Self {
        Self::of_code(ErrorCode::PermissionDenied, error.to_string())
    }
}

/// Lets a request without a key in, unless a page of another site can have sent it. `names` are the names of the listener,
/// besides addresses and `localhost`, in lower case.
pub(crate) fn check(names: &[String], head: &Parts) -> Result<(), SiteError> {
    check_name(names, head)?;
    check_origin(names, head)
}

/// Checks every name of the host that the request has. Browsers send one, so a request without any passes.
fn check_name(names: &[String], head: &Parts) -> Result<(), SiteError> {
    let is_allowed = |authority: &[u8]| {
        let host = std::str::from_utf8(authority).ok().and_then(split).map(|(host, _)| host);
        host.is_some_and(|host| is_address_or_localhost(host) || is_one_of(names, host))
    };
    let mut hosts = head.headers.get_all(HOST).iter();
    let (first, second) = (hosts.next(), hosts.next());
    let target = head.uri.authority().map(|authority| authority.as_str().as_bytes());
    let first = first.map(http::HeaderValue::as_bytes);
    let all = target.into_iter().chain(first).all(is_allowed);
    if all && second.is_none() { Ok(()) } else { Err(SiteError::Name) }
}

/// Checks where a browser says that a page comes from: the host that the request asks, or a site in `names`.
pub(crate) fn check_origin(names: &[String], head: &Parts) -> Result<(), SiteError> {
    let headers = &head.headers;
    let asked = head.uri.authority().map(|authority| authority.as_str().as_bytes());
    let asked = asked.or_else(|| headers.get(HOST).map(http::HeaderValue::as_bytes)).unwrap_or_default();
    let is_allowed = |origin: &http::HeaderValue| {
        let origin = origin.as_bytes();
        let from = origin.strip_prefix(b"http://").or_else(|| origin.strip_prefix(b"https://"));
        from.is_some_and(|from| {
            let host = std::str::from_utf8(from).ok().and_then(split).map(|(host, _)| host);
            from.eq_ignore_ascii_case(asked) || host.is_some_and(|host| is_one_of(names, host))
        })
    };
    if !headers.get_all(ORIGIN).iter().all(is_allowed) {
        return Err(SiteError::Origin);
    }
    if headers.contains_key(ORIGIN) || !is_of_other_site(headers) || is_navigation(head) {
        return Ok(());
    }
    Err(SiteError::Origin)
}

/// Returns true if a browser says that a page of another site had the request sent.
pub(crate) fn is_of_other_site(headers: &HeaderMap) -> bool {
    let same = |value: &http::HeaderValue| matches!(value.as_bytes(), b"same-origin" | b"none");
    !headers.get_all(SEC_FETCH_SITE).iter().all(same)
}

/// Returns true if a link was followed: the page with the link reads nothing of the answer.
fn is_navigation(head: &Parts) -> bool {
    let reads = [Method::GET, Method::HEAD].contains(&head.method);
    reads && head.headers.get(SEC_FETCH_MODE).is_some_and(|mode| mode == "navigate")
}

fn is_one_of(names: &[String], host: &str) -> bool {
    names.iter().any(|name| host.eq_ignore_ascii_case(name))
}

/// Returns host and port of an authority; `None` if the port is not a number.
pub(crate) fn split(authority: &str) -> Option<(&str, Option<u16>)> {
    // A colon inside brackets belongs to the address.
    let port_at = authority.rfind(':').filter(|at| !authority[*at..].contains(']'));
    let Some(at) = port_at else { return Some((authority, None)) };
    // The parser of numbers takes a sign as well.
    let port = Some(&authority[at + 1..]).filter(|port| port.bytes().all(|byte| byte.is_ascii_digit()));
    Some((&authority[..at], Some(port?.parse().ok()?)))
}

/// Returns true for an IP address, and for `localhost`: a page cannot bind them to another address.
pub(crate) fn is_address_or_localhost(host: &str) -> bool {
    let is_address = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').is_some_and(|address| address.parse::<Ipv6Addr>().is_ok()),
        None => host.parse::<Ipv4Addr>().is_ok(),
    };
    is_address || host.eq_ignore_ascii_case("localhost")
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn ask(method: &str, target: &str, headers: &[(&str, &str)]) -> Result<(), SiteError> {
        let mut request = Request::builder().method(method).uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        check(&["api.test".to_owned()], &head)
    }

    #[test]
    fn names_are_addresses_localhost_and_those_of_the_config() {
        let check = |host: &str, comes_in: bool| {
            let expected = if comes_in { Ok(()) } else { Err(SiteError::Name) };
            assert_eq!(ask("POST", "/x", &[("host", host)]), expected, "{host}");
            // The same by a target in absolute form, or `:authority`, where it can be written.
            let target = format!("http://{host}/x");
            if target.parse::<http::Uri>().is_ok() {
                for own in [&[][..], &[("host", "localhost")]] {
                    assert_eq!(ask("POST", &target, own), expected, "{target}");
                }
            }
        };
        // Any port: outside of a container or a tunnel it is another one.
        for host in [
            "127.0.0.1",
            "127.0.0.1:9000",
            "10.1.2.3:1",
            "[::1]:9090",
            "[::1]",
            "localhost",
            "LocalHost:1",
            "api.test",
            "API.test:443",
        ] {
            check(host, true);
        }
        for host in [
            "evil.test",
            "evil.test:8080",
            "localhost.evil.test",
            "127.0.0.1.evil.test",
            "x.api.test",
            "api.test.",
            "localhost.",
            "api.test@evil.test",
            "localhost:80:80",
            "localhost:+80",
            "localhost:99999",
            "127.1",
            "2130706433",
            "0x7f.1",
            "::1",
            "[::1",
            "user@127.0.0.1",
            "localhost, evil.test",
            "",
        ] {
            check(host, false);
        }
        assert_eq!(ask("GET", "/x", &[]), Ok(()), "of no browser");
        let twice = [("host", "localhost"), ("host", "localhost")];
        assert_eq!(ask("GET", "/x", &twice), Err(SiteError::Name));
        let forwarded = [("host", "evil.test"), ("x-forwarded-host", "localhost")];
        assert_eq!(ask("GET", "/x", &forwarded), Err(SiteError::Name));
    }

    #[test]
    fn pages_are_those_of_the_host_that_is_asked_and_of_the_names() {
        let own = ("host", "127.0.0.1:8080");
        let check = |method: &str, headers: &[(&str, &str)], expected: Result<(), SiteError>| {
            assert_eq!(ask(method, "/x", &[&[own], headers].concat()), expected, "{method} {headers:?}");
        };
        for origin in
            ["http://127.0.0.1:8080", "https://127.0.0.1:8080", "https://api.test", "http://API.test:1"]
        {
            check("POST", &[("origin", origin)], Ok(()));
            check("POST", &[("origin", origin), ("sec-fetch-site", "cross-site")], Ok(()));
        }
        for origin in [
            "http://127.0.0.1",
            "http://127.0.0.1:3000",
            "http://localhost:8080",
            "http://203.0.113.5",
            "null",
            "",
        ] {
            check("POST", &[("origin", origin)], Err(SiteError::Origin));
            check("GET", &[("origin", origin), ("sec-fetch-mode", "navigate")], Err(SiteError::Origin));
        }
        let two = [("origin", "http://127.0.0.1:8080"), ("origin", "http://evil.test")];
        check("POST", &two, Err(SiteError::Origin));
        for site in ["same-origin", "none"] {
            check("POST", &[("sec-fetch-site", site)], Ok(()));
        }
        for site in ["cross-site", "same-site", "Same-Origin", ""] {
            let site = ("sec-fetch-site", site);
            check("POST", &[site], Err(SiteError::Origin));
            check("GET", &[site, ("sec-fetch-mode", "no-cors")], Err(SiteError::Origin));
            check("POST", &[site, ("sec-fetch-mode", "navigate")], Err(SiteError::Origin));
            check("GET", &[site, ("sec-fetch-mode", "navigate")], Ok(()));
        }
        let rebound = [("host", "evil.test:8080"), ("origin", "http://evil.test:8080")];
        assert_eq!(ask("POST", "/x", &rebound), Err(SiteError::Name));
    }
}
