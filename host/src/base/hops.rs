//! The hosts that a call passes through, and the most of them.

use std::sync::Arc;

/// Id of a host, as `host_id` in its config; cheap to clone.
pub type HostId = Arc<str>;

/// Most hosts that one call may pass through (WIRE.md, field 3 of a request).
pub const HOPS_MAX: usize = 16;
/// Most calls that one call is made within, over all hosts: each of them waits for the next (WIRE.md, extension `depth`).
///
/// Real chains are a few calls deep. This many fit into the memory of a process many times over; `router/stack.rs` says
/// why they fit onto its stacks.
pub const DEPTH_MAX: u64 = 64;
