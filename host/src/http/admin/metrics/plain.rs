//! The older text format of Prometheus, version 0.0.4, made of OpenMetrics.
//!
//! The library writes OpenMetrics alone, where a counter `calls` has samples `calls_total`. In the older format, samples
//! have the name that `HELP` and `TYPE` have, and there is no `EOF`.

/// Rewrites what the library made of this host's counters, gauges and histograms.
pub(super) fn of_openmetrics(text: &str) -> String {
    let mut plain = String::with_capacity(text.len() + text.len() / 16);
    // `HELP` comes first, and `TYPE` says whether it is that of a counter.
    let mut help = None;
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ');
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
        {
            let suffix = if kind == "counter" { "_total" } else { "" };
            if let Some((_, help)) = help.take_if(|(of, _)| *of == name) {
                plain.push_str(&format!("# HELP {name}{suffix} {help}\n"));
            }
            plain.push_str(&format!("# TYPE {name}{suffix} {kind}\n"));
        } else if !line.starts_with('#') {
            plain.push_str(line);
            plain.push('\n');
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_have_the_name_of_their_samples() {
        let text = "# HELP calls How many.\n# TYPE calls counter\ncalls_total{of=\"x\"} 1\n# HELP open Now.\n\
                    # TYPE open gauge\nopen 2.0\n# HELP took_seconds How long.\n# TYPE took_seconds histogram\n\
                    # UNIT took_seconds seconds\ntook_seconds_sum 1.0\n# TYPE bare counter\n# EOF\n";
        let expected = "# HELP calls_total How many.\n# TYPE calls_total counter\ncalls_total{of=\"x\"} 1\n\
                        # HELP open Now.\n# TYPE open gauge\nopen 2.0\n# HELP took_seconds How long.\n\
                        # TYPE took_seconds histogram\ntook_seconds_sum 1.0\n# TYPE bare_total counter\n";
        assert_eq!(of_openmetrics(text), expected);
    }
}
