//! Limits of functions and of plugins: how many of their calls run here at once, and how many wait.
//!
//! The limiter of a name outlives generations, so a reload never doubles what may run.

use std::collections::HashMap;
use std::sync::Arc;

use crate::base::{
    AcquireError, ConcurrencyLimit, Deadline, FunctionName, InheritedPermits, Limiter, Needs, Permits,
};
use crate::config::{CallLimits, FunctionLimit};

/// Most names whose limiters are kept.
const NAMES_MAX: usize = 65_536;

/// The limit that a function itself declares.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DeclaredLimit {
    /// Most calls at once; 0: no limit.
    pub max_concurrency: usize,
    /// Most calls that wait.
    pub max_queue: usize,
}

impl DeclaredLimit {
    /// Returns the limit in force: each key of the config is stronger than what the function says.
    fn with(self, configured: Option<&FunctionLimit>) -> Option<ConcurrencyLimit> {
        let FunctionLimit { in_flight_max, queue_max } = configured.copied().unwrap_or_default();
        let in_flight_max = in_flight_max.or((self.max_concurrency > 0).then_some(self.max_concurrency))?;
        Some(ConcurrencyLimit { in_flight_max, queue_max: queue_max.unwrap_or(self.max_queue) })
    }
}

/// The limiters of the calls of one function.
#[derive(Debug, Clone, Default)]
pub struct FunctionLimits {
    /// Of the function; shares the queue of the plugin's.
    pub function: Arc<Limiter>,
    /// Of all functions of its plugin.
    pub plugin: Arc<Limiter>,
    /// Of the permits of the host that calls of the function may have.
    pub share_of_host: Arc<Limiter>,
}

/// The limit that rejected a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rejected {
    /// The function's.
    Function(AcquireError),
    /// The function's, of a call that has inherited one of its permits and so does not wait for another.
    Within,
    /// The plugin's.
    Plugin(AcquireError),
}

impl FunctionLimits {
    /// Returns true if a call needs a permit at all.
    #[inline]
    pub fn is_limited(&self) -> bool {
        self.function.is_limited() || self.plugin.is_limited()
    }

    /// A call that is made within another one goes along on that one's permit of the plugin.
    fn needs(&self, inherited: &InheritedPermits) -> Needs<'_> {
        let plugin = self.plugin.is_limited() && !inherited.contain(&self.plugin);
        [self.function.is_limited().then_some(&self.function), plugin.then_some(&self.plugin)]
    }

    /// Takes the permits that a call needs, if all are free.
    #[must_use]
    pub fn try_acquire(&self, inherited: &InheritedPermits) -> Option<Permits> {
        Permits::try_acquire(self.needs(inherited))
    }

    /// Takes the permits that a call needs, at once or after waiting, until the deadline.
    ///
    /// A call that is made within one of the same function does not wait for a permit of the function, as it might wait
    /// for itself.
    ///
    /// # Errors
    /// The limit that rejected it.
    ///
    /// # Cancel safety
    /// Dropping it leaves the queue.
    pub async fn acquire(
        &self,
        inherited: &InheritedPermits,
        deadline: Deadline,
    ) -> Result<Permits, Rejected> {
        if inherited.contain(&self.function) && !self.function.has_room() {
            self.function.count_rejection();
            return Err(Rejected::Within);
        }
        Permits::acquire(self.needs(inherited), deadline).await.map_err(|(full, why)| match full {
            0 => Rejected::Function(why),
            _ => Rejected::Plugin(why),
        })
    }

    /// Returns what calls inherit that are made within one of this function.
    #[must_use]
    pub fn inherited_within(&self, inherited: &InheritedPermits) -> InheritedPermits {
        let limiters = [&self.function, &self.plugin].into_iter().filter(|limiter| limiter.is_limited());
        limiters.fold(
            inherited.clone(),
            |all, limiter| if all.contain(limiter) { all } else { all.with(limiter) },
        )
    }
}

