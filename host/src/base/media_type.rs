//! Media types, as texts that are compared.

use std::borrow::Cow;

/// Returns a media type without its parameters and in lower case, which is how two are compared (RFC 9110, section
/// 8.3.1).
pub fn media_type(text: &str) -> Cow<'_, str> {
    let essence = text.split(';').next().unwrap_or_default().trim();
    match essence.bytes().any(|byte| byte.is_ascii_uppercase()) {
        true => essence.to_ascii_lowercase().into(),
        false => essence.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_and_case_do_not_matter() {
        for text in ["a/b", "A/b", " a/B ", "a/b;q", "a/b ; charset=\"x;y\"", "a/b;"] {
            assert_eq!(media_type(text), "a/b", "{text}");
        }
        assert_eq!(media_type("a/b, a/b"), "a/b, a/b");
        assert_eq!(media_type(""), "");
    }
}
