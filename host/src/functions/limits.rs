//! Limits of functions and of plugins: how many of their calls run here at once, and how many wait.
//!
//! The places of a name outlive generations, so a reload never doubles what may run.

use std::collections::HashMap;
use std::sync::Arc;

use crate::base::{Deadline, FunctionName, HeldPlaces, NoPlace, Place, PlaceLimit, Places};
use crate::config::{CallLimits, FunctionLimit};

mod idle;

use idle::{Borrowed, Idle};

/// Most names whose places are kept.
const NAMES_MAX: usize = 65_536;

/// What a function says of its limit itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DeclaredLimit {
    /// Most calls at once; 0: no limit.
    pub max_concurrency: usize,
    /// Most calls that wait.
    pub max_queue: usize,
}

impl DeclaredLimit {
    /// What holds, with what the config says: each of its keys is stronger.
    fn with(self, configured: Option<&FunctionLimit>) -> Option<PlaceLimit> {
        let FunctionLimit { in_flight_max, queue_max } = configured.copied().unwrap_or_default();
        let in_flight_max = in_flight_max.or((self.max_concurrency > 0).then_some(self.max_concurrency))?;
        Some(PlaceLimit { in_flight_max, queue_max: queue_max.unwrap_or(self.max_queue) })
    }
}

/// The places that calls of one function need: its own, and its plugin's.
#[derive(Debug, Clone, Default)]
pub struct FunctionPlaces {
    /// Of the function.
    pub function: Arc<Places>,
    /// Of all functions of its plugin.
    pub plugin: Arc<Places>,
    /// Those among the calls of the host that calls of the function may have.
    pub of_host: Arc<Places>,
    /// Those of the function whose calls wait for the plugin's.
    idle: Arc<Idle>,
}

/// The places of one call.
#[derive(Debug, Default)]
pub struct Entered {
    _function: Option<Place>,
    /// Of the function, in place of one of its own.
    _borrowed: Option<Borrowed>,
    _plugin: Option<Place>,
}

/// A limit that let a call not pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limited {
    /// The function's.
    Function(NoPlace),
    /// The function's, by a call that has one of its places already and so does not wait for another.
    Within,
    /// The plugin's.
    Plugin(NoPlace),
}

impl FunctionPlaces {
    /// Whether a call needs a place at all.
    #[inline]
    #[must_use]
    pub fn are_limited(&self) -> bool {
        self.function.are_limited() || self.plugin.are_limited()
    }

    /// What a call needs, if all of it is free.
    #[must_use]
    pub fn try_enter(&self, held: &HeldPlaces) -> Option<Entered> {
        if held.have(&self.plugin) {
            return self.try_enter_within();
        }
        let of = |places: &Arc<Places>| {
            if places.are_limited() { places.try_enter().map(Some) } else { Some(None) }
        };
        Some(Entered { _function: of(&self.function)?, _borrowed: None, _plugin: of(&self.plugin)? })
    }

    /// What a call needs, at once or after waiting, until the deadline: first the function's place, so that a function
    /// that many wait for does not hold up the others of its plugin.
    ///
    /// A call that is made within another one of the same places does not wait for them, as it might wait for itself:
    /// it goes along on the place of the plugin, and is refused one of the function.
    ///
    /// # Errors
    /// The limit that let it not pass.
    ///
    /// # Cancel safety
    /// Dropping it gives back what it had, its place in the queue included.
    pub async fn enter(&self, held: &HeldPlaces, deadline: Deadline) -> Result<Entered, Limited> {
        let Self { function, plugin, idle, of_host: _ } = self;
        if held.have(plugin) {
            return self.enter_within(held, deadline).await;
        }
        let mut own = if !function.are_limited() {
            None
        } else if held.have(function) {
            Some(function.try_enter().ok_or_else(|| self.refuse_within())?)
        } else {
            Some(function.enter(deadline).await.map_err(Limited::Function)?)
        };
        let mut of_plugin = plugin.are_limited().then(|| plugin.try_enter()).flatten();
        if plugin.are_limited() && of_plugin.is_none() {
            let lent = own.map(|place| idle.lend(place));
            of_plugin = Some(plugin.enter(deadline).await.map_err(Limited::Plugin)?);
            own = match lent {
                Some(lent) => lent.take_back(deadline).await.map_err(Limited::Function)?,
                None => None,
            };
        }
        Ok(Entered { _function: own, _borrowed: None, _plugin: of_plugin })
    }

    /// What a call needs that goes along on a place of the plugin: one of the function that is free, or that is idle, as
    /// the call that has it waits for the plugin's.
    fn try_enter_within(&self) -> Option<Entered> {
        if !self.function.are_limited() {
            return Some(Entered::default());
        }
        let own = self.function.try_enter();
        let borrowed = if own.is_none() { Some(self.idle.try_borrow()?) } else { None };
        Some(Entered { _function: own, _borrowed: borrowed, _plugin: None })
    }

