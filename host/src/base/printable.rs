//! Escapes text from callers, peers and plugins, so that terminals and readers of lines do not act on it.
//!
//! It escapes characters that move a cursor, end a line or change the order of text: controls (C0, DEL, C1), separators
//! of lines and paragraphs, and marks of direction and other invisible format.

use std::borrow::Cow;
use std::fmt::Write;

/// Escapes every such character, line breaks and tabs included.
pub fn one_line(text: &str) -> Cow<'_, str> {
    escape(text, acts, |c, to| to.extend(c.escape_debug()))
}

/// Escapes every such character but line breaks and tabs.
pub fn printable(text: &str) -> Cow<'_, str> {
    escape(text, |c| acts(c) && !matches!(c, '\n' | '\t'), |c, to| to.extend(c.escape_debug()))
}

/// Escapes the same characters within JSON, which keeps its value. White space between tokens stays.
pub fn printable_json(json: &str) -> Cow<'_, str> {
    escape(
        json,
        |c| acts(c) && !matches!(c, '\n' | '\r' | '\t'),
        |c, to| {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _infallible = write!(to, "\\u{unit:04x}");
            }
        },
    )
}

fn escape<'a>(
    text: &'a str,
    is_escaped: impl Fn(char) -> bool,
    put: impl Fn(char, &mut String),
) -> Cow<'a, str> {
    let Some(first) = text.find(&is_escaped) else { return Cow::Borrowed(text) };
    let mut escaped = String::with_capacity(text.len() + 16);
    escaped.push_str(&text[..first]);
    for c in text[first..].chars() {
        if is_escaped(c) { put(c, &mut escaped) } else { escaped.push(c) }
    }
    Cow::Owned(escaped)
}

/// Returns true for a character that a terminal, or a reader of lines, acts on.
fn acts(c: char) -> bool {
    let is_format = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{feff}'
        | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{206f}' | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e007f}');
    c.is_control() || is_format
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_acts_is_escaped_and_the_rest_stays() {
        let check = |text: &str, one: &str, many: &str| {
            assert_eq!((&*one_line(text), &*printable(text)), (one, many));
        };
        check("Zoë's 漢字 👩‍🚀 \\ \"'", "Zoë's 漢字 👩‍🚀 \\ \"'", "Zoë's 漢字 👩‍🚀 \\ \"'");
        check("a\nb\tc\r", "a\\nb\\tc\\r", "a\nb\tc\\r");
        check("\x1b[31m\x7f\u{9b}2J\0", "\\u{1b}[31m\\u{7f}\\u{9b}2J\\0", "\\u{1b}[31m\\u{7f}\\u{9b}2J\\0");
        check(
            "\u{202e}abc\u{2028}\u{e0041}",
            "\\u{202e}abc\\u{2028}\\u{e0041}",
            "\\u{202e}abc\\u{2028}\\u{e0041}",
        );
    }

    proptest! {
        #[test]
        fn json_says_the_same_in_one_line(text in any::<String>()) {
            let json = serde_json::to_string(&text).unwrap();
            let shown = printable_json(&json);
            prop_assert!(!shown.chars().any(acts));
            prop_assert_eq!(serde_json::from_str::<String>(&shown).unwrap(), text);
        }

        #[test]
        fn nothing_that_acts_is_left(text in any::<String>()) {
            prop_assert!(!one_line(&text).chars().any(acts));
            prop_assert!(!printable(&text).chars().any(|c| acts(c) && c != '\n' && c != '\t'));
        }
    }
}
