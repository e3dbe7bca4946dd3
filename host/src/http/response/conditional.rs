//! Documents that clients ask for again and again: an entity tag of the content, and 304 for those who have it
//! (RFC 9110, sections 8.8.3 and 13.1.2).

use bytes::Bytes;
use http::header::{CACHE_CONTROL, ETAG, VARY};
use http::{HeaderValue, StatusCode};
use sha2::{Digest, Sha256};

use super::{Response, with_body};
use crate::api::JSON;
use crate::base::Hex;

/// The number of bytes of the digest in a tag.
const TAG_BYTES: usize = 16;
/// Most tags of a request that are looked at.
const TAGS_MAX: usize = 16;

/// A part of the digest of a document: the same for the same bytes only.
type Tag = [u8; TAG_BYTES];

/// A document as it goes out.
#[derive(Debug, Clone)]
pub(crate) struct TaggedDocument {
    body: Bytes,
    tag: Tag,
}

/// The documents that a client has, as `If-None-Match` names them. Tags in other forms than this host's match
/// no document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Tags {
    /// `*`: any.
    Any,
    /// These, at most [`TAGS_MAX`].
    These(Vec<Tag>),
}

impl TaggedDocument {
    pub(crate) fn new(body: Bytes) -> Self {
        let mut tag = Tag::default();
        tag.copy_from_slice(&Sha256::digest(&body)[..TAG_BYTES]);
        Self { body, tag }
    }

    /// Its length in bytes.
    pub(crate) fn len(&self) -> usize {
        self.body.len()
    }

    /// The document as this client sees it; nothing but the tag if the client has it already.
    pub(crate) fn answer(&self, known: &Tags) -> Response {
        let is_known = match known {
            Tags::Any => true,
            Tags::These(tags) => tags.contains(&self.tag),
        };
        let mut response = if is_known { Response::default() } else { with_body(JSON, self.body.clone()) };
        if is_known {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        }
        let headers = response.headers_mut();
        // Each client may be shown something else.
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
        headers.insert(VARY, HeaderValue::from_static("authorization"));
        headers.extend(HeaderValue::try_from(shown(&self.tag)).map(|tag| (ETAG, tag)));
        response
    }
}

impl Tags {
    /// Reads the values of the header.
    pub(crate) fn read<'a>(values: impl Iterator<Item = &'a str>) -> Self {
        let mut tags = Vec::new();
        for tag in values.flat_map(|value| value.split(',')).map(str::trim) {
            if tag == "*" {
                return Self::Any;
            }
            tags.extend(parsed(tag).filter(|_| tags.len() < TAGS_MAX));
        }
        Self::These(tags)
    }
}

fn shown(tag: &Tag) -> String {
    format!("\"{}\"", Hex(tag))
}

/// A tag of this host's form, also as a weak one.
fn parsed(text: &str) -> Option<Tag> {
    let hex = text.strip_prefix("W/").unwrap_or(text).strip_prefix('"')?.strip_suffix('"')?;
    let is_of_form =
        hex.len() == 2 * TAG_BYTES && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    is_of_form.then(|| u128::from_str_radix(hex, 16).ok()).flatten().map(u128::to_be_bytes)
}

#[cfg(test)]
mod tests {
    use http::header::CONTENT_TYPE;

    use super::*;

    #[test]
    fn tags_are_found_in_lists_and_as_weak_ones() {
        let document = TaggedDocument::new(Bytes::from_static(b"x"));
        let tag = shown(&document.tag);
        assert_eq!(tag.len(), 2 + 2 * TAG_BYTES);
        assert_ne!(document.tag, TaggedDocument::new(Bytes::from_static(b"y")).tag);
        let many = "\"00000000000000000000000000000000\",".repeat(1000);
        for (value, expected) in [
            (tag.clone(), true),
            (format!("W/{tag}"), true),
            (format!("\"other\", {tag}"), true),
            ("*".to_owned(), true),
            ("\"other\"".to_owned(), false),
            (tag.trim_matches('"').to_owned(), false),
            (tag.to_ascii_uppercase().replace("\"", "\"+"), false),
            (String::new(), false),
            (many + &tag, false),
        ] {
            let answer = document.answer(&Tags::read([value.as_str()].into_iter()));
            let expected = if expected { StatusCode::NOT_MODIFIED } else { StatusCode::OK };
            assert_eq!(answer.status(), expected, "{value}");
            assert_eq!(answer.headers()[ETAG], tag);
        }
        let answer = document.answer(&Tags::read(std::iter::empty()));
        assert_eq!((answer.status(), answer.headers().contains_key(CONTENT_TYPE)), (StatusCode::OK, true));
    }
}
