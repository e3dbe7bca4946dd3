//! Whole-daemon tests: real processes, real plugin files, real sockets.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

mod abi_faults;
mod activation;
mod admin_socket;
mod admin_tcp;
mod arguments;
mod auth;
mod bodies;
mod c_plugin;
mod callers;
mod calls;
mod cli;
mod config;
mod database;
mod demo;
mod depth;
mod http;
mod idempotency;
mod interop;
mod layering;
mod layers;
mod limits;
mod log_reader;
mod metrics;
mod native;
mod outcomes;
mod paths;
mod peers;
mod plugin_files;
mod reload;
mod rolling;
mod sealed;
mod secrets;
mod served_by;
mod service;
mod shutdown;
mod start_faults;
mod state_dir;
mod terminal;
mod tls;
mod trust;
mod types;
mod voice;
mod watchdog;
mod written;
