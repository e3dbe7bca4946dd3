//! The head of a request: all that is needed of it is taken at once, so that nothing of it lies in memory while a body,
//! a place or a document is awaited.

use std::net::Ipv6Addr;

use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, IF_NONE_MATCH, TRANSFER_ENCODING};
use http::request::Parts;
use http::{HeaderMap, HeaderName, Version};

use crate::api::{IDEMPOTENCY_KEY_HEADER, TIMEOUT_HEADER};
use crate::http::limits::Limit;
use crate::http::response::{Problem, Tags};

/// Most header lines of a request, over HTTP/2 as over HTTP/1: a line may be one byte on the wire and a hundred in memory.
const LINES_MAX: usize = 100;
/// Headers that have one value.
const SINGLE: [HeaderName; 4] = [
    AUTHORIZATION,
    CONTENT_TYPE,
    HeaderName::from_static(TIMEOUT_HEADER),
    HeaderName::from_static(IDEMPOTENCY_KEY_HEADER),
];
/// Longest `Authorization` of a stranger that is kept, in bytes.
const KEPT_KEY_BYTES_MAX: usize = 1024;

/// Refuses heads that no path is looked up for.
pub(crate) fn check(head: &Parts) -> Result<(), Problem> {
    if head.headers.len() > LINES_MAX {
        return Err(Problem::too_many_lines(LINES_MAX).of_limit(Limit::HeaderSize));
    }
    check_single(&head.headers)?;
    check_transfer(&head.headers)?;
    check_host(head)
}

/// Refuses a header that may come once and came several times, unless all say the same: this host and what is before it
/// could each take another one for the right one.
fn check_single(headers: &HeaderMap) -> Result<(), Problem> {
    if headers.keys_len() == headers.len() {
        return Ok(());
    }
    let several = |name: &&HeaderName| {
        let mut values = headers.get_all(*name).iter();
        let first = values.next();
        values.any(|value| Some(value) != first)
    };
    SINGLE.iter().find(several).map_or(Ok(()), |name| Err(Problem::several_values(name)))
}

/// Refuses codings that would have to be taken off the body first (RFC 9112, section 6.1).
fn check_transfer(headers: &HeaderMap) -> Result<(), Problem> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let is_chunked = codings.all(|value| value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked"));
    if is_chunked { Ok(()) } else { Err(Problem::unsupported_transfer()) }
}

/// HTTP/1.1 needs exactly one `Host`, and what any version has must be valid (RFC 9112, section 3.2).
pub(crate) fn check_host(head: &Parts) -> Result<(), Problem> {
    let mut hosts = head.headers.get_all(HOST).iter();
    let is_good = match (hosts.next(), hosts.next()) {
        (Some(host), None) => is_host(host.as_bytes()),
        (None, _) => head.version != Version::HTTP_11,
        (Some(_), Some(_)) => false,
    };
    if is_good { Ok(()) } else { Err(Problem::bad_host()) }
}

/// Returns true for a host with an optional port, and for an empty text (RFC 9110, section 7.2; RFC 3986, section 3.2.2).
fn is_host(text: &[u8]) -> bool {
    let Ok(text) = str::from_utf8(text) else { return false };
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let Some((address, port)) = rest.split_once(']') else { return false };
            if address.parse::<Ipv6Addr>().is_err() {
                return false;
            }
            ("", port)
        }
        None => text.find(':').map_or((text, ""), |colon| text.split_at(colon)),
    };
    let is_of_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=%".contains(&byte);
    let digits = port.strip_prefix(':');
    let is_port = |digits: &str| digits.len() <= 5 && digits.bytes().all(|byte| byte.is_ascii_digit());
    host.bytes().all(is_of_name) && (port.is_empty() || digits.is_some_and(is_port))
}

/// Returns the headers that are kept to judge a request again if the host was reloaded while its body arrived.
///
/// Each value is copied: it may be a part of all that was read from the connection, and would hold that.
pub(crate) fn credentials(headers: &HeaderMap, is_known: bool) -> HeaderMap {
    let key = headers.get(AUTHORIZATION);
    let key = key.filter(|key| is_known || key.len() <= KEPT_KEY_BYTES_MAX);
    let copied = key.and_then(|key| http::HeaderValue::from_bytes(key.as_bytes()).ok());
    copied.map(|key| (AUTHORIZATION, key)).into_iter().collect()
}

/// The entity tags of `If-None-Match`.
pub(crate) fn tags(headers: &HeaderMap) -> Tags {
    Tags::read(headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(version: Version, hosts: &[&[u8]]) -> Parts {
        let mut request = http::Request::builder().version(version);
        for host in hosts {
            request = request.header(HOST, *host);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn hosts_are_as_the_standard_has_them() {
        for good in
            ["", "a", "a.example:80", "127.0.0.1:8080", "[::1]", "[::1]:80", "a_b", "a%20b", "localhost:"]
        {
            assert!(check_host(&head(Version::HTTP_11, &[good.as_bytes()])).is_ok(), "{good}");
        }
        for bad in [
            "a b", "a/b", "u@a", "a:b", "a:1:2", "[::1", "[x]", "a\"b", "[::1]x", "a,b\tc", "a:123456",
            "http://a",
        ] {
            assert!(check_host(&head(Version::HTTP_11, &[bad.as_bytes()])).is_err(), "{bad}");
        }
        assert!(check_host(&head(Version::HTTP_11, &[b"\xff"])).is_err());
        assert!(check_host(&head(Version::HTTP_11, &[])).is_err());
        for version in [Version::HTTP_10, Version::HTTP_11, Version::HTTP_2] {
            assert!(check_host(&head(version, &[b"a", b"a"])).is_err());
            assert!(check_host(&head(version, &[b"a b"])).is_err());
        }
        assert!(check_host(&head(Version::HTTP_10, &[])).is_ok());
        assert!(check_host(&head(Version::HTTP_2, &[])).is_ok());
    }

    #[test]
    fn only_the_key_is_kept_and_not_what_it_lay_in() {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, "Bearer x".parse().unwrap());
        headers.insert("x-other", "y".parse().unwrap());
        assert_eq!(credentials(&headers, false).len(), 1);
        assert_eq!(credentials(&headers, false)[AUTHORIZATION], "Bearer x");
        headers.insert(AUTHORIZATION, "x".repeat(KEPT_KEY_BYTES_MAX + 1).parse().unwrap());
        assert_eq!((credentials(&headers, false).len(), credentials(&headers, true).len()), (0, 1));
    }
}
