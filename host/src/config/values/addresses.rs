//! Networks, and the addresses that calls go to only if the config lists them: link-local ones, and those at which clouds
//! serve the secrets of a machine.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// The metadata addresses of clouds outside of the link-local networks.
const METADATA_V4: [Ipv4Addr; 3] = [
    // Alibaba Cloud.
    Ipv4Addr::new(100, 100, 100, 200),
    // Oracle Cloud, the older one.
    Ipv4Addr::new(192, 0, 0, 192),
    // Azure, which also serves settings of the machine there.
    Ipv4Addr::new(168, 63, 129, 16),
];
const METADATA_V6: [Ipv6Addr; 3] = [
    // AWS.
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
    // Google Cloud.
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
    // Scaleway.
    Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42),
];

/// Addresses and networks: `server.proxies`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Networks(pub(in crate::config) Vec<IpNet>);

impl Networks {
    /// Returns true if one of them has the address.
    pub fn contain(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|net| net.contains(&address))
    }

    pub(in crate::config) fn as_slice(&self) -> &[IpNet] {
        &self.0
    }
}

/// The exceptions: `plugins.proxy.allow_addresses`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AllowedAddresses(pub(in crate::config) Networks);

impl AllowedAddresses {
    /// Returns true if a call may go to `address`: it is an ordinary one, or listed.
    pub fn allows(&self, address: IpAddr) -> bool {
        let address = plain(address);
        !is_special(address) || self.0.contain(address)
    }

    pub(in crate::config) fn as_slice(&self) -> &[IpNet] {
        self.0.as_slice()
    }
}

/// Returns the IPv4 address that an IPv6 address stands for, if any: mapped, compatible (RFC 4291, section 2.5.5), by the
/// well-known prefix of NAT64 (RFC 6052) or by 6to4 (RFC 3056).
fn plain(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    match v6.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => {
            let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
            IpAddr::V4(Ipv4Addr::new(a, b, c, d))
        }
        // `::` and `::1` become addresses that are ordinary as well.
        _ => v6.to_ipv4().map_or(address, IpAddr::V4),
    }
}

fn is_special(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local() || METADATA_V4.contains(&v4),
        IpAddr::V6(v6) => v6.is_unicast_link_local() || METADATA_V6.contains(&v6),
    }
}

#[cfg(test)]
mod tests {
    use crate::config::testing::{config, problems};

    #[test]
    fn link_local_and_metadata_addresses_are_refused_in_every_form() {
        let allowed = config("").proxy.allowed_addresses;
        for refused in [
            "169.254.169.254",
            "169.254.0.1",
            "100.100.100.200",
            "192.0.0.192",
            "168.63.129.16",
            "fe80::1",
            "febf::1",
            "fd00:ec2::254",
            "fd20:ce::254",
            "fd00:42::42",
            "::ffff:169.254.169.254",
            "::169.254.169.254",
            "64:ff9b::169.254.169.254",
            "2002:a9fe:a9fe::1",
            "::ffff:100.100.100.200",
        ] {
            assert!(!allowed.allows(refused.parse().unwrap()), "{refused}");
        }
        for fine in [
            "127.0.0.1",
            "10.0.0.1",
            "169.253.255.255",
            "169.255.0.0",
            "100.100.100.201",
            "::1",
            "::",
            "fec0::1",
            "fd00:ec2::253",
            "2001:db8::1",
            "::ffff:10.0.0.1",
        ] {
            assert!(allowed.allows(fine.parse().unwrap()), "{fine}");
        }
    }

    #[test]
    fn what_is_listed_is_allowed_and_nothing_else() {
        let list = "[plugins.proxy]\nallow_addresses = [\"169.254.10.0/24\", \"fe80::7\"]\n";
        let allowed = config(list).proxy.allowed_addresses;
        for (address, expected) in [
            ("169.254.10.1", true),
            ("::ffff:169.254.10.1", true),
            ("169.254.11.1", false),
            ("169.254.169.254", false),
            ("fe80::7", true),
            ("fe80::8", false),
        ] {
            assert_eq!(allowed.allows(address.parse().unwrap()), expected, "{address}");
        }
        let sentence = "which is not an address or network, as in 169.254.10.1 or 169.254.10.0/24";
        assert_eq!(
            problems("[plugins.proxy]\nallow_addresses = [\n\"169.254.0.0/33\", \"metadata\"]\n"),
            format!(
                "config.toml line 3: `plugins.proxy.allow_addresses` has `169.254.0.0/33`, {sentence}\n\
                 config.toml line 3: `plugins.proxy.allow_addresses` has `metadata`, {sentence}"
            ),
        );
    }

    #[test]
    fn peers_at_refused_addresses_are_refused_by_the_config() {
        for url in ["http://169.254.169.254", "http://[::ffff:a9fe:a9fe]:1", "https://[fe80::1]"] {
            let found = problems(&format!("[plugins.proxy]\nproxy_urls = [{url:?}]\n"));
            assert!(found.contains("is a link-local or metadata address"), "{found}");
        }
        let listed = "[plugins.proxy]\nallow_addresses = [\"169.254.169.254\"]\nproxy_urls = [\"http://169.254.169.254\"]\n";
        assert_eq!(problems(listed), "");
    }
}
