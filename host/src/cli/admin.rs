//! `framex-host plugins`, `peers`, `explain`, `reload`: talking to this machine's host over its admin socket.

mod peers;
mod requests;
mod show;
mod socket;

use std::path::Path;

use framex_host::api::{
    AdminPath, ChangeView, ExplainView, LoadOptions, PluginChange, PluginView, PluginsView, ReadyView,
    ReloadOptions, ReloadView, RollbackOptions, StepView, UnloadOptions,
};
use framex_host::base::FunctionName;
use serde::Serialize;

pub(crate) use peers::peers;
use requests::{change, get};
use show::or_dash;

use super::arguments::PluginsCommand;
use super::command_error::CommandError;
use super::output::{Column, Output, table_of, view};

pub(crate) fn plugins(config: &Path, command: &PluginsCommand, output: Output) -> Result<(), CommandError> {
    match command {
        PluginsCommand::List => output.show_view(&get(config, AdminPath::Plugins)?, list_text),
        PluginsCommand::Show { plugin } => {
            check_name(plugin)?;
            output.show_view(&get(config, AdminPath::Plugin(plugin))?, show::text)
        }
        PluginsCommand::Load { file } => {
            show_change(config, AdminPath::Plugins, &LoadOptions { file: file.clone() }, output)
        }
        PluginsCommand::Reload { plugin, allow_breaking } => {
            let options = ReloadOptions { allow_breaking: *allow_breaking };
            change_plugin(config, plugin, PluginChange::Reload, &options, output)
        }
        PluginsCommand::Rollback { plugin, generation } => {
            let options = RollbackOptions { generation: *generation };
            change_plugin(config, plugin, PluginChange::Rollback, &options, output)
        }
        PluginsCommand::Unload { plugin } => {
            change_plugin(config, plugin, PluginChange::Unload, &UnloadOptions {}, output)
        }
    }
}

fn change_plugin(
    config: &Path,
    plugin: &str,
    action: PluginChange,
    options: &impl Serialize,
    output: Output,
) -> Result<(), CommandError> {
    check_name(plugin)?;
    show_change(config, AdminPath::Change(plugin, action), options, output)
}

fn show_change(
    config: &Path,
    path: AdminPath<'_>,
    options: &impl Serialize,
    output: Output,
) -> Result<(), CommandError> {
    let answer = change(config, path, options, output)?;
    output.show_view(&answer, |change: ChangeView| change_text(&change))
}

pub(crate) fn reload(config: &Path, allow_breaking: bool, output: Output) -> Result<(), CommandError> {
    let answer = change(config, AdminPath::Reload, &ReloadOptions { allow_breaking }, output)?;
    output.show_view(&answer, |ReloadView { plugins, unchanged, warnings, .. }| {
        let mut lines: Vec<String> = plugins.iter().map(change_text).collect();
        lines.extend(unchanged.iter().map(|plugin| format!("{plugin}: unchanged")));
        lines.extend(warnings.iter().map(|warning| format!("warning: {warning}")));
        lines.push("the config and the plugin directory are in force".to_owned());
        lines.join("\n")
    })
}

/// Asks the host whether it is ready; the failure says why it is not.
pub(crate) fn ready(config: &Path, output: Output) -> Result<(), CommandError> {
    let answer = requests::ready(config)?;
    let ReadyView { status, reason, .. } = view(&answer)?;
    if status != ReadyView::READY {
        let reason = reason.unwrap_or_else(|| "it does not say why".to_owned());
        return Err(CommandError::new(format!("the host is not ready: {reason}")).with_json(answer));
    }
    output.show_view(&answer, |ReadyView { failed_plugins, .. }| {
        let mut lines = vec!["the host is ready".to_owned()];
        lines.extend(failed_plugins.iter().map(|failed| format!("warning: {} is not served", failed.plugin)));
        lines.join("\n")
    })
}

/// Refuses names that would be another path, or a query.
fn check_name(name: &str) -> Result<(), CommandError> {
    let refused = |_| CommandError::usage(format!("`{}` is not a valid name", name.escape_debug()));
    FunctionName::new(name).map(|_| ()).map_err(refused)
}

/// Shows where a call would run; the exit code is 1 if that is nowhere.
pub(crate) fn explain(config: &Path, function: &str, output: Output) -> Result<u8, CommandError> {
    check_name(function)?;
    let answer = get(config, AdminPath::Explain(function))?;
    let ExplainView { runs, .. } = view(&answer)?;
    output.show_view(&answer, |ExplainView { runs, because, peer, .. }| {
        let place = peer.map_or(runs, |peer| {
            let unknown =
                if peer.has_answered { "" } else { " (which host answers there is not proven yet)" };
            let fallback = if peer.fallback.is_some() { ", or else local" } else { "" };
            format!("on {}{unknown}{fallback}", peer.url)
        });
        let lines: Vec<String> = because.iter().map(|line| format!("  {line}")).collect();
        format!("`{function}` runs {place}:\n{}", lines.join("\n"))
    })?;
    Ok(u8::from(runs == "nowhere"))
}

fn list_text(PluginsView { plugins, failed_plugins }: PluginsView) -> String {
    let columns: [Column<PluginView>; 11] = [
        ("PLUGIN", |plugin| plugin.name.clone()),
        ("VERSION", |plugin| plugin.version.clone()),
        ("STATE", |plugin| plugin.state.clone()),
        ("GENERATION", |plugin| plugin.generation.to_string()),
        ("SHA256", |plugin| plugin.sha256.chars().take(8).collect()),
        ("SINCE", |plugin| plugin.published_at.clone()),
        ("IN FLIGHT", |plugin| plugin.in_flight.to_string()),
        ("FUNCTIONS", |plugin| plugin.functions.len().to_string()),
        ("STILL MAPPED", |plugin| plugin.zombies.len().to_string()),
        ("FILE", |plugin| plugin.file.clone()),
        ("DIFFERS FROM FILE", |plugin| or_dash(plugin.differs_from_file.as_ref().map(|_| "yes"))),
    ];
    let mut lines = vec![table_of(&columns, &plugins)];
    let since = |since: Option<&String>| since.map(|since| format!(" since {since}")).unwrap_or_default();
    for plugin in &plugins {
        if let Some(difference) = &plugin.differs_from_file {
            let since = since(difference.since.as_ref());
            lines.push(format!("`{}` differs from its file{since}: {}", plugin.name, difference.reason));
        }
    }
    for failed in &failed_plugins {
        let (since, reason) = (since(failed.since.as_ref()), failed.reason.as_deref().unwrap_or_default());
        lines.push(format!("`{}` is not served{since}: {reason}", failed.plugin));
    }
    lines.join("\n")
}

fn change_text(change: &ChangeView) -> String {
    let ChangeView { plugin, generation, previous, steps, cancelled_calls, .. } = change;
    let mut lines = vec![match (generation, previous) {
        (Some(generation), Some(previous)) => {
            format!("{plugin}: generation {generation} serves instead of {previous}")
        }
        (Some(generation), None) => format!("{plugin}: generation {generation} serves"),
        (None, _) => format!("{plugin}: withdrawn"),
    }];
    lines.extend(steps.iter().map(|StepView { step, ms }| format!("  {step:<8} {ms:>10.3} ms")));
    if *cancelled_calls > 0 {
        lines.push(format!("  {cancelled_calls} calls were dropped at the drain deadline"));
    }
    lines.join("\n")
}
