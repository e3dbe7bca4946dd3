//! Checks addresses, networks, DNS servers and names of hosts.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use ipnet::IpNet;

use super::Validator;
use crate::config::Networks;
use crate::config::key::{KeyPath, redact};

/// Longest name in DNS (RFC 1035, section 2.3.4), as text.
const DNS_NAME_BYTES_MAX: usize = 253;

/// Where DNS servers listen (RFC 1035, section 4.2).
const DNS_PORT: u16 = 53;

impl Validator<'_> {
    /// An address, not a name: what a name stands for may change, and with it who can reach the host.
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
        let mut nets = Vec::with_capacity(raw.len());
        for (index, text) in raw.iter().enumerate() {
            let net = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
            match net {
                Ok(net) => nets.push(net),
                Err(_) => {
                    let text = format!(
                        "`{key}` has `{}`, which is no address or network, as in {examples}",
                        redact(text)
                    );
                    self.problem(&key.element(index), text);
                }
            }
        }
        Networks(nets)
    }

    /// Checks a list of DNS servers.
    pub(in crate::config) fn dns_servers(&mut self, key: &KeyPath, raw: &[String]) -> Vec<SocketAddr> {
        let mut servers = Vec::with_capacity(raw.len());
        for (index, text) in raw.iter().enumerate() {
            let with_port = text.parse::<SocketAddr>();
            match with_port.or_else(|_| text.parse().map(|address| SocketAddr::new(address, DNS_PORT))) {
                Ok(server) => servers.push(server),
                Err(_) => {
                    let text = format!(
                        "`{key}` has `{}`, which is no address, as in 10.0.0.10 or 127.0.0.1:8600",
                        redact(text)
                    );
                    self.problem(&key.element(index), text);
                }
            }
        }
        servers
    }

    /// Names of hosts, without scheme and port: a port may be another one outside of a container or a tunnel.
    pub(in crate::config) fn host_names(&mut self, key: &KeyPath, raw: &[String]) -> Vec<String> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        for (index, name) in raw.iter().enumerate() {
            let fits = (1..=DNS_NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(allowed);
            if !fits && name != "*" {
                let text = format!(
                    "`{key}` has `{}`, which is not the name of a host, as in api.example.com, without scheme and port, \
                     nor `*` for any name",
                    redact(name)
                );
                self.problem(&key.element(index), text);
            }
        }
        raw.iter().map(|name| name.to_ascii_lowercase()).collect()
    }
}
