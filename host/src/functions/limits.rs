//! Limits of functions and of plugins: how many of their calls run here at once, and how many wait.
//!
//! The places of a name outlive generations, so a reload never doubles what may run.

use std::collections::HashMap;
use std::sync::Arc;

use crate::base::{Deadline, FunctionName, HeldPlaces, NoPlace, Place, PlaceLimit, Places};
use crate::config::{CallLimits, FunctionLimit};

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
}

/// The places of one call.
#[derive(Debug)]
pub struct Entered {
    _function: Option<Place>,
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
        let of = |places: &Arc<Places>| {
            if places.are_limited() { places.try_enter().map(Some) } else { Some(None) }
        };
        let function = of(&self.function)?;
        let plugin = if held.have(&self.plugin) { None } else { of(&self.plugin)? };
        Some(Entered { _function: function, _plugin: plugin })
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
        let Self { function, plugin } = self;
        let function = if !function.are_limited() {
            None
        } else if held.have(function) {
            Some(function.try_enter().ok_or_else(|| {
                function.refuse();
                Limited::Within
            })?)
        } else {
            Some(function.enter(deadline).await.map_err(Limited::Function)?)
        };
        let plugin = if !plugin.are_limited() || held.have(plugin) {
            None
        } else {
            Some(plugin.enter(deadline).await.map_err(Limited::Plugin)?)
        };
        Ok(Entered { _function: function, _plugin: plugin })
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
    functions: HashMap<FunctionName, (DeclaredLimit, Arc<Places>)>,
    plugins: HashMap<Arc<str>, Arc<Places>>,
}

impl LimitBook {
    /// The places of a function that is published.
    pub(super) fn publish(
        &mut self,
        name: &FunctionName,
        plugin: &Arc<str>,
        declared: DeclaredLimit,
    ) -> FunctionPlaces {
        let Self { configured, functions, plugins } = self;
        let of_function = declared.with(configured.functions.get(name));
        let function = match functions.get_mut(name) {
            Some((known, places)) => {
                *known = declared;
                Arc::clone(places)
            }
            None => {
                let places = Arc::<Places>::default();
                if functions.len() < NAMES_MAX {
                    functions.insert(name.clone(), (declared, Arc::clone(&places)));
                }
                places
            }
        };
        if function.limit() != of_function {
            function.set(of_function);
        }
        let plugin = plugins.entry(Arc::clone(plugin)).or_insert_with(|| {
            let limit = configured.plugins.get(&**plugin);
            Arc::new(limit.map_or_else(Places::default, |limit| Places::new(*limit)))
        });
        FunctionPlaces { function, plugin: Arc::clone(plugin) }
    }

    /// Brings what the config says into force, also for calls that run and wait.
    pub(super) fn configure(&mut self, configured: CallLimits) {
        let change = |places: &Places, limit: Option<PlaceLimit>| {
            if places.limit() != limit {
                places.set(limit);
            }
        };
        for (name, (declared, places)) in &self.functions {
            change(places, declared.with(configured.functions.get(name)));
        }
        for (name, places) in &self.plugins {
            change(places, configured.plugins.get(&**name).copied());
        }
        self.configured = configured;
    }

    /// Every place that is limited, or was so while calls came to it: of functions, then of plugins, by name.
    pub(super) fn shown(&self) -> [Vec<(String, Arc<Places>)>; 2] {
        let functions = self.functions.iter().map(|(name, (_, places))| (name.as_str(), places));
        let plugins = self.plugins.iter().map(|(name, places)| (&**name, places));
        [shown(functions), shown(plugins)]
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
    use super::*;
    use std::time::Duration;

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
        book.configure(configured(
            Some(limit(9, 9)),
            FunctionLimit { in_flight_max: Some(1), queue_max: None },
        ));
        assert_eq!((first.function.limit(), first.plugin.limit()), (Some(limit(1, 0)), Some(limit(9, 9))));
        let third = publish(&mut book, DECLARED);
        assert_eq!(third.function.limit(), Some(limit(1, 3)), "the config is still stronger");
        book.configure(CallLimits::default());
        assert_eq!((third.function.limit(), third.plugin.limit()), (Some(limit(2, 3)), None));
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_within_a_call_waits_for_none_of_its_own_places() {
        let deadline = Deadline::after(Duration::from_secs(5));
        let mut book = LimitBook::default();
        book.configure(configured(
            Some(limit(1, 5)),
            FunctionLimit { in_flight_max: Some(1), queue_max: Some(5) },
        ));
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
}
