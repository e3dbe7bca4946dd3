//! Checks plugin files against `[trust]`: signature, digest, and the users who may write to the file.
//!
//! A signature is checked over the private copy, before anything else looks at its bytes; a digest once the copy
//! has said which plugin it holds. It must never look at the operator's plugin file again after it was staged.

pub(crate) mod signature;
pub(crate) mod signature_file;
pub(crate) mod trust_error;

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use signature::FileSignature;
use signature_file::signature_name;
use trust_error::TrustError;

use super::stage::Staged;
use crate::base::Digest;
use crate::config::Trust;
use crate::files::PrivateDir;
use crate::plugins::error::PluginError;

/// Every user may write.
const WRITABLE_BY_ALL: u32 = 0o002;

/// Checks the copy of a file against the signature beside the file, and keeps that beside the copy: a kept copy is
/// staged again by a rollback, and has to pass the rules of that day.
pub(crate) fn check_signature(trust: &Trust, file: &Path, staged: &Staged) -> Result<(), PluginError> {
    let is_asked_for = !trust.keys.is_empty();
    let signature = match FileSignature::beside(file) {
        Ok(signature) => signature,
        Err(why) if is_asked_for => return Err(untrusted(staged, why)),
        Err(_) => return Ok(()),
    };
    if is_asked_for {
        let verified = signature.verify(&trust.keys, || staged.open());
        let verified = verified.map_err(PluginError::file(&staged.file, "read"))?;
        verified.map_err(|why| untrusted(staged, why))?;
    }
    let keep = |folder: PrivateDir| match FileSignature::beside(&folder.entry(&staged.copy)) {
        // Beside a copy that was made before: a full disk has no room for it once more.
        Ok(kept) if kept.bytes == signature.bytes => Ok(()),
        _ => folder.replace(&signature_name(&staged.copy), &signature.bytes),
    };
    let kept = staged.folder.open().map_err(io::Error::from).and_then(keep);
    kept.map_err(PluginError::file(&staged.file, "copied to the state directory"))
}

pub(crate) fn untrusted(staged: &Staged, why: TrustError) -> PluginError {
    PluginError::Untrusted { file: staged.file.clone(), why }
}

/// Checks the digest of a file that holds `plugin`.
pub(crate) fn check_digest(trust: &Trust, plugin: &str, staged: &Staged) -> Result<(), PluginError> {
    digest_fits(trust, plugin, staged.sha256).map_err(|why| untrusted(staged, why))
}

fn digest_fits(trust: &Trust, plugin: &str, sha256: Digest) -> Result<(), TrustError> {
    match trust.sha256.get(plugin) {
        Some(pinned) if pinned.contains(&sha256) => Ok(()),
        Some(_) => Err(TrustError::OtherDigest { plugin: plugin.to_owned(), sha256 }),
        None if trust.keys.is_empty() && trust.is_configured() => {
            Err(TrustError::Unlisted { plugin: plugin.to_owned(), sha256 })
        }
        None => Ok(()),
    }
}

/// Checks that not every user may write to a plugin file that is open; `Ok(Some)` is a warning, where nothing is trusted
/// more than the rest.
pub(crate) fn check_file(
    trust: &Trust,
    name: &str,
    opened: &Metadata,
) -> Result<Option<String>, PluginError> {
    let refusal = PluginError::Untrusted { file: name.to_owned(), why: TrustError::Writable };
    let warning =
        format!("plugin file `{name}` can be changed by every user of this machine: `chmod o-w {name}`");
    check_mode(trust, opened, refusal, warning)
}

/// As [`check_file`], of the directory of plugin files.
pub(crate) fn check_directory(trust: &Trust, directory: &Path) -> Result<Option<String>, PluginError> {
    // What cannot be looked at is found out when it is read.
    let Ok(found) = fs::metadata(directory) else { return Ok(None) };
    let refusal = PluginError::WritableDirectory(directory.to_owned());
    let directory = directory.display();
    let warning = format!(
        "every user of this machine can put plugins into plugin directory {directory}: `chmod o-w {directory}`"
    );
    check_mode(trust, &found, refusal, warning)
}

