//! The open connections of the public listener: their number, their addresses, and which of them is evicted.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use super::activity::Activity;
use super::log_lines::Throttle;
use super::meters::{Limit, Meters};
use super::strangers::Strangers;
use crate::base::Mutex;
use crate::config::Networks;

/// Maximum number of connections that an eviction looks at.
const LOOKED_AT_MAX: usize = 4096;

/// All connections of one listener.
#[derive(Debug)]
pub(crate) struct Connections {
    per_address_max: usize,
    proxies: Networks,
    refusals: Throttle,
    pub(crate) meters: Arc<Meters>,
    begun: Instant,
    strangers: Arc<Strangers>,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    activities: HashMap<u64, (Origin, Arc<Activity>)>,
    of_origins: HashMap<Origin, usize>,
}

/// A source of connections that share the limit of one address: an IPv4 address or a /64 of IPv6, all of which one host
/// can have. Each connection of a proxy is an origin of its own, by its port.
type Origin = (IpAddr, Option<u16>);

/// A connection that is open as long as this lives.
#[derive(Debug)]
pub(crate) struct ConnectionSlot {
    /// All connections of the listener.
    pub(crate) all: Arc<Connections>,
    id: u64,
    origin: Origin,
    pub(crate) activity: Arc<Activity>,
}

impl Connections {
    pub(crate) fn new(
        (per_address_max, proxies): (usize, Networks),
        meters: Arc<Meters>,
        strangers: Arc<Strangers>,
    ) -> Arc<Self> {
        let (refusals, begun, open) = (Throttle::default(), Instant::now(), Mutex::default());
        Arc::new(Self { per_address_max, proxies, refusals, meters, begun, strangers, open })
    }

    /// Takes a slot for a connection; `None` if there are too many from its address.
    pub(crate) fn enter(self: &Arc<Self>, address: SocketAddr) -> Option<ConnectionSlot> {
        let origin = self.origin(address);
        let mut open = self.open.lock();
        let of_origin = open.of_origins.entry(origin).or_default();
        if *of_origin >= self.per_address_max {
            drop(open);
            self.refuse(address);
            return None;
        }
        *of_origin += 1;
        let activity = Arc::new(Activity::new(self.begun, Arc::clone(&self.strangers)));
        open.next += 1;
        let id = open.next;
        open.activities.insert(id, (origin, Arc::clone(&activity)));
        self.meters.open();
        Some(ConnectionSlot { all: Arc::clone(self), id, origin, activity })
    }

    fn origin(&self, address: SocketAddr) -> Origin {
        let ip = address.ip().to_canonical();
        let port = self.proxies.contain(ip).then_some(address.port());
        (if port.is_some() { ip } else { network(ip) }, port)
    }

    /// Counts a connection that is closed, and says so in the log, though not for each.
    fn refuse(&self, address: SocketAddr) {
        self.meters.limit(Limit::ConnectionsPerAddress);
        if let Some(left_out) = self.refusals.line(Instant::now()) {
            let left_out = Some(left_out).filter(|count| *count > 0);
            tracing::warn!(
                from = %address.ip(), most = self.per_address_max, left_out,
                "a connection is closed: its address has as many as server.connections_per_address_max allows; if it is a \
                 reverse proxy, list it in server.proxies"
            );
        }
    }

    /// Evicts the least active connection, to make room for `slot`.
    pub(crate) fn make_room(&self, slot: &ConnectionSlot) {
        let now = Instant::now();
        let open = self.open.lock();
        let others = open.activities.iter().filter(|(id, _)| **id != slot.id).take(LOOKED_AT_MAX);
        let candidates =
            others.filter_map(|(_, (_, activity))| Some((activity.eviction_rank(now)?, activity)));
        if let Some((_, least)) = candidates.min_by_key(|(rank, _)| *rank) {
            least.evict();
        }
    }

    /// Evicts connections of strangers, the one with the most requests first, until all together are within their
    /// limit.
    pub(crate) fn make_room_for_requests(&self) {
        let open = self.open.lock();
        while self.strangers.are_too_many() {
            let all = open.activities.values().map(|(_, activity)| activity);
            let candidates = all.filter_map(|activity| Some((activity.strangers.requests()?, activity)));
            let Some((_, most)) = candidates.max_by_key(|(requests, _)| *requests) else { return };
            self.meters.limit(Limit::Strangers);
            most.evict();
        }
    }

