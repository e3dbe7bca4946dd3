//! The mappings of this process, the system's loader, and changes of the process by code of plugins.

pub(super) mod linker;
pub(super) mod maps;

use crate::base::FunctionName;

/// Part of the loader's message for a full block of thread-locals.
pub(crate) const STATIC_TLS: &str = "static TLS block";

/// Reports that code of a plugin ends the process: the function that its thread runs, the call as in C, the exit code.
pub type TellExit = fn(Option<FunctionName>, &str, i32);

/// The changes, by code of one plugin, of the state that the whole process shares.
#[derive(Debug, Default)]
pub(crate) struct ProcessChanges {
    /// The state that is as it was before.
    pub(crate) put_back: Vec<String>,
    /// The state that the host could not put back, each with the reason.
    pub(crate) lasting: Vec<String>,
}

impl ProcessChanges {
    /// Logs the changes as those of `plugin`, and returns the sentences.
    pub(crate) fn warn(&self, plugin: &str, generation: u64) -> Vec<String> {
        let outcomes = [
            (&self.put_back, "that was put back"),
            (&self.lasting, "that cannot be put back until the host is restarted"),
        ];
        let mut warnings = Vec::new();
        for (changed, outcome) in outcomes.into_iter().filter(|(changed, _)| !changed.is_empty()) {
            let changed = changed.join(", ");
            let warning = format!("plugin `{plugin}` changed {changed} of the host's process: {outcome}");
            tracing::warn!(plugin, generation, "{warning}");
            warnings.push(warning);
        }
        warnings
    }
}
