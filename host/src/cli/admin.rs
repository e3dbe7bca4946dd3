//! `framex-host plugins`, `peers`, `explain`, `reload`: talking to this machine's host over its admin socket.

mod peers;
mod place;
mod show;
mod socket;

use std::path::Path;
use std::process::ExitCode;

use framex_host::base::FunctionName;
use http::Method;
use serde_json::{Value, json};

pub(crate) use peers::peers;
use socket::{change, request};

use super::Failed;
use super::arguments::PluginsCommand;
use super::output::{Output, table};

pub(crate) fn plugins(config: &Path, command: &PluginsCommand, output: Output) -> Result<(), Failed> {
    let change = |path: String, body: Value| {
        let answer = change(config, &path, &body, output)?;
        output.show(&answer, change_text)
    };
    match command {
        PluginsCommand::Show { plugin }
        | PluginsCommand::Reload { plugin, .. }
        | PluginsCommand::Rollback { plugin, .. }
        | PluginsCommand::Unload { plugin } => check_name(plugin)?,
        PluginsCommand::List | PluginsCommand::Load { .. } => {}
    }
    match command {
        PluginsCommand::List => {
            let answer = request(config, Method::GET, "plugins", None)?;
            output.show(&answer, list_text)
        }
        PluginsCommand::Show { plugin } => {
            let answer = request(config, Method::GET, &format!("plugins/{plugin}"), None)?;
            output.show(&answer, show::text)
        }
        PluginsCommand::Load { file } => change("plugins".to_owned(), json!({ "file": file })),
        PluginsCommand::Reload { plugin, allow_breaking } => {
            change(format!("plugins/{plugin}/reload"), json!({ "allow_breaking": allow_breaking }))
        }
        PluginsCommand::Rollback { plugin, generation } => {
            change(format!("plugins/{plugin}/rollback"), json!({ "generation": generation }))
        }
        PluginsCommand::Unload { plugin } => change(format!("plugins/{plugin}/unload"), json!({})),
    }
}

pub(crate) fn reload(config: &Path, allow_breaking: bool, output: Output) -> Result<(), Failed> {
    let answer = change(config, "reload", &json!({ "allow_breaking": allow_breaking }), output)?;
    output.show(&answer, |answer| {
        let texts = |key: &str| answer[key].as_array().into_iter().flatten().filter_map(Value::as_str);
        let mut lines: Vec<String> =
            answer["plugins"].as_array().into_iter().flatten().map(change_text).collect();
        lines.extend(texts("unchanged").map(|plugin| format!("{plugin}: unchanged")));
        lines.extend(texts("warnings").map(|warning| format!("warning: {warning}")));
        lines.push("the config and the plugin directory are in force".to_owned());
        lines.join("\n")
    })
}

/// Asks the host whether it is ready; a failure says why it is not.
pub(crate) fn ready(config: &Path, output: Output) -> Result<(), Failed> {
    let answer = socket::ready(config)?;
    if answer["status"] != "ready" {
        let reason = answer["reason"].as_str().unwrap_or("it does not say why");
        return Err(Failed::new(format!("the host is not ready: {reason}")).with_json(answer));
    }
    output.show(&answer, |answer| {
        let failed = answer["failed_plugins"].as_array().into_iter().flatten();
        let failed = failed.filter_map(|failed| failed["plugin"].as_str());
        let lines = failed.map(|plugin| format!("warning: {plugin} is not served"));
        std::iter::once("the host is ready".to_owned()).chain(lines).collect::<Vec<_>>().join("\n")
    })
}

/// Refuses what would be another path, or a query.
fn check_name(name: &str) -> Result<(), Failed> {
    let refused = |_| Failed::usage(format!("`{}` is no name", name.escape_debug()));
    FunctionName::new(name).map(|_| ()).map_err(refused)
}

