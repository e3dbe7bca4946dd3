//! Plugin files: found, copied and checked, without running any of them.

pub(super) mod candidate;
pub(super) mod companions;
pub(super) mod descriptor;
pub(super) mod inspect;
pub(super) mod listing;
pub(super) mod object_file;
pub(super) mod on_disk;
pub(super) mod plugin_files;
pub(super) mod stage;
pub(super) mod trust;

/// Returns the name of a file, for messages.
pub(super) fn name_of(path: &std::path::Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