fn check_mode(
    trust: &Trust,
    found: &Metadata,
    refusal: PluginError,
    warning: String,
) -> Result<Option<String>, PluginError> {
    match (found.mode() & WRITABLE_BY_ALL != 0, trust.is_configured()) {
        (false, _) => Ok(None),
        (true, true) => Err(refusal),
        (true, false) => Ok(Some(warning)),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::signature::tests::{KEY, OTHER_KEY, SIGNATURE, SIGNED};
    use super::*;
    use crate::config::TrustedKey;
    use crate::plugins::file::stage::tests::stager;

    pub(crate) fn keys(keys: &[&str]) -> Trust {
        let mut trust = Trust::default();
        trust.keys.extend(keys.iter().filter_map(|key| TrustedKey::from_base64(key)));
        trust
    }

    fn pins(plugin: &str, digests: &[u8]) -> Trust {
        let mut trust = Trust::default();
        trust
            .sha256
            .insert(plugin.to_owned(), digests.iter().map(|byte| Digest::from([*byte; 32])).collect());
        trust
    }

    #[test]
    fn a_signature_stays_with_the_copy_and_is_checked_again() {
        let scratch = tempfile::tempdir().unwrap();
        let stager = stager(scratch.path());
        let file = scratch.path().join("libx.so");
        fs::write(&file, SIGNED).unwrap();
        fs::write(scratch.path().join("libx.so.minisig"), SIGNATURE).unwrap();
        for trust in [keys(&[KEY]), Trust::default()] {
            let first = stager.stage(SIGNED, "libx.so").unwrap();
            check_signature(&trust, &file, &first).unwrap();
            let again = stager.stage(first.open().unwrap(), "libx.so").unwrap();
            let folder = first.folder.open().unwrap();
            let copy = folder.entry(&first.copy);
            check_signature(&keys(&[KEY]), &copy, &again).unwrap();
            let of_today = check_signature(&keys(&[OTHER_KEY]), &copy, &again).unwrap_err();
            let known = of_today.of_file("libx.so").to_string();
            assert!(known.starts_with("plugin file `libx.so` is signed by key D38650D0D7F309E7"), "{known}");
            let of = |staged: &Staged| scratch.path().join("staged").join(signature_name(&staged.copy));
            let (one, two) = (of(&first), of(&again));
            assert!(one.exists() && two.exists());
            drop((first, again));
            assert!(!one.exists() && !two.exists());
        }
    }

    #[test]
    fn digests_are_pinned_by_plugin() {
        let check = |trust: &Trust, plugin: &str, expected: &str| {
            let found =
                digest_fits(trust, plugin, Digest::from([0xaa; 32])).map_err(|why| why.sentence("libx.so"));
            assert_eq!(found.err().unwrap_or_default(), expected);
        };
        let sha256 = "aa".repeat(32);
        let unlisted = format!(
            "holds plugin `x`, which [trust] does not name: add x = \"{sha256}\" to `sha256` if this build is meant"
        );
        let other = format!(
            "has the SHA-256 {sha256}, which [trust] does not have for plugin `x`: add it to `sha256.x` if this \
                     build is meant"
        );
        check(&Trust::default(), "x", "");
        check(&pins("x", &[0xaa]), "x", "");
        check(&pins("x", &[0xbb, 0xaa]), "x", "");
        check(&pins("x", &[0xbb]), "x", &other);
        check(&pins("y", &[0xaa]), "x", &unlisted);
        check(&keys(&[KEY]), "x", "");
        let both = |plugin, digests| Trust { keys: keys(&[KEY]).keys, ..pins(plugin, digests) };
        check(&both("x", &[0xbb]), "x", &other);
        check(&both("y", &[0xbb]), "x", "");
    }

    #[test]
    fn what_everybody_may_write_is_refused_or_warned_of() {
        let scratch = tempfile::tempdir().unwrap();
        let file = scratch.path().join("libx.so");
        fs::write(&file, SIGNED).unwrap();
        let check = |mode: u32, is_open: bool| {
            let directory = scratch.path();
            for path in [&*file, directory] {
                fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
            }
            for (trust, refuses) in [(Trust::default(), false), (keys(&[KEY]), is_open)] {
                let warns = is_open && !refuses;
                let found = check_file(&trust, "libx.so", &fs::metadata(&file).unwrap());
                assert_eq!((found.is_err(), found.is_ok_and(|warning| warning.is_some())), (refuses, warns));
                let found = check_directory(&trust, directory);
                assert_eq!((found.is_err(), found.is_ok_and(|warning| warning.is_some())), (refuses, warns));
            }
        };
        check(0o755, false);
        check(0o775, false);
        check(0o757, true);
        check(0o1777, true);
    }
}
