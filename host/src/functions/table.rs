//! The table and its snapshots.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};

use super::limits::LimitBook;
use super::{CallStats, Function};
use crate::base::{FunctionName, Limiter, Mutex, MutexGuard};
use crate::config::CallLimits;

/// Most withdrawn functions that are remembered, to tell callers what became of them.
const WITHDRAWN_MAX: usize = 4096;
/// Most names whose calls go on being counted from one generation to the next.
const COUNTED_MAX: usize = 65_536;

/// One immutable version of the table.
#[derive(Debug, Default)]
pub struct Snapshot {
    functions: HashMap<FunctionName, Arc<Function>>,
    withdrawn: HashMap<FunctionName, Withdrawn>,
}

/// A function that a plugin had once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Withdrawn {
    /// The plugin.
    pub plugin: Arc<str>,
    /// The last generation that had it.
    pub generation: u64,
}

impl Snapshot {
    /// The function of a name.
    pub fn find(&self, name: &str) -> Option<&Arc<Function>> {
        self.functions.get(name)
    }

    /// Returns the last owner of a function that was withdrawn.
    pub fn withdrawn(&self, name: &str) -> Option<&Withdrawn> {
        self.withdrawn.get(name)
    }

    /// The generation of a plugin that serves; `None` if the plugin has no function here.
    pub fn generation_of(&self, plugin: &str) -> Option<u64> {
        self.functions
            .values()
            .find(|function| &*function.plugin == plugin)
            .map(|function| function.generation)
    }

    /// All functions, by name.
    pub fn sorted(&self) -> BTreeMap<&str, &Arc<Function>> {
        self.functions.iter().map(|(name, function)| (name.as_str(), function)).collect()
    }

    /// All names, in no order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.functions.keys().map(FunctionName::as_str)
    }
}

/// A name that another plugin already owns.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("function `{name}` is already registered by plugin `{owner}`")]
pub struct NameTaken {
    /// The name.
    pub name: FunctionName,
    /// The plugin that owns it.
    pub owner: Arc<str>,
}

/// The host's function table.
#[derive(Debug, Default)]
pub struct Table {
    current: ArcSwap<Snapshot>,
    /// The records that outlive functions. Held while a new snapshot is made from the current one.
    publishing: Mutex<TableState>,
}

/// Records by name that pass from generation to generation.
#[derive(Debug, Default)]
struct TableState {
    /// Counts of the calls of each name that was ever published, at most [`COUNTED_MAX`].
    counted: HashMap<FunctionName, Arc<CallStats>>,
    limits: LimitBook,
}

impl Table {
    /// The current snapshot, without waiting. Hold it briefly: it keeps retired code in use.
    #[must_use]
    pub fn snapshot(&self) -> Guard<Arc<Snapshot>> {
        self.current.load()
    }

    /// Replaces all functions of each plugin by its new ones, in one swap for all; none of them removes the plugin.
    ///
    /// # Errors
    /// [`NameTaken`] as [`Table::check`]; then nothing has changed.
    pub fn publish(&self, changes: Vec<Publication>) -> Result<(), NameTaken> {
        let mut book = self.book();
        let current = self.current.load();
        check(&current, &changes)?;
        let stays = |function: &Arc<Function>| !changes.iter().any(|(plugin, _)| *plugin == function.plugin);
        let mut next: HashMap<FunctionName, Arc<Function>> = current
            .functions
            .iter()
            .filter(|(_, function)| stays(function))
            .map(|(name, function)| (name.clone(), Arc::clone(function)))
            .collect();
        for mut function in changes.into_iter().flat_map(|(_, functions)| functions) {
            function.limits = book.limits.publish(&function.name, &function.plugin, function.declared);
            match book.counted.get(&function.name) {
                Some(stats) => function.stats = Arc::clone(stats),
                None if book.counted.len() < COUNTED_MAX => {
                    book.counted.insert(function.name.clone(), Arc::clone(&function.stats));
                }
                None => {}
            }
            next.insert(function.name.clone(), Arc::new(function));
        }
        let withdrawn = withdrawn(&current, &next);
        self.current.store(Arc::new(Snapshot { functions: next, withdrawn }));
        Ok(())
    }

    /// Returns the counts of the calls of each name that was ever published, by name.
    pub fn stats(&self) -> BTreeMap<FunctionName, Arc<CallStats>> {
        let book = self.book();
        book.counted.iter().map(|(name, stats)| (name.clone(), Arc::clone(stats))).collect()
    }

    /// Changes what the config says of limits, for calls that run and wait as well. `per_function` is how many places
    /// of the host calls of one function may have.
    pub fn set_limits(&self, limits: CallLimits, per_function: usize) {
        self.book().limits.configure(limits, Some(per_function));
    }

