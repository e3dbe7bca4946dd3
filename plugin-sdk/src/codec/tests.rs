use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Debug;
use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use serde_json::json;

use super::*;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Arguments {
    id: u64,
    names: Vec<String>,
}

fn check_misfit(json: &serde_json::Value, expected: &str) {
    let error = arguments_from::<Arguments>(&to_message_pack(json).unwrap()).unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
    assert_eq!(error.executed(), Some(false));
    assert!(error.message().contains(expected), "{} lacks {expected}", error.message());
}

#[test]
fn misfits_name_the_argument() {
    check_misfit(&json!({"id": "x", "names": []}), "argument `id`: a string has the wrong type");
    check_misfit(&json!({"id": 1, "names": ["a", 2]}), "argument `names[1]`");
    check_misfit(&json!({"id": 1}), "missing field `names`");
    check_misfit(&json!({"id": 1, "names": [], "more": 1}), "unknown field `more`");
    let fits = json!({"id": 1, "names": ["a"]});
    let arguments: Arguments = arguments_from(&to_message_pack(&fits).unwrap()).unwrap();
    assert_eq!((arguments.id, arguments.names.len()), (1, 1));
}

fn check_same<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: T) {
    let bytes = to_message_pack(&value).unwrap();
    assert_eq!(from_message_pack::<T>(&bytes).unwrap(), value, "{bytes:x?}");
}

