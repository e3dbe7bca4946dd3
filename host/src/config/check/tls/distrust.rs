//! Explains why a certificate is not accepted, in a sentence with the way out, instead of the words of the library.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, OtherError, RootCertStore};

const DAY_S: u64 = 86_400;

/// The fault of a host that shows the certificate of an authority as its own.
const OF_AUTHORITY: &str = "is one of an authority (CA:TRUE), which a host must not show: issue one with \
                            basicConstraints CA:FALSE, signed by it";

/// Says why a TLS handshake failed, if the other side's certificate is why, or if it does not speak TLS.
pub fn why_distrusted(error: &rustls::Error) -> Option<String> {
    match error {
        rustls::Error::InvalidCertificate(error) => Some(format!("the certificate {}", fault(error))),
        rustls::Error::InvalidMessage(_) => {
            Some("what came is not TLS: is the port one of plain http?".to_owned())
        }
        _ => None,
    }
}

fn fault(error: &CertificateError) -> String {
    use CertificateError as Error;
    match error {
        Error::Expired => "has expired: renew it".to_owned(),
        Error::ExpiredContext { time, not_after } => {
            format!(
                "has expired {} ago: renew it, or correct the clock of this host",
                span(*not_after, *time)
            )
        }
        Error::NotValidYet => "is not valid yet: compare the clocks of both hosts".to_owned(),
        Error::NotValidYetContext { time, not_before } => {
            format!(
                "is not valid before {} from now: compare the clocks of both hosts",
                span(*time, *not_before)
            )
        }
        Error::NotValidForName => {
            "is not for the name in the URL: call the host by a name that it is for".to_owned()
        }
        Error::NotValidForNameContext { expected, presented } => {
            let expected = expected.to_str();
            let presented = presented.iter().map(|name| bare(name)).collect::<Vec<_>>().join(", ");
            let presented = if presented.is_empty() { "no name at all" } else { &presented };
            format!(
                "is not for `{expected}` but for {presented}: call the host by such a name, or issue one for it"
            )
        }
        Error::UnknownIssuer => {
            "is signed by no authority that is trusted here: add the one that signed it to \
                                 plugins.proxy.tls.ca, or have the other side show its whole chain"
                .to_owned()
        }
        Error::InvalidPurpose | Error::InvalidPurposeContext { .. } => {
            "is not for this use: a host needs the extended key usage serverAuth, a client clientAuth"
                .to_owned()
        }
        Error::BadSignature => {
            "does not bear the signature of the authority that it names: another authority of the \
                                same name has signed it"
                .to_owned()
        }
        Error::Other(error) if is_of_authority(error) => OF_AUTHORITY.to_owned(),
        other => format!("is not accepted: {other}"),
    }
}

/// The name in `DnsName("a.test")`, as the library writes it.
fn bare(presented: &str) -> &str {
    let quoted = presented.split_once("(\"").and_then(|(_, rest)| rest.strip_suffix("\")"));
    quoted.unwrap_or(presented)
}

fn is_of_authority(OtherError(error): &OtherError) -> bool {
    error.downcast_ref() == Some(&webpki::Error::CaUsedAsEndEntity)
}

/// Returns the reason for which all clients will refuse a host's own certificate.
pub(super) fn fault_of_own(
    chain: &[CertificateDer<'static>],
    provider: Arc<CryptoProvider>,
) -> Option<String> {
    let (own, others) = chain.split_first()?;
    let mut roots = RootCertStore::empty();
    roots.add(own.clone()).ok()?;
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().ok()?;
    // Any name: the verifier compares it last.
    let name = ServerName::try_from("framex.invalid").ok()?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    let verified = verifier.verify_server_cert(own, others, &name, &[], UnixTime::since_unix_epoch(now));
    let Err(rustls::Error::InvalidCertificate(error)) = verified else { return None };
    let counts = match &error {
        CertificateError::Other(error) => is_of_authority(error),
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => true,
        _ => false,
    };
    counts.then(|| fault(&error))
}

/// The time from one moment to a later one, for people.
fn span(from: UnixTime, to: UnixTime) -> String {
    let seconds = to.as_secs().saturating_sub(from.as_secs());
    match seconds / DAY_S {
        0 => format!("{seconds} s"),
        1 => "1 day".to_owned(),
        days => format!("{days} days"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fault_says_what_to_do() {
        let at = |seconds| UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
        let name = ServerName::try_from("b.test").unwrap();
        for (error, expected) in [
            (
                CertificateError::ExpiredContext { time: at(3 * DAY_S), not_after: at(DAY_S) },
                "expired 2 days ago: renew",
            ),
            (
                CertificateError::NotValidYetContext { time: at(10), not_before: at(70) },
                "before 60 s from now: compare the clocks",
            ),
            (
                CertificateError::NotValidForNameContext {
                    expected: name.clone(),
                    presented: vec!["DnsName(\"a.test\")".to_owned()],
                },
                "is not for `b.test` but for a.test: call the host",
            ),
            (
                CertificateError::NotValidForNameContext { expected: name, presented: vec![] },
                "but for no name at all",
            ),
            (CertificateError::UnknownIssuer, "add the one that signed it to plugins.proxy.tls.ca"),
            (
                CertificateError::Other(OtherError(Arc::new(webpki::Error::CaUsedAsEndEntity))),
                "issue one with basicConstraints CA:FALSE",
            ),
            (CertificateError::Revoked, "is not accepted: "),
        ] {
            let raw = why_distrusted(&rustls::Error::InvalidCertificate(error)).unwrap();
            assert!(raw.starts_with("the certificate ") && raw.contains(expected), "{raw}");
        }
        assert_eq!(why_distrusted(&rustls::Error::DecryptError), None);
    }
}
