//! URLs of peers: scheme, host and port, in one normal form.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use http::Uri;

/// Longest name of a host in bytes (RFC 1035, section 3.1, without the last dot).
const HOST_BYTES_MAX: usize = 253;
const HTTP_PORT: u16 = 80;
const HTTPS_PORT: u16 = 443;

/// The fault of a peer's URL. The message does not repeat the text: it may hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidPeerUrl {
    /// Anything but http and https.
    #[error("a peer's URL starts with http:// or https://")]
    Scheme,
    /// A user name or a password.
    #[error("a peer's URL has no user name or password, put the secret into `plugins.proxy.auth.rules`")]
    Credentials,
    /// Neither a name nor an address.
    #[error(
        "a peer's URL needs a host name or an address, as in http://remotehost:8080 or http://[::1]:8080"
    )]
    Host,
    /// Not a port to connect to.
    #[error("the port of a peer's URL is a number from 1 to 65535")]
    Port,
    /// A path, query or fragment after the host.
    #[error("a peer's URL has no path, query or fragment, as in http://remotehost:8080")]
    Tail,
}

/// The URL of a peer, `http://host:port` or `https://host:port`; equal if scheme, host and port are. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerUrl {
    is_https: bool,
    /// `host:port`, the host in lower case, an IPv6 address in brackets.
    authority: Arc<str>,
}

impl PeerUrl {
    /// Checks and normalises a URL. The port defaults to 80, that of https to 443; one slash at the end is left out.
    ///
    /// # Errors
    /// [`InvalidPeerUrl`], which does not repeat the text.
    pub fn new(text: &str) -> Result<Self, InvalidPeerUrl> {
        if text.contains('@') {
            return Err(InvalidPeerUrl::Credentials);
        }
        let (scheme, rest) = text.split_once("://").ok_or(InvalidPeerUrl::Scheme)?;
        let is_https = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            _ => return Err(InvalidPeerUrl::Scheme),
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.contains(['/', '?', '#']) {
            return Err(InvalidPeerUrl::Tail);
        }
        // A colon inside brackets belongs to the address.
        let port_at = authority.rfind(':').filter(|at| !authority[*at..].contains(']'));
        let (host, port) = match port_at {
            Some(at) => (&authority[..at], port(&authority[at + 1..])?),
            None => (authority, if is_https { HTTPS_PORT } else { HTTP_PORT }),
        };
        let host = host_of(host).ok_or(InvalidPeerUrl::Host)?;
        Ok(Self { is_https, authority: format!("{host}:{port}").into() })
    }

    /// Returns `host:port`, to connect to and for the `host` header; an IPv6 address is in brackets.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Returns true if calls to it are always encrypted by TLS.
    pub fn is_https(&self) -> bool {
        self.is_https
    }

    /// Returns true if it is on this machine.
    pub fn is_loopback(&self) -> bool {
        is_loopback(self.host())
    }

    /// Returns the address, if the URL has one instead of a name.
    pub fn address(&self) -> Option<IpAddr> {
        address(self.host())
    }

    /// Returns the URL of `path` there.
    pub fn uri(&self, path: &str) -> Uri {
        let uri =
            Uri::builder().scheme(self.scheme()).authority(self.authority()).path_and_query(path).build();
        // Scheme, host and port are checked; a default URI would fail to connect.
        uri.unwrap_or_default()
    }

    /// Returns the same URL with an address instead of the name.
    pub fn at(&self, address: IpAddr, port: u16) -> Self {
        Self { is_https: self.is_https, authority: SocketAddr::new(address, port).to_string().into() }
    }

    /// Returns the port.
    pub fn port(&self) -> u16 {
        self.authority.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or_default()
    }

    fn scheme(&self) -> &'static str {
        if self.is_https { "https" } else { "http" }
    }

    /// Returns the name or address, an IPv6 address in brackets.
    pub fn host(&self) -> &str {
        self.authority.rsplit_once(':').map_or(&*self.authority, |(host, _)| host)
    }
}

/// Returns true if the host of a URL is this machine.
pub(in crate::config) fn is_loopback(host: &str) -> bool {
    host.strip_suffix('.').unwrap_or(host) == "localhost"
        || address(host).is_some_and(|address| address.to_canonical().is_loopback())
}

/// Returns the address that the host of a URL is.
fn address(host: &str) -> Option<IpAddr> {
    host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host).parse().ok()
}

