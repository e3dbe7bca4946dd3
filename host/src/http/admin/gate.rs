//! The checks of requests over TCP: they need the token, and must not come from a page of another origin or by a name
//! that was bound to this address.
//!
//! A browser of the operator's machine can reach a loopback listener, and any page can have it send requests. What
//! a page cannot choose are the headers that say where it comes from and whom it asks.

use std::sync::Arc;

use arc_swap::ArcSwap;
use http::header::{HOST, HeaderName, ORIGIN};
use http::{HeaderMap, Method, Request};

use crate::api::JSON;
use crate::base::ErrorCode;
use crate::config::Secret;
use crate::http::request::{auth, body, site};
use crate::http::response::Problem;

/// The port of a `Host` without one.
const HTTP_PORT: u16 = 80;

/// The token that every request must carry; a reload of the config replaces it.
pub type AdminToken = Arc<ArcSwap<Secret>>;

/// The checks of a request over TCP.
#[derive(Debug)]
pub(super) struct Gate {
    /// The port of the listener.
    pub(super) port: u16,
    pub(super) token: AdminToken,
}

/// The reason for which a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum GateError {
    /// A name, as DNS rebinding needs it; another port; none, or several.
    #[error("a request must have one `Host`, an IP address or localhost with the port of this listener")]
    Host,
    /// A page that this host did not serve.
    #[error("pages of other origins may not ask this listener")]
    Origin,
    /// Without the token, or with another.
    #[error("the token is missing or wrong")]
    Token,
    /// Any type but JSON, or none.
    #[error("the body is not announced as JSON")]
    ContentType,
}

impl GateError {
    pub(super) fn problem(self) -> Problem {
        match self {
            Self::Host | Self::Origin => Problem::of_code(ErrorCode::PermissionDenied, self.to_string()),
            Self::Token => Problem::unauthenticated(),
            Self::ContentType => Problem::unsupported_type(JSON),
        }
    }

    /// Returns true if the client lacks the right to ask.
    pub(super) fn is_of_rights(self) -> bool {
        self != Self::ContentType
    }
}

impl Gate {
    /// Lets a request in; the first thing that is wrong decides.
    pub(super) fn check<B>(&self, request: &Request<B>) -> Result<(), GateError> {
        let headers = request.headers();
        let host = only(headers, &HOST).ok_or(GateError::Host)?;
        // The target in absolute form names the host that the client asks, and `Host` does not count (RFC 9112, section 3.2.2).
        let target = request.uri().authority().map_or(host, |authority| authority.as_str().as_bytes());
        if !self.is_here(host) || !self.is_here(target) {
            return Err(GateError::Host);
        }
        check_origin(headers, host)?;
        if !auth::carries(headers, std::slice::from_ref(&**self.token.load())) {
            return Err(GateError::Token);
        }
        // Also where there is no body: no page may send this type to another origin without asking first.
        if request.method() == Method::POST && body::media_type(headers) != JSON {
            return Err(GateError::ContentType);
        }
        Ok(())
    }

    /// Returns true if `host:port` can only be this listener.
    fn is_here(&self, authority: &[u8]) -> bool {
        let Ok(authority) = std::str::from_utf8(authority) else { return false };
        let Some((host, port)) = site::split(authority) else { return false };
        port.unwrap_or(HTTP_PORT) == self.port && site::is_address_or_localhost(host)
    }
}

/// The value of a header that came once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a [u8]> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    if values.next().is_some() { None } else { Some(value.as_bytes()) }
}

