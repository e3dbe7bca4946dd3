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
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};
    use std::time::Duration;

    use super::*;

    fn name(text: &str) -> FunctionName {
        FunctionName::new(text).unwrap()
    }

    fn limit(in_flight_max: usize, queue_max: usize) -> PlaceLimit {
        PlaceLimit { in_flight_max, queue_max }
    }

    fn configured(plugin: Option<PlaceLimit>, function: FunctionLimit) -> CallLimits {
        CallLimits {
            plugins: plugin.into_iter().map(|limit| ("demo".to_owned(), limit)).collect(),
            functions: [(name("demo.f"), function)].into(),
        }
    }

    fn publish(book: &mut LimitBook, declared: DeclaredLimit) -> FunctionPlaces {
        book.publish(&name("demo.f"), &"demo".into(), declared)
    }

    const DECLARED: DeclaredLimit = DeclaredLimit { max_concurrency: 2, max_queue: 3 };

    #[test]
    fn each_key_of_the_config_is_stronger_than_the_attribute() {
        let check = |declared: DeclaredLimit, in_flight_max, queue_max, expected| {
            assert_eq!(declared.with(Some(&FunctionLimit { in_flight_max, queue_max })), expected);
        };
        let undeclared = DeclaredLimit::default();
        check(DECLARED, None, None, Some(limit(2, 3)));
        check(DECLARED, Some(7), None, Some(limit(7, 3)));
        check(DECLARED, None, Some(0), Some(limit(2, 0)));
        check(undeclared, Some(7), None, Some(limit(7, 0)));
        check(undeclared, None, Some(9), None);
    }

    #[test]
    fn places_outlive_generations_and_configs() {
        let mut book = LimitBook::default();
        let first = publish(&mut book, DECLARED);
        let second = publish(&mut book, DeclaredLimit { max_concurrency: 5, max_queue: 0 });
        assert!(Arc::ptr_eq(&first.function, &second.function) && Arc::ptr_eq(&first.plugin, &second.plugin));
        assert_eq!((first.function.limit(), first.plugin.limit()), (Some(limit(5, 0)), None));
        let said = FunctionLimit { in_flight_max: Some(1), queue_max: None };
        book.configure(configured(Some(limit(9, 9)), said), None);
        assert_eq!((first.function.limit(), first.plugin.limit()), (Some(limit(1, 0)), Some(limit(9, 9))));
        let third = publish(&mut book, DECLARED);
        assert_eq!(third.function.limit(), Some(limit(1, 3)), "the config is still stronger");
        book.configure(CallLimits::default(), None);
        assert_eq!((third.function.limit(), third.plugin.limit()), (Some(limit(2, 3)), None));
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_within_a_call_waits_for_none_of_its_own_places() {
        let deadline = Deadline::after(Duration::from_secs(5));
        let mut book = LimitBook::default();
        let said = FunctionLimit { in_flight_max: Some(1), queue_max: Some(5) };
        book.configure(configured(Some(limit(1, 5)), said), None);
        let places = publish(&mut book, DeclaredLimit::default());
        let other = book.publish(&name("demo.g"), &"demo".into(), DeclaredLimit::default());
        let outside = HeldPlaces::default();
        let outer = places.try_enter(&outside).unwrap();
        let inside = places.held_within(&outside);
        assert!(other.try_enter(&outside).is_none(), "the plugin's place is taken");
        assert!(other.enter(&inside, deadline).await.is_ok());
        assert_eq!(places.enter(&inside, deadline).await.unwrap_err(), Limited::Within);
        let waited = other.enter(&outside, deadline).await.unwrap_err();
        assert_eq!(waited, Limited::Plugin(NoPlace::TimeRanOut));
        drop(outer);
        assert!(places.enter(&outside, deadline).await.is_ok());
        let [functions, plugins] = book.shown();
        assert_eq!((functions[0].1.reached(), plugins[0].1.reached()), (1, 1));
    }

    fn poll<F: Future>(entering: &mut Pin<Box<F>>) -> Option<F::Output> {
        match entering.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        }
    }

    /// One place of the plugin, which a call of `demo.g` has taken, and one of `demo.f`; and what is held within that call.
    fn one_of_each() -> (FunctionPlaces, Entered, HeldPlaces) {
        let mut book = LimitBook::default();
        let function = FunctionLimit { in_flight_max: Some(1), queue_max: Some(5) };
        book.configure(configured(Some(limit(1, 5)), function), None);
        let f = publish(&mut book, DeclaredLimit::default());
        let g = book.publish(&name("demo.g"), &"demo".into(), DeclaredLimit::default());
        let outer = g.try_enter(&HeldPlaces::default()).unwrap();
        let inside = g.held_within(&HeldPlaces::default());
        (f, outer, inside)
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_within_runs_in_the_place_of_one_that_waits_for_the_plugin() {
        let deadline = Deadline::after(Duration::from_secs(5));
        let (f, outer, inside) = one_of_each();
        let outside = HeldPlaces::default();
        let mut waiting = Box::pin(f.enter(&outside, deadline));
        assert!(poll(&mut waiting).is_none());
        let within = f.enter(&inside, deadline).await.unwrap();
        let mut second = Box::pin(f.enter(&inside, deadline));
        assert!(poll(&mut second).is_none(), "there is one place, though two calls have to do with it");
        // The plugin's place alone does not let it run.
        drop(outer);
        assert!(poll(&mut waiting).is_none());
        drop(within);
        let within = poll(&mut second).unwrap().unwrap();
        assert!(poll(&mut waiting).is_none(), "the second one asked before");
        drop(within);
        let entered = poll(&mut waiting).unwrap().unwrap();
        assert!(f.function.try_enter().is_none());
        drop(entered);
        assert_eq!((f.function.running(), f.function.waiting(), f.plugin.running()), (0, 0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_that_is_borrowed_stays_taken_when_its_lender_goes() {
        let deadline = Deadline::after(Duration::from_secs(5));
        let (f, outer, inside) = one_of_each();
        let outside = HeldPlaces::default();
        let mut waiting = Box::pin(f.enter(&outside, deadline));
        assert!(poll(&mut waiting).is_none());
        let within = f.try_enter(&inside).unwrap();
        drop(waiting);
        assert!(f.try_enter(&inside).is_none() && f.function.try_enter().is_none());
        // One that asks and goes changes nothing.
        let mut second = Box::pin(f.enter(&inside, deadline));
        assert!(poll(&mut second).is_none());
        drop(second);
        assert_eq!(f.function.running(), 1);
        drop(within);
        assert_eq!((f.function.running(), f.function.waiting()), (0, 0));
        assert!(f.try_enter(&inside).is_some());
        drop(outer);
        assert!(f.enter(&outside, deadline).await.is_ok());
    }
}
