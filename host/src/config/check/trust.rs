//! Checks `[trust]`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::validator::Validator;
use crate::base::{Digest, InvalidDigest};
use crate::config::key::{KeyPath, redact};
use crate::config::keys::{DIGEST_NEEDED, RawDigests, RawTrust};
use crate::config::read::file;
use crate::config::{Trust, TrustedKey};

/// Longest file of a public key in bytes; minisign writes about 110.
const KEY_FILE_BYTES_MAX: usize = 4096;

/// Bytes of a secret key of minisign.
const SECRET_KEY_BYTES: usize = 158;
/// The allowed forms of a key.
const KEY_NEEDED: &str = "a minisign public key, as in RWTnCfPX..., or file:PATH of one";

/// Checks `[trust]`.
pub(in crate::config) fn trust(validator: &mut Validator<'_>, raw: Option<RawTrust>) -> Trust {
    let Some(raw) = raw else { return Trust::default() };
    let table = KeyPath::of("trust");
    if raw.keys.is_none() && raw.sha256.is_none() {
        // An operator who writes the table relies on a check.
        validator.problem(&table, "needs the key `keys` or `sha256`: without them it checks nothing");
    }
    let keys = raw.keys.map(|keys| read_keys(validator, &table.child("keys"), &keys));
    let sha256 = raw.sha256.map(|digests| read_digests(validator, &table.child("sha256"), digests));
    let (keys, files) = keys.unwrap_or_default();
    Trust { keys, sha256: sha256.unwrap_or_default(), files }
}

/// Returns the keys, and the files that they are in.
fn read_keys(
    validator: &mut Validator<'_>,
    list: &KeyPath,
    raw: &[String],
) -> (Vec<TrustedKey>, Vec<PathBuf>) {
    let mut files = Vec::new();
    let keys = validator.some(list, "key", raw, |validator, entry, raw| {
        let read = match raw.strip_prefix("file:") {
            Some(path) => {
                let path = validator.folder.join(path);
                let key = key_of_file(&path);
                files.push(path);
                key
            }
            None => TrustedKey::from_base64(raw).ok_or_else(|| {
                let secret = "a secret key, which belongs on no host".to_owned();
                let found = if is_secret_key(raw) { secret } else { format!("`{}`", redact(raw)) };
                format!("must be {KEY_NEEDED}, found {found}")
            }),
        };
        validator.good(entry, read)
    });
    (keys, files)
}

/// Reads a `.pub` file of minisign: a line of comment, which may be missing, and the key.
fn key_of_file(path: &Path) -> Result<TrustedKey, String> {
    let wrong = |what: &str| format!("has its key in file `{}`, which {what}", path.display());
    let file = file::bounded(path, KEY_FILE_BYTES_MAX).map_err(|error| wrong(&error.to_string()))?;
    let text = file::text(file.bytes).map_err(|_| wrong("is not UTF-8 text"))?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let mut lines = lines.filter(|line| !line.starts_with("untrusted comment:"));
    let key = lines.next().filter(|_| lines.next().is_none()).unwrap_or_default();
    if is_secret_key(key) {
        return Err(wrong("holds a secret key, which belongs on no host: name the .pub file"));
    }
    TrustedKey::from_base64(key).ok_or_else(|| wrong("does not hold one minisign public key"))
}

fn is_secret_key(text: &str) -> bool {
    STANDARD.decode(text).is_ok_and(|bytes| bytes.len() == SECRET_KEY_BYTES)
}

