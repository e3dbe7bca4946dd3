//! Documents that clients ask for again and again: an entity tag of the content, and 304 for those who have it
//! (RFC 9110, sections 8.8.3 and 13.1.2).

use bytes::Bytes;
use http::header::{CACHE_CONTROL, ETAG, IF_NONE_MATCH, VARY};
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body_util::Full;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::Response;
use super::health::json_response;

/// How many bytes of the digest make the tag.
const TAG_BYTES: usize = 16;

/// A document as this client sees it; nothing but the tag if the client has it already.
pub(super) fn answer(document: &Value, headers: &HeaderMap) -> Response {
    let tag = tag(document.to_string().as_bytes());
    let mut response = json_response(document);
    if has(headers, &tag) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        *response.body_mut() = Full::new(Bytes::new());
        response.headers_mut().remove(http::header::CONTENT_TYPE);
    }
    let own = response.headers_mut();
    // Each client may be shown something else.
    own.insert(CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    own.insert(VARY, HeaderValue::from_static("authorization"));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        own.insert(ETAG, tag);
    }
    response
}

/// The same for the same bytes only.
fn tag(body: &[u8]) -> String {
    let digest = Sha256::digest(body);
    let hex: String = digest.iter().take(TAG_BYTES).map(|byte| format!("{byte:02x}")).collect();
    format!("\"{hex}\"")
}

/// Whether `If-None-Match` names the tag, also as a weak one.
fn has(headers: &HeaderMap, tag: &str) -> bool {
    let values = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let mut tags = values.flat_map(|value| value.split(',')).map(str::trim);
    tags.any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_found_in_lists_and_as_weak_ones() {
        let tag = tag(b"x");
        assert_eq!(tag.len(), 2 + 2 * TAG_BYTES);
        assert_ne!(tag, super::tag(b"y"));
        for (value, expected) in [
            (tag.clone(), true),
            (format!("W/{tag}"), true),
            (format!("\"other\", {tag}"), true),
            ("*".to_owned(), true),
            ("\"other\"".to_owned(), false),
            (tag.trim_matches('"').to_owned(), false),
            (String::new(), false),
        ] {
            let headers = [(IF_NONE_MATCH, HeaderValue::from_str(&value).unwrap())].into_iter().collect();
            assert_eq!(has(&headers, &tag), expected, "{value}");
        }
        assert!(!has(&HeaderMap::new(), &tag));
    }
}