fn check_reads<T: DeserializeOwned + PartialEq + Debug>(bytes: &[u8], expected: Option<T>) {
    assert_eq!(from_message_pack::<T>(bytes).ok(), expected, "{bytes:x?}");
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Unit;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Empty {}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Nothing();

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum External {
    Unit,
    Newtype(Option<()>),
    Tuple(u8, String),
    Struct { at: Option<Option<u8>> },
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind")]
enum Internal {
    Unit,
    Struct { inner: Option<Option<bool>>, bytes: Bytes },
}

#[test]
fn options_around_nothing_are_told_apart() {
    check_same::<Vec<Option<Option<u8>>>>(vec![None, Some(None), Some(Some(7))]);
    check_same(vec![None, Some(None), Some(Some(None)), Some(Some(Some(7)))]);
    check_same(vec![None, Some(())]);
    check_same(vec![None, Some(Unit)]);
    check_same(vec![None, Some(json!(null)), Some(json!(1))]);
    check_same(BTreeMap::from(
        [("a", None), ("b", Some(None::<u8>))].map(|(key, value)| (key.to_owned(), value)),
    ));
    check_same(External::Newtype(Some(())));
    check_same(External::Struct { at: Some(None) });
    check_same(Internal::Struct { inner: Some(None), bytes: Bytes(vec![1]) });
    assert_eq!(to_message_pack(&Some(None::<u8>)).unwrap(), [0xd4, 83, 1]);
    // A build of before wrote nothing but nil.
    check_reads::<Option<Option<u8>>>(b"\xc0", Some(None));
    check_reads::<Option<u8>>(b"\xd4\x53\x01", None);
}

#[test]
fn wide_integers_are_exact() {
    for value in [0, 1, u128::from(u64::MAX), u128::from(u64::MAX) + 2, u128::MAX] {
        check_same(value);
        check_reads(&[&[0xc4, 16][..], &value.to_be_bytes()].concat(), Some(value));
    }
    check_same(vec![i128::MIN, -1, 0, i128::MAX]);
    check_same(HashMap::from([(u128::MAX, i128::MIN)]));
    assert_eq!(to_message_pack(&u128::MAX).unwrap(), to_message_pack(&u128::MAX.to_string()).unwrap());
    let read = |value: serde_json::Value| from_message_pack::<u128>(&to_message_pack(&value).unwrap()).ok();
    assert_eq!(read(json!(7)), Some(7));
    assert_eq!(read(json!(7.0)), Some(7));
    assert_eq!(read(json!("18446744073709551616")), Some(1 << 64));
    for value in [json!(-1), json!("-1"), json!("+1"), json!(""), json!("1.0"), json!(1e30), json!(null)] {
        assert_eq!(read(value.clone()), None, "{value}");
    }
    let signed = from_message_pack::<i128>(&to_message_pack("-1").unwrap());
    assert_eq!(signed.unwrap(), -1);
}

#[test]
fn whole_fractions_are_integers_where_integers_are_expected() {
    let read = |value: f64| from_message_pack::<i64>(&to_message_pack(&value).unwrap()).ok();
    for (value, expected) in [
        (1.0, Some(1)),
        (-0.0, Some(0)),
        (1e3, Some(1000)),
        (9_007_199_254_740_991.0, Some(9_007_199_254_740_991)),
        (-9_223_372_036_854_775_808.0, Some(i64::MIN)),
        (9_223_372_036_854_775_808.0, None),
        (-1e19, None),
        (1.5, None),
        (f64::NAN, None),
        (f64::INFINITY, None),
    ] {
        assert_eq!(read(value), expected, "{value}");
    }
    check_reads::<u8>(&to_message_pack(&256.0).unwrap(), None);
    check_reads::<u8>(&to_message_pack(&-1.0).unwrap(), None);
    check_reads(&to_message_pack(&1e19).unwrap(), Some(10_000_000_000_000_000_000u64));
    check_reads::<u64>(&to_message_pack(&18_446_744_073_709_551_616.0).unwrap(), None);
    let any: serde_json::Value = from_message_pack(&to_message_pack(&1.0).unwrap()).unwrap();
    assert!(any.is_f64(), "a value of any type keeps its own");
}

#[test]
fn keys_come_back_from_text() {
    let text = |key: &str| to_message_pack(&HashMap::from([(key, 1)])).unwrap();
    check_reads(&text("-7"), Some(BTreeMap::from([(-7, 1)])));
    check_reads(&text("7"), Some(BTreeMap::from([(7u128, 1)])));
    check_reads(&text("true"), Some(BTreeMap::from([(true, 1)])));
    check_reads(&text("x"), Some(BTreeMap::from([('x', 1)])));
    check_reads(&text("[1,\"a\"]"), Some(BTreeMap::from([((1, "a".to_owned()), 1)])));
    check_reads(&text("AQI="), Some(BTreeMap::from([(Bytes(vec![1, 2]), 1)])));
    check_reads::<BTreeMap<u8, u8>>(&text("x"), None);
    check_reads::<Vec<u8>>(&to_message_pack(&["7"]).unwrap(), None);
    check_same(BTreeMap::from([(7, 1)]));
    check_same(BTreeMap::from([((1, true), "a".to_owned())]));
}

#[test]
fn every_kind_of_type_is_the_same_again() {
    check_same((Unit, Empty {}, Nothing(), (), [(); 0], [[1u8; 3]; 2]));
    check_same(vec![External::Unit, External::Tuple(1, "a".to_owned())]);
    check_same(vec![Internal::Unit]);
    check_same((f32::MIN_POSITIVE, f64::MAX, -0.0f64, 'ß', i64::MIN, u64::MAX));
    check_same((Duration::new(1, 2), SystemTime::UNIX_EPOCH, HashSet::from([1, 2, 3])));
    check_same(std::net::IpAddr::from([127, 0, 0, 1]));
    check_same(Ok::<_, ()>(1u8) as Result<u8, ()>);
    check_same(rmpv::Value::Ext(5, vec![1, 2]));
    let nan: f64 = from_message_pack(&to_message_pack(&f64::NAN).unwrap()).unwrap();
    assert!(nan.is_nan());
    // A build of before wrote a unit struct as a list.
    check_reads(b"\x90", Some(Unit));
}

#[test]
fn what_does_not_fit_is_refused() {
    check_reads::<String>(b"\xc4\x01a", None);
    check_reads::<String>(b"\xa1\xff", None);
    check_reads::<(u8, u8)>(b"\x93\x01\x02\x03", None);
    check_reads::<u8>(b"\x01\x01", None);
    check_reads::<Vec<u8>>(b"\xdd\xff\xff\xff\xff", None);
    check_reads::<External>(b"\x82\xa4Unit\xc0\xa1a\xc0", None);
    check_reads::<External>(b"\xa5Tuple", None);
    check_reads(b"\x81\xa4Unit\xc0", Some(External::Unit));
    let deep = |levels: usize| (0..levels).fold(json!(1), |value, _| json!([value]));
    check_same(deep(64));
    assert!(to_message_pack(&deep(65)).unwrap_err().to_string().contains("64 levels"));
    let bytes = [&[0x91; 100_000][..], b"\xc0"].concat();
    assert!(from_message_pack::<serde_json::Value>(&bytes).unwrap_err().to_string().contains("64 levels"));
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Flat {
    id: u8,
    #[serde(flatten)]
    more: BTreeMap<String, serde_json::Value>,
}

#[test]
fn lengths_that_are_not_known_before_are_filled_in() {
    check_same(Flat { id: 1, more: [("a".to_owned(), json!([1]))].into() });
}

proptest! {
    /// Older builds write and read the same bytes for every value that they could carry.
    #[test]
    fn ordinary_values_are_as_rmp_serde_has_them(
        value: (Option<i64>, Vec<u64>, String, BTreeMap<String, (bool, f64)>, Option<Vec<i8>>, char),
    ) {
        let bytes = to_message_pack(&value).unwrap();
        prop_assert_eq!(&rmp_serde::to_vec_named(&value).unwrap(), &bytes);
        prop_assert_eq!(from_message_pack(&bytes), Ok(value));
    }

    /// No bytes panic.
    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        let _any = from_message_pack::<serde_json::Value>(&bytes);
        let _typed = from_message_pack::<Vec<(External, Option<Option<u128>>)>>(&bytes);
        let _map = from_message_pack::<HashMap<(u8, bool), Internal>>(&bytes);
    }
}