fn read_digests(
    validator: &mut Validator<'_>,
    table: &KeyPath,
    raw: BTreeMap<String, RawDigests>,
) -> BTreeMap<String, Vec<Digest>> {
    if raw.is_empty() {
        validator.problem(table, "needs at least one plugin, found an empty table");
    }
    let mut digests = BTreeMap::new();
    for (plugin, raw) in raw {
        let entry = table.child(&plugin);
        validator.plugin_name(&entry, table, &plugin);
        let read = |validator: &mut Validator<'_>, entry: &KeyPath, digest: &str| {
            digest.parse().map_err(|InvalidDigest| validator.unfit(entry, DIGEST_NEEDED, digest)).ok()
        };
        let of_plugin = match raw {
            RawDigests::One(digest) => read(validator, &entry, &digest).into_iter().collect(),
            RawDigests::List(list) => validator.some(&entry, "SHA-256", &list, read),
        };
        digests.insert(plugin, of_plugin);
    }
    digests
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::testing::{config, problems, problems_of};
    use crate::config::{Config, Environment, Overrides};

    const KEY: &str = "RWTnCfPX0FCG070LGWlqsw7whx7psyJud83349hk+ySTg1JdD33fKiK3";
    const ID: &str = "D38650D0D7F309E7";

    fn check(trust: &str, expected: &str) {
        assert_eq!(problems(&format!("[trust]\n{trust}")), expected);
    }

    fn digest(digit: &str) -> String {
        digit.repeat(64)
    }

    fn parsed(digit: &str) -> Digest {
        digest(digit).parse().unwrap()
    }

    #[test]
    fn nothing_is_checked_without_the_table() {
        let trust = config("").trust;
        assert!(!trust.is_configured());
        assert_eq!(trust, Trust::default());
    }

    #[test]
    fn keys_are_written_out_or_in_files() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        for (name, text) in [
            ("whole.pub", format!("untrusted comment: minisign public key {ID}\n{KEY}\n")),
            ("bare.pub", format!("{KEY}\r\n")),
            ("two.pub", format!("{KEY}\n{KEY}\n")),
            ("none.pub", "untrusted comment: nothing more\n".to_owned()),
            ("large.pub", "#".repeat(4097)),
            ("secret", format!("untrusted comment: x\n{}\n", STANDARD.encode([7; 158]))),
        ] {
            std::fs::write(folder.join(name), text).unwrap();
        }
        let load = |raw: &str| {
            let file = folder.join("config.toml");
            let text = format!("[trust]\nkeys = [\"{raw}\"]\n");
            Config::from_text(&text, &file, &Environment::default(), &Overrides::default())
        };
        for raw in [KEY, "file:whole.pub", "file:bare.pub"] {
            let config = load(raw).unwrap();
            let keys = &config.trust.keys;
            assert_eq!((keys[0].base64.as_str(), keys[0].id.to_string()), (KEY, ID.to_owned()), "{raw}");
            let files = raw.strip_prefix("file:").map(|name| folder.join(name));
            assert!(config.files()[1..].iter().eq(files.iter()), "it is watched: {:?}", config.files());
        }
        for (file, why) in [
            ("two.pub", "does not hold one minisign public key"),
            ("none.pub", "does not hold one minisign public key"),
            ("large.pub", "has more than 4096 bytes"),
            ("gone.pub", "does not exist"),
            (".", "is a directory"),
            ("secret", "holds a secret key, which belongs on no host: name the .pub file"),
        ] {
            let error = load(&format!("file:{file}")).unwrap_err().to_string();
            let path = folder.join(file);
            let expected = format!("`trust.keys[0]` has its key in file `{}`, which {why}", path.display());
            assert!(error.ends_with(&expected), "{error}");
        }
    }

    #[test]
    fn what_is_no_key_is_named_unless_it_is_a_secret_one() {
        let needed = "must be a minisign public key, as in RWTnCfPX..., or file:PATH of one, found";
        for bad in ["", "demo.pub", &KEY[..40], &STANDARD.encode([7; 42]), &format!("{KEY}=")] {
            check(
                &format!("keys = [\"{KEY}\",\n\"{bad}\"]\n"),
                &format!("config.toml line 3: `trust.keys[1]` {needed} `{bad}`"),
            );
        }
        let secret = STANDARD.encode([7; 158]);
        check(
            &format!("keys = [\"{secret}\"]\n"),
            &format!("config.toml line 2: `trust.keys[0]` {needed} a secret key, which belongs on no host"),
        );
        check(
            "keys = \"x\"\n",
            "config.toml line 2: `trust.keys` must be a list of texts, found the text `x`",
        );
    }

    #[test]
    fn digests_are_one_or_several_of_a_plugin() {
        let text = format!(
            "[trust]\nsha256 = {{ demo = \"{}\", reports = [\"{}\", \"{}\"] }}\n",
            digest("A"),
            digest("1"),
            digest("2")
        );
        let trust = config(&text).trust;
        assert!(trust.is_configured());
        assert_eq!(trust.sha256["demo"], [parsed("a")]);
        assert_eq!(trust.sha256["reports"], [parsed("1"), parsed("2")]);
        let environment: Environment = [("FRAMEX_TRUST__SHA256__DEMO", "12")].into_iter().collect();
        assert_eq!(
            problems_of(&text, &environment, &Overrides::default()),
            format!(
                "variable FRAMEX_TRUST__SHA256__DEMO: `trust.sha256.demo` must be {DIGEST_NEEDED}, found `12`"
            )
        );
    }

    #[test]
    fn what_is_no_digest_is_named() {
        let good = digest("a");
        for bad in ["", &good[1..], &digest("g"), &format!("{good}a"), &"ä".repeat(32)] {
            check(
                &format!("sha256 = {{ demo = [\"{good}\",\n\"{bad}\"] }}\n"),
                &format!(
                    "config.toml line 3: `trust.sha256.demo[1]` must be {DIGEST_NEEDED}, found `{}`",
                    redact(bad)
                ),
            );
        }
        check(
            "sha256 = { demo = 7 }\n",
            &format!("config.toml line 2: `trust.sha256.demo` must be {DIGEST_NEEDED}, found 7"),
        );
        check(
            &format!("sha256 = {{ Demo = \"{good}\" }}\n"),
            "config.toml line 2: `trust.sha256` must name plugins in 1 to 63 characters of a-z 0-9 _ - and not \
             `proxy`, found `Demo`",
        );
    }

    #[test]
    fn a_table_that_checks_nothing_is_refused() {
        check(
            "",
            "config.toml line 1: `trust` needs the key `keys` or `sha256`: without them it checks nothing",
        );
        check("keys = []\n", "config.toml line 2: `trust.keys` needs at least one key, found an empty list");
        check(
            "sha256 = {}\n",
            "config.toml line 2: `trust.sha256` needs at least one plugin, found an empty table",
        );
        check(
            "sha256 = { demo = [] }\n",
            "config.toml line 2: `trust.sha256.demo` needs at least one SHA-256, found an empty list",
        );
        check(
            "key = []\n",
            "config.toml line 2: unknown key `trust.key`, the nearest known key is `trust.keys`",
        );
    }

    #[test]
    fn trust_is_read_without_the_secrets_of_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.toml");
        let secrets = "auth.rules = { \"/a\" = [\"env:NOT_SET\", \"file:not.there\"] }\n";
        std::fs::write(&file, format!("{secrets}trust.keys = [\"{KEY}\"]\n")).unwrap();
        let trust = Config::trust_of(&file, &Environment::default()).unwrap();
        assert_eq!(trust.keys[0].base64, KEY);
        std::fs::write(&file, format!("{secrets}trust.keys = [\"x\"]\n")).unwrap();
        let error = Config::trust_of(&file, &Environment::default()).unwrap_err();
        assert_eq!(error.to_string().lines().count(), 1, "{error}");
    }
}
