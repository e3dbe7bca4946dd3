//! Tunnels through a proxy by `CONNECT` (RFC 9110, section 9.3.6).

use std::io;

use http::{HeaderValue, StatusCode, Uri};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The largest head of a proxy's answer in bytes.
const HEAD_BYTES_MAX: usize = 8 << 10;
/// The maximum number of header lines in it.
const LINES_MAX: usize = 100;
/// The maximum length of a refusal's reason that is repeated, in characters.
const REASON_CHARS_MAX: usize = 100;
/// The port of an https URL without one.
const HTTPS_PORT: u16 = 443;

/// The reason why a proxy opened no tunnel.
#[derive(Debug, thiserror::Error)]
pub(super) enum TunnelError {
    #[error("it answered CONNECT with {status} {reason}{}", hint(*status))]
    Refused { status: u16, reason: String },
    #[error("it closed the connection instead of answering CONNECT")]
    Closed,
    #[error("its answer to CONNECT has a head of more than {HEAD_BYTES_MAX} bytes or {LINES_MAX} lines")]
    TooLong,
    #[error("its answer to CONNECT is not HTTP")]
    NotHttp,
    #[error("the connection broke before it answered CONNECT")]
    Broken(#[source] io::Error),
}

impl TunnelError {
    /// Returns true if the next attempt gets the same answer.
    pub(super) fn is_lasting(&self) -> bool {
        matches!(self, Self::Refused { status: 400..=499, .. })
            && !matches!(self, Self::Refused { status: 408 | 425 | 429, .. })
    }
}

fn hint(status: u16) -> &'static str {
    match status {
        407 => ": give the URL of the proxy a user name and password that it accepts",
        _ => "",
    }
}

/// Opens a tunnel to the host and port of `to` over a connection with a proxy.
///
/// # Errors
/// [`TunnelError`]. The connection is of no use then.
pub(super) async fn open<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    to: &Uri,
    authorization: Option<&HeaderValue>,
) -> Result<(), TunnelError> {
    let host = to.host().unwrap_or_default();
    let port = to.port_u16().unwrap_or(HTTPS_PORT);
    let mut request = format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n").into_bytes();
    if let Some(value) = authorization {
        request.extend_from_slice(b"Proxy-Authorization: ");
        request.extend_from_slice(value.as_bytes());
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"\r\n");
    stream.write_all(&request).await.map_err(TunnelError::Broken)?;
    let mut head = Vec::with_capacity(HEAD_BYTES_MAX);
    loop {
        if head.len() == HEAD_BYTES_MAX {
            return Err(TunnelError::TooLong);
        }
        let mut rest = (&mut *stream).take((HEAD_BYTES_MAX - head.len()) as u64);
        if rest.read_buf(&mut head).await.map_err(TunnelError::Broken)? == 0 {
            return Err(TunnelError::Closed);
        }
        while let Some((status, length)) = status(&head)? {
            match status {
                Ok(status) if status.is_informational() => drop(head.drain(..length)),
                // Nothing of the tunnel follows the head yet: in it, the client of TLS speaks first.
                Ok(_) => return Ok(()),
                Err(refused) => return Err(refused),
            }
        }
    }
}

type FirstStatus = Result<StatusCode, TunnelError>;

/// Returns the status of the first answer in `bytes` and the length of its head; `None` if the head is not complete.
fn status(bytes: &[u8]) -> Result<Option<(FirstStatus, usize)>, TunnelError> {
    let mut lines = [httparse::EMPTY_HEADER; LINES_MAX];
    let mut answer = httparse::Response::new(&mut lines);
    let length = match answer.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(TunnelError::TooLong),
        Err(_) => return Err(TunnelError::NotHttp),
    };
    let code = answer.code.unwrap_or_default();
    let status = StatusCode::from_u16(code).map_err(|_| TunnelError::NotHttp)?;
    let reason = answer.reason.filter(|reason| !reason.is_empty());
    let reason = reason.or(status.canonical_reason()).unwrap_or_default();
    let reason = reason.chars().take(REASON_CHARS_MAX).collect();
    let is_open = status.is_success() || status.is_informational();
    Ok(Some((if is_open { Ok(status) } else { Err(TunnelError::Refused { status: code, reason }) }, length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn answered(answer: &[u8]) -> Result<(), String> {
        let (mut ours, mut theirs) = tokio::io::duplex(64 << 10);
        theirs.write_all(answer).await.unwrap();
        theirs.shutdown().await.unwrap();
        let opened = open(&mut ours, &"https://b.test".parse().unwrap(), None).await;
        let mut request = vec![0; 64];
        let length = theirs.read(&mut request).await.unwrap();
        assert_eq!(&request[..length], b"CONNECT b.test:443 HTTP/1.1\r\nHost: b.test:443\r\n\r\n");
        opened.map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn every_success_opens_a_tunnel() {
        for answer in [
            "HTTP/1.1 200 Connection established\r\n\r\n",
            "HTTP/1.0 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
            "HTTP/1.1 204 No Content\r\n\r\n",
            "HTTP/1.1 299\r\n\r\n",
            "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 201 Created\r\n\r\nmore",
        ] {
            assert_eq!(answered(answer.as_bytes()).await, Ok(()), "{answer}");
        }
    }

    #[tokio::test]
    async fn refusals_say_why() {
        for (answer, expected) in [
            ("HTTP/1.1 502 Bad Gateway\r\n\r\n", "it answered CONNECT with 502 Bad Gateway"),
            ("HTTP/1.1 403 Blocked by policy 7\r\n\r\n", "it answered CONNECT with 403 Blocked by policy 7"),
            ("HTTP/1.1 503\r\n\r\n", "it answered CONNECT with 503 Service Unavailable"),
            ("", "it closed the connection instead of answering CONNECT"),
            ("SSH-2.0-OpenSSH_9.2\r\n", "its answer to CONNECT is not HTTP"),
        ] {
            assert_eq!(answered(answer.as_bytes()).await, Err(expected.to_owned()), "{answer}");
        }
        let wanting = answered(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n").await.unwrap_err();
        assert!(wanting.contains("407 Proxy Authentication Required: give the URL"), "{wanting}");
        let long = format!("HTTP/1.1 200 OK\r\nx: {}", "x".repeat(HEAD_BYTES_MAX));
        assert!(answered(long.as_bytes()).await.unwrap_err().contains("more than 8192 bytes"));
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(LINES_MAX + 1));
        assert!(answered(many.as_bytes()).await.unwrap_err().contains("100 lines"));
    }
}
