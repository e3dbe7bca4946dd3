//! `framex-host peers`: the health of each peer, and its last error.

use std::path::Path;

use framex_host::api::{AdminPath, FailedFetchView, LastErrorView, PeerView, PeersView, ProbeView};

use super::requests::get;
use super::show::or_dash;
use crate::cli::command_error::CommandError;
use crate::cli::output::{Column, Output, table, table_of};

/// The usual width of a terminal; `-o wide` shows everything.
const COLUMNS: usize = 120;
/// Minimum width of the column of last errors, in characters.
const ERROR_CHARS_MIN: usize = 24;
/// Spaces between two columns.
const GAP: usize = 2;

pub(crate) fn peers(config: &Path, output: Output) -> Result<(), CommandError> {
    let answer = get(config, AdminPath::Peers)?;
    output.show_view(
        &answer,
        |PeersView { peers, now }| {
            if output == Output::Wide { wide(&peers) } else { narrow(&peers, &now) }
        },
    )
}

/// Returns the columns that matter most.
fn narrow(peers: &[PeerView], now: &str) -> String {
    let heads = ["PEER", "HEALTH", "LAST SUCCESS", "FUNCTIONS", "LAST ERROR"];
    let row = |peer: &PeerView| {
        let error = peer.last_error.as_ref();
        let error = error.map(|LastErrorView { at, reason, .. }| format!("{} {reason}", short_time(at, now)));
        [
            peer.url.clone(),
            health(peer, now),
            or_dash(peer.last_success_at.as_deref().map(|at| short_time(at, now))),
            or_dash(peer.catalogue.functions),
            or_dash(error),
        ]
    };
    let mut rows: Vec<[String; 5]> = peers.iter().map(row).collect();
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.fold(heads[column].len(), usize::max)
    };
    let before: usize = (0..4).map(|column| width(column) + GAP).sum();
    let left = COLUMNS.saturating_sub(before).max(ERROR_CHARS_MIN);
    let mut cut = Vec::new();
    for [url, .., error] in &mut rows {
        if error.chars().count() > left {
            cut.push(format!("{url}: {error}"));
            *error = error.chars().take(left - 3).chain("...".chars()).collect();
        }
    }
    // The end of an error is its cause: errors that do not fit follow in full.
    let in_full = if cut.is_empty() { String::new() } else { format!("\n\n{}", cut.join("\n")) };
    format!("{}{in_full}", table(&heads, rows.into_iter().map(Vec::from)))
}

/// Returns all columns.
fn wide(peers: &[PeerView]) -> String {
    let columns: [Column<PeerView>; 14] = [
        ("PEER", |peer| peer.url.clone()),
        ("HEALTH", |peer| health(peer, "")),
        ("LAST SUCCESS", |peer| or_dash(peer.last_success_at.as_ref())),
        ("FUNCTIONS", |peer| or_dash(peer.catalogue.functions)),
        ("LAST ERROR", |peer| {
            let error = peer.last_error.as_ref();
            or_dash(error.map(|LastErrorView { at, reason, .. }| format!("{at} {reason}")))
        }),
        ("KEY ID", |peer| or_dash(peer.key_id.as_ref())),
        ("RUNNING", |peer| peer.running.to_string()),
        ("WAITING", |peer| peer.waiting.to_string()),
        ("HOST", |peer| or_dash(peer.answered.as_ref().and_then(|answered| answered.host_id.as_ref()))),
        ("DISCOVERED VIA", |peer| or_dash(peer.found_behind.as_ref())),
        ("CLOCK OFFSET MS", |peer| peer.clock_offset_ms.to_string()),
        ("FETCHED", |peer| or_dash(peer.catalogue.fetched_at.as_ref())),
        ("LAST PROBE", |peer| {
            or_dash(peer.last_probe.as_ref().map(|ProbeView { at, result }| format!("{at} {result}")))
        }),
        ("LAST FAILURE TO FETCH", |peer| {
            let failure = peer.catalogue.last_failure.as_ref();
            or_dash(failure.map(|FailedFetchView { at, reason }| format!("{at} {reason}")))
        }),
    ];
    table_of(&columns, peers)
}

/// Returns the health of a peer, and since or until when it does not get calls.
fn health(peer: &PeerView, now: &str) -> String {
    let health = peer.health.as_str();
    let with = |word: &str, time: Option<&String>| {
        let time = or_dash(time.map(|time| short_time(time, now)));
        format!("{health} {word} {time}")
    };
    match health {
        "failing" => with("since", peer.failing_since.as_ref()),
        "paused" => with("until", peer.paused_until.as_ref()),
        "itself" => "this host".to_owned(),
        "not_found_yet" => "pending".to_owned(),
        other => other.replace('_', " "),
    }
}

/// Returns a time, without its date if that is today.
fn short_time(time: &str, now: &str) -> String {
    match (time.split_once('T'), now.split_once('T')) {
        (Some((date, time)), Some((today, _))) if date == today => time.to_owned(),
        _ => time.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use framex_host::api::PeerCatalogueView;

    use super::*;

    #[test]
    fn the_short_table_fits_a_terminal() {
        let reason = "it does not accept this host's key 1f15f1d7e2ba2734 (HTTP status 401)";
        let at = "2026-11-27T10:07:45Z";
        let peer = |url: &str, health: &str| PeerView {
            url: url.to_owned(),
            health: health.to_owned(),
            ..PeerView::default()
        };
        let error =
            LastErrorView { at: at.to_owned(), reason: reason.to_owned(), ..LastErrorView::default() };
        let peers = [
            PeerView {
                failing_since: Some(at.to_owned()),
                catalogue: PeerCatalogueView { functions: Some(12), ..PeerCatalogueView::default() },
                last_error: Some(error),
                ..peer("http://b.internal:8080", "failing")
            },
            PeerView {
                paused_until: Some("2026-11-28T00:00:01Z".to_owned()),
                last_success_at: Some("2026-11-26T10:07:45Z".to_owned()),
                ..peer("http://c.internal:8080", "paused")
            },
            peer("http://d.internal:8080", "itself"),
        ];
        let shown = narrow(&peers, "2026-11-27T10:08:00Z");
        assert!(shown.lines().take(4).all(|line| line.chars().count() <= COLUMNS), "{shown}");
        assert!(shown.ends_with(&format!("\n\nhttp://b.internal:8080: 10:07:45Z {reason}")), "{shown}");
        let lines: Vec<Vec<&str>> = shown.lines().map(|line| line.split("  ").collect()).collect();
        let cells = |line: usize| {
            lines[line].iter().map(|cell| cell.trim()).filter(|cell| !cell.is_empty()).collect::<Vec<_>>()
        };
        assert_eq!(
            cells(1)[..4],
            ["http://b.internal:8080", "failing since 10:07:45Z", "-", "12"],
            "{shown}"
        );
        assert!(cells(1)[4].starts_with("10:07:45Z it does not") && cells(1)[4].ends_with("..."), "{shown}");
        assert_eq!(cells(2)[1..], ["paused until 2026-11-28T00:00:01Z", "2026-11-26T10:07:45Z", "-", "-"]);
        assert_eq!(cells(3)[1..], ["this host", "-", "-", "-"]);
        let all = wide(&peers);
        assert!(all.contains(reason) && all.contains("failing since 2026-11-27T10:07:45Z"), "{all}");
    }
}