    /// The same, at once or after waiting in the function's queue.
    async fn enter_within(&self, held: &HeldPlaces, deadline: Deadline) -> Result<Entered, Limited> {
        if let Some(entered) = self.try_enter_within() {
            return Ok(entered);
        }
        if held.have(&self.function) {
            return Err(self.refuse_within());
        }
        tokio::select! {
            biased;
            place = self.function.enter(deadline) => {
                let place = place.map_err(Limited::Function)?;
                Ok(Entered { _function: Some(place), ..Entered::default() })
            }
            borrowed = self.idle.borrow() => Ok(Entered { _borrowed: Some(borrowed), ..Entered::default() }),
        }
    }

    fn refuse_within(&self) -> Limited {
        self.function.refuse();
        Limited::Within
    }

    /// What `held` is for calls that are made within one that has entered.
    #[must_use]
    pub fn held_within(&self, held: &HeldPlaces) -> HeldPlaces {
        let limited = [&self.function, &self.plugin].into_iter().filter(|places| places.are_limited());
        limited.fold(held.clone(), |held, places| if held.have(places) { held } else { held.with(places) })
    }
}

/// The places of all names that there ever were, and what the config says of them.
#[derive(Debug, Default)]
pub(super) struct LimitBook {
    configured: CallLimits,
    /// How many places of the host calls of one function may have; nothing for all.
    per_function: Option<usize>,
    functions: HashMap<FunctionName, OfFunction>,
    plugins: HashMap<Arc<str>, Arc<Places>>,
}

/// What is kept of a function.
#[derive(Debug, Default)]
struct OfFunction {
    declared: DeclaredLimit,
    places: Arc<Places>,
    of_host: Arc<Places>,
    idle: Arc<Idle>,
}

impl LimitBook {
    /// The places of a function that is published.
    pub(super) fn publish(
        &mut self,
        name: &FunctionName,
        plugin: &Arc<str>,
        declared: DeclaredLimit,
    ) -> FunctionPlaces {
        let Self { configured, per_function, functions, plugins } = self;
        let of_function = declared.with(configured.functions.get(name));
        let (function, of_host, idle) = match functions.get_mut(name) {
            Some(known) => {
                known.declared = declared;
                known.places()
            }
            None => {
                let new = OfFunction { declared, ..OfFunction::default() };
                let shared = new.places();
                if functions.len() < NAMES_MAX {
                    functions.insert(name.clone(), new);
                }
                shared
            }
        };
        change(&function, of_function);
        change(&of_host, share(*per_function, configured.functions.get(name)));
        let plugin = plugins.entry(Arc::clone(plugin)).or_insert_with(|| {
            let limit = configured.plugins.get(&**plugin);
            Arc::new(limit.map_or_else(Places::default, |limit| Places::new(*limit)))
        });
        FunctionPlaces { function, plugin: Arc::clone(plugin), of_host, idle }
    }

    /// Brings what the config says into force, also for calls that run and wait. `per_function` is how many places of
    /// the host calls of one function may have.
    pub(super) fn configure(&mut self, configured: CallLimits, per_function: Option<usize>) {
        for (name, OfFunction { declared, places, of_host, .. }) in &self.functions {
            let said = configured.functions.get(name);
            change(places, declared.with(said));
            change(of_host, share(per_function, said));
        }
        for (name, places) in &self.plugins {
            change(places, configured.plugins.get(&**name).copied());
        }
        self.configured = configured;
        self.per_function = per_function;
    }

    /// Every place that is limited, or was so while calls came to it: of functions, then of plugins, by name.
    pub(super) fn shown(&self) -> [Vec<(String, Arc<Places>)>; 2] {
        let functions = self.functions.iter().map(|(name, known)| (name.as_str(), &known.places));
        let plugins = self.plugins.iter().map(|(name, places)| (&**name, places));
        [shown(functions), shown(plugins)]
    }

    /// How often calls of a function had as many places of the host as they may.
    pub(super) fn shares_reached(&self) -> u64 {
        self.functions.values().map(|known| known.of_host.reached()).sum()
    }
}

impl OfFunction {
    fn places(&self) -> (Arc<Places>, Arc<Places>, Arc<Idle>) {
        (Arc::clone(&self.places), Arc::clone(&self.of_host), Arc::clone(&self.idle))
    }
}

/// The places of the host that calls of a function may have: what the operator lets run of it alone may be more.
fn share(per_function: Option<usize>, configured: Option<&FunctionLimit>) -> Option<PlaceLimit> {
    let said = configured.and_then(|limit| limit.in_flight_max).unwrap_or_default();
    per_function.map(|most| PlaceLimit { in_flight_max: most.max(said), queue_max: 0 })
}

fn change(places: &Places, limit: Option<PlaceLimit>) {
    if places.limit() != limit {
        places.set(limit);
    }
}

fn shown<'a>(all: impl Iterator<Item = (&'a str, &'a Arc<Places>)>) -> Vec<(String, Arc<Places>)> {
    let acts = |places: &Places| places.are_limited() || places.reached() > 0;
    let mut shown: Vec<_> = all
        .filter(|(_, places)| acts(places))
        .map(|(name, places)| (name.to_owned(), Arc::clone(places)))
        .collect();
    shown.sort_by(|one, other| one.0.cmp(&other.0));
    shown
}

#[cfg(test)]
mod tests;
