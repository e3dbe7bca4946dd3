//! Resolves names to addresses, without forbidden ones.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper_util::client::legacy::connect::dns::Name;
use tower_service::Service;

use crate::config::AllowedAddresses;

/// A forbidden address.
#[derive(Debug, thiserror::Error)]
#[error(
    "{0} is a link-local or metadata address: it is refused unless `plugins.proxy.allow_addresses` has it"
)]
pub(super) struct ForbiddenAddress(IpAddr);

/// Checks that calls may go to an address.
pub(super) fn check(allowed: &AllowedAddresses, address: IpAddr) -> Result<(), ForbiddenAddress> {
    if allowed.allows(address) { Ok(()) } else { Err(ForbiddenAddress(address)) }
}

/// Wraps a resolver, and checks its addresses before a connection is made.
#[derive(Debug, Clone)]
pub(super) struct Resolver<R> {
    inner: R,
    allowed: AllowedAddresses,
}

impl<R> Resolver<R> {
    pub(super) fn new(inner: R, allowed: AllowedAddresses) -> Self {
        Self { inner, allowed }
    }
}

impl<R> Service<Name> for Resolver<R>
where
    R: Service<Name, Response: Iterator<Item = SocketAddr>, Error = io::Error, Future: Send + 'static>,
{
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let (resolving, allowed) = (self.inner.call(name), self.allowed.clone());
        Box::pin(async move { permitted(resolving.await?, &allowed) })
    }
}

/// Returns the allowed addresses; an error if there are only forbidden ones.
fn permitted(
    found: impl Iterator<Item = SocketAddr>,
    allowed: &AllowedAddresses,
) -> io::Result<std::vec::IntoIter<SocketAddr>> {
    let mut refused = None;
    let mut permitted = Vec::new();
    for address in found {
        match check(allowed, address.ip()) {
            Ok(()) => permitted.push(address),
            Err(error) => refused = Some(error),
        }
    }
    match refused {
        Some(error) if permitted.is_empty() => Err(io::Error::other(error)),
        _ => Ok(permitted.into_iter()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Resolves every name to the same addresses.
    #[derive(Clone)]
    struct Fixed(&'static [&'static str]);

    impl Service<Name> for Fixed {
        type Response = std::vec::IntoIter<SocketAddr>;
        type Error = io::Error;
        type Future = std::future::Ready<io::Result<Self::Response>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: Name) -> Self::Future {
            let addresses: Vec<_> =
                self.0.iter().map(|text| SocketAddr::new(text.parse().unwrap(), 80)).collect();
            std::future::ready(Ok(addresses.into_iter()))
        }
    }

    async fn check(found: &'static [&'static str], expected: Result<&[&str], &str>) {
        let mut resolver = Resolver::new(Fixed(found), AllowedAddresses::default());
        let resolved = resolver.call("metadata.test".parse().unwrap()).await;
        let resolved = resolved
            .map(|addresses| addresses.map(|address| address.ip().to_string()).collect())
            .map_err(|error| error.to_string());
        let expected = expected
            .map(|addresses| addresses.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>())
            .map_err(|address| format!("{address} is a link-local or metadata address: it is refused unless `plugins.proxy.allow_addresses` has it"));
        assert_eq!(resolved, expected, "{found:?}");
    }

    #[tokio::test]
    async fn names_of_refused_addresses_do_not_resolve() {
        check(&["10.0.0.1", "127.0.0.1", "::1"], Ok(&["10.0.0.1", "127.0.0.1", "::1"])).await;
        check(&["169.254.169.254"], Err("169.254.169.254")).await;
        check(&["::ffff:169.254.169.254"], Err("::ffff:169.254.169.254")).await;
        check(&["fe80::1"], Err("fe80::1")).await;
        check(&["fd00:ec2::254"], Err("fd00:ec2::254")).await;
        check(&["100.100.100.200"], Err("100.100.100.200")).await;
        check(&["169.254.169.254", "10.0.0.1"], Ok(&["10.0.0.1"])).await;
        check(&[], Ok(&[])).await;
    }
}
