//! The media types that a client accepts: the lines of `Accept`, read together (RFC 9110, section 12.5.1).

use http::HeaderMap;
use http::header::ACCEPT;
use mediatype::{MediaType, MediaTypeList, Name, ReadParams};

const Q: Name<'static> = Name::new_unchecked("q");
/// The quality of what comes without one, in thousandths.
const WHOLE: u16 = 1000;

/// Returns how much a client wants the media type `kind/subtype`, in thousandths: 0 for not at all, and the most without
/// any `Accept`. Ranges that name the type count only if `fits` says so.
///
/// The most precise range counts, also where a less precise one has a higher quality. One that cannot be read does not.
pub(crate) fn quality(
    headers: &HeaderMap,
    (kind, subtype): (&str, &str),
    fits: impl Fn(&MediaType<'_>) -> bool,
) -> u16 {
    if !headers.contains_key(ACCEPT) {
        return WHOLE;
    }
    let precision = |range: &MediaType<'_>| match (range.ty == kind, range.subty == subtype) {
        (true, true) if range.suffix.is_none() && fits(range) => Some(2),
        (true, false) if range.subty == "*" => Some(1),
        (false, false) if range.ty == "*" && range.subty == "*" => Some(0),
        _ => None,
    };
    let lines = headers.get_all(ACCEPT).iter().filter_map(|line| line.to_str().ok());
    let ranges = lines.flat_map(MediaTypeList::new).filter_map(Result::ok);
    let matching = ranges.filter_map(|range| Some((precision(&range)?, quality_of(&range))));
    matching.max().map_or(0, |(_, quality)| quality)
}

/// Returns the weight of a range; an invalid one counts as absent.
fn quality_of(range: &MediaType<'_>) -> u16 {
    let weight = range.get_param(Q).and_then(|value| value.as_str().parse::<f32>().ok());
    let weight = weight.filter(|weight| (0.0..=1.0).contains(weight));
    weight.map_or(WHOLE, |weight| (weight * f32::from(WHOLE)).round() as u16)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn headers(lines: &[&str]) -> HeaderMap {
        lines.iter().map(|line| (ACCEPT, line.parse().unwrap())).collect()
    }

    #[track_caller]
    fn check(lines: &[&str], expected: [u16; 2]) {
        let headers = headers(lines);
        let of = |subtype| quality(&headers, ("application", subtype), |_| true);
        assert_eq!(["json", "msgpack"].map(of), expected, "{lines:?}");
    }

    #[test]
    fn the_most_precise_range_counts() {
        check(&[], [1000, 1000]);
        check(&["*/*"], [1000, 1000]);
        check(&["application/json"], [1000, 0]);
        check(&["Application/JSON; charset=utf-8"], [1000, 0]);
        check(&["application/json;q=0, */*"], [0, 1000]);
        check(&["*/*;q=0.5, application/*;q=0.25, application/msgpack ; Q=0.125"], [250, 125]);
        check(&["text/html, application/xhtml+xml, */*;q=0"], [0, 0]);
        check(&["application/problem+json, application/json+x"], [0, 0]);
        check(&["application/jsonp, application/x-json"], [0, 0]);
    }

    #[test]
    fn several_lines_are_one_list() {
        check(&["text/html", "application/msgpack", "application/json;q=0.9"], [900, 1000]);
        check(&["application/json;q=0", "application/json"], [1000, 0]);
    }

    #[test]
    fn what_cannot_be_read_is_left_out() {
        check(&["json, */, ;q=1, application/msgpack"], [0, 1000]);
        check(&["application/json;q=high, application/msgpack;q=2"], [1000, 1000]);
        check(&["application/json;q=nan;x=\"a,b\", application/msgpack;q=\"0\""], [1000, 1000]);
        check(&[""], [0, 0]);
    }

    proptest! {
        #[test]
        fn no_line_panics(line in "[a-z*/;=,q\"\\\\+ .0-9\t-]{0,60}") {
            quality(&headers(&[&line]), ("application", "json"), |_| true);
        }
    }
}
