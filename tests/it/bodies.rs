//! Bodies that are made to hurt, at both doors: refused in words, without memory for what they claim, and the host
//! serves on.

use framex_host::base::ErrorCode;
use framex_host::wire;
use framex_tests::{Client, Daemon, frames, is_instrumented};
use serde_json::json;

const ECHO: &str = "misbehave.functions.echo";
const SAME_NUMBER: &str = "misbehave.functions.same_number";
const LOGS: &str = "misbehave.functions.logs";
const DEMO: &str = "demo.some.example_func";
/// Maximum growth of resident memory after a first round: each thread holds what fits.
const GROWTH_BYTES_MAX: usize = 10 << 20;

fn host() -> Daemon {
    Daemon::builder()
        .config("host_id = \"b\"\nserver.body_bytes_max = 1048576")
        .config(&frames::rules(&[frames::SECRET]))
        .plugin("demo")
        .plugin("misbehave")
        .start()
}

/// Invalid arguments: the fault, the bytes, and a part of the error.
struct Bad {
    what: &'static str,
    function: &'static str,
    bytes: Vec<u8>,
    said: &'static str,
}

fn bad(what: &'static str, function: &'static str, bytes: impl Into<Vec<u8>>, said: &'static str) -> Bad {
    Bad { what, function, bytes: bytes.into(), said }
}

/// One argument `data` with this MessagePack as its value.
fn data(value: &[u8]) -> Vec<u8> {
    [b"\x81\xa4data", value].concat()
}

const BEYOND: &str = "reaches beyond the end of the message";

/// MessagePack that is not what it says.
fn packed() -> Vec<Bad> {
    let mut all = vec![
        bad(
            "deep arrays",
            ECHO,
            data(&[[0x91; 100_000].as_slice(), b"\xc0"].concat()),
            "nested deeper than 64 levels",
        ),
        bad(
            "deep maps",
            ECHO,
            data(&[b"\x81\xa1a".repeat(100_000).as_slice(), b"\xc0"].concat()),
            "nested deeper than 64 levels",
        ),
        bad("only depth", ECHO, vec![0x91; 200_000], "arguments is not a map"),
        bad(
            "a name twice",
            ECHO,
            b"\x82\xa4data\xc4\x01a\xa4data\xc4\x01b".as_slice(),
            "has the key \"data\" more than once",
        ),
        bad("an extension", ECHO, data(b"\xd4\x01\x02"), "argument `data`"),
        bad(
            "a long extension",
            ECHO,
            data(&[b"\xc8\x03\xe8\x01".as_slice(), &[7; 1000]].concat()),
            "argument `data`",
        ),
        bad("a time", SAME_NUMBER, b"\x81\xa5value\xd6\xff\x00\x00\x00\x00".as_slice(), "argument `value`"),
        bad("no UTF-8", LOGS, b"\x81\xa4text\xa2\xc3\x28".as_slice(), "is not valid UTF-8"),
        bad("half a surrogate", LOGS, b"\x81\xa4text\xa3\xed\xa0\x80".as_slice(), "is not valid UTF-8"),
        bad(
            "no UTF-8 in a name",
            LOGS,
            b"\x81\xa4te\xfft\xa1a".as_slice(),
            "argument name is not valid UTF-8",
        ),
        bad(
            "no UTF-8 deep inside",
            LOGS,
            b"\x81\xa4text\x81\xa1a\x91\xa1\xff".as_slice(),
            "is not valid UTF-8",
        ),
        bad("a byte that means nothing", ECHO, data(b"\xc1"), "0xc1"),
        bad("a tail", ECHO, data(b"\xc4\x01a\xc0"), "bytes that belong to nothing"),
    ];
    // Lengths of 2^32 - 1: array, map, string, bytes, extension; alone, and with a little of what they claim.
    for marker in [0xdd, 0xdf, 0xdb, 0xc6, 0xc9] {
        for rest in [&b""[..], b"a", &[0; 4000]] {
            let claim = [&[marker, 0xff, 0xff, 0xff, 0xff], rest].concat();
            // Nothing of an array or a map need be there for zeroes to be its numbers; they run out.
            all.push(bad("a length of 2^32 - 1", ECHO, data(&claim), BEYOND));
        }
    }
    all.push(bad("2^32 - 1 arguments", ECHO, b"\xdf\xff\xff\xff\xff\xa1a\x01".as_slice(), "arguments"));
    all.push(bad(
        "a name of 2^32 - 1 bytes",
        ECHO,
        b"\x81\xdb\xff\xff\xff\xffdata".as_slice(),
        "argument name",
    ));
    all
}

