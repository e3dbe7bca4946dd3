//! Route cells: statics of a plugin in which the host writes where its own calls of its own functions go, and the plugin
//! counts. One of the files with hand-written `unsafe`.
#![expect(unsafe_code, reason = "reads and writes statics of a plugin's library")]

use std::sync::atomic::Ordering;

use framex_abi::{ROUTE_ELSEWHERE, ROUTE_HERE, RouteCell};

use crate::base::{FunctionName, Mutex};

/// A route cell: a static of the library.
pub(crate) struct RoutePointer(*const RouteCell);

// SAFETY: a static of atomics in a library that stays mapped.
unsafe impl Send for RoutePointer {}
// SAFETY: as above.
unsafe impl Sync for RoutePointer {}

impl RoutePointer {
    /// Takes the cell of a registration; `None` for null.
    pub(crate) fn new(cell: *const RouteCell) -> Option<Self> {
        (!cell.is_null()).then_some(Self(cell))
    }

    /// For [`RouteCells`] alone, whose list is cleared before the library is closed.
    fn get(&self) -> &RouteCell {
        // SAFETY: the plugin registered a static of its library, which is mapped as long as the list has it.
        unsafe { &*self.0 }
    }
}

/// The route cells of one generation, by function.
#[derive(Default)]
pub(crate) struct RouteCells(Mutex<Vec<(FunctionName, RoutePointer)>>);

impl RouteCells {
    pub(crate) fn set(&self, routes: Vec<(FunctionName, RoutePointer)>) {
        *self.0.lock() = routes;
    }

    /// Forgets the cells, before the library in which they lie is closed.
    pub(crate) fn clear(&self) {
        self.0.lock().clear();
    }

    /// Tells the plugin which of its functions run here.
    pub(crate) fn write(&self, runs_here: &dyn Fn(&FunctionName) -> bool) {
        for (name, cell) in self.0.lock().iter() {
            let route = if runs_here(name) { ROUTE_HERE } else { ROUTE_ELSEWHERE };
            cell.get().route.store(route, Ordering::Relaxed);
        }
    }

    /// Returns the number of calls that ran inside the plugin without passing through the host.
    pub(crate) fn direct_calls(&self) -> u64 {
        self.0.lock().iter().map(|(_, cell)| cell.get().calls.load(Ordering::Relaxed)).sum()
    }

    /// Returns how often the layers of each function failed, for the functions with failures.
    pub(crate) fn layer_failures(&self) -> Vec<(FunctionName, u32)> {
        let cells = self.0.lock();
        let counts =
            cells.iter().map(|(name, cell)| (name, cell.get().layer_failures.load(Ordering::Relaxed)));
        counts.filter(|(_, count)| *count > 0).map(|(name, count)| (name.clone(), count)).collect()
    }
}
