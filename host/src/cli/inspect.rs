//! `framex-host inspect PLUGIN.so`.

use std::collections::BTreeSet;
use std::path::Path;

use framex_host::plugins::{Stager, inspect};
use serde_json::json;

use super::Failed;
use super::output::{Output, table};

pub(crate) fn run(plugin: &Path, output: Output) -> Result<(), Failed> {
    let folder = std::env::temp_dir().join(format!("framex-inspect-{}", std::process::id()));
    let stager = Stager::new(&folder, &BTreeSet::new())
        .map_err(|error| Failed::new(format!("{}: {error}", folder.display())))?;
    let inspected = inspect(plugin, &stager);
    // The staged copy is gone already; what is left is the empty folder.
    let _left_behind = std::fs::remove_dir_all(&folder);
    let inspected = inspected.map_err(|error| Failed::new(error.to_string()))?;
    let description = &inspected.description;
    let abi = format!("{}.{}", description.abi_major, description.abi_minor);
    let shown = json!({
        "file": plugin.display().to_string(), "name": description.name, "version": description.version, "abi": abi,
        "built_with": description.built_with, "sha256": inspected.sha256, "bytes": inspected.bytes,
        "layout_check": inspected.has_layout,
    });
    output.show(&shown, || {
        let row = |name: &str, value: String| vec![name.to_owned(), value];
        table(&[
            row("plugin", description.name.clone()),
            row("version", description.version.clone()),
            row("ABI", abi.clone()),
            row("built with", description.built_with.clone()),
            row(
                "layout check",
                if inspected.has_layout { "yes" } else { "no, as of a plugin in C" }.to_owned(),
            ),
            row("size", format!("{} bytes", inspected.bytes)),
            row("sha256", inspected.sha256.clone()),
        ])
    });
    Ok(())
}