/// Says where a call would run; failed if that is nowhere.
pub(crate) fn explain(config: &Path, function: &str, output: Output) -> Result<ExitCode, Failed> {
    check_name(function)?;
    let answer = request(config, Method::GET, &format!("explain/{function}"), None)?;
    output.show(&answer, |answer| {
        let place = match (answer["runs"].as_str(), answer["peer"].as_str()) {
            (Some("peer"), Some(peer)) => {
                let unknown = answer["peer_has_answered"] == false;
                let unknown = if unknown { " (which host answers there is not proven yet)" } else { "" };
                let fallback = if answer["fallback"] == "local" { ", or else local" } else { "" };
                format!("on {peer}{unknown}{fallback}")
            }
            (Some(place), _) => place.to_owned(),
            (None, _) => "-".to_owned(),
        };
        let because = answer["because"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let lines: Vec<String> = because.map(|line| format!("  {line}")).collect();
        format!("`{function}` runs {place}:\n{}", lines.join("\n"))
    })?;
    Ok(if answer["runs"] == "nowhere" { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn list_text(answer: &Value) -> String {
    let heads = [
        "PLUGIN",
        "VERSION",
        "STATE",
        "GENERATION",
        "SHA256",
        "SINCE",
        "IN FLIGHT",
        "FUNCTIONS",
        "STILL MAPPED",
        "FILE",
        "DIFFERS FROM FILE",
    ];
    let all = |key: &str| answer[key].as_array().into_iter().flatten();
    let rows = all("plugins").map(|plugin| {
        let text = |key: &str| plugin[key].as_str().unwrap_or_default().to_owned();
        let count = |key: &str| plugin[key].as_array().map_or(0, Vec::len).to_string();
        let (generation, in_flight) = (plugin["generation"].to_string(), plugin["in_flight"].to_string());
        vec![
            text("name"),
            text("version"),
            text("state"),
            generation,
            text("sha256").chars().take(8).collect(),
            text("published_at"),
            in_flight,
            count("functions"),
            count("zombies"),
            text("file"),
            if plugin["differs_from_file"].is_null() { "-" } else { "yes" }.to_owned(),
        ]
    });
    let mut shown =
        table(&std::iter::once(heads.map(str::to_owned).to_vec()).chain(rows).collect::<Vec<_>>());
    let mut say = |what: &str, since: &Value, reason: &Value| {
        let since = since.as_str().map_or_else(String::new, |since| format!(" since {since}"));
        shown.push_str(&format!("\n{what}{since}: {}", reason.as_str().unwrap_or_default()));
    };
    for plugin in all("plugins").filter(|plugin| !plugin["differs_from_file"].is_null()) {
        let difference = &plugin["differs_from_file"];
        let what = format!("`{}` differs from its file", plugin["name"].as_str().unwrap_or_default());
        say(&what, &difference["since"], &difference["reason"]);
    }
    for failed in all("failed_plugins") {
        let what = format!("`{}` is not served", failed["plugin"].as_str().unwrap_or_default());
        say(&what, &failed["since"], &failed["reason"]);
    }
    shown
}

fn change_text(answer: &Value) -> String {
    let steps = answer["steps"].as_array().into_iter().flatten();
    let lines: Vec<String> = steps
        .map(|step| {
            format!(
                "  {:<8} {:>10.3} ms",
                step["step"].as_str().unwrap_or_default(),
                step["ms"].as_f64().unwrap_or(0.0)
            )
        })
        .collect();
    let plugin = answer["plugin"].as_str().unwrap_or_default();
    let head = match (answer["generation"].as_u64(), answer["previous"].as_u64()) {
        (Some(generation), Some(previous)) => {
            format!("{plugin}: generation {generation} serves in the place of {previous}")
        }
        (Some(generation), None) => format!("{plugin}: generation {generation} serves"),
        (None, _) => format!("{plugin}: withdrawn"),
    };
    let cancelled = match answer["cancelled_calls"].as_u64() {
        Some(calls) if calls > 0 => format!("\n  {calls} calls were dropped at the drain deadline"),
        _ => String::new(),
    };
    format!("{head}\n{}{cancelled}", lines.join("\n"))
}
