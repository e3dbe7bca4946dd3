//! The open connections of the public listener: how many, from where, and which of them do nothing.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::{Limit, Meters, OpenConnection};

/// Most connections that are looked at to find one that does nothing.
const LOOKED_AT_MAX: usize = 4096;

/// All connections of one listener.
#[derive(Debug)]
pub(super) struct Connections {
    per_address_max: usize,
    meters: Arc<Meters>,
    begun: Instant,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    activities: HashMap<u64, Arc<Activity>>,
    of_addresses: HashMap<IpAddr, usize>,
}

/// What a connection is doing.
#[derive(Debug)]
pub(super) struct Activity {
    begun: Instant,
    /// Requests that are being answered.
    busy: AtomicUsize,
    /// Requests that were begun.
    requests: AtomicU64,
    /// When the last one ended, in milliseconds since `begun` of all.
    idle_since_ms: AtomicU64,
    evicted: Notify,
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

/// A request that is being answered as long as this lives.
#[derive(Debug)]
pub(super) struct Busy(Arc<Activity>);

impl Connections {
    pub(super) fn new(per_address_max: usize, meters: Arc<Meters>) -> Arc<Self> {
        Arc::new(Self { per_address_max, meters, begun: Instant::now(), open: Mutex::default() })
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
        let activity = Arc::new(Activity {
            begun: self.begun,
            busy: AtomicUsize::new(0),
            requests: AtomicU64::new(0),
            idle_since_ms: AtomicU64::new(milliseconds(self.begun.elapsed())),
            evicted: Notify::new(),
        });
        open.next += 1;
        let id = open.next;
        open.activities.insert(id, Arc::clone(&activity));
        Some(Place { all: Arc::clone(self), id, address, activity, _counted: self.meters.connection() })
    }

    /// Has the connection end that has done nothing for longest, to make room for another one.
    pub(super) fn evict_idle(&self) {
        self.meters.limit(Limit::Connections);
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = open.activities.values().take(LOOKED_AT_MAX);
        let idle = idle.filter(|activity| activity.busy.load(Ordering::Relaxed) == 0);
        let oldest = idle.min_by_key(|activity| activity.idle_since_ms.load(Ordering::Relaxed));
        if let Some(oldest) = oldest {
            // Not chosen again before its task is gone.
            oldest.idle_since_ms.store(u64::MAX, Ordering::Relaxed);
            oldest.evicted.notify_one();
        }
    }
}

impl Activity {
    /// A request begins.
    pub(super) fn begin(self: &Arc<Self>) -> Busy {
        self.busy.fetch_add(1, Ordering::Relaxed);
        self.requests.fetch_add(1, Ordering::Relaxed);
        Busy(Arc::clone(self))
    }

    /// Whether it has brought a request.
    pub(super) fn spoke(&self) -> bool {
        self.requests.load(Ordering::Relaxed) > 0
    }

    /// Ends when the connection has done nothing for too long, or is to make room: the limit that acted.
    pub(super) async fn outlived(&self, header_timeout: Duration, idle_timeout: Duration) -> Limit {
        loop {
            let (limit, most) = match self.spoke() {
                false => (Limit::HeaderTime, header_timeout),
                true => (Limit::IdleTime, idle_timeout),
            };
            let is_busy = self.busy.load(Ordering::Relaxed) > 0;
            let idle = Duration::from_millis(self.idle_since_ms.load(Ordering::Relaxed));
            let idle = self.begun.elapsed().saturating_sub(idle);
            let left = if is_busy { most } else { most.saturating_sub(idle) };
            if left.is_zero() {
                return limit;
            }
            tokio::select! {
                () = tokio::time::sleep(left) => {}
                () = self.evicted.notified() => return Limit::Connections,
            }
        }
    }
}

impl Place {
    pub(super) fn activity(&self) -> &Arc<Activity> {
        &self.activity
    }

    pub(super) fn meters(&self) -> &Meters {
        &self.all.meters
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let activity = &self.0;
        activity.idle_since_ms.store(milliseconds(activity.begun.elapsed()), Ordering::Relaxed);
        activity.busy.fetch_sub(1, Ordering::Relaxed);
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

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_so_many_and_gives_them_back() {
        let all = Connections::new(2, Arc::default());
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

    #[tokio::test(start_paused = true)]
    async fn the_longest_idle_one_makes_room() {
        let all = Connections::new(10, Arc::default());
        let places: Vec<Place> = (0..3).map(|_| all.enter("10.0.0.1".parse().unwrap()).unwrap()).collect();
        places[0].activity().idle_since_ms.store(5, Ordering::Relaxed);
        places[1].activity().idle_since_ms.store(3, Ordering::Relaxed);
        places[2].activity().idle_since_ms.store(1, Ordering::Relaxed);
        let _busy = places[2].activity().begin();
        all.evict_idle();
        let minute = Duration::from_secs(60);
        assert_eq!(places[1].activity().outlived(minute, minute).await, Limit::Connections);
        all.evict_idle();
        assert_eq!(places[0].activity().outlived(minute, minute).await, Limit::Connections);
    }
}
