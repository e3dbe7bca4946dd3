//! Compression and limits of frames, from a config.

use crate::config::{self, Config, Server};
use crate::wire::{Compression, Limits};

/// The smallest plaintext in bytes that is worth compressing.
const COMPRESS_BYTES_MIN: usize = 1024;
/// The room in bytes that an envelope needs around arguments or a result.
const ENVELOPE_BYTES_MAX: usize = 64 * 1024;

pub(super) fn compression(config: &Config, is_loopback: bool) -> Compression {
    match config.proxy.compression {
        config::FrameCompression::Auto if !is_loopback => Compression::Auto { bytes_min: COMPRESS_BYTES_MIN },
        config::FrameCompression::Auto | config::FrameCompression::Never => Compression::Never,
    }
}

/// The limits on calls from other hosts.
pub(super) fn request_limits(config: &Config) -> Limits {
    let Server { body_bytes_max, expansion_max, nesting_max, .. } = config.server;
    Limits { plaintext_bytes_max: body_bytes_max + ENVELOPE_BYTES_MAX, expansion_max, nesting_max }
}

/// The limits on answers of peers.
pub(super) fn answer_limits(config: &Config) -> Limits {
    let plaintext_bytes_max = config.proxy.answer_bytes_max + ENVELOPE_BYTES_MAX;
    Limits { plaintext_bytes_max, ..request_limits(config) }
}
