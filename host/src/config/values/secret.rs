//! Secrets: read from the file, a variable or another file, and never shown.

use std::fmt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::config::Environment;
use crate::config::read::file::{self, FileBytes};

/// Longest secret in bytes.
const SECRET_BYTES_MAX: usize = 64 << 10;
/// The beginning of a key of `framex-host keygen` (WIRE.md, "Keys").
const GENERATED_PREFIX: &str = "fxk1_";
/// The number of base64url characters after it.
const GENERATED_CHARS: usize = 43;
/// The values of the last of them: 43 characters hold two bits more than 32 bytes, and those are zero.
const LAST_CHARS: [char; 16] =
    ['A', 'E', 'I', 'M', 'Q', 'U', 'Y', 'c', 'g', 'k', 'o', 's', 'w', '0', '4', '8'];

/// The fault of a broken key.
pub(in crate::config) const BROKEN_KEY: &str = "starts like a generated key, but does not have the 43 characters of one after `fxk1_`: make one with \
     `framex-host keygen`";

/// The public key of hosts without a key, which seals on loopback and is not secret.
pub const PUBLIC_KEY: &str = "fxk1_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// A secret, 1 byte to 64 KiB of UTF-8. `Debug` prints `[redacted]`.
#[derive(Clone)]
pub struct Secret {
    text: Zeroizing<String>,
    /// The digest of the text, computed once: keys are compared by digest, so that the time shows neither length nor
    /// content.
    digest: Zeroizing<[u8; 32]>,
    pub(in crate::config) source: SecretSource,
}

/// The source of a secret.
#[derive(Clone, PartialEq, Eq)]
pub(in crate::config) enum SecretSource {
    /// The text itself.
    Literal,
    /// A variable, by name.
    Variable(String),
    /// A file; `is_open` if every user of the machine may read it.
    File { path: PathBuf, is_open: bool },
}

/// The digest of a presented key: hashed once, and compared with any number of secrets.
pub struct PresentedKey(Zeroizing<[u8; 32]>);

impl PresentedKey {
    /// Hashes a key.
    pub fn new(presented: &[u8]) -> Self {
        Self(Zeroizing::new(Sha256::digest(presented).into()))
    }

    /// Returns a part of the digest, which tells keys apart. It stays in memory: a weak key can be guessed from it.
    pub fn tag(&self) -> [u8; 16] {
        let mut tag = [0; 16];
        tag.copy_from_slice(&self.0[..16]);
        tag
    }
}

impl fmt::Debug for PresentedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl Secret {
    /// Reads a secret in a form of the file: a literal, `env:NAME`, or `file:PATH` relative to `folder`.
    /// The `Err` is a half sentence after the key, without the value.
    pub(in crate::config) fn read(
        raw: &str,
        folder: &Path,
        environment: &Environment,
    ) -> Result<Self, String> {
        let (text, source) = if let Some(name) = raw.strip_prefix("env:") {
            (of_variable(name, environment)?, SecretSource::Variable(name.to_owned()))
        } else if let Some(path) = raw.strip_prefix("file:") {
            let path = folder.join(path);
            let (text, is_open) = of_file(&path)?;
            (text, SecretSource::File { path, is_open })
        } else {
            (Zeroizing::new(raw.to_owned()), SecretSource::Literal)
        };
        let from = match &source {
            SecretSource::Literal => String::new(),
            SecretSource::Variable(name) => format!(" from variable `{name}`"),
            SecretSource::File { path, .. } => format!(" from file `{}`", path.display()),
        };
        if text.is_empty() {
            return Err(format!("has an empty secret{from}"));
        }
        if text.len() > SECRET_BYTES_MAX {
            return Err(format!("has a secret{from} of more than {SECRET_BYTES_MAX} bytes"));
        }
        let digest = Zeroizing::new(Sha256::digest(text.as_bytes()).into());
        Ok(Self { text, digest, source })
    }

    /// Reads a secret of a flag or variable of a command, in the forms of the config; a file is relative to the current
    /// directory.
    ///
    /// # Errors
    /// A half sentence after the name of the flag, without the value.
    pub fn of_command(raw: &str) -> Result<Self, String> {
        Self::read(raw, Path::new(""), &Environment::of_process())
    }

    /// Returns the secret itself, to derive keys, never to show.
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// Returns true if `presented` is the secret; takes constant time.
    pub fn is(&self, presented: &PresentedKey) -> bool {
        self.digest.ct_eq(&*presented.0).into()
    }

    /// Returns its file, if every user of the machine may read it.
    pub(in crate::config) fn open_file(&self) -> Option<&Path> {
        match &self.source {
            SecretSource::File { path, is_open: true } => Some(path),
            _ => None,
        }
    }

    /// Returns true for a key of `framex-host keygen`, false for a passphrase.
    pub fn is_generated_key(&self) -> bool {
        let of_base64 = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let key = self.text.strip_prefix(GENERATED_PREFIX);
        let fits = |key: &str| key.len() == GENERATED_CHARS && key.ends_with(LAST_CHARS);
        key.is_some_and(|key| fits(key) && key.bytes().all(of_base64))
    }

    /// Returns true if the key of a header can equal it: without the word `Bearer`, and without spaces around it.
    pub(in crate::config) fn fits_into_a_header(&self) -> bool {
        let text = self.text.as_bytes();
        let has_scheme = text.get(..7).is_some_and(|start| start.eq_ignore_ascii_case(b"bearer "));
        !has_scheme && text.trim_ascii().len() == text.len() && !text.iter().any(u8::is_ascii_control)
    }

    /// Returns true if it starts like a generated key, but is cut or changed. It cannot seal.
    pub(in crate::config) fn is_broken_key(&self) -> bool {
        self.text.starts_with(GENERATED_PREFIX) && !self.is_generated_key()
    }

