//! The bare numbers of the file: name, default and bounds of each, in one place.

use super::key::KeyPath;

/// One whole number of the file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Number {
    /// Its full dotted key; the unit is the last part of its name.
    pub(super) key: &'static str,
    /// Its value where nothing is said.
    pub(super) default: i64,
    /// The least that is allowed.
    pub(super) min: i64,
    /// The most that is allowed.
    pub(super) max: i64,
}

const COUNT_MAX: i64 = 1_000_000;
const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const DAY_MS: i64 = 24 * HOUR_MS;

const fn number(key: &'static str, default: i64, min: i64, max: i64) -> Number {
    Number { key, default, min, max }
}

pub(super) static PORT: Number = number("server.port", 8080, 0, 65_535);
pub(super) static BODY_BYTES_MAX: Number = number("server.body_bytes_max", 4 << 20, 1 << 10, 1 << 30);
pub(super) static BODY_MEMORY_MAX: Number = number("server.body_memory_max", 256 << 20, 1 << 20, 1 << 40);
pub(super) static CONNECTIONS_PER_ADDRESS_MAX: Number =
    number("server.connections_per_address_max", 512, 1, COUNT_MAX);
pub(super) static BODY_TIMEOUT: Number = number("server.body_timeout_ms", 20_000, 1, HOUR_MS);
pub(super) static IDLE_TIMEOUT: Number = number("server.idle_timeout_ms", 75_000, 1, DAY_MS);
pub(super) static WRITE_TIMEOUT: Number = number("server.write_timeout_ms", 30_000, 1, HOUR_MS);
pub(super) static CONNECTIONS_MAX: Number = number("server.connections_max", 1024, 1, COUNT_MAX);
pub(super) static IN_FLIGHT_MAX: Number = number("server.in_flight_max", 1024, 1, COUNT_MAX);
/// Where nothing is said, it is `server.in_flight_max` less a quarter of it.
pub(super) static IN_FLIGHT_PER_FUNCTION_MAX: Number =
    number("server.in_flight_per_function_max", 768, 1, COUNT_MAX);
pub(super) static QUEUE_MAX: Number = number("server.queue_max", 1024, 0, COUNT_MAX);
/// Where nothing is said, it is `server.body_bytes_max`.
pub(super) static ANSWER_BYTES_MAX: Number =
    number("plugins.proxy.answer_bytes_max", 4 << 20, 1 << 10, 1 << 30);
/// Sixteen times what a body may have: results are made by plugins, which the operator chose.
pub(super) static SERVER_ANSWER_BYTES_MAX: Number =
    number("server.answer_bytes_max", 64 << 20, 1 << 10, 1 << 30);
/// Where nothing is said, it is a quarter of `server.in_flight_max`, at least 1.
pub(super) static PEER_IN_FLIGHT_MAX: Number = number("plugins.proxy.in_flight_max", 256, 1, COUNT_MAX);
pub(super) static PEER_WAIT: Number = number("plugins.proxy.wait_ms", 5000, 0, HOUR_MS);
/// Below what servers and proxies close idle connections after: five seconds in Node.js and Apache.
pub(super) static PEER_IDLE_TIMEOUT: Number = number("plugins.proxy.idle_timeout_ms", 3000, 0, HOUR_MS);
pub(super) static HEADER_BYTES_MAX: Number = number("server.header_bytes_max", 64 << 10, 8 << 10, 1 << 20);
pub(super) static NESTING_MAX: Number = number("server.nesting_max", 64, 1, 64);
pub(super) static EXPANSION_MAX: Number = number("server.expansion_max", 255, 1, 255);
pub(super) static IDEMPOTENCY_KEEP: Number = number("server.idempotency_keep_ms", 10 * MINUTE_MS, 0, DAY_MS);
pub(super) static IDEMPOTENCY_BYTES_MAX: Number =
    number("server.idempotency_bytes_max", 64 << 20, 64 << 10, 1 << 40);
pub(super) static HEADER_TIMEOUT: Number = number("server.header_timeout_ms", 10_000, 1, 10 * MINUTE_MS);
pub(super) static CALL_TIMEOUT: Number = number("server.call_timeout_ms", 30_000, 1, DAY_MS);
pub(super) static LAYER_PERCENT: Number = number("server.layer_percent", 25, 1, 100);
pub(super) static DRAIN_TIMEOUT: Number = number("server.drain_timeout_ms", 30_000, 0, DAY_MS);
pub(super) static SHUTDOWN_DELAY: Number = number("server.shutdown_delay_ms", 2000, 0, HOUR_MS);
pub(super) static START_TIMEOUT: Number = number("reload.start_timeout_ms", 10_000, 1, HOUR_MS);
pub(super) static RELOAD_DRAIN_TIMEOUT: Number = number("reload.drain_timeout_ms", 30_000, 0, DAY_MS);
pub(super) static KEEP_GENERATIONS: Number = number("reload.keep_generations", 3, 0, 100);
pub(super) static ZOMBIES_MAX: Number = number("reload.zombies_max", 16, 0, COUNT_MAX);

