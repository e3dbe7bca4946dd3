//! The catalogue and its OpenAPI, made once for all clients that are shown the same, and again when what they are made
//! of has changed.
//!
//! With ten thousand functions, making one takes much longer than any answer may: it is done off the workers, one at a
//! time, and not at all for a client that asks whether its copy is still good.

use std::sync::{Arc, Weak};
use std::time::Instant;

use super::policy::Policy;
use super::response::{Problem, TaggedDocument};
use crate::base::{Caller, ErrorCode, Mutex};
use crate::functions::Snapshot;
use crate::peers::{BreakerState, Catalogue, Peer};
use crate::router::{Router, Routes};

mod catalogue;
mod openapi;

/// Most documents that are kept: one for each caller of the config and each of the two, as long as they are few.
const KEPT_MAX: usize = 64;
/// Most bytes of them, but for one document, however long it is.
const KEPT_BYTES_MAX: usize = 64 << 20;

/// A kind of document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    /// `GET /api/v1/functions`.
    Catalogue,
    /// `GET /api/v1/openapi.json`.
    OpenApi,
}

/// The documents that were made last.
#[derive(Debug, Default)]
pub struct Documents {
    kept: Mutex<Vec<CachedDocument>>,
    /// Held while one is made.
    making: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct CachedDocument {
    which: Which,
    caller: Caller,
    of: Ingredients,
    document: TaggedDocument,
    made: Instant,
    used: Instant,
}

/// The inputs of a document: as long as they are the same, so is the document.
#[derive(Debug)]
struct Ingredients {
    policy: Weak<Policy>,
    table: Weak<Snapshot>,
    routes: Weak<Routes>,
    peers: Vec<OfPeer>,
}

/// The inputs of a document from one peer.
#[derive(Debug)]
struct OfPeer {
    peer: Weak<Peer>,
    /// Of nothing, if the peer has none.
    catalogue: Weak<Catalogue>,
    is_itself: bool,
    is_put_off: bool,
}

impl Ingredients {
    fn now(router: &Router, policy: &Arc<Policy>) -> Self {
        let (routes, now) = (router.routes(), Instant::now());
        let of_peer = |peer: &Arc<Peer>| OfPeer {
            peer: Arc::downgrade(peer),
            catalogue: peer.offers().as_ref().map_or_else(Weak::new, Arc::downgrade),
            is_itself: peer.is_itself(),
            is_put_off: matches!(peer.breaker_state(now), BreakerState::Open(_)),
        };
        Self {
            policy: Arc::downgrade(policy),
            table: Arc::downgrade(&router.table().snapshot()),
            peers: routes.all.peers.iter().map(of_peer).collect(),
            routes: Arc::downgrade(&routes),
        }
    }

    fn are_same(&self, other: &Self) -> bool {
        self.policy.ptr_eq(&other.policy)
            && self.table.ptr_eq(&other.table)
            && self.routes.ptr_eq(&other.routes)
            && self.peers.len() == other.peers.len()
            && self.peers.iter().zip(&other.peers).all(|(one, other)| one.is_same(other))
    }
}

impl OfPeer {
    fn is_same(&self, other: &Self) -> bool {
        self.peer.ptr_eq(&other.peer)
            && self.catalogue.ptr_eq(&other.catalogue)
            && (self.is_itself, self.is_put_off) == (other.is_itself, other.is_put_off)
    }
}

impl Documents {
    /// The document as it is now for this caller.
    ///
    /// # Cancel safety
    /// One that is being made is made to its end, and kept, only if its first client waits for it; the next one makes it
    /// otherwise.
    pub(crate) async fn get(
        &self,
        router: &Arc<Router>,
        policy: &Arc<Policy>,
        which: Which,
        caller: &Caller,
    ) -> Result<TaggedDocument, Problem> {
        if let Some(document) = self.find(which, caller, &Ingredients::now(router, policy), None) {
            return Ok(document);
        }
        let asked = Instant::now();
        let _making = self.making.lock().await;
        // What it is made of may go on changing: a document that was begun after this client asked is new enough.
        let of = Ingredients::now(router, policy);
        if let Some(document) = self.find(which, caller, &of, Some(asked)) {
            return Ok(document);
        }
        let made = Instant::now();
        let body = {
            let (router, policy, caller) = (Arc::clone(router), Arc::clone(policy), caller.clone());
            tokio::task::spawn_blocking(move || make(&router, &policy, which, &caller)).await
        };
        let body =
            body.map_err(|_| Problem::of_code(ErrorCode::Internal, "the document could not be made"))?;
        let document = TaggedDocument::new(body.into());
        self.keep(CachedDocument {
            which,
            caller: caller.clone(),
            of,
            document: document.clone(),
            made,
            used: made,
        });
        Ok(document)
    }

