//! Every kind of type, and values of it. The plugin `typecalls` has this file as well.

pub(crate) use std::borrow::Cow;
pub(crate) use std::collections::{BTreeMap, BTreeSet};
pub(crate) use std::net::IpAddr;
pub(crate) use std::num::NonZeroU8;
pub(crate) use std::path::PathBuf;
pub(crate) use std::time::{Duration, SystemTime};

use crate::sdk::prelude::*;
use serde::{Deserialize, Serialize};
pub(crate) use serde_json::{Value, json};

pub type Blob = Vec<u8>;
pub type Twice<T> = Option<Option<T>>;

#[model]
pub struct Unit;

#[model]
pub struct Empty {}

#[model]
pub struct Nothing();

#[model]
pub struct Wrapped(pub ());

#[model]
pub struct Id(pub u64);

/// A struct of everything.
#[model]
pub struct Record {
    /// Bytes are base64 in JSON.
    pub bytes: Vec<u8>,
    pub maybe_bytes: Option<Vec<u8>>,
    #[serde(default)]
    pub late_bytes: Option<Vec<u8>>,
    pub wide: u128,
    pub maybe_wide: Option<i128>,
    pub wides: Vec<u128>,
    pub nested: Vec<Option<Bytes>>,
    pub id: Id,
    pub unit: Unit,
    pub any: Value,
}

#[model]
pub enum External {
    Unit,
    Newtype(u8),
    Tuple(u8, String),
    Struct { bytes: Vec<u8>, wide: u128, twice: Option<Option<u8>> },
}

#[model]
#[serde(tag = "kind")]
pub enum Internal {
    Unit,
    Newtype(Id2),
    Struct { bytes: Vec<u8>, wide: u128, maybe: Option<i128>, wides: Vec<u128>, twice: Option<Option<u8>> },
}

#[model]
pub struct Id2 {
    pub id: u128,
}

#[model]
#[serde(tag = "kind", content = "value")]
pub enum Adjacent {
    Unit,
    Newtype(u8),
    Struct { bytes: Vec<u8>, wide: u128 },
}

#[model]
#[serde(untagged)]
pub enum Untagged {
    Text(String),
    List(Vec<u8>),
    Struct { wide: u128 },
    Nested(Vec<Untagged>),
}

/// Some of its values fit two variants.
#[model]
#[serde(untagged)]
pub enum Ambiguous {
    Small(u32),
    Large(u64),
    Blob(Bytes),
    Text(String),
}

/// A variant that takes what is left over.
#[model]
pub enum Open {
    Known,
    #[serde(untagged)]
    Other(String),
}

#[model]
#[serde(untagged)]
pub enum Either<L, R> {
    Left(L),
    Right(R),
}

#[model]
pub struct Flat {
    pub id: u8,
    #[serde(flatten)]
    pub inner: Inner,
    #[serde(flatten)]
    pub more: BTreeMap<String, Value>,
}

#[model]
pub struct Inner {
    pub wide: u128,
    pub bytes: Vec<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maybe: Option<u32>,
}

#[model]
pub struct Tree {
    pub name: String,
    pub children: Vec<Tree>,
}

/// It has no schema.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Foreign {
    pub a: u8,
}

#[model]
pub struct HasForeign {
    #[schemars(with = "Value")]
    pub one: Foreign,
    pub all: BTreeMap<String, Value>,
    pub list: Vec<Value>,
}

