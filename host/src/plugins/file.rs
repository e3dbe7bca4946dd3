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
