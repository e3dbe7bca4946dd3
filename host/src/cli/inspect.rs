//! `framex-host inspect PLUGIN.so`.

use std::collections::BTreeMap;
use std::path::Path;

use framex_host::config::{Config, Environment, Trust};
use framex_host::files::PrivatePath;
use framex_host::plugins::{Inspection, SignatureInfo, Stager, inspect};
use serde_json::{Value, json};

use super::command_error::CommandError;
use super::output::{Output, table};

pub(crate) fn run(config: &Path, plugin: &Path, output: Output) -> Result<(), CommandError> {
    // Its name cannot be guessed, and it is removed in the end with all that is in it.
    let folder = tempfile::Builder::new().prefix("framex-inspect-").tempdir();
    let folder =
        folder.map_err(|error| CommandError::new(format!("{}: {error}", std::env::temp_dir().display())))?;
    let stager = Stager::new(PrivatePath::new(folder.path()), BTreeMap::new()).map_err(CommandError::new)?;
    // Without a config that can be read, a plugin can still be looked at.
    let (trust, missing) = match Config::trust_of(config, &Environment::of_process()) {
        Ok(trust) => (trust, format!("{} has no [trust]", config.display())),
        Err(error) => (Trust::default(), error.to_string().replace('\n', "; ")),
    };
    let inspected = inspect(plugin, &stager, &trust).map_err(CommandError::new)?;
    let verdict: Verdict<'_> = match &inspected.trusted {
        Some(Ok(())) => (Some(true), None),
        Some(Err(reason)) => (Some(false), Some(reason)),
        None => (None, Some(&missing)),
    };
    output.show(&as_json(plugin, &inspected, verdict), || as_text(&inspected, verdict))
}

/// True if a host with this config would load the plugin, and the reason if it would not, or if that is not known.
type Verdict<'a> = (Option<bool>, Option<&'a str>);

fn abi(inspected: &Inspection) -> String {
    format!("{}.{}", inspected.description.abi_major, inspected.description.abi_minor)
}

fn as_json(plugin: &Path, inspected: &Inspection, (trusted, trust_reason): Verdict<'_>) -> Value {
    let description = &inspected.description;
    let of_signature = |info: &SignatureInfo| json!({ "key_id": info.key_id, "trusted_comment": info.trusted_comment, "verified": info.verified });
    let (signature, signature_problem) = match &inspected.signature {
        Ok(signature) => (signature.as_ref().map(of_signature), None),
        Err(problem) => (None, Some(problem.clone())),
    };
    json!({
        "file": plugin.display().to_string(), "name": description.name, "version": description.version,
        "abi": abi(inspected), "built_with": description.built_with, "sha256": inspected.sha256,
        "bytes": inspected.bytes, "layout_check": inspected.has_layout, "signature": signature,
        "signature_problem": signature_problem, "trusted": trusted, "trust_reason": trust_reason,
    })
}

fn as_text(inspected: &Inspection, verdict: Verdict<'_>) -> String {
    let description = &inspected.description;
    let signature = match &inspected.signature {
        Ok(None) => "none".to_owned(),
        Ok(Some(info)) => {
            let verified = if info.verified { "verified" } else { "not verified" };
            // It is not trusted: the terminal must not act on any of it.
            format!("by key {}, {verified}: {}", info.key_id, info.trusted_comment.escape_debug())
        }
        Err(problem) => format!("unusable: {problem}"),
    };
    let trusted = match verdict {
        (Some(true), _) => "yes".to_owned(),
        (Some(false), reason) => format!("no: {}", reason.unwrap_or_default()),
        (None, reason) => format!("not configured: {}", reason.unwrap_or_default()),
    };
    let row = |name: &str, value: String| vec![name.to_owned(), value];
    let rows = [
        row("plugin", description.name.clone()),
        row("version", description.version.clone()),
        row("ABI", abi(inspected)),
        row("built with", description.built_with.clone()),
        row("layout check", if inspected.has_layout { "yes" } else { "no, as of a plugin in C" }.to_owned()),
        row("size", format!("{} bytes", inspected.bytes)),
        row("sha256", inspected.sha256.to_string()),
        row("signature", signature),
        row("trusted", trusted),
    ];
    table(&[], rows)
}
