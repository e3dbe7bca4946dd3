//! The proxies that calls to peers go through.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use http::{HeaderValue, Uri};
use hyper_util::client::proxy::matcher::Matcher;

/// The choice of the proxy for each peer.
#[derive(Clone, Default)]
pub struct OutboundProxies(pub(in crate::config) Option<Arc<Matcher>>);

/// A proxy that is reached by plain HTTP. The secret for it is not shown.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct OutboundProxy {
    /// Its URL: `http://host:port`, without user name and password.
    pub uri: Uri,
    /// The value of `Proxy-Authorization`.
    pub authorization: Option<HeaderValue>,
}

impl OutboundProxies {
    /// Returns the proxy that a call to `url` goes through; `None` for a direct call.
    pub fn of(&self, url: &Uri) -> Option<OutboundProxy> {
        let matcher = self.0.as_ref()?;
        if url.host().is_none_or(super::peer_url::is_loopback) {
            return None;
        }
        let found = matcher.intercept(&without_dot(url))?;
        Some(OutboundProxy { uri: found.uri().clone(), authorization: found.basic_auth().cloned() })
    }
}

/// Removes the dot at the end of a host, which names in `NO_PROXY` do not have.
fn without_dot(url: &Uri) -> Cow<'_, Uri> {
    let authority = url.authority().map(|authority| authority.as_str()).unwrap_or_default();
    let (host, port) = authority.rsplit_once(':').unwrap_or((authority, ""));
    let Some(host) = host.strip_suffix('.') else { return Cow::Borrowed(url) };
    let mut parts = url.clone().into_parts();
    parts.authority = format!("{host}:{port}").trim_end_matches(':').parse().ok();
    Uri::from_parts(parts).map_or(Cow::Borrowed(url), Cow::Owned)
}

impl fmt::Debug for OutboundProxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "of the environment" } else { "none" })
    }
}
