//! The errors of the functions of this plugin. Callers on other hosts match on the same enum.

use framex_sdk::prelude::*;

/// The reason that a report cannot be given.
#[proxy_error]
#[derive(PartialEq, thiserror::Error)]
pub enum ReportError {
    /// The code names no airport in the data.
    #[error("the data has no airport `{code}`{}", did_you_mean(nearest))]
    UnknownAirport {
        /// The caller's text, in capitals.
        code: String,
        /// Airports whose code differs by one slip of the finger; origins first, three at most.
        nearest: Vec<String>,
    },
    /// The airport is known as a destination only.
    #[error("the data has flights to `{code}` but none from it, only from {}", origins.join(", "))]
    NoDepartures {
        /// The airport.
        code: String,
        /// Airports that have departures.
        origins: Vec<String>,
    },
    /// The text is not a day of the calendar.
    #[error("`{date}` is not a day written as year-month-day, like 2013-01-04")]
    InvalidDate {
        /// The caller's text.
        date: String,
    },
    /// The data has no flights of that day.
    #[error("the data has no flights on {date}: it goes from {first} to {last}")]
    NoSuchDay {
        /// The day.
        date: String,
        /// The first day in the data.
        first: String,
        /// The last day in the data.
        last: String,
    },
    /// More rows, or fewer, than one call gives.
    #[error("a limit of {limit} is outside of 1 to {max}")]
    InvalidLimit {
        /// The limit of the call.
        limit: u32,
        /// The most that this function gives.
        max: u32,
    },
    /// Every connection is in use for too long; later it may work.
    #[error("the database is busy")]
    Busy,
    /// The server of the database is away, or does not answer; later it may work.
    #[error("the database cannot be reached")]
    Unreachable,
    /// The database failed; the log of the host that has it says how.
    #[error("the database cannot answer")]
    Database,
    /// The call did not reach a database: no route, no connection, no permission, no time.
    #[error(transparent)]
    Call(#[from] CallError),
}

impl ReportError {
    /// Returns the callers' error for a fault in the database. The fault itself goes to the log: it may name paths and SQL.
    pub(crate) fn from_database(error: &sqlx::Error) -> Self {
        tracing::error!(%error, "a query failed");
        Self::Database
    }
}

fn did_you_mean(nearest: &[String]) -> String {
    if nearest.is_empty() { String::new() } else { format!("; did you mean {}?", nearest.join(" or ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_arrives_as_it_was_sent() {
        let (code, date) = ("JKF".to_owned(), "2013-01-09".to_owned());
        let (first, last) = ("2013-01-01".to_owned(), "2013-01-07".to_owned());
        for (error, app_code) in [
            (
                ReportError::UnknownAirport { code: code.clone(), nearest: vec!["JFK".to_owned()] },
                "unknown_airport",
            ),
            (ReportError::NoDepartures { code, origins: vec!["JFK".to_owned()] }, "no_departures"),
            (ReportError::InvalidDate { date: date.clone() }, "invalid_date"),
            (ReportError::NoSuchDay { date, first, last }, "no_such_day"),
            (ReportError::InvalidLimit { limit: 0, max: 100 }, "invalid_limit"),
            (ReportError::Busy, "busy"),
            (ReportError::Unreachable, "unreachable"),
            (ReportError::Database, "database"),
            (ReportError::Call(CallError::failed("other", "of another function")), "other"),
        ] {
            let sent = error.to_call_error();
            assert_eq!(sent.app_code(), Some(app_code));
            assert_eq!(sent.message(), error_text(&error));
            assert_eq!(ReportError::from_call_error(sent), error);
        }
    }

    fn error_text(error: &ReportError) -> String {
        match error {
            ReportError::Call(call) => call.message().to_owned(),
            own => own.to_string(),
        }
    }

    #[test]
    fn unknown_airport_names_what_is_near() {
        let error = |nearest| ReportError::UnknownAirport { code: "JKF".to_owned(), nearest };
        assert_eq!(error(vec![]).to_string(), "the data has no airport `JKF`");
        let near = vec!["JFK".to_owned(), "JAX".to_owned()];
        assert_eq!(error(near).to_string(), "the data has no airport `JKF`; did you mean JFK or JAX?");
    }
}
