//! The messages between the host and the process of a probe, one line of JSON each.

use std::ffi::OsString;

use serde::{Deserialize, Serialize};

use crate::base::Digest;

/// The order of the host: what to map.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ProbeRequest {
    /// The libraries that the plugin brings along, in the order in which they are mapped.
    pub(super) companions: Vec<ProbedFile>,
    pub(super) plugin: ProbedFile,
    /// The plugin's name.
    pub(super) name: String,
    /// Seconds of CPU time that the process may take.
    pub(super) cpu_seconds: u64,
}

/// A staged copy.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ProbedFile {
    /// The folder of the copy.
    pub(super) folder: OsString,
    /// Its name in there.
    pub(super) copy: String,
    /// The name of the operator's file; of a companion its SONAME.
    pub(super) file: String,
    pub(super) sha256: Digest,
}

/// A line from the process: what it is about to do, or the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "probe")]
pub(super) enum ProbeLine {
    /// It maps the libraries now.
    Mapping,
    /// It closes the library now.
    Unmapping,
    /// The library cannot be mapped: the reason, as of the step `load`.
    NotMapped { reason: String },
    /// The layouts or the descriptor do not fit.
    Unfit { reason: String },
    /// It cannot probe, and knows nothing of the build.
    Failed { reason: String },
    /// The code of the library began another process.
    Forked,
    /// Nothing is wrong with the build.
    Passed,
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt as _;

    use super::*;

    #[test]
    fn a_folder_may_have_any_name() {
        let folder = OsString::from_vec(b"/state\xff/staged".to_vec());
        let (copy, file) = ("1.so".to_owned(), "libx.so".to_owned());
        let sent = ProbedFile { folder: folder.clone(), copy, file, sha256: Digest::from([7; 32]) };
        let received: ProbedFile = serde_json::from_str(&serde_json::json!(sent).to_string()).unwrap();
        assert_eq!(received.folder, folder);
    }
}
