//! The types that come out: the rest of the host knows only these.

mod addresses;
mod admin;
mod callers;
mod discover;
mod keyword;
mod limits;
mod outbound;
mod peer;
mod peer_url;
mod plugin_settings;
mod rules;
mod secret;
mod tls;
mod trust;

pub use addresses::{AllowedAddresses, Networks};
pub use admin::{AdminTcp, LocalEndpoints};
pub use callers::{Callers, ConfiguredCaller};
pub use discover::Discover;
pub use keyword::{Fallback, FrameCompression, Keyword, LogFormat, LogLevel, Unmap};
pub use limits::{CallLimits, FunctionLimit};
pub use outbound::{OutboundProxies, OutboundProxy};
pub use peer::ConfiguredPeer;
pub use peer_url::{InvalidPeerUrl, PeerUrl};
pub use plugin_settings::PluginSettings;
pub use rules::{AuthRules, InvalidPath, PathPattern, PathPatterns};
pub(super) use secret::BROKEN_KEY;
pub use secret::{PUBLIC_KEY, PresentedKey, Secret, SecretSource};
pub use tls::{PeerTls, ServerTls};
pub use trust::{MinisignKeyId, Trust, TrustedKey};
