//! Inspects a plugin file without running any of it.

use std::path::Path;

use super::candidate::Candidate;
use super::descriptor::Description;
use super::stage::Stager;
use super::trust::signature::{FileSignature, SignatureInfo};
use super::trust::trust_error::TrustError;
use super::trust::{check_digest, check_file, check_signature, untrusted};
use crate::base::Digest;
use crate::config::Trust;
use crate::plugins::error::PluginError;

/// A plugin file that was looked at, without running any of it.
#[derive(Debug, Clone)]
pub struct Inspection {
    /// The description in its descriptor.
    pub description: Description,
    /// Digest of the file.
    pub sha256: Digest,
    /// Size of the file.
    pub bytes: u64,
    /// It exports the layouts of the ABI types, as Rust plugins do.
    pub has_layout: bool,
    /// The signature beside it, if there is one; an error is a sentence.
    pub signature: Result<Option<SignatureInfo>, String>,
    /// The verdict of this `[trust]`, with the reason for a refusal; `None` without such a table.
    pub trusted: Option<Result<(), String>>,
}

/// Looks at a plugin file, without running any of it.
///
/// # Errors
/// As loading it, up to the step before it is mapped, but for trust.
pub fn inspect(path: &Path, stager: &Stager, trust: &Trust) -> Result<Inspection, PluginError> {
    let candidate = Candidate::stage(path, stager, &Trust::default())?;
    let trusted = trust.is_configured().then(|| passes(trust, &candidate));
    Ok(Inspection {
        signature: signature_of(trust, &candidate),
        trusted: trusted.map(|trusted| trusted.map_err(|error| error.to_string())),
        sha256: candidate.staged.sha256,
        bytes: candidate.staged.bytes,
        has_layout: candidate.object.has_layout,
        description: candidate.object.description,
    })
}

/// Reads the signature beside the file, if there is one; an error is a sentence.
fn signature_of(trust: &Trust, candidate: &Candidate) -> Result<Option<SignatureInfo>, String> {
    let staged = &candidate.staged;
    match FileSignature::beside(&candidate.path) {
        Ok(signature) => {
            let verified = signature.verify(&trust.keys, || staged.open());
            Ok(Some(signature.info(verified.is_ok_and(|verified| verified.is_ok()))))
        }
        Err(TrustError::Unsigned) => Ok(None),
        Err(why) => Err(untrusted(staged, why).to_string()),
    }
}

/// Runs the checks that loading would run.
fn passes(trust: &Trust, candidate: &Candidate) -> Result<(), PluginError> {
    let (file, staged) = (&candidate.path, &candidate.staged);
    check_file(trust, &staged.file, &candidate.opened)?;
    check_signature(trust, file, staged)?;
    check_digest(trust, candidate.name(), staged)
}