/// Invalid JSON, and JSON with values that nothing can hold.
fn json_bodies() -> Vec<Bad> {
    let deep = |open: &str, close: &str| {
        format!("{{\"data\":{}1{}}}", open.repeat(100_000), close.repeat(100_000)).into_bytes()
    };
    let value = |value: &str| format!("{{\"value\": {value}}}").into_bytes();
    let digits = "9".repeat(100_000);
    vec![
        bad("deep arrays", ECHO, deep("[", "]"), "nested"),
        bad("deep objects", ECHO, deep("{\"a\":", "}"), "nested"),
        bad("open arrays", ECHO, "{\"data\":".to_owned() + &"[".repeat(300_000), "nested"),
        bad("a large exponent", SAME_NUMBER, value("1e400"), "number out of range"),
        bad("a huge exponent", SAME_NUMBER, value("1e99999999999999999999"), "number out of range"),
        bad("many digits", SAME_NUMBER, value(&digits), "number out of range"),
        bad("many digits below 0", SAME_NUMBER, value(&format!("-{digits}")), "number out of range"),
        bad(
            "a whole number beyond 64 bits",
            DEMO,
            "{\"id\": 340282366920938463463374607431768211456, \"user\": {\"id\": 7, \"name\": \"x\"}}",
            "argument `id`",
        ),
        bad("a name twice", ECHO, "{\"data\": \"\", \"data\": \"\"}", "has the key \"data\" more than once"),
        bad(
            "a name twice, once escaped",
            ECHO,
            "{\"data\": \"\", \"d\\u0061ta\": \"\"}",
            "has the key \"data\" more than once",
        ),
        bad(
            "a name twice further in",
            DEMO,
            "{\"id\": 1, \"user\": {\"id\": 7, \"id\": 8, \"name\": \"x\"}}",
            "argument `user`: duplicate field `id`",
        ),
        bad("no UTF-8", LOGS, b"{\"text\": \"\xc3\x28\"}".as_slice(), "invalid unicode code point"),
        bad("no UTF-8 in a name", LOGS, b"{\"te\xfft\": \"\"}".as_slice(), "invalid unicode code point"),
        bad(
            "half a surrogate in bytes",
            LOGS,
            b"{\"text\": \"\xed\xa0\x80\"}".as_slice(),
            "invalid unicode code point",
        ),
        bad(
            "the first half of a surrogate",
            LOGS,
            "{\"text\": \"\\ud800\"}",
            "the body is not the JSON that is expected",
        ),
        bad("the second half", LOGS, "{\"text\": \"\\udc00\"}", "the body is not the JSON that is expected"),
        bad(
            "two first halves",
            LOGS,
            "{\"text\": \"\\ud800\\ud800\"}",
            "the body is not the JSON that is expected",
        ),
        bad("NaN", SAME_NUMBER, value("NaN"), "expected value"),
        bad("NaN as text", SAME_NUMBER, value("\"NaN\""), "argument `value`"),
        bad("Infinity", SAME_NUMBER, value("-Infinity"), "the body is not the JSON that is expected"),
        bad("a hexadecimal number", SAME_NUMBER, value("0x10"), "the body is not the JSON that is expected"),
        bad(
            "a byte order mark",
            SAME_NUMBER,
            b"\xef\xbb\xbf{\"value\": 1}".as_slice(),
            "must be a JSON object",
        ),
        bad("a control character", LOGS, b"{\"text\": \"\x00\"}".as_slice(), "control character"),
        bad("comments", SAME_NUMBER, "{/**/\"value\": 1}", "the body is not the JSON that is expected"),
        bad(
            "a text without end",
            LOGS,
            "{\"text\": \"".to_owned() + &"a".repeat(300_000),
            "EOF while parsing a string",
        ),
        bad("another form", LOGS, b"\x81\xa4text\xa1a".as_slice(), "must be a JSON object"),
    ]
}

/// Sealed plaintexts that lie about what they hold, compressed.
fn compressed() -> Vec<(u32, Vec<u8>, &'static str)> {
    let honest = "of the length that it claims";
    // 255 bytes and more for each byte: literals, then one match that goes on and on.
    let long_match = [&b"\x1fa\x01\x00"[..], &[0xff; 2000], b"\x00\x50aaaaa"].concat();
    let gives = 1 + 4 + 15 + 2000 * 255 + 5;
    vec![
        (u32::MAX, vec![0xff; 4000], "the limit is"),
        (u32::MAX, Vec::new(), "the limit is"),
        (1 << 31, vec![0; 100_000], "the limit is"),
        // Within the limit: more than they have, less, nothing.
        (500_000, vec![0xff; 4000], honest),
        (500_000, vec![0x10; 40_000], honest),
        (gives + 1, long_match.clone(), honest),
        (gives - 1, long_match.clone(), honest),
        (10, long_match.clone(), honest),
        (0, long_match, honest),
        (1, Vec::new(), "more than 255 bytes for each of its own"),
    ]
}

