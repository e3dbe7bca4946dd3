//! Whether a plugin file is one that the operator trusts (`[trust]`): its signature, its digest, and who may write to it.
//!
//! A signature is checked over the private copy, before anything else looks at its bytes; a digest once the copy
//! has said which plugin it holds. It must never look at the operator's plugin file again after it was staged.

mod distrust;
mod signature;

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

pub use distrust::Distrust;
pub use signature::SignatureInfo;
use signature::{FileSignature, signature_name, signature_path};

use super::candidate::Candidate;
use super::stage::Staged;
use crate::config::Trust;
use crate::files::{DirFault, PrivateDir, Stamp};
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
    let folder = staged.folder.open().map_err(io::Error::from);
    let kept = folder.and_then(|folder| folder.replace(&signature_name(&staged.copy), &signature.bytes));
    kept.map_err(PluginError::file(&staged.file, "copied to the state directory"))
}

fn untrusted(staged: &Staged, why: Distrust) -> PluginError {
    PluginError::Untrusted { file: staged.file.clone(), why }
}

/// The stamp of the signature beside a file, if there is one.
pub(crate) fn signature_stamp(file: &Path) -> Option<Stamp> {
    Stamp::at(&signature_path(file))
}

/// The name of the copy that a file of this name is the signature of.
pub(crate) fn copy_of_signature(name: &str) -> Option<&str> {
    name.strip_suffix(signature::ENDING)
}

