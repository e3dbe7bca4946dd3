//! The permits that a call inherits from its enclosing calls.

use std::sync::Arc;

use super::Limiter;

/// The limiters whose permits a call inherits from its enclosing calls.
///
/// Such a call must not wait for another permit of the same limiter: its enclosing call holds it.
#[derive(Debug, Clone, Default)]
pub struct InheritedPermits(Option<Arc<Inherited>>);

#[derive(Debug)]
struct Inherited {
    limiter: Arc<Limiter>,
    others: InheritedPermits,
}

impl InheritedPermits {
    /// Returns these and one more.
    pub fn with(&self, limiter: &Arc<Limiter>) -> Self {
        Self(Some(Arc::new(Inherited { limiter: Arc::clone(limiter), others: self.clone() })))
    }

    /// Returns true if a permit of this limiter is among them.
    pub fn contain(&self, limiter: &Arc<Limiter>) -> bool {
        let mut inherited = &self.0;
        while let Some(one) = inherited {
            if Arc::ptr_eq(&one.limiter, limiter) {
                return true;
            }
            inherited = &one.others.0;
        }
        false
    }
}
