//! The open connections of the public listener: how many, from where, and which of them makes room.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::activity::Activity;
use super::strangers::Strangers;
use super::{Limit, Meters, OpenConnection};

/// Most connections that are looked at to find one that makes room.
const LOOKED_AT_MAX: usize = 4096;

/// All connections of one listener.
#[derive(Debug)]
pub(super) struct Connections {
    per_address_max: usize,
    meters: Arc<Meters>,
    begun: Instant,
    strangers: Arc<Strangers>,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    activities: HashMap<u64, (IpAddr, Arc<Activity>)>,
    of_addresses: HashMap<IpAddr, usize>,
}

/// A connection that is open as long as this lives.
#[derive(Debug)]
pub(super) struct Place {
    all: Arc<Connections>,
    id: u64,
    address: IpAddr,
    activity: Arc<Activity>,
    _counted: OpenConnection,
}

impl Connections {
    pub(super) fn new(per_address_max: usize, meters: Arc<Meters>, strangers: Arc<Strangers>) -> Arc<Self> {
        Arc::new(Self { per_address_max, meters, begun: Instant::now(), strangers, open: Mutex::default() })
    }

    /// Takes a connection in; nothing if there are too many from its address.
    pub(super) fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let address = network(address);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let of_address = open.of_addresses.entry(address).or_default();
        if *of_address >= self.per_address_max {
            self.meters.limit(Limit::ConnectionsPerAddress);
            return None;
        }
        *of_address += 1;
        let activity = Arc::new(Activity::new(self.begun, Arc::clone(&self.strangers)));
        open.next += 1;
        let id = open.next;
        open.activities.insert(id, (address, Arc::clone(&activity)));
        Some(Place { all: Arc::clone(self), id, address, activity, _counted: self.meters.connection() })
    }

    /// Has the connection end that is missed least, to make room for `place`.
    pub(super) fn make_room(&self, place: &Place) {
        let now = Instant::now();
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let others = open.activities.iter().filter(|(id, _)| **id != place.id).take(LOOKED_AT_MAX);
        let candidates = others.filter_map(|(_, (_, activity))| Some((activity.worth(now)?, activity)));
        if let Some((_, least)) = candidates.min_by_key(|(worth, _)| *worth) {
            least.evict();
        }
    }

    /// Has connections of strangers end, those with the most requests first, until all of them together have no more
    /// than they may.
    pub(super) fn make_room_for_requests(&self) {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        while self.strangers.are_too_many() {
            let all = open.activities.values().map(|(_, activity)| activity);
            let candidates = all.filter_map(|activity| Some((activity.strangers().requests()?, activity)));
            let Some((_, most)) = candidates.max_by_key(|(requests, _)| *requests) else { return };
            self.meters.limit(Limit::Strangers);
            most.evict();
        }
    }

    /// Has a connection end whose bodies are awaited, for one from `address` that needs so many bytes of what those hold:
    /// one of the address that holds the most, unless that is the same one. Returns whether there is room, or will be.
    pub(super) fn make_room_for_bytes(&self, address: IpAddr, needed: usize) -> bool {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let mut held: HashMap<IpAddr, usize> = HashMap::new();
        let mut on_its_way = 0;
        for (of, activity) in open.activities.values() {
            match activity.strangers().bytes() {
                (bytes, true) => on_its_way += bytes,
                (bytes, false) => *held.entry(*of).or_default() += bytes,
            }
        }
        if on_its_way >= needed {
            return true;
        }
        let heaviest = held.into_iter().filter(|(_, bytes)| *bytes > 0).max_by_key(|(_, bytes)| *bytes);
        let Some((heaviest, _)) = heaviest.filter(|(heaviest, _)| *heaviest != network(address)) else {
            return false;
        };
        let bytes = |activity: &Activity| Some(activity.strangers().bytes()).filter(|(_, leaves)| !leaves);
        let of_heaviest = open.activities.values().filter(|(of, _)| *of == heaviest);
        if let Some((_, most)) = of_heaviest.max_by_key(|(_, activity)| bytes(activity)) {
            self.meters.limit(Limit::Strangers);
            most.evict();
        }
        true
    }
}

impl Place {
    pub(super) fn activity(&self) -> &Arc<Activity> {
        &self.activity
    }

    /// All connections of the listener.
    pub(super) fn all(&self) -> &Arc<Connections> {
        &self.all
    }

    pub(super) fn meters(&self) -> &Meters {
        &self.all.meters
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.all.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.activities.remove(&self.id);
        if let Some(of_address) = open.of_addresses.get_mut(&self.address) {
            *of_address -= 1;
            if *of_address == 0 {
                open.of_addresses.remove(&self.address);
            }
        }
    }
}

/// Who has one IPv6 address has a network of them.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
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

    #[test]
    fn an_address_has_so_many_and_gives_them_back() {
        let all = Connections::new(2, Arc::default(), Arc::default());
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
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
    fn the_greediest_make_room() {
        let all = Connections::new(9, Arc::default(), Strangers::new(0));
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let [modest, greedy, other] =
            ["10.0.0.1", "10.0.0.2", "10.0.0.3"].map(|from| all.enter(address(from)).unwrap());
        let requests: Vec<_> = (0..1024).map(|_| greedy.activity().begin()).collect();
        let one = modest.activity().begin();
        all.make_room_for_requests();
        assert_eq!(
            (greedy.activity().strangers().requests(), modest.activity().strangers().requests()),
            (None, Some(1))
        );
        drop(requests);
        let two = other.activity().begin();
        let [mut small, mut large] = [one.awaits(), two.awaits()];
        small.has(10);
        large.has(1000);
        assert!(!all.make_room_for_bytes(address("10.0.0.3"), 1), "it holds the most itself");
        assert!(all.make_room_for_bytes(address("10.0.0.4"), 1));
        assert_eq!(other.activity().strangers().bytes(), (1000, true));
        assert!(all.make_room_for_bytes(address("10.0.0.4"), 1000), "that is on its way");
        assert_eq!(modest.activity().strangers().bytes(), (10, false));
    }
}
