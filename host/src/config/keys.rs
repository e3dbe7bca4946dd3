//! Every key of the file: its name, its type, its default and bounds, and the moment at which a change comes into force.
//!
//! A key of a checked table is one line here. `config/config.toml` explains it to operators; a test compares both.

mod addresses;
mod document;
mod known;
pub(super) mod number;
mod raw;
mod table;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::base::FunctionName;

use super::{
    AllowedAddresses, ConfiguredPeer, Fallback, FrameCompression, LogFormat, LogLevel, Networks,
    OutboundProxies, PathPatterns, PeerTls, PeerUrl, Probe, Unmap,
};

pub(super) use document::RawConfig;
#[cfg(test)]
pub(super) use known::KEYS;
pub(super) use known::{LATER, number_of, suggestion};
pub(super) use raw::{DIGEST_NEEDED, RawCaller, RawDigests, RawLimit, RawPeer, RawPeers, RawRules};
pub(super) use table::put_back;

use number::{COUNT_MAX, DAY_MS, HOUR_MS, MINUTE_MS, NumberRule, number};
use table::table;

/// The numbers of [`RawLimit`]; a missing key has no default.
pub(super) const LIMIT_IN_FLIGHT_MAX: NumberRule = number(1, 1, COUNT_MAX);
pub(super) const LIMIT_QUEUE_MAX: NumberRule = number(0, 0, COUNT_MAX);

const BODY_BYTES_MAX: NumberRule = number(4 << 20, 1 << 10, 1 << 30);
const IN_FLIGHT_MAX: NumberRule = number(1024, 1, COUNT_MAX);

table! {
    /// The public listener and its limits.
    #[derive(Debug, Clone, PartialEq, Eq)]
    #[non_exhaustive]
    Server, RawServer in "server" {
        /// The address that it listens on.
        "host" host: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST), Restart;
        /// The port that it listens on; 0 is any free port.
        "port" port: u16 = number(8080, 0, 65_535), Restart;
        /// Names by which requests without a key may ask for it, in lower case; `*` for any.
        "names" names: Vec<String> = "api.example.com", Reload;
        /// Maximum length of a request body in bytes.
        "body_bytes_max" body_bytes_max: usize = BODY_BYTES_MAX, Reload;
        /// Maximum length in bytes of a result of a function that runs here, and of the JSON of any result. The default
        /// is sixteen times that of a body: plugins make results, and the operator chose the plugins.
        "answer_bytes_max" answer_bytes_max: usize = number(64 << 20, 1 << 10, 1 << 30), Reload;
        /// Maximum memory in bytes for the bodies of all requests together.
        "body_memory_max" body_memory_max: usize = number(256 << 20, 1 << 20, 1 << 40), Restart;
        /// Maximum number of open connections.
        "connections_max" connections_max: usize = number(1024, 1, COUNT_MAX), Restart;
        /// Maximum number of open connections from one address, or one IPv6 network of 64 bits.
        "connections_per_address_max" connections_per_address_max: usize = number(512, 1, COUNT_MAX), Restart;
        /// Reverse proxies, each of whose connections counts as one of an address of its own.
        "proxies" proxies: Networks = "10.0.0.5 or 10.0.0.0/8", Restart;
        /// Maximum number of concurrent calls.
        "in_flight_max" in_flight_max: usize = IN_FLIGHT_MAX, Reload;
        /// Maximum number of concurrent calls of one function; by default three quarters of `in_flight_max`.
        "in_flight_per_function_max" in_flight_per_function_max: usize = number(768, 1, COUNT_MAX), Reload;
        /// Maximum number of queued calls.
        "queue_max" queue_max: usize = number(1024, 0, COUNT_MAX), Reload;
        /// Maximum length of the head of a request in bytes.
        "header_bytes_max" header_bytes_max: usize = number(64 << 10, 8 << 10, 1 << 20), Restart;
        /// Maximum depth of lists and maps in arguments and in what peers send, the outermost counted.
        "nesting_max" nesting_max: usize = number(64, 1, 64), Reload;
        /// Maximum decompression ratio of a frame.
        "expansion_max" expansion_max: usize = number(255, 1, 255), Reload;
        /// Time for which outcomes of calls with idempotency keys are kept; 0 keeps none.
        "idempotency_keep_ms" idempotency_keep: Duration = number(10 * MINUTE_MS, 0, DAY_MS), Reload;
        /// Maximum memory in bytes for these outcomes.
        "idempotency_bytes_max" idempotency_bytes_max: usize = number(64 << 20, 64 << 10, 1 << 40), Reload;
        /// Time limit for the head of a request, from its first byte; for the first head of a connection, since that was
        /// accepted.
        "header_timeout_ms" header_timeout: Duration = number(10_000, 1, 10 * MINUTE_MS), Restart;
        /// Time limit for the arrival of a body.
        "body_timeout_ms" body_timeout: Duration = number(20_000, 1, HOUR_MS), Reload;
        /// Time for which a connection may be idle after a request.
        "idle_timeout_ms" idle_timeout: Duration = number(75_000, 1, DAY_MS), Restart;
        /// Time for which a client may stop reading a response.
        "write_timeout_ms" write_timeout: Duration = number(30_000, 1, HOUR_MS), Restart;
        /// Time limit of a call: the default, and the maximum that a caller can ask for.
        "call_timeout_ms" call_timeout: Duration = number(30_000, 1, DAY_MS), Reload;
        /// The part of a call's remaining time, in percent, that a layer may take before the body begins.
        "layer_percent" layer_percent: usize = number(25, 1, 100), Reload;
        /// Time for which the host serves on after SIGTERM while it reports that it is not ready.
        "shutdown_delay_ms" shutdown_delay: Duration = number(2000, 0, HOUR_MS), Reload;
        /// Time for which calls may go on after that.
        "drain_timeout_ms" drain_timeout: Duration = number(30_000, 0, DAY_MS), Reload;
    }
    tables { tls: Option<RawServerTls>, }
}

