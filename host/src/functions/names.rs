//! Numbers for function names, so that a plugin resolves a name once and calls by number.

use std::collections::HashMap;

use crate::base::{FunctionName, RwLock};

/// The number of a name; valid for the life of the host, across reloads. Never 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FunctionNumber(pub u32);

/// Most names that get a number. Each is a call site in some plugin's code, so a plugin
/// that reaches it makes names up.
const NAMES_MAX: usize = 65_536;

/// The numbers of all names that were ever resolved.
#[derive(Debug, Default)]
pub struct Names {
    inner: RwLock<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    names: Vec<FunctionName>,
    numbers: HashMap<FunctionName, FunctionNumber>,
}

impl Names {
    /// The number of a name, the same each time; `None` past the limit of names.
    pub fn resolve(&self, name: &FunctionName) -> Option<FunctionNumber> {
        if let Some(number) = self.inner.read().numbers.get(name) {
            return Some(*number);
        }
        let mut inner = self.inner.write();
        if let Some(number) = inner.numbers.get(name) {
            return Some(*number);
        }
        if inner.names.len() >= NAMES_MAX {
            return None;
        }
        inner.names.push(name.clone());
        let number = FunctionNumber(u32::try_from(inner.names.len()).ok()?);
        inner.numbers.insert(name.clone(), number);
        Some(number)
    }

    /// The name of a number; `None` for one that was never given out.
    pub fn name(&self, number: FunctionNumber) -> Option<FunctionName> {
        let index = (number.0 as usize).checked_sub(1)?;
        self.inner.read().names.get(index).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_and_are_bounded() {
        let names = Names::default();
        let a = names.resolve(&FunctionName::new("a").unwrap()).unwrap();
        let b = names.resolve(&FunctionName::new("b").unwrap()).unwrap();
        assert_ne!(a, b);
        assert_eq!(names.resolve(&FunctionName::new("a").unwrap()), Some(a));
        assert_eq!(names.name(b).unwrap().as_str(), "b");
        assert_eq!(names.name(FunctionNumber(0)), None);
        assert_eq!(names.name(FunctionNumber(3)), None);
        for i in 2..NAMES_MAX {
            assert!(names.resolve(&FunctionName::new(&format!("f{i}")).unwrap()).is_some());
        }
        assert_eq!(names.resolve(&FunctionName::new("one-more").unwrap()), None);
    }
}
