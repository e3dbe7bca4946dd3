//! The types that come out: the rest of the host knows only these.

mod addresses;
mod admin;
mod callers;
mod keyword;
mod outbound;
mod peer;
mod peer_url;
mod plugins;
mod rules;
mod secret;
mod tls;
mod trust;

pub use addresses::{AllowedAddresses, Networks};
pub use admin::{AdminTcp, LocalEndpoints};
pub use callers::{Callers, ConfiguredCaller};
pub use keyword::{Fallback, FrameCompression, Keyword, LogFormat, LogLevel, Probe, Unmap};
pub use outbound::{OutboundProxies, OutboundProxy};
pub use peer::{ConfiguredPeer, Discover};
pub use peer_url::{InvalidPeerUrl, PeerUrl};
pub(super) use plugins::PluginSettings;
pub use plugins::{CallLimits, FunctionLimit};
pub use rules::{AuthRules, InvalidPath, PathPattern, PathPatterns};
pub(super) use secret::{BROKEN_KEY, SecretSource};
pub use secret::{PUBLIC_KEY, PresentedKey, Secret};
pub use tls::{PeerTls, ServerTls};
pub use trust::{MinisignKeyId, Trust, TrustedKey};