/// The limiters of all names that were ever published, and what the config says of them.
#[derive(Debug, Default)]
pub(super) struct LimitBook {
    configured: CallLimits,
    /// The number of permits of the host that one function may use; `None` for no limit.
    per_function: Option<usize>,
    functions: HashMap<FunctionName, KnownFunction>,
    plugins: HashMap<Arc<str>, Arc<Limiter>>,
}

#[derive(Debug, Clone, Default)]
struct KnownFunction {
    declared: DeclaredLimit,
    limiter: Arc<Limiter>,
    share_of_host: Arc<Limiter>,
}

impl LimitBook {
    /// Returns the limits of a function that is published.
    pub(super) fn publish(
        &mut self,
        name: &FunctionName,
        plugin: &Arc<str>,
        declared: DeclaredLimit,
    ) -> FunctionLimits {
        let Self { configured, per_function, functions, plugins } = self;
        let plugin = plugins.entry(Arc::clone(plugin)).or_insert_with(|| {
            let limiter = Limiter::default();
            limiter.set(configured.plugins.get(&**plugin).copied());
            Arc::new(limiter)
        });
        let known = functions.get(name).cloned().unwrap_or_default();
        let known = if known.limiter.is_beside(plugin) {
            KnownFunction { declared, ..known }
        } else {
            // It is new, or another plugin has it now, whose permits its calls need.
            KnownFunction { declared, limiter: Arc::new(plugin.beside()), ..known }
        };
        if functions.len() < NAMES_MAX || functions.contains_key(name) {
            functions.insert(name.clone(), known.clone());
        }
        let of_function = configured.functions.get(name);
        change(&known.limiter, declared.with(of_function));
        change(&known.share_of_host, share(*per_function, of_function));
        let KnownFunction { limiter: function, share_of_host, .. } = known;
        FunctionLimits { function, plugin: Arc::clone(plugin), share_of_host }
    }

    /// Brings what the config says into force, also for calls that run and wait. `per_function` is how many permits of
    /// the host calls of one function may have.
    pub(super) fn configure(&mut self, configured: CallLimits, per_function: Option<usize>) {
        for (name, KnownFunction { declared, limiter, share_of_host }) in &self.functions {
            let of_function = configured.functions.get(name);
            change(limiter, declared.with(of_function));
            change(share_of_host, share(per_function, of_function));
        }
        for (name, limiter) in &self.plugins {
            change(limiter, configured.plugins.get(&**name).copied());
        }
        self.configured = configured;
        self.per_function = per_function;
    }

    /// Returns every limiter that has a limit, or rejected a call when it had one: of functions, then of plugins, by name.
    pub(super) fn shown(&self) -> [Vec<(String, Arc<Limiter>)>; 2] {
        let functions = self.functions.iter().map(|(name, known)| (name.as_str(), &known.limiter));
        let plugins = self.plugins.iter().map(|(name, limiter)| (&**name, limiter));
        [shown(functions), shown(plugins)]
    }

    /// Returns how often calls of a function had as many permits of the host as they may.
    pub(super) fn shares_rejected(&self) -> u64 {
        self.functions.values().map(|known| known.share_of_host.rejected()).sum()
    }
}

/// Returns the limit on the permits of the host that calls of a function may have: at least what the operator allows it.
fn share(per_function: Option<usize>, configured: Option<&FunctionLimit>) -> Option<ConcurrencyLimit> {
    let own = configured.and_then(|limit| limit.in_flight_max).unwrap_or_default();
    per_function.map(|most| ConcurrencyLimit { in_flight_max: most.max(own), queue_max: 0 })
}

fn change(limiter: &Limiter, limit: Option<ConcurrencyLimit>) {
    if limiter.limit() != limit {
        limiter.set(limit);
    }
}

fn shown<'a>(all: impl Iterator<Item = (&'a str, &'a Arc<Limiter>)>) -> Vec<(String, Arc<Limiter>)> {
    let mut shown: Vec<_> = all
        .filter(|(_, limiter)| limiter.is_limited() || limiter.rejected() > 0)
        .map(|(name, limiter)| (name.to_owned(), Arc::clone(limiter)))
        .collect();
    shown.sort_by(|one, other| one.0.cmp(&other.0));
    shown
}

#[cfg(test)]
mod tests;