table! {
    /// Both must be there: without one, the listener would silently not be encrypted.
    RawServerTls in "server.tls" {
        cert: String,
        key: String,
        client_ca: Option<String>,
    }
}

table! {
    #[derive(Default)]
    #[serde(default)]
    RawAdmin in "admin" {
        socket: Option<String>,
        listen: Option<String>,
        token: Option<String>,
    }
}

table! {
    /// One of them must be there: an empty `[auth]` would only seem to protect something.
    #[derive(Default)]
    #[serde(default)]
    RawAuth in "auth" {
        rules: Option<RawRules>,
        callers: Option<BTreeMap<String, RawCaller>>,
    }
}

table! {
    /// The table `[plugins.proxy]`.
    #[derive(Debug, Clone)]
    #[non_exhaustive]
    Proxy, RawProxy in "plugins.proxy" {
        /// The fate of a remote call that provably did not run.
        "fallback" fallback: Fallback = Fallback::None, Reload;
        /// Compression of frames to peers.
        "compression" compression: FrameCompression = FrameCompression::Auto, Reload;
        /// Refuses frames that name no receiver, and hosts that know none.
        "require_receiver" require_receiver: bool = false, Reload;
        /// Maximum length in bytes of a result from a peer; by default `server.body_bytes_max`.
        "answer_bytes_max" answer_bytes_max: usize = BODY_BYTES_MAX, Reload;
        /// Maximum number of concurrent calls at each peer; by default a quarter of `server.in_flight_max`. As many may
        /// wait for the peer to come back.
        "in_flight_max" in_flight_max: usize = number(256, 1, COUNT_MAX), Reload;
        /// Time for which a call may wait for a peer to come back; with 0, none waits.
        "wait_ms" wait: Duration = number(5000, 0, HOUR_MS), Reload;
        /// Time for which an idle connection to a peer is kept; with 0, none is. The default is below the five seconds
        /// after which Node.js and Apache close idle connections.
        "idle_timeout_ms" idle_timeout: Duration = number(3000, 0, HOUR_MS), Reload;
        /// The link-local and metadata addresses that calls may go to.
        "allow_addresses" allowed_addresses: AllowedAddresses = "169.254.10.1 or 169.254.10.0/24", Reload;
        /// The DNS servers that find peers; by default the servers of the system.
        "dns_servers" dns_servers: Vec<SocketAddr> = "10.0.0.10 or 127.0.0.1:8600", Reload;
        /// Interval between requests for the catalogue of a peer.
        "catalogue_interval_ms" catalogue_interval: Duration = number(30_000, 100, DAY_MS), Reload;
        /// Maximum length of a peer's catalogue in bytes.
        "catalogue_bytes_max" catalogue_bytes_max: usize = number(4 << 20, 1 << 10, 64 << 20), Reload;
    }
    by_hand {
        /// The peers, in the order of the file.
        peers: Vec<ConfiguredPeer>,
        /// The functions that run on peers, each with the URLs in the order of `proxy_functions`. Every URL is that of
        /// one of `peers`, which allows [`crate::api::REMOTE_PATH`].
        functions: BTreeMap<FunctionName, Vec<PeerUrl>>,
        /// The paths that this host calls on any peer; `None` for no limit.
        white_list: Option<PathPatterns>,
        /// The recognition of `https://` peers; there if one is configured.
        tls: Option<PeerTls>,
        /// The proxies that calls go through.
        outbound: OutboundProxies,
    }
    raw {
        proxy_urls: RawPeers,
        white_list: Option<Vec<String>>,
        proxy_functions: BTreeMap<String, Vec<String>>,
    }
    tables {
        tls: RawPeerTls,
        auth: Option<RawProxyAuth>,
    }
}

table! {
    #[derive(Default)]
    #[serde(default)]
    RawPeerTls in "plugins.proxy.tls" {
        ca: Option<String>,
        cert: Option<String>,
        key: Option<String>,
    }
}

table! {
    RawProxyAuth in "plugins.proxy.auth" {
        rules: RawRules,
    }
}