/// Browsers say where a page comes from: it must be from here. Other clients say nothing.
fn check_origin(headers: &HeaderMap, host: &[u8]) -> Result<(), GateError> {
    let own = |value: &http::HeaderValue| value.as_bytes().strip_prefix(b"http://") == Some(host);
    let from_here = headers.get_all(ORIGIN).iter().all(own) && !site::is_of_other_site(headers);
    if from_here { Ok(()) } else { Err(GateError::Origin) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Environment, Overrides};

    const TOKEN: &str = "0123456789abcdef";

    fn gate(port: u16) -> Gate {
        let text = format!("[admin]\nlisten = \"127.0.0.1:0\"\ntoken = \"{TOKEN}\"\n");
        let file = std::path::Path::new("config.toml");
        let config = Config::from_text(&text, file, &Environment::default(), &Overrides::default()).unwrap();
        Gate { port, token: Arc::new(ArcSwap::from_pointee(config.admin_tcp.unwrap().token)) }
    }

    /// Sends a `GET` of `target` with the token and other headers.
    fn ask(port: u16, target: &str, headers: &[(&str, &str)]) -> Result<(), GateError> {
        let mut request = Request::get(target).header("authorization", TOKEN);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        gate(port).check(&request.body(()).unwrap())
    }

    #[test]
    fn hosts_are_addresses_or_localhost_with_the_port() {
        let check = |port: u16, host: &str, comes_in: bool| {
            let expected = if comes_in { Ok(()) } else { Err(GateError::Host) };
            assert_eq!(ask(port, "/x", &[("host", host)]), expected, "{host}");
            // The same by a target in absolute form, where it can be written.
            let target = format!("http://{host}/x");
            if target.parse::<http::Uri>().is_ok() {
                let own = format!("localhost:{port}");
                assert_eq!(ask(port, &target, &[("host", &own)]), expected, "{target}");
            }
        };
        for host in ["127.0.0.1:9090", "10.1.2.3:9090", "[::1]:9090", "localhost:9090", "LocalHost:9090"] {
            check(9090, host, true);
        }
        for host in [
            "evil.example:9090",
            "localhost.evil.example:9090",
            "127.0.0.1.evil.example:9090",
            "localhost.:9090",
            "127.0.0.1:9091",
            "127.0.0.1",
            "127.0.0.1:",
            "127.0.0.1:+9090",
            "127.0.0.1:9090:9090",
            "127.1:9090",
            "2130706433:9090",
            "0x7f.1:9090",
            "::1:9090",
            "[::1",
            "[::1]",
            "[127.0.0.1]:9090",
            "user@127.0.0.1:9090",
            "127.0.0.1:9090, evil.example:9090",
            ":9090",
            "",
        ] {
            check(9090, host, false);
        }
        check(80, "127.0.0.1", true);
        check(80, "localhost:80", true);
        check(80, "[::1]", true);
        assert_eq!(ask(9090, "/x", &[]), Err(GateError::Host));
        let twice = [("host", "127.0.0.1:9090"), ("host", "127.0.0.1:9090")];
        assert_eq!(ask(9090, "/x", &twice), Err(GateError::Host));
    }

    #[test]
    fn pages_are_those_of_the_listener() {
        let host = ("host", "127.0.0.1:9090");
        let check = |header: (&str, &str), expected: Result<(), GateError>| {
            assert_eq!(ask(9090, "/x", &[host, header]), expected, "{header:?}");
        };
        check(("origin", "http://127.0.0.1:9090"), Ok(()));
        for origin in [
            "http://localhost:9090",
            "http://127.0.0.1",
            "http://127.0.0.1:9090/",
            "https://127.0.0.1:9090",
            "http://evil.example",
            "127.0.0.1:9090",
            "null",
            "",
        ] {
            check(("origin", origin), Err(GateError::Origin));
        }
        for site in ["same-origin", "none"] {
            check(("sec-fetch-site", site), Ok(()));
        }
        for site in ["cross-site", "same-site", "Same-Origin", ""] {
            check(("sec-fetch-site", site), Err(GateError::Origin));
        }
        let two = [host, ("origin", "http://127.0.0.1:9090"), ("origin", "http://evil.example")];
        assert_eq!(ask(9090, "/x", &two), Err(GateError::Origin));
    }

    #[test]
    fn the_first_thing_that_is_wrong_decides() {
        let mut headers: Vec<(&str, &str)> = Vec::new();
        for (expected, header) in [
            (GateError::Host, ("host", "localhost:1")),
            (GateError::Origin, ("origin", "http://localhost:1")),
            (GateError::Token, ("authorization", "Bearer 0123456789abcdef")),
            (GateError::ContentType, ("content-type", "Application/JSON; charset=utf-8")),
        ] {
            let wrong = match header.0 {
                "host" => "evil:1",
                "origin" => "null",
                "authorization" => "0123456789abcdeF",
                _ => "text/plain",
            };
            let ask = |value: &str, others: &[(&str, &str)]| {
                let mut request = Request::post("/x").header(header.0, value);
                for (name, value) in others {
                    request = request.header(*name, *value);
                }
                gate(1).check(&request.body(()).unwrap())
            };
            // What comes later is wrong as well.
            assert_eq!(ask(wrong, &headers), Err(expected));
            headers.push(header);
        }
        let mut request = Request::post("/x");
        for (name, value) in headers {
            request = request.header(name, value);
        }
        assert_eq!(gate(1).check(&request.body(()).unwrap()), Ok(()));
    }
}
