//! The life of one generation: made ready, published, drained, stopped and unmapped.

pub(super) mod compatibility;
pub(super) mod publish;
pub(super) mod retire;