/// Posts JSON or MessagePack as it is.
fn check_plain(host: &Daemon, client: &Client, content_type: &str, bad: &Bad) {
    let url = format!("{}/api/v1/functions/{}", host.url(), bad.function);
    let answer = client.send("POST", &url, &[("content-type", content_type)], &bad.bytes);
    let (status, code, detail) = answer.problem();
    assert_eq!((status, code.as_str()), (400, "invalid_argument"), "{}: {detail}", bad.what);
    assert_eq!(answer.json()["executed"], false, "{}: {detail}", bad.what);
    assert!(detail.contains(bad.said), "{}: {detail}", bad.what);
    assert!(detail.len() < 1000, "{}: {} bytes of detail", bad.what, detail.len());
}

/// Seals a plaintext and reads why it is refused.
fn check_sealed(host: &Daemon, client: &Client, flags: u8, what: &str, plaintext: &[u8], said: &str) {
    let (id, frame) = frames::RawKeys::of(frames::SECRET).seal(flags, [0, 0], plaintext);
    let url = format!("{}/api/v1/proxy/remote", host.url());
    let answer = client.send("POST", &url, &[("content-type", wire::CONTENT_TYPE)], &frame);
    let failure = frames::open(&frames::key(), id, &answer).outcome.expect_err("it is refused");
    assert_eq!(
        (failure.code, failure.executed.known()),
        (ErrorCode::InvalidArgument, Some(false)),
        "{what}: {failure}"
    );
    assert!(failure.message.contains(said), "{what}: {failure}");
}

#[track_caller]
fn check_serves(host: &Daemon) {
    let answer = host.call(DEMO, &json!({"id": 7, "user": {"id": 7, "name": "Ada"}}));
    assert_eq!(answer.json(), json!("7: Ada"));
}

/// Runs rounds, and checks that those after the first cost no memory to speak of, not even for a moment.
fn check_growth(host: &Daemon, round: impl Fn()) {
    round();
    let before = host.resident_bytes_max();
    for _ in 0..5 {
        round();
    }
    let grown = host.resident_bytes_max() - before;
    assert!(is_instrumented() || grown < GROWTH_BYTES_MAX, "{grown} bytes more were resident");
    check_serves(host);
}

#[test]
fn hostile_message_pack_is_refused_at_both_doors() {
    let host = host();
    let (client, all) = (Client::default(), packed());
    check_growth(&host, || {
        for bad in &all {
            check_plain(&host, &client, "application/msgpack", bad);
            let plaintext = frames::RawKeys::request(bad.function, &bad.bytes);
            check_sealed(&host, &client, 0, bad.what, &plaintext, bad.said);
        }
    });
    host.stop();
}

#[test]
fn hostile_json_is_refused() {
    let host = host();
    let (client, all) = (Client::default(), json_bodies());
    check_growth(&host, || all.iter().for_each(|bad| check_plain(&host, &client, "application/json", bad)));
    host.stop();
}

#[test]
fn hostile_compression_is_refused() {
    let host = host();
    let (client, all) = (Client::default(), compressed());
    check_growth(&host, || {
        for (claim, block, said) in &all {
            let plaintext = [&claim.to_le_bytes()[..], block].concat();
            check_sealed(&host, &client, 1, &format!("{claim} bytes of {}", block.len()), &plaintext, said);
        }
    });
    host.stop();
}

/// The content types that the two listeners accept, and say that they accept.
#[test]
fn numbers_and_repeated_names_that_are_allowed_arrive() {
    let host = host();
    let nan = rmp_serde::to_vec_named(&std::collections::BTreeMap::from([("value", f64::NAN)])).unwrap();
    let (id, frame) =
        frames::RawKeys::of(frames::SECRET).seal(0, [0, 0], &frames::RawKeys::request(SAME_NUMBER, &nan));
    let result = frames::open(&frames::key(), id, &frames::post_frame(&host.url(), &frame)).outcome.unwrap();
    assert!(rmp_serde::from_slice::<f64>(&result).unwrap().is_nan());
    for (sent, back) in [
        ("1e308", 1e308),
        ("-0.0", -0.0),
        ("5e-324", 5e-324),
        ("1e-400", 0.0),
        ("18446744073709551616", 18_446_744_073_709_551_616.0),
    ] {
        let url = format!("{}/api/v1/functions/{SAME_NUMBER}", host.url());
        let body = format!("{{\"value\": {sent}}}");
        let answer =
            framex_tests::send("POST", &url, &[("content-type", "application/json")], body.as_bytes());
        assert_eq!(answer.json(), json!(back), "{sent}");
    }
    let pair = host.call(LOGS, &json!({"text": "\u{1f600}\0\u{ffff}"}));
    assert_eq!(pair.status, 200);
    host.stop();
}