pub(super) static CATALOGUE_INTERVAL: Number =
    number("plugins.proxy.catalogue_interval_ms", 30_000, 100, DAY_MS);
pub(super) static CATALOGUE_BYTES_MAX: Number =
    number("plugins.proxy.catalogue_bytes_max", 4 << 20, 1 << 10, 64 << 20);

/// Of a peer: `plugins.proxy.proxy_urls."URL".priority` and `weight`.
pub(super) static PRIORITY: Number = number("priority", 0, 0, 255);
pub(super) static WEIGHT: Number = number("weight", 1, 1, 1000);

/// Of a plugin or function: `limits.plugins.NAME.in_flight_max` and the like. What is not said has no default.
pub(super) static LIMIT_IN_FLIGHT_MAX: Number = number("in_flight_max", 1, 1, COUNT_MAX);
pub(super) static LIMIT_QUEUE_MAX: Number = number("queue_max", 0, 0, COUNT_MAX);

/// Every number of the file whose key has no name of the user's in it.
pub(super) static ALL: [&Number; 32] = [
    &PORT,
    &BODY_BYTES_MAX,
    &BODY_MEMORY_MAX,
    &CONNECTIONS_PER_ADDRESS_MAX,
    &BODY_TIMEOUT,
    &IDLE_TIMEOUT,
    &WRITE_TIMEOUT,
    &CONNECTIONS_MAX,
    &IN_FLIGHT_MAX,
    &IN_FLIGHT_PER_FUNCTION_MAX,
    &QUEUE_MAX,
    &ANSWER_BYTES_MAX,
    &SERVER_ANSWER_BYTES_MAX,
    &PEER_IN_FLIGHT_MAX,
    &PEER_WAIT,
    &PEER_IDLE_TIMEOUT,
    &HEADER_BYTES_MAX,
    &NESTING_MAX,
    &EXPANSION_MAX,
    &IDEMPOTENCY_KEEP,
    &IDEMPOTENCY_BYTES_MAX,
    &HEADER_TIMEOUT,
    &CALL_TIMEOUT,
    &LAYER_PERCENT,
    &SHUTDOWN_DELAY,
    &DRAIN_TIMEOUT,
    &START_TIMEOUT,
    &RELOAD_DRAIN_TIMEOUT,
    &KEEP_GENERATIONS,
    &ZOMBIES_MAX,
    &CATALOGUE_INTERVAL,
    &CATALOGUE_BYTES_MAX,
];

impl Number {
    /// The number of that key, also of one with names of the user's in it.
    pub(super) fn at(key: &KeyPath) -> Option<&'static Self> {
        let of_limits = [&LIMIT_IN_FLIGHT_MAX, &LIMIT_QUEUE_MAX];
        match key.parts() {
            [table, _, _, last] if table == "limits" => {
                of_limits.into_iter().find(|number| number.key == last)
            }
            _ => {
                let dotted = key.dotted();
                ALL.into_iter().find(|number| number.key == dotted)
            }
        }
    }

    /// What is allowed, for an error.
    pub(super) fn needed(&self) -> String {
        format!("a whole number from {} to {}", self.min, self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::testing::problems;

    fn line(number: &Number, value: i64) -> String {
        let (table, key) = number.key.split_once('.').unwrap();
        // One body has to fit into the memory of all.
        let other = match key {
            "body_bytes_max" => format!("body_memory_max = {}\n", BODY_MEMORY_MAX.max),
            "body_memory_max" => format!("body_bytes_max = {}\n", BODY_BYTES_MAX.min),
            _ => String::new(),
        };
        format!("[{table}]\n{key} = {value}\n{other}")
    }

    #[test]
    fn defaults_and_bounds_are_allowed_and_one_beyond_is_refused() {
        for number in ALL {
            for good in [number.default, number.min, number.max] {
                assert_eq!(problems(&line(number, good)), "", "{}", number.key);
            }
            for bad in [number.min - 1, number.max + 1, i64::MIN, i64::MAX] {
                let expected =
                    format!("config.toml line 2: `{}` must be {}, found {bad}", number.key, number.needed());
                assert_eq!(problems(&line(number, bad)), expected);
            }
        }
    }
}