fn port(text: &str) -> Result<u16, InvalidPeerUrl> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let port = if digits { text.parse().ok() } else { None };
    port.filter(|port| *port != 0).ok_or(InvalidPeerUrl::Port)
}

/// Returns the host in its normal form; `None` if it is neither a name nor an address.
fn host_of(text: &str) -> Option<String> {
    if let Some(address) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return address.parse::<Ipv6Addr>().ok().map(|address| format!("[{address}]"));
    }
    let name = text.to_ascii_lowercase();
    // A dot at the end makes the name complete: no search domains are appended.
    let complete = name.strip_suffix('.');
    let labels = || complete.unwrap_or(&name).split('.');
    let is_address = labels().next_back().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
    if is_address {
        // As in the URL standard: a host whose last part has only digits must be an address.
        return name.parse::<Ipv4Addr>().ok().map(|address| address.to_string());
    }
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let is_name = complete.unwrap_or(&name).len() <= HOST_BYTES_MAX
        && labels().all(|label| (1..=63).contains(&label.len()) && label.bytes().all(allowed));
    is_name.then_some(name)
}

impl fmt::Display for PeerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme(), self.authority)
    }
}

impl fmt::Debug for PeerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_have_one_normal_form() {
        let check = |text: &str, expected: &str| {
            let url = PeerUrl::new(text).unwrap();
            assert_eq!(url.to_string(), expected, "{text}");
            assert_eq!(format!("{}://{}", url.scheme(), url.authority()), expected);
            assert_eq!(url.uri("/x").to_string(), format!("{expected}/x"));
        };
        check("http://remotehost:8080", "http://remotehost:8080");
        check("http://remotehost:8080/", "http://remotehost:8080");
        check("HTTP://RemoteHost:08080", "http://remotehost:8080");
        check("http://a", "http://a:80");
        check("http://10.0.0.1:1", "http://10.0.0.1:1");
        check("http://[::1]:8080", "http://[::1]:8080");
        check("http://[0:0::1]", "http://[::1]:80");
        check("http://my_service.name-space.svc", "http://my_service.name-space.svc:80");
        check("HTTPS://A", "https://a:443");
        check("https://[::1]:8443/", "https://[::1]:8443");
        assert_eq!(PeerUrl::new("http://A/"), PeerUrl::new("http://a:80"));
        assert_ne!(PeerUrl::new("http://a:443"), PeerUrl::new("https://a"));
    }

    #[test]
    fn what_is_no_url_of_a_peer_is_refused() {
        let check = |text: &str, expected: InvalidPeerUrl| {
            assert_eq!(PeerUrl::new(text), Err(expected), "{text}");
        };
        for text in ["", "remotehost:8080", "ftp://a", "http:/a", "://a"] {
            check(text, InvalidPeerUrl::Scheme);
        }
        for text in ["http://user:pass@a", "http://user@a", "https://u@a", "http://a/@"] {
            check(text, InvalidPeerUrl::Credentials);
        }
        for text in [
            "http://",
            "http://:80",
            "http://a b",
            "http://ä",
            "http://a..b",
            "http://.",
            "http://*",
            "http://1.2.3",
            "http://999.1.1.1",
            "http://::1",
            "http://[::1",
            "http://[a]",
            "http://[::1]x",
            "http://[fe80::1%eth0]",
            "http://a%41",
        ] {
            check(text, InvalidPeerUrl::Host);
        }
        for text in
            ["http://a:", "http://a:0", "http://a:65536", "http://a:+80", "http://a:x", "http://[::1]:"]
        {
            check(text, InvalidPeerUrl::Port);
        }
        for text in ["http://a/b", "http://a//", "http://a?b", "http://a/?b", "http://a#b", "http://a/#"] {
            check(text, InvalidPeerUrl::Tail);
        }
    }

    #[test]
    fn this_machine_is_recognised() {
        let is_loopback = |url: &str| PeerUrl::new(url).unwrap().is_loopback();
        for here in ["localhost", "127.0.0.1:8080", "127.9.9.9:1", "[::1]:8080", "[::ffff:127.0.0.1]:1"] {
            assert!(
                is_loopback(&format!("http://{here}")) && is_loopback(&format!("https://{here}")),
                "{here}"
            );
        }
        for elsewhere in ["remotehost:8080", "128.0.0.1:80", "[::2]:80", "localhost.evil:80"] {
            assert!(!is_loopback(&format!("http://{elsewhere}")), "{elsewhere}");
        }
    }
}
