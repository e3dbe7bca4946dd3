//! The macro that declares a table of the config: one line for each key.
//!
//! From that line come the field of the checked table, the field that serde reads, the name in [`super::KEYS`],
//! the check, the dump and the rule for a reload.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde_json::Value;

use crate::base::milliseconds;

use super::addresses::{address, dns_server, host_name, network};
use super::number::NumberRule;
use crate::config::check::Validator;
use crate::config::key::KeyPath;
use crate::config::{AllowedAddresses, Keyword, Networks};

/// Declares one table: `"key" field: Type = rule, When;`.
///
/// `by_hand` has fields that no single key gives; `raw` has keys, and `tables` has tables, that are checked by hand.
/// Without a checked type, all keys of the table are checked by hand.
macro_rules! table {
    (
        $(#[$meta:meta])*
        $checked:ident, $raw:ident in $table:literal {
            $( $(#[$doc:meta])* $key:literal $field:ident: $type:ty = $rule:expr, $when:ident; )*
        }
        $( by_hand { $( $(#[$hand_doc:meta])* $hand:ident: $hand_type:ty, )* } )?
        $( raw { $( $raw_key:ident: $raw_type:ty, )* } )?
        $( tables { $( $below:ident: $below_type:ty, )* } )?
    ) => {
        $(#[$meta])*
        pub struct $checked {
            $( $(#[$doc])* pub $field: $type, )*
            $( $( $(#[$hand_doc])* pub $hand: $hand_type, )* )?
        }

        #[derive(serde::Deserialize, Default)]
        #[serde(deny_unknown_fields, default)]
        pub(in crate::config) struct $raw {
            $( #[serde(rename = $key)] pub(in crate::config) $field: <$type as $crate::config::keys::table::Setting>::Raw, )*
            $( $( pub(in crate::config) $raw_key: $raw_type, )* )?
            $( $( pub(in crate::config) $below: $below_type, )* )?
        }

        impl $raw {
            pub(in crate::config) const KEYS: &[&str] =
                &[ $( concat!($table, ".", $key), )* $( $( concat!($table, ".", stringify!($raw_key)), )* )? ];

            /// Checks the keys of this table; fields that are made by hand have their defaults.
            pub(in crate::config) fn check(&self, validator: &mut $crate::config::check::Validator<'_>) -> $checked {
                use $crate::config::keys::table::Setting;
                $checked {
                    $( $field: {
                        let key = $crate::config::key::KeyPath::of(concat!($table, ".", $key));
                        <$type as Setting>::check(validator, &key, &$rule, self.$field.clone())
                    }, )*
                    $( $( $hand: Default::default(), )* )?
                }
            }
        }

        impl $checked {
            /// Returns the form of a key of this table, if it has one.
            pub(in crate::config) fn form(key: &str) -> Option<$crate::config::keys::table::KeyForm> {
                $( if key == concat!($table, ".", $key) {
                    return <$type as $crate::config::keys::table::Setting>::form(&$rule);
                } )*
                None
            }

            /// Returns the keys of this table with their values.
            pub(in crate::config) fn dump(&self) -> serde_json::Map<String, serde_json::Value> {
                let keys = [ $( ($key, $crate::config::keys::table::Setting::dump(&self.$field)), )* ];
                keys.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
            }

            /// Puts back the values that only a restart can change, and names their keys in `kept`.
            pub(in crate::config) fn keep_until_restart(&mut self, running: &Self, kept: &mut Vec<&'static str>) {
                use $crate::config::keys::table::{When, put_back};
                $( if When::$when == When::Restart && put_back(&mut self.$field, &running.$field) {
                    kept.push(concat!($table, ".", $key));
                } )*
            }
        }
    };
    (
        $(#[$meta:meta])*
        $raw:ident in $table:literal { $( $key:ident: $type:ty, )* }
    ) => {
        #[derive(serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        $(#[$meta])*
        pub(in crate::config) struct $raw {
            $( pub(in crate::config) $key: $type, )*
        }

        impl $raw {
            pub(in crate::config) const KEYS: &[&str] = &[ $( concat!($table, ".", stringify!($key)), )* ];
        }
    };
}
pub(in crate::config) use table;

/// The moment at which a changed key comes into force.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::config) enum When {
    /// A reload.
    Reload,
    /// The next start.
    Restart,
}

/// The form of a value that is not text, for errors and for the text of variables.
pub(in crate::config) enum KeyForm {
    /// A whole number.
    Number(NumberRule),
    /// True or false.
    Flag,
}

/// A type that a key can have.
pub(in crate::config) trait Setting: Clone + PartialEq {
    /// The type that serde reads, with a value for a key that is missing.
    type Raw: Clone + Default;
    /// The default and the bounds.
    type Rule;

    /// Checks a value, and reports what is wrong with it.
    fn check(validator: &mut Validator<'_>, key: &KeyPath, rule: &Self::Rule, raw: Self::Raw) -> Self;

    /// Returns the value as the file has it.
    fn dump(&self) -> Value;

    /// Returns the form of the value; `None` for texts and lists of texts.
    fn form(_rule: &Self::Rule) -> Option<KeyForm> {
        None
    }
}

/// Copies the value of `running`; returns true if it differed.
pub(in crate::config) fn put_back<T: Clone + PartialEq>(now: &mut T, running: &T) -> bool {
    let differs = now != running;
    now.clone_from(running);
    differs
}

macro_rules! number_settings {
    ($( $type:ty: $from:expr, $dump:expr; )*) => { $(
        impl Setting for $type {
            type Raw = Option<i64>;
            type Rule = NumberRule;

            fn check(validator: &mut Validator<'_>, key: &KeyPath, rule: &NumberRule, raw: Option<i64>) -> Self {
                $from(validator.number(key, rule, raw))
            }

            fn dump(&self) -> Value {
                $dump(*self).into()
            }

            fn form(rule: &NumberRule) -> Option<KeyForm> {
                Some(KeyForm::Number(*rule))
            }
        }
    )* };
}

number_settings! {
    u16: |number| u16::try_from(number).unwrap_or_default(), u64::from;
    usize: |number| usize::try_from(number).unwrap_or(usize::MAX), |number| number;
    Duration: Duration::from_millis, milliseconds;
}

impl Setting for bool {
    type Raw = Option<bool>;
    type Rule = bool;

    fn check(_: &mut Validator<'_>, _: &KeyPath, default: &bool, raw: Option<bool>) -> Self {
        raw.unwrap_or(*default)
    }

    fn dump(&self) -> Value {
        (*self).into()
    }

    fn form(_: &bool) -> Option<KeyForm> {
        Some(KeyForm::Flag)
    }
}

impl<K: Keyword> Setting for K {
    type Raw = Option<String>;
    type Rule = K;

    fn check(validator: &mut Validator<'_>, key: &KeyPath, default: &K, raw: Option<String>) -> K {
        raw.and_then(|word| validator.keyword(key, &word)).unwrap_or(*default)
    }

    fn dump(&self) -> Value {
        self.as_word().into()
    }
}

impl Setting for IpAddr {
    type Raw = Option<String>;
    type Rule = IpAddr;

    fn check(validator: &mut Validator<'_>, key: &KeyPath, default: &IpAddr, raw: Option<String>) -> Self {
        raw.and_then(|text| validator.good(key, address(&text))).unwrap_or(*default)
    }

    fn dump(&self) -> Value {
        self.to_string().into()
    }
}

macro_rules! list_settings {
    ($( $type:ty: $read:path, $from:expr; )*) => { $(
        impl Setting for $type {
            type Raw = Vec<String>;
            /// Examples, for errors.
            type Rule = &'static str;

            fn check(
                validator: &mut Validator<'_>,
                key: &KeyPath,
                examples: &&'static str,
                raw: Vec<String>,
            ) -> Self {
                $from(validator.list(key, &raw, |text| $read(text, examples)))
            }

            fn dump(&self) -> Value {
                self.as_slice().iter().map(ToString::to_string).collect()
            }
        }
    )* };
}

list_settings! {
    Networks: network, Networks;
    AllowedAddresses: network, |networks| AllowedAddresses(Networks(networks));
    Vec<SocketAddr>: dns_server, |servers| servers;
    Vec<String>: host_name, |names| names;
}