    /// One that is made of the same, or was begun after `since`.
    fn find(
        &self,
        which: Which,
        caller: &Caller,
        of: &Ingredients,
        since: Option<Instant>,
    ) -> Option<TaggedDocument> {
        let mut kept = self.kept.lock();
        let found = kept.iter_mut().find(|kept| kept.which == which && kept.caller == *caller)?;
        let is_new = since.is_some_and(|since| found.made >= since);
        (is_new || found.of.are_same(of)).then(|| {
            found.used = Instant::now();
            found.document.clone()
        })
    }

    fn keep(&self, new: CachedDocument) {
        let mut kept = self.kept.lock();
        kept.retain(|old| old.which != new.which || old.caller != new.caller);
        let mut bytes: usize = kept.iter().map(|old| old.document.len()).sum::<usize>() + new.document.len();
        while kept.len() >= KEPT_MAX || (bytes > KEPT_BYTES_MAX && !kept.is_empty()) {
            let oldest = (0..kept.len()).min_by_key(|place| kept[*place].used).unwrap_or_default();
            bytes -= kept.swap_remove(oldest).document.len();
        }
        kept.push(new);
    }
}

fn make(router: &Router, policy: &Policy, which: Which, caller: &Caller) -> Vec<u8> {
    let document = match which {
        Which::Catalogue => serde_json::to_value(catalogue::document(router, caller)).unwrap_or_default(),
        Which::OpenApi => openapi::document(router, &policy.access, caller),
    };
    document.to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(which: Which, caller: Caller, bytes: usize) -> CachedDocument {
        let of =
            Ingredients { policy: Weak::new(), table: Weak::new(), routes: Weak::new(), peers: Vec::new() };
        let document = TaggedDocument::new(vec![b'x'; bytes].into());
        CachedDocument { which, caller, of, document, made: Instant::now(), used: Instant::now() }
    }

    fn named(number: usize) -> Caller {
        Caller::Plugin(number.to_string().into())
    }

    #[test]
    fn so_many_are_kept_and_the_longest_unused_goes() {
        let all = Documents::default();
        for number in 0..KEPT_MAX + 10 {
            all.keep(kept(Which::Catalogue, named(number), 10));
            all.keep(kept(Which::Catalogue, named(number), 10));
            assert!(
                all.find(Which::Catalogue, &named(0), &kept(Which::OpenApi, named(0), 0).of, None).is_some()
            );
        }
        assert_eq!(all.kept.lock().len(), KEPT_MAX);
        assert!(all.kept.lock().iter().all(|kept| kept.caller != named(1)));
        let of = Ingredients {
            policy: Weak::new(),
            table: Weak::new(),
            routes: Arc::downgrade(&Arc::new(routes())),
            peers: Vec::new(),
        };
        assert!(all.find(Which::Catalogue, &named(0), &of, None).is_none(), "made of something else");
        assert!(all.find(Which::OpenApi, &named(0), &of, None).is_none());
        all.keep(kept(Which::OpenApi, named(0), KEPT_BYTES_MAX + 1));
        assert_eq!(all.kept.lock().len(), 1, "one that is too long is kept alone");
    }

    fn routes() -> Routes {
        let (configured, all) = Default::default();
        Routes { configured, all, fallback: crate::config::Fallback::None, wait: std::time::Duration::ZERO }
    }
}
