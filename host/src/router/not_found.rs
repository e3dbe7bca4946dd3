//! The failure of a call of a function that nothing has, which names similar ones.

use std::collections::BTreeSet;

use super::Router;
use super::offers::names_like;
use crate::base::{ErrorCode, Failure, FunctionName, Invocation, nearest};
use crate::functions::Withdrawn;

impl Router {
    /// Names similar functions, out of those visible to the caller.
    pub(super) fn not_found(&self, invocation: &Invocation) -> Box<Failure> {
        let name = &invocation.function;
        let table = self.table().snapshot();
        if let Some(Withdrawn { plugin, generation }) = table.withdrawn(name.as_str()) {
            let now = match table.generation_of(plugin) {
                Some(now) => format!("its generation {now} serves now"),
                None => "it has no function here now".to_owned(),
            };
            let text = format!(
                "there is no function `{name}` any more: plugin `{plugin}` had it last in its generation {generation}; {now}"
            );
            return Box::new(Failure::not_executed(ErrorCode::NotFound, text));
        }
        let routes = self.routes();
        let local = table.sorted().into_values().map(|function| &function.name);
        // The table lacks this name, so suggesting it from the config would not help.
        let known = local.chain(routes.configured.keys()).filter(|known| *known != name);
        let known = known.filter(|known| invocation.caller.may_see(known));
        let offered = names_like(name, &routes.all.peers, |known| invocation.caller.may_see(known));
        let known = known.chain(&offered).map(FunctionName::as_str);
        let known: BTreeSet<&str> = known.collect();
        let near = nearest(name.as_str(), known, 3);
        let text = match near.as_slice() {
            [] => format!("there is no function `{name}`; GET /api/v1/functions lists what there is"),
            near => format!("there is no function `{name}`; the nearest are `{}`", near.join("`, `")),
        };
        Box::new(Failure::not_executed(ErrorCode::NotFound, text))
    }
}
