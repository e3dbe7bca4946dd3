//! `framex-host peers`: how each peer is, and of what it failed last.

use std::path::Path;

use http::Method;
use serde_json::Value;

use super::socket::request;
use crate::cli::Failed;
use crate::cli::output::{Output, table};

/// What a terminal has in columns, about; `-o wide` shows everything.
const COLUMNS: usize = 120;
/// Of a last error, so much is shown at least in its column.
const ERROR_CHARS_MIN: usize = 24;
/// Between two columns.
const GAP: usize = 2;

pub(crate) fn peers(config: &Path, output: Output) -> Result<(), Failed> {
    let answer = request(config, Method::GET, "peers", None)?;
    output.show(&answer, |answer| {
        let now = answer["now"].as_str().unwrap_or_default();
        let peers = answer["peers"].as_array().map_or(&[][..], Vec::as_slice);
        if output.is_wide() { wide(peers) } else { narrow(peers, now) }
    })
}

/// What matters first.
fn narrow(peers: &[Value], now: &str) -> String {
    let heads = ["PEER", "HEALTH", "LAST SUCCESS", "FUNCTIONS", "LAST ERROR"].map(str::to_owned).to_vec();
    let rows = peers.iter().map(|peer| {
        let at = |time: &Value| short_time(time, now);
        vec![
            text(&peer["url"]),
            health(peer, now),
            at(&peer["last_success_at"]),
            text(&peer["catalogue"]["functions"]),
            both(&at(&peer["last_error"]["at"]), &peer["last_error"]["reason"]),
        ]
    });
    let mut rows: Vec<Vec<String>> = std::iter::once(heads).chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let before: usize = (0..4).map(|column| width(column) + GAP).sum();
    let left = COLUMNS.saturating_sub(before).max(ERROR_CHARS_MIN);
    let mut cut = Vec::new();
    for row in &mut rows {
        if row[4].chars().count() > left {
            cut.push(format!("{}: {}", row[0], row[4]));
            row[4] = row[4].chars().take(left - 3).chain("...".chars()).collect();
        }
    }
    // What does not fit is the cause: it follows as a whole.
    let whole = if cut.is_empty() { String::new() } else { format!("\n\n{}", cut.join("\n")) };
    format!("{}{whole}", table(&rows))
}

/// All that is known.
fn wide(peers: &[Value]) -> String {
    let heads = [
        "PEER",
        "HEALTH",
        "LAST SUCCESS",
        "FUNCTIONS",
        "LAST ERROR",
        "KEY ID",
        "RUNNING",
        "WAITING",
        "HOST",
        "DISCOVERED VIA",
        "CLOCK OFFSET MS",
        "FETCHED",
        "LAST PROBE",
        "LAST FAILURE TO FETCH",
    ];
    let rows = peers.iter().map(|peer| {
        let (catalogue, probe) = (&peer["catalogue"], &peer["last_probe"]);
        vec![
            text(&peer["url"]),
            health(peer, ""),
            text(&peer["last_success_at"]),
            text(&catalogue["functions"]),
            both(&text(&peer["last_error"]["at"]), &peer["last_error"]["reason"]),
            text(&peer["key_id"]),
            text(&peer["running"]),
            text(&peer["waiting"]),
            text(&peer["answered"]["host_id"]),
            text(&peer["found_behind"]),
            text(&peer["clock_offset_ms"]),
            text(&catalogue["fetched_at"]),
            both(&text(&probe["at"]), &probe["result"]),
            both(&text(&catalogue["last_failure"]["at"]), &catalogue["last_failure"]["reason"]),
        ]
    });
    table(&std::iter::once(heads.map(str::to_owned).to_vec()).chain(rows).collect::<Vec<_>>())
}

/// Whether a peer answers, and since or until when not.
fn health(peer: &Value, now: &str) -> String {
    let health = peer["health"].as_str().unwrap_or_default();
    let with = |word: &str, time: &Value| format!("{health} {word} {}", short_time(time, now));
    match health {
        "failing" => with("since", &peer["failing_since"]),
        "paused" => with("until", &peer["paused_until"]),
        "itself" => "this host".to_owned(),
        "not_found_yet" => "pending".to_owned(),
        other => other.replace('_', " "),
    }
}

/// A time without its date, where that is the date of `now`.
fn short_time(time: &Value, now: &str) -> String {
    let shown = text(time);
    match (shown.split_once('T'), now.split_once('T')) {
        (Some((date, time)), Some((today, _))) if date == today => time.to_owned(),
        _ => shown,
    }
}

fn both(at: &str, what: &Value) -> String {
    what.as_str().map_or_else(|| "-".to_owned(), |what| format!("{at} {what}"))
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_short_table_fits_a_terminal() {
        let reason = "it does not accept this host's key 1f15f1d7e2ba2734 (HTTP status 401)";
        let at = "2026-11-27T10:07:45Z";
        let peers = [
            json!({
                "url": "http://b.internal:8080", "health": "failing", "failing_since": at, "last_success_at": null,
                "catalogue": {"functions": 12}, "last_error": {"at": at, "reason": reason},
            }),
            json!({
                "url": "http://c.internal:8080", "health": "paused", "paused_until": "2026-11-28T00:00:01Z",
                "last_success_at": "2026-11-26T10:07:45Z", "catalogue": {"functions": null}, "last_error": null,
            }),
            json!({"url": "http://d.internal:8080", "health": "itself", "catalogue": {}}),
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
