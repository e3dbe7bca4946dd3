//! A DNS server on loopback, which says what it is told to.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, SRV};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use hickory_proto::serialize::binary::{BinDecodable, BinEncodable};

/// Serves until it is dropped. Its records are good for a second.
#[derive(Debug)]
pub struct DnsServer {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    records: Mutex<HashMap<(Name, RecordType), Vec<RData>>>,
    queries: AtomicUsize,
    is_silent: AtomicBool,
    silent: Mutex<HashSet<Name>>,
    tells_along: AtomicBool,
    ended: AtomicBool,
}

impl DnsServer {
    /// One that knows nothing yet.
    ///
    /// # Panics
    /// If the system has no port.
    #[must_use]
    pub fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("there is a port");
        socket.set_read_timeout(Some(Duration::from_millis(100))).expect("a time is a timeout");
        let address = socket.local_addr().expect("it is bound");
        let shared = Arc::new(Shared::default());
        let serving = Arc::clone(&shared);
        std::thread::spawn(move || serve(&socket, &serving));
        Self { address, shared }
    }

    /// For `plugins.proxy.dns_servers`.
    #[must_use]
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// A name has these addresses from now on.
    pub fn put_addresses(&self, name: &str, addresses: &[&str]) {
        let addresses: Vec<IpAddr> = addresses.iter().map(|text| text.parse().expect("an address")).collect();
        let v4 = addresses.iter().filter_map(|address| match address {
            IpAddr::V4(v4) => Some(RData::A(A(*v4))),
            IpAddr::V6(_) => None,
        });
        let v6 = addresses.iter().filter_map(|address| match address {
            IpAddr::V6(v6) => Some(RData::AAAA(AAAA(*v6))),
            IpAddr::V4(_) => None,
        });
        self.put(name, RecordType::A, v4.collect());
        self.put(name, RecordType::AAAA, v6.collect());
    }

    /// A service has these targets from now on: priority, weight, port, name.
    pub fn put_service(&self, name: &str, targets: &[(u16, u16, u16, &str)]) {
        let target = |(priority, weight, port, name): &(u16, u16, u16, &str)| {
            RData::SRV(SRV::new(*priority, *weight, *port, name_of(name)))
        };
        self.put(name, RecordType::SRV, targets.iter().map(target).collect());
    }

    fn put(&self, name: &str, kind: RecordType, data: Vec<RData>) {
        let mut records = self.shared.records.lock().expect("no thread panics while it holds the lock");
        records.insert((name_of(name), kind), data);
    }

    /// It does not answer, or answers again.
    pub fn silence(&self, is_silent: bool) {
        self.shared.is_silent.store(is_silent, Ordering::SeqCst);
    }

    /// It answers nothing that is asked of this name.
    ///
    /// # Panics
    /// If the name is invalid.
    pub fn silence_name(&self, name: &str) {
        self.shared.silent.lock().expect("no thread panics while it holds the lock").insert(name_of(name));
    }

    /// Sets whether it sends the addresses of targets along with a service.
    pub fn tell_along(&self, tells: bool) {
        self.shared.tells_along.store(tells, Ordering::SeqCst);
    }

    /// Returns the number of queries.
    #[must_use]
    pub fn queries(&self) -> usize {
        self.shared.queries.load(Ordering::SeqCst)
    }
}

impl Drop for DnsServer {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
    }
}

fn name_of(name: &str) -> Name {
    let mut name = Name::from_ascii(name).expect("a name");
    name.set_fqdn(true);
    name
}

fn serve(socket: &UdpSocket, shared: &Shared) {
    let mut bytes = [0; 4096];
    while !shared.ended.load(Ordering::SeqCst) {
        let Ok((length, from)) = socket.recv_from(&mut bytes) else { continue };
        shared.queries.fetch_add(1, Ordering::SeqCst);
        if shared.is_silent.load(Ordering::SeqCst) {
            continue;
        }
        if let Some(answer) =
            Message::from_bytes(&bytes[..length]).ok().and_then(|query| answer(&query, shared))
        {
            // The client may be gone.
            let _gone = socket.send_to(&answer, from);
        }
    }
}

fn answer(query: &Message, shared: &Shared) -> Option<Vec<u8>> {
    let question = query.queries.first()?.clone();
    let records = shared.records.lock().ok()?;
    let name = question.name().to_lowercase();
    if shared.silent.lock().ok()?.contains(&name) {
        return None;
    }
    let known = |kind: RecordType| records.get(&(name.clone(), kind));
    let mut answer = Message::new(query.metadata.id, MessageType::Response, OpCode::Query);
    let is_known =
        [RecordType::A, RecordType::AAAA, RecordType::SRV].into_iter().any(|kind| known(kind).is_some());
    answer.metadata.response_code = if is_known { ResponseCode::NoError } else { ResponseCode::NXDomain };
    answer.metadata.recursion_available = true;
    for data in known(question.query_type()).into_iter().flatten() {
        answer.add_answer(Record::from_rdata(question.name().clone(), 1, data.clone()));
        let target = match data {
            RData::SRV(srv) if shared.tells_along.load(Ordering::SeqCst) => &srv.target,
            _ => continue,
        };
        for kind in [RecordType::A, RecordType::AAAA] {
            for address in records.get(&(target.clone(), kind)).into_iter().flatten() {
                answer.add_additional(Record::from_rdata(target.clone(), 1, address.clone()));
            }
        }
    }
    answer.add_query(question);
    answer.to_bytes().ok()
}
