//! Reads addresses, networks, DNS servers and names of hosts; errors of lists continue the sentence about an element.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use ipnet::IpNet;

use crate::config::key::redact;

/// Longest name in DNS (RFC 1035, section 2.3.4), as text.
const DNS_NAME_BYTES_MAX: usize = 253;

/// The port of DNS servers (RFC 1035, section 4.2).
const DNS_PORT: u16 = 53;

/// Reads an address; a name is refused, because it may later stand for another address.
pub(super) fn address(text: &str) -> Result<IpAddr, String> {
    if text == "localhost" {
        return Ok(Ipv4Addr::LOCALHOST.into());
    }
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    bare.parse().map_err(|_| format!("must be an IP address or localhost, found `{}`", redact(text)))
}

/// Reads an address or a network.
pub(super) fn network(text: &str, examples: &str) -> Result<IpNet, String> {
    let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    network.map_err(|_| format!(", which is not an address or network, as in {examples}"))
}

/// Reads the address of a DNS server.
pub(super) fn dns_server(text: &str, examples: &str) -> Result<SocketAddr, String> {
    let server = text.parse().or_else(|_| text.parse().map(|address| SocketAddr::new(address, DNS_PORT)));
    server.map_err(|_| format!(", which is not an address, as in {examples}"))
}

/// Reads the name of a host, without scheme and port: outside of a container or a tunnel, the port may differ.
pub(super) fn host_name(text: &str, examples: &str) -> Result<String, String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    let fits = (1..=DNS_NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(allowed);
    if fits || text == "*" {
        return Ok(text.to_ascii_lowercase());
    }
    let without = "without scheme and port, nor `*` for any name";
    Err(format!(", which is not the name of a host, as in {examples}, {without}"))
}