    /// Returns the number of rejections because a function used all permits of the host that it may.
    pub fn shares_rejected(&self) -> u64 {
        self.book().limits.shares_rejected()
    }

    /// Every limit of functions, and of plugins, by name.
    pub fn limits(&self) -> [Vec<(String, Arc<Limiter>)>; 2] {
        self.book().limits.shown()
    }

    fn book(&self) -> MutexGuard<'_, TableState> {
        self.publishing.lock()
    }

    /// Looks whether changes could be published.
    ///
    /// # Errors
    /// [`NameTaken`] if another plugin owns one of the names, or two of these plugins have the same one.
    pub fn check(&self, changes: &[Publication]) -> Result<(), NameTaken> {
        check(&self.current.load(), changes)
    }
}

/// A plugin, and all functions that it has from now on.
pub type Publication = (Arc<str>, Vec<Function>);

fn check(current: &Snapshot, changes: &[Publication]) -> Result<(), NameTaken> {
    let stays = |plugin: &Arc<str>| !changes.iter().any(|(changed, _)| changed == plugin);
    let mut owners: HashMap<&FunctionName, &Arc<str>> = HashMap::new();
    for (plugin, functions) in changes {
        for function in functions {
            let published = current.functions.get(&function.name).map(|function| &function.plugin);
            let owner = published.filter(|owner| stays(owner));
            if let Some(owner) = owner.or_else(|| owners.insert(&function.name, plugin)) {
                return Err(NameTaken { name: function.name.clone(), owner: Arc::clone(owner) });
            }
        }
    }
    Ok(())
}

/// Returns the functions that no plugin has any more.
fn withdrawn(
    current: &Snapshot,
    next: &HashMap<FunctionName, Arc<Function>>,
) -> HashMap<FunctionName, Withdrawn> {
    let gone = current.functions.values().map(|function| {
        let withdrawn = Withdrawn { plugin: Arc::clone(&function.plugin), generation: function.generation };
        (function.name.clone(), withdrawn)
    });
    let before = current.withdrawn.iter().map(|(name, withdrawn)| (name.clone(), withdrawn.clone()));
    gone.chain(before).filter(|(name, _)| !next.contains_key(name)).take(WITHDRAWN_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(plugin: &str, name: &str, generation: u64) -> Function {
        Function { generation, ..Function::for_tests(plugin, name, true.into()) }
    }

    fn publish(table: &Table, plugin: &str, functions: Vec<Function>) -> Result<(), NameTaken> {
        table.publish(vec![(plugin.into(), functions)])
    }

    #[test]
    fn publish_replaces_one_plugin_as_a_whole() {
        let table = Table::default();
        publish(&table, "a", vec![function("a", "a.x", 1), function("a", "a.y", 1)]).unwrap();
        publish(&table, "b", vec![function("b", "b.x", 1)]).unwrap();
        let before = Arc::clone(&table.snapshot());
        publish(&table, "a", vec![function("a", "a.x", 2)]).unwrap();
        let after = table.snapshot();
        assert_eq!(after.sorted().into_keys().collect::<Vec<_>>(), ["a.x", "b.x"]);
        assert_eq!(after.find("a.x").unwrap().generation, 2);
        assert_eq!(before.find("a.x").unwrap().generation, 1, "a snapshot never changes");
        assert_eq!(after.withdrawn("a.y"), Some(&Withdrawn { plugin: "a".into(), generation: 1 }));
        assert_eq!(after.withdrawn("a.x"), None);
        assert_eq!((after.generation_of("a"), after.generation_of("c")), (Some(2), None));
    }

    #[test]
    fn a_taken_name_changes_nothing() {
        let table = Table::default();
        publish(&table, "a", vec![function("a", "a.x", 1)]).unwrap();
        let refused =
            publish(&table, "b", vec![function("b", "b.x", 1), function("b", "a.x", 1)]).unwrap_err();
        assert_eq!(refused.to_string(), "function `a.x` is already registered by plugin `a`");
        assert_eq!(table.snapshot().names().collect::<Vec<_>>(), ["a.x"]);
    }
    #[test]
    fn a_function_moves_from_one_plugin_to_another_in_one_swap() {
        let table = Table::default();
        publish(&table, "a", vec![function("a", "a.x", 1), function("a", "a.y", 1)]).unwrap();
        let moved =
            vec![("b".into(), vec![function("b", "a.y", 1)]), ("a".into(), vec![function("a", "a.x", 2)])];
        table.publish(moved).unwrap();
        assert_eq!(&*table.snapshot().find("a.y").unwrap().plugin, "b");
        let twice =
            vec![("c".into(), vec![function("c", "c.x", 1)]), ("d".into(), vec![function("d", "c.x", 1)])];
        let refused = table.publish(twice).unwrap_err();
        assert_eq!(refused.to_string(), "function `c.x` is already registered by plugin `c`");
    }
}