/// Hands each line to a macro: the function's name, the type, values of it.
macro_rules! kinds {
    ($each:ident) => {
        $each! {
            "types.echo.signed_8" signed_8: i8 = [i8::MIN, 0, i8::MAX];
            "types.echo.signed_16" signed_16: i16 = [i16::MIN, i16::MAX];
            "types.echo.signed_32" signed_32: i32 = [i32::MIN, i32::MAX];
            "types.echo.signed_64" signed_64: i64 = [i64::MIN, -1, i64::MAX];
            "types.echo.signed_128" signed_128: i128 = [i128::MIN, -1, 0, i128::MAX];
            "types.echo.unsigned_8" unsigned_8: u8 = [0, u8::MAX];
            "types.echo.unsigned_16" unsigned_16: u16 = [u16::MAX];
            "types.echo.unsigned_32" unsigned_32: u32 = [u32::MAX];
            "types.echo.unsigned_64" unsigned_64: u64 = [0, u64::MAX];
            "types.echo.unsigned_128" unsigned_128: u128 = [0, 7, 1 << 64, u128::MAX];
            "types.echo.fraction_32" fraction_32: f32 = [f32::MIN, 0.1, f32::NAN, f32::INFINITY];
            "types.echo.fraction_64" fraction_64: f64 = [f64::MAX, -0.0, 0.1, f64::NAN, f64::NEG_INFINITY];
            "types.echo.boolean" boolean: bool = [true, false];
            "types.echo.character" character: char = ['a', '\u{0}', '\u{10ffff}'];
            "types.echo.text" text: String = [String::new(), "\u{0}\"\\\u{1f980}".to_owned()];
            "types.echo.borrowed" borrowed: Cow<'static, str> = [Cow::Borrowed("a"), Cow::Owned("b".to_owned())];
            "types.echo.bytes" bytes: Vec<u8> = [vec![], vec![0, 255]];
            "types.echo.bytes_type" bytes_type: Bytes = [Bytes(vec![0, 255])];
            "types.echo.maybe_bytes" maybe_bytes: Option<Vec<u8>> = [None, Some(vec![]), Some(vec![1])];
            "types.echo.blob" blob: Blob = [vec![], vec![0, 255]];
            "types.echo.blobs" blobs: Vec<Vec<u8>> = [vec![vec![], vec![0, 255]]];
            "types.echo.array" array: [u8; 3] = [[0, 1, 255]];
            "types.echo.nothing" nothing: () = [()];
            "types.echo.unit" unit: Unit = [Unit];
            "types.echo.empty" empty: Empty = [Empty {}];
            "types.echo.empty_tuple" empty_tuple: Nothing = [Nothing()];
            "types.echo.wrapped" wrapped: Wrapped = [Wrapped(())];
            "types.echo.newtype" newtype: Id = [Id(u64::MAX)];
            "types.echo.option" option: Option<u32> = [None, Some(0)];
            "types.echo.option_twice" option_twice: Option<Option<u32>> = [None, Some(None), Some(Some(0))];
            "types.echo.option_alias" option_alias: Twice<String> = [None, Some(None), Some(Some(String::new()))];
            "types.echo.option_of_nothing" option_of_nothing: Option<()> = [None, Some(())];
            "types.echo.option_of_unit" option_of_unit: Option<Unit> = [None, Some(Unit)];
            "types.echo.option_of_value" option_of_value: Option<Value> = [None, Some(json!(null)), Some(json!(1))];
            "types.echo.option_boxed" option_boxed: Box<Option<Box<Option<u8>>>> = [Box::new(Some(Box::new(None)))];
            "types.echo.options" options: Vec<BTreeMap<String, Option<Option<u8>>>> =
                [vec![[("a".to_owned(), Some(None)), ("b".to_owned(), None)].into()]];
            "types.echo.list" list: Vec<String> = [vec![], vec!["a".to_owned(), String::new()]];
            "types.echo.set" set: BTreeSet<i64> = [[-1, i64::MAX].into()];
            "types.echo.tuple" tuple: (u8, String, Option<bool>) = [(1, "a".to_owned(), None)];
            "types.echo.map" map: BTreeMap<String, u32> = [[("a".to_owned(), 1)].into(), BTreeMap::new()];
            "types.echo.map_of_numbers" map_of_numbers: BTreeMap<u64, String> = [[(u64::MAX, "a".to_owned())].into()];
            "types.echo.map_of_signed" map_of_signed: BTreeMap<i32, u8> = [[(-1, 1), (1, 2)].into()];
            "types.echo.map_of_wide" map_of_wide: BTreeMap<u128, i128> = [[(u128::MAX, i128::MIN)].into()];
            "types.echo.map_of_booleans" map_of_booleans: BTreeMap<bool, u8> = [[(true, 1)].into()];
            "types.echo.map_of_characters" map_of_characters: BTreeMap<char, u8> = [[('x', 1)].into()];
            "types.echo.map_of_pairs" map_of_pairs: BTreeMap<(u8, String), u8> = [[((1, "a".to_owned()), 1)].into()];
            "types.echo.map_of_bytes" map_of_bytes: BTreeMap<Bytes, u8> = [[(Bytes(vec![1]), 1)].into()];
            "types.echo.record" record: Record = [Record {
                bytes: vec![1, 2],
                maybe_bytes: Some(vec![]),
                late_bytes: None,
                wide: u128::MAX,
                maybe_wide: Some(i128::MIN),
                wides: vec![0, u128::MAX],
                nested: vec![None, Some(Bytes(vec![1]))],
                id: Id(1),
                unit: Unit,
                any: json!({ "a": [1, 1.0, null] }),
            }];
            "types.echo.external" external: External = [
                External::Unit,
                External::Newtype(1),
                External::Tuple(1, "a".to_owned()),
                External::Struct { bytes: vec![1], wide: u128::MAX, twice: Some(None) },
            ];
            "types.echo.internal" internal: Internal = [
                Internal::Unit,
                Internal::Newtype(Id2 { id: u128::MAX }),
                Internal::Struct { bytes: vec![1], wide: 1 << 64, maybe: Some(-1), wides: vec![1], twice: Some(None) },
            ];
            "types.echo.adjacent" adjacent: Adjacent =
                [Adjacent::Unit, Adjacent::Newtype(1), Adjacent::Struct { bytes: vec![1], wide: u128::MAX }];
            "types.echo.untagged" untagged: Untagged = [
                Untagged::Text("a".to_owned()),
                Untagged::List(vec![1, 2]),
                Untagged::Struct { wide: u128::MAX },
                Untagged::Nested(vec![Untagged::Text("a".to_owned()), Untagged::List(vec![65])]),
            ];
            "types.echo.ambiguous" ambiguous: Ambiguous =
                [Ambiguous::Small(1), Ambiguous::Large(u64::MAX), Ambiguous::Blob(Bytes(vec![255]))];
            "types.echo.open" open: Open = [Open::Known, Open::Other("a".to_owned())];
            "types.echo.either" either: Either<BTreeMap<String, u8>, Vec<BTreeSet<u8>>> =
                [Either::Left([("a".to_owned(), 1)].into()), Either::Right(vec![[1, 2].into()])];
            "types.echo.flat" flat: Flat = [Flat {
                id: 1,
                inner: Inner { wide: u128::MAX, bytes: vec![1], maybe: None },
                more: [("more".to_owned(), json!([null]))].into(),
            }];
            "types.echo.tree" tree: Tree = [Tree {
                name: "root".to_owned(),
                children: vec![Tree { name: "leaf".to_owned(), children: vec![] }],
            }];
            "types.echo.any" any: Value =
                [json!(null), json!(1), json!(1.0), json!({ "a": [u64::MAX, -1, "x", { "b": null }] })];
            "types.echo.foreign" foreign: Foreign = [Foreign { a: 1 }];
            "types.echo.has_foreign" has_foreign: HasForeign = [HasForeign {
                one: Foreign { a: 1 },
                all: [("a".to_owned(), json!(1))].into(),
                list: vec![json!(null)],
            }];
            "types.echo.outcome" outcome: std::result::Result<u8, String> = [Ok(1), Err("a".to_owned())];
            "types.echo.duration" duration: Duration = [Duration::new(u64::MAX, 999_999_999)];
            "types.echo.moment" moment: SystemTime = [SystemTime::UNIX_EPOCH + Duration::new(1, 1)];
            "types.echo.address" address: IpAddr = [IpAddr::from([127, 0, 0, 1]), IpAddr::from([0u16; 8])];
            "types.echo.path" path: PathBuf = [PathBuf::from("/a b")];
            "types.echo.non_zero" non_zero: NonZeroU8 = [NonZeroU8::MAX];
        }
    };
}
pub(crate) use kinds;
