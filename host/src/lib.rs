//! framex-host: a daemon that hosts functions of plugins and decides where each call runs.
//!
//! The modules stand in the order of the way of one invocation, from the bottom up:
//! each uses only those above it in this list.

pub mod base;

pub mod api;
pub mod files;

pub mod config;
pub mod wire;

pub mod functions;
pub mod plugins;

pub mod peers;
pub mod router;

pub mod http;

pub mod app;