    /// Returns true for the public key of hosts without a key.
    pub(in crate::config) fn is_public_key(&self) -> bool {
        self.text.as_str() == PUBLIC_KEY
    }
}

/// Compares the texts in constant time, not the sources.
impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.digest.ct_eq(&*other.digest).into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

fn of_variable(name: &str, environment: &Environment) -> Result<Zeroizing<String>, String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if name.is_empty() || !name.bytes().all(allowed) {
        return Err("has `env:` without the name of a variable, letters, digits and _".to_owned());
    }
    match environment.variable(name) {
        Some(Ok(value)) => Ok(Zeroizing::new(value)),
        Some(Err(_)) => Err(format!("has its secret in variable `{name}`, which is not UTF-8 text")),
        None => Err(format!("has its secret in variable `{name}`, which is not set")),
    }
}

/// Returns the text, and true if every user of the machine may read it.
fn of_file(path: &Path) -> Result<(Zeroizing<String>, bool), String> {
    let wrong = |what: &str| format!("has its secret in file `{}`, which {what}", path.display());
    let FileBytes { bytes, readable_by_others } =
        file::bounded(path, SECRET_BYTES_MAX).map_err(|error| wrong(&error.to_string()))?;
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        return Err(wrong("is UTF-16 text: save it as UTF-8"));
    }
    let mut text = file::text(bytes).map_err(|_| wrong("is not UTF-8 text"))?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok((text, readable_by_others))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(raw: &str, folder: &Path, expected: Result<&str, &str>) {
        let environment = [("KEY", "from-variable"), ("EMPTY", "")].into_iter().collect();
        let read = Secret::read(raw, folder, &environment);
        let read = read.as_ref().map(Secret::expose).map_err(String::as_str);
        let place = folder.display().to_string();
        assert_eq!(
            read.map_err(|error| error.replace(&place, "FOLDER")),
            expected.map_err(str::to_owned),
            "{raw}"
        );
    }

    #[test]
    fn secrets_come_from_three_places() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        for (name, bytes) in [
            ("unix", &b"from-file\n"[..]),
            ("windows", b"from-file\r\n"),
            ("two", b"from-file\n\n"),
            ("none", b"from-file"),
            ("empty", b"\n"),
            ("binary", b"\xff"),
            ("marked", b"\xef\xbb\xbffrom-file\r\n"),
            ("wide", b"\xff\xfek\0e\0y\0"),
            ("large", &vec![b'x'; SECRET_BYTES_MAX + 1]),
        ] {
            std::fs::write(folder.join(name), bytes).unwrap();
        }
        check("literal", folder, Ok("literal"));
        check("env:KEY", folder, Ok("from-variable"));
        check("file:unix", folder, Ok("from-file"));
        check("file:windows", folder, Ok("from-file"));
        check("file:two", folder, Ok("from-file\n"));
        check("file:none", folder, Ok("from-file"));
        check("file:marked", folder, Ok("from-file"));
        let wide = "has its secret in file `FOLDER/wide`, which is UTF-16 text: save it as UTF-8";
        check("file:wide", folder, Err(wide));
        check(&format!("file:{}", folder.join("unix").display()), Path::new("/nowhere"), Ok("from-file"));
        check("", folder, Err("has an empty secret"));
        check("env:EMPTY", folder, Err("has an empty secret from variable `EMPTY`"));
        check("file:empty", folder, Err("has an empty secret from file `FOLDER/empty`"));
        check("env:GONE", folder, Err("has its secret in variable `GONE`, which is not set"));
        let unnamed = "has `env:` without the name of a variable, letters, digits and _";
        check("env:", folder, Err(unnamed));
        check("env: KEY", folder, Err(unnamed));
        check("file:gone", folder, Err("has its secret in file `FOLDER/gone`, which does not exist"));
        check("file:.", folder, Err("has its secret in file `FOLDER/.`, which is a directory"));
        check("file:binary", folder, Err("has its secret in file `FOLDER/binary`, which is not UTF-8 text"));
        check(
            "file:large",
            folder,
            Err("has its secret in file `FOLDER/large`, which has more than 65536 bytes"),
        );
        check(&"x".repeat(SECRET_BYTES_MAX + 1), folder, Err("has a secret of more than 65536 bytes"));
    }

    #[test]
    fn only_the_secret_itself_matches() {
        let secret = Secret::read("proxy-key", Path::new(""), &Environment::default()).unwrap();
        assert!(secret.is(&PresentedKey::new(b"proxy-key")));
        for other in [&b""[..], b"proxy-kez", b"proxy-ke", b"proxy-key\0", b"Proxy-key"] {
            assert!(!secret.is(&PresentedKey::new(other)), "{other:?}");
        }
    }

    #[test]
    fn secrets_do_not_show() {
        let secret = Secret::read("canary", Path::new(""), &Environment::default()).unwrap();
        assert_eq!(format!("{secret:?} {:?}", Some(&secret)), "[redacted] Some([redacted])");
    }

    #[test]
    fn generated_keys_are_recognised() {
        let check = |raw: &str, generated: bool, broken: bool| {
            let secret = Secret::read(raw, Path::new(""), &Environment::default()).unwrap();
            assert_eq!((secret.is_generated_key(), secret.is_broken_key()), (generated, broken), "{raw}");
        };
        let key = format!("fxk1_{}", "Aa0-_".repeat(9));
        check(&key[..48], true, false);
        check(&format!("{}1", &key[..47]), false, true);
        check(&key[..47], false, true);
        check(&key[..49], false, true);
        check(&key[..48].replace('0', "+"), false, true);
        check("proxy-key", false, false);
    }
}