/// Waits until a copy's signature, where there is one, has reached the disk.
pub(crate) fn sync_signature(folder: &PrivateDir, copy: &str) -> io::Result<()> {
    match folder.read(&signature_name(copy)) {
        Ok(signature) => signature.sync_all(),
        Err(DirFault::System { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(fault) => Err(fault.into()),
    }
}

/// Removes a copy's signature, where there is one.
pub(crate) fn forget_signature(folder: &PrivateDir, copy: &str) {
    let _none = folder.remove(signature_name(copy));
}

/// Checks the digest of a file that holds `plugin`.
pub(crate) fn check_digest(trust: &Trust, plugin: &str, staged: &Staged) -> Result<(), PluginError> {
    digest_fits(trust, plugin, &staged.sha256).map_err(|why| untrusted(staged, why))
}

fn digest_fits(trust: &Trust, plugin: &str, sha256: &str) -> Result<(), Distrust> {
    let found = || (plugin.to_owned(), sha256.to_owned());
    match trust.sha256.get(plugin) {
        Some(pinned) if pinned.iter().any(|pinned| pinned == sha256) => Ok(()),
        Some(_) => {
            let (plugin, sha256) = found();
            Err(Distrust::OtherDigest { plugin, sha256 })
        }
        None if trust.keys.is_empty() && trust.is_configured() => {
            let (plugin, sha256) = found();
            Err(Distrust::Unlisted { plugin, sha256 })
        }
        None => Ok(()),
    }
}

/// Looks at who may write to a plugin file that is open; `Ok(Some)` is a warning, where nothing is trusted more than
/// the rest.
pub(crate) fn check_file(
    trust: &Trust,
    name: &str,
    opened: &Metadata,
) -> Result<Option<String>, PluginError> {
    if !is_writable_by_all(opened) {
        return Ok(None);
    }
    if trust.is_configured() {
        return Err(PluginError::Untrusted { file: name.to_owned(), why: Distrust::Writable });
    }
    Ok(Some(format!("plugin file `{name}` can be changed by every user of this machine: `chmod o-w {name}`")))
}

/// As [`check_file`], of the directory of plugin files.
pub(crate) fn check_directory(trust: &Trust, directory: &Path) -> Result<Option<String>, PluginError> {
    // What cannot be looked at is found out when it is read.
    if !fs::metadata(directory).is_ok_and(|found| is_writable_by_all(&found)) {
        return Ok(None);
    }
    if trust.is_configured() {
        return Err(PluginError::WritableDirectory { directory: directory.to_owned() });
    }
    let directory = directory.display();
    Ok(Some(format!(
        "every user of this machine can put plugins into plugin directory {directory}: `chmod o-w {directory}`"
    )))
}

fn is_writable_by_all(found: &Metadata) -> bool {
    found.mode() & WRITABLE_BY_ALL != 0
}

/// What there is to say of a file's signature, and whether the file would be taken.
#[derive(Debug)]
pub(crate) struct Verdict {
    /// Nothing without a signature file; an error is a sentence.
    pub(crate) signature: Result<Option<SignatureInfo>, String>,
    /// Nothing where nothing is checked.
    pub(crate) trusted: Option<Result<(), PluginError>>,
}

/// Looks at a file and its staged copy as loading it would.
pub(crate) fn judge(trust: &Trust, candidate: &Candidate) -> Verdict {
    let (file, staged) = (&candidate.path, &candidate.staged);
    let found = FileSignature::beside(file);
    let is_ours = |signature: &FileSignature| {
        signature.verify(&trust.keys, || staged.open()).is_ok_and(|verified| verified.is_ok())
    };
    let signature = match found {
        Ok(signature) => Ok(Some(signature.info(is_ours(&signature)))),
        Err(Distrust::Unsigned) => Ok(None),
        Err(why) => Err(untrusted(staged, why).to_string()),
    };
    let passes = || {
        check_file(trust, &staged.file, &candidate.opened)?;
        check_signature(trust, file, staged)?;
        check_digest(trust, candidate.name(), staged)
    };
    Verdict { signature, trusted: trust.is_configured().then(passes) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::signature::tests::{KEY, OTHER_KEY, SIGNATURE, SIGNED};
    use super::*;
    use crate::config::TrustedKey;
    use crate::plugins::file::stage::Stager;
    use crate::plugins::file::stage::tests::stager;

    fn keys(keys: &[&str]) -> Trust {
        let mut trust = Trust::default();
        trust.keys.extend(keys.iter().filter_map(|key| TrustedKey::from_base64(key)));
        trust
    }

    fn pins(plugin: &str, digests: &[&str]) -> Trust {
        let mut trust = Trust::default();
        trust.sha256.insert(plugin.to_owned(), digests.iter().map(|&digest| digest.to_owned()).collect());
        trust
    }

    /// Why the file is not taken: as trusted, it would be found to be no library.
    fn refused(file: &Path, stager: &Stager, trust: &Trust) -> String {
        Candidate::stage(file, stager, trust).err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn the_signature_is_checked_before_the_file_is_looked_into() {
        let scratch = tempfile::tempdir().unwrap();
        let stager = stager(scratch.path());
        let file = scratch.path().join("libx.so");
        fs::write(&file, SIGNED).unwrap();
        assert_eq!(
            refused(&file, &stager, &keys(&[KEY])),
            "plugin file `libx.so` has no signature: sign it with `minisign -S -m libx.so` and put libx.so.minisig \
             beside it, or take `keys` out of [trust]"
        );
        fs::write(scratch.path().join("libx.so.minisig"), SIGNATURE).unwrap();
        let no_library = "plugin file `libx.so` is not a library: its first bytes are of no known format";
        assert_eq!(refused(&file, &stager, &keys(&[KEY])), no_library);
        assert_eq!(refused(&file, &stager, &Trust::default()), no_library);
        fs::write(&file, b"other").unwrap();
        let changed = refused(&file, &stager, &keys(&[KEY]));
        assert!(changed.contains("is not the file that its signature was made for"), "{changed}");
        let left = fs::read_dir(scratch.path().join("staged")).unwrap().count();
        assert_eq!(left, 0, "what is refused leaves nothing");
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
            let found = digest_fits(trust, plugin, "aa").map_err(|why| why.sentence("libx.so"));
            assert_eq!(found.err().unwrap_or_default(), expected);
        };
        let unlisted = "holds plugin `x`, which [trust] does not name: add x = \"aa\" to `sha256` if this build is meant";
        let other = "has the SHA-256 aa, which [trust] does not have for plugin `x`: add it to `sha256.x` if this \
                     build is meant";
        check(&Trust::default(), "x", "");
        check(&pins("x", &["aa"]), "x", "");
        check(&pins("x", &["bb", "aa"]), "x", "");
        check(&pins("x", &["bb"]), "x", other);
        check(&pins("y", &["aa"]), "x", unlisted);
        check(&keys(&[KEY]), "x", "");
        let both = |plugin, digests| Trust { keys: keys(&[KEY]).keys, ..pins(plugin, digests) };
        check(&both("x", &["bb"]), "x", other);
        check(&both("y", &["bb"]), "x", "");
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
        let link = scratch.path().join("libl.so");
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let followed = refused(&link, &stager(&scratch.path().join("s")), &keys(&[KEY]));
        assert!(followed.contains("can be changed by every user"), "what a link leads to counts: {followed}");
    }
}