    /// Evicts a connection with incomplete bodies for one from `address` that needs `needed` bytes of their memory:
    /// one of the address that holds the most, unless that is the same one. Returns whether there is room, or will be.
    pub(crate) fn make_room_for_bytes(&self, address: SocketAddr, needed: usize) -> bool {
        let open = self.open.lock();
        let mut held: HashMap<Origin, usize> = HashMap::new();
        let mut on_its_way = 0;
        for (of, activity) in open.activities.values() {
            match activity.strangers.bytes() {
                (bytes, true) => on_its_way += bytes,
                (bytes, false) => *held.entry(*of).or_default() += bytes,
            }
        }
        if on_its_way >= needed {
            return true;
        }
        let heaviest = held.into_iter().filter(|(_, bytes)| *bytes > 0).max_by_key(|(_, bytes)| *bytes);
        let Some((heaviest, _)) = heaviest.filter(|(heaviest, _)| *heaviest != self.origin(address)) else {
            return false;
        };
        let bytes = |activity: &Activity| Some(activity.strangers.bytes()).filter(|(_, leaves)| !leaves);
        let of_heaviest = open.activities.values().filter(|(of, _)| *of == heaviest);
        if let Some((_, most)) = of_heaviest.max_by_key(|(_, activity)| bytes(activity)) {
            self.meters.limit(Limit::Strangers);
            most.evict();
        }
        true
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        let mut open = self.all.open.lock();
        open.activities.remove(&self.id);
        if let Some(of_origin) = open.of_origins.get_mut(&self.origin) {
            *of_origin -= 1;
            if *of_origin == 0 {
                open.of_origins.remove(&self.origin);
            }
        }
        self.all.meters.close();
    }
}

/// Returns the /64 of an IPv6 address: one host can have all of its addresses.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Environment, Overrides};

    fn address(text: &str) -> SocketAddr {
        SocketAddr::new(text.parse().unwrap(), 1)
    }

    #[test]
    fn an_address_has_so_many_and_gives_them_back() {
        let all = Connections::new((2, Networks::default()), Arc::default(), Arc::default());
        let first = all.enter(address("10.0.0.1")).unwrap();
        let _second = all.enter(address("::ffff:10.0.0.1")).unwrap();
        assert!(all.enter(address("10.0.0.1")).is_none());
        let _other = all.enter(address("10.0.0.2")).unwrap();
        drop(first);
        let _third = all.enter(address("10.0.0.1")).unwrap();
        let _v6 = (all.enter(address("2001:db8::1")).unwrap(), all.enter(address("2001:db8::2")).unwrap());
        assert!(all.enter(address("2001:db8::3")).is_none());
        assert_eq!(all.meters.open_connections(), 5);
    }

    #[test]
    fn each_connection_of_a_proxy_stands_for_itself() {
        let text = "[server]\nproxies = [\"10.0.0.0/8\", \"2001:db8::1\"]\n";
        let file = std::path::Path::new("config.toml");
        let config = Config::from_text(text, file, &Environment::default(), &Overrides::default());
        let proxies = config.unwrap().server.proxies;
        let all = Connections::new((1, proxies), Arc::default(), Arc::default());
        for proxy in ["10.1.2.3", "::ffff:10.1.2.3", "2001:db8::1"] {
            let from = |port| SocketAddr::new(proxy.parse().unwrap(), port);
            let _held = (all.enter(from(1)).unwrap(), all.enter(from(2)).unwrap());
        }
        let _other = (all.enter(address("2001:db8::2")).unwrap(), all.enter(address("11.0.0.1")).unwrap());
        assert!(all.enter(address("2001:db8::3")).is_none() && all.enter(address("11.0.0.1")).is_none());
        assert!(all.open.lock().of_origins.len() == 2, "the connections of the proxies are gone");
    }

    #[test]
    fn the_greediest_make_room() {
        let all = Connections::new((9, Networks::default()), Arc::default(), Strangers::new(0));
        let [modest, greedy, other] =
            ["10.0.0.1", "10.0.0.2", "10.0.0.3"].map(|from| all.enter(address(from)).unwrap());
        let requests: Vec<_> = (0..1024).map(|_| greedy.activity.begin()).collect();
        let one = modest.activity.begin();
        all.make_room_for_requests();
        assert_eq!(
            (greedy.activity.strangers.requests(), modest.activity.strangers.requests()),
            (None, Some(1))
        );
        drop(requests);
        let two = other.activity.begin();
        let [mut small, mut large] = [one.awaits(), two.awaits()];
        small.has(10);
        large.has(1000);
        assert!(!all.make_room_for_bytes(address("10.0.0.3"), 1), "it holds the most itself");
        assert!(all.make_room_for_bytes(address("10.0.0.4"), 1));
        assert_eq!(other.activity.strangers.bytes(), (1000, true));
        assert!(all.make_room_for_bytes(address("10.0.0.4"), 1000), "that is on its way");
        assert_eq!(modest.activity.strangers.bytes(), (10, false));
    }
}
