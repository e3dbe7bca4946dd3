//! Checks addresses, networks, DNS servers and names of hosts.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use ipnet::IpNet;

use super::Validator;
use crate::config::Networks;
use crate::config::key::{KeyPath, redact};

/// Longest name in DNS (RFC 1035, section 2.3.4), as text.
const DNS_NAME_BYTES_MAX: usize = 253;

/// The port of DNS servers (RFC 1035, section 4.2).
const DNS_PORT: u16 = 53;

impl Validator<'_> {
    /// Checks an address; a name is refused, because it may later stand for another address.
    pub(in crate::config) fn address(&mut self, key: &KeyPath, raw: &str) -> Option<IpAddr> {
        if raw == "localhost" {
            return Some(Ipv4Addr::LOCALHOST.into());
        }
        let bare = raw.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(raw);
        let address = bare.parse().ok();
        if address.is_none() {
            let text = format!("`{key}` must be an IP address or localhost, found `{}`", redact(raw));
            self.problem(key, text);
        }
        address
    }

    /// Checks a list of addresses and networks; errors show the examples.
    pub(in crate::config) fn networks(&mut self, key: &KeyPath, raw: &[String], examples: &str) -> Networks {
        Networks(self.list(key, raw, |text| {
            let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
            network.map_err(|_| format!(", which is not an address or network, as in {examples}"))
        }))
    }

    /// Checks a list of DNS servers.
    pub(in crate::config) fn dns_servers(&mut self, key: &KeyPath, raw: &[String]) -> Vec<SocketAddr> {
        self.list(key, raw, |text| {
            let server =
                text.parse().or_else(|_| text.parse().map(|address| SocketAddr::new(address, DNS_PORT)));
            server.map_err(|_| ", which is not an address, as in 10.0.0.10 or 127.0.0.1:8600".to_owned())
        })
    }

    /// Checks names of hosts, without scheme and port: outside of a container or a tunnel, the port may differ.
    pub(in crate::config) fn host_names(&mut self, key: &KeyPath, raw: &[String]) -> Vec<String> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        self.list(key, raw, |name| {
            let fits = (1..=DNS_NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(allowed);
            if fits || name == "*" {
                return Ok(name.to_ascii_lowercase());
            }
            let why = ", which is not the name of a host, as in api.example.com, without scheme and port, nor `*` for \
                       any name";
            Err(why.to_owned())
        })
    }
}