table! {
    /// By names of plugins, and of functions.
    #[derive(Default)]
    #[serde(default)]
    RawLimits in "limits" {
        plugins: BTreeMap<String, RawLimit>,
        functions: BTreeMap<String, RawLimit>,
    }
}

table! {
    /// The replacement of plugins.
    #[derive(Debug, Clone, PartialEq, Eq)]
    #[non_exhaustive]
    Reload, RawReload in "reload" {
        /// Time limit for `on_start`.
        "start_timeout_ms" start_timeout: Duration = number(10_000, 1, HOUR_MS), Reload;
        /// Time for which calls may go on in a generation that was replaced.
        "drain_timeout_ms" drain_timeout: Duration = number(30_000, 0, DAY_MS), Reload;
        /// Watches the plugin directory and the config, and reloads them when they change.
        "watch" watch: bool = false, Reload;
        /// Number of retired generations that `rollback` can bring back.
        "keep_generations" keep_generations: usize = number(3, 0, 100), Reload;
        /// Number of retired libraries that may stay mapped before `ready` reports them.
        "zombies_max" zombies_max: usize = number(16, 0, COUNT_MAX), Reload;
        /// The probe of builds before they are mapped.
        "probe" probe: Probe = Probe::Load, Reload;
        /// The unmapping of retired libraries.
        "unmap" unmap: Unmap = Unmap::Safe, Reload;
    }
}

table! {
    #[derive(Default)]
    #[serde(default)]
    RawTrust in "trust" {
        sha256: Option<BTreeMap<String, RawDigests>>,
        keys: Option<Vec<String>>,
    }
}

table! {
    /// The log of the host.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    #[non_exhaustive]
    Log, RawLog in "log" {
        /// The least important level that is logged.
        "level" level: LogLevel = LogLevel::Info, Restart;
        /// Lines for people, or one JSON object a line.
        "format" format: LogFormat = LogFormat::Text, Restart;
    }
}

impl Server {
    /// Returns the address that it listens on.
    pub fn listen(&self) -> SocketAddr {
        SocketAddr::new(self.host, self.port)
    }

    /// Returns true if only this machine can reach the listener.
    pub fn is_loopback(&self) -> bool {
        self.host.to_canonical().is_loopback()
    }
}

impl Proxy {
    /// Returns the peers that `function` is configured to run on; none if it runs here.
    pub fn urls_of(&self, function: &FunctionName) -> &[PeerUrl] {
        self.functions.get(function).map_or(&[], Vec::as_slice)
    }

    /// Returns the peer with that URL.
    pub fn peer(&self, url: &PeerUrl) -> Option<&ConfiguredPeer> {
        self.peers.iter().find(|peer| peer.url == *url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::key::KeyPath;
    use crate::config::testing::problems;

    const EXAMPLE: &str = include_str!("../../../config/config.toml");

    fn numbers() -> impl Iterator<Item = (&'static str, NumberRule)> {
        KEYS.iter().filter_map(|key| Some((*key, number_of(&KeyPath::of(key))?)))
    }

    fn line(key: &str, value: i64) -> String {
        let (table, key) = key.split_once('.').unwrap();
        // One body has to fit into the memory of all.
        let other = match key {
            "body_bytes_max" => format!("body_memory_max = {}\n", 1_u64 << 40),
            "body_memory_max" => format!("body_bytes_max = {}\n", BODY_BYTES_MAX.min),
            _ => String::new(),
        };
        format!("[{table}]\n{key} = {value}\n{other}")
    }

    #[test]
    fn defaults_and_bounds_are_allowed_and_one_beyond_is_refused() {
        assert_eq!(numbers().count(), 32);
        for (key, number) in numbers() {
            for good in [number.default, number.min, number.max] {
                assert_eq!(problems(&line(key, good)), "", "{key}");
            }
            for bad in [number.min - 1, number.max + 1, i64::MIN, i64::MAX] {
                let expected =
                    format!("config.toml line 2: `{key}` must be {}, found {bad}", number.needed());
                assert_eq!(problems(&line(key, bad)), expected);
            }
        }
    }

    #[test]
    fn the_example_says_the_bounds_of_every_number() {
        let mut table = "";
        let mut comment = String::new();
        let mut explained = BTreeMap::new();
        for line in EXAMPLE.lines() {
            if let Some(header) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                table = header;
            }
            if let Some(text) = line.strip_prefix("# ") {
                comment = format!("{comment} {text}");
                continue;
            }
            let key = line.split_once(" = ").map(|(key, _)| format!("{table}.{key}"));
            explained.extend(key.map(|key| (key, std::mem::take(&mut comment))));
            comment.clear();
        }
        for (key, NumberRule { min, max, .. }) in numbers() {
            let text = explained.get(key).map(String::as_str).unwrap_or_default();
            let zero = if min == 0 { format!("0 to {max}") } else { String::new() };
            let one = format!("{min} to {max}");
            let off = if min == 0 { format!("1 to {max}, or 0") } else { one.clone() };
            assert!(
                [&one, &off, &zero].iter().any(|bounds| !bounds.is_empty() && text.contains(*bounds)),
                "{key}: {text}"
            );
        }
    }
}
