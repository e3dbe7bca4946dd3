//! The permits that a call has by the calls that it is made within.

use std::sync::Arc;

use super::Limiter;

/// The limiters of which a call has permits by the calls that it is made within.
///
/// Such a call must not wait for another permit of the same: the call that it is made within has it.
#[derive(Debug, Clone, Default)]
pub struct InheritedPermits(Option<Arc<Inherited>>);

#[derive(Debug)]
struct Inherited {
    limiter: Arc<Limiter>,
    others: InheritedPermits,
}

impl InheritedPermits {
    /// Returns these and one more.
    #[must_use]
    pub fn with(&self, limiter: &Arc<Limiter>) -> Self {
        Self(Some(Arc::new(Inherited { limiter: Arc::clone(limiter), others: self.clone() })))
    }

    /// Returns true if a permit of this limiter is among them.
    #[must_use]
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
