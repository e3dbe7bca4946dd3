//! One plugin, for people: a row for each field, `-` for none.

use framex_host::api::{DifferenceView, FailedChangeView, PluginView, ProgressView, ZombieView};

use crate::cli::output::table;

/// Returns the plugin as rows.
pub(super) fn text(plugin: PluginView) -> String {
    // Nothing is mapped of a plugin that was withdrawn.
    let mapped_bytes = Some(plugin.mapped_bytes).filter(|bytes| *bytes > 0);
    let zombies: Vec<String> = plugin.zombies.iter().map(zombie).collect();
    let rows = [
        ("change", or_dash(plugin.change.as_ref().map(progress))),
        ("differs from file", or_dash(plugin.differs_from_file.map(difference))),
        ("direct calls", plugin.direct_calls.to_string()),
        ("file", plugin.file),
        ("functions", list(&plugin.functions)),
        ("generation", plugin.generation.to_string()),
        ("in flight", plugin.in_flight.to_string()),
        ("kept", list(&plugin.kept)),
        ("last failure", or_dash(plugin.last_failure.as_ref().map(failure))),
        ("mapped bytes", or_dash(mapped_bytes)),
        ("name", plugin.name),
        ("published at", plugin.published_at),
        ("sha256", plugin.sha256),
        ("state", plugin.state),
        ("version", plugin.version),
        ("warnings", list(&plugin.warnings)),
        ("zombies", list(&zombies)),
    ];
    table(&[], rows.map(|(name, cell)| vec![name.to_owned(), cell]))
}

/// Returns the cell of a value that may be absent.
pub(super) fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

fn list(values: &[impl ToString]) -> String {
    let values: Vec<String> = values.iter().map(ToString::to_string).collect();
    or_dash((!values.is_empty()).then(|| values.join(", ")))
}

fn progress(ProgressView { action, step, ms, .. }: &ProgressView) -> String {
    format!("{action}, at the step {step} for {:.1} s", ms / 1000.0)
}

fn difference(DifferenceView { reason, since }: DifferenceView) -> String {
    since.map_or(reason.clone(), |since| format!("since {since}: {reason}"))
}

fn failure(FailedChangeView { step, reason, at }: &FailedChangeView) -> String {
    format!("at the step {step}, {at}: {reason}")
}

fn zombie(ZombieView { generation, reason, mapped_bytes }: &ZombieView) -> String {
    format!("generation {generation}: {reason} ({mapped_bytes} bytes)")
}

#[cfg(test)]
mod tests {
    use framex_host::base::FunctionName;

    use super::*;

    #[test]
    fn nothing_is_a_dash_and_what_has_parts_is_a_sentence() {
        let last_failure = FailedChangeView {
            step: "start".to_owned(),
            reason: "no luck".to_owned(),
            at: "2026-11-23T00:00:00Z".to_owned(),
        };
        let zombie = ZombieView { generation: 1, reason: "a thread".to_owned(), mapped_bytes: 7 };
        let text = text(PluginView {
            functions: ["a.b", "a.c"].map(|name| FunctionName::new(name).unwrap()).into(),
            last_failure: Some(last_failure),
            zombies: vec![zombie],
            ..PluginView::default()
        });
        let row = |key: &str| {
            let line = text.lines().find(|line| line.starts_with(key)).unwrap_or_default();
            line[key.len()..].trim().to_owned()
        };
        assert_eq!((row("kept"), row("mapped bytes"), row("change")), ("-".into(), "-".into(), "-".into()));
        assert_eq!((row("functions"), row("in flight")), ("a.b, a.c".into(), "0".into()));
        assert_eq!(row("last failure"), "at the step start, 2026-11-23T00:00:00Z: no luck");
        assert_eq!(row("zombies"), "generation 1: a thread (7 bytes)");
    }
}
