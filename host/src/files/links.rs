//! The entries of directories that decide which file a path leads to.

use std::ffi::OsString;
use std::fs;
use std::path::{Component, Path, PathBuf};

/// The maximum number of parts of one way, including links and their targets.
const STEPS_MAX: usize = 256;

/// The way to a file: every link on it, and the file, each by a path that leads over no link itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Links {
    /// The links, in order.
    pub links: Vec<PathBuf>,
    /// The file, or the first entry that is not there.
    pub end: PathBuf,
}

impl Links {
    /// Follows a path. The way ends at a part that cannot be read.
    pub fn of(path: &Path) -> Self {
        let mut way = Self { links: Vec::new(), end: PathBuf::from("/") };
        let mut rest = Vec::new();
        push(&mut rest, &std::path::absolute(path).unwrap_or_else(|_| path.to_owned()));
        for _ in 0..STEPS_MAX {
            let Some(name) = rest.pop() else { break };
            if name == ".." {
                way.end.pop();
                continue;
            }
            let next = way.end.join(name);
            match fs::symlink_metadata(&next) {
                Ok(found) if found.is_symlink() => {
                    let target = fs::read_link(&next).unwrap_or_default();
                    if target.is_absolute() {
                        way.end = PathBuf::from("/");
                    }
                    push(&mut rest, &target);
                    way.links.push(next);
                }
                Ok(_) => way.end = next,
                Err(_) => {
                    way.end = next;
                    break;
                }
            }
        }
        way
    }
}

/// Puts the parts of a path before the rest of the way; the next part is the last.
fn push(rest: &mut Vec<OsString>, path: &Path) {
    let parts = path.components().rev().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    });
    rest.extend(parts);
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn every_link_on_the_way_counts() {
        let scratch = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(scratch.path()).unwrap();
        let at = |name: &str| root.join(name);
        fs::create_dir_all(at("mount/..1")).unwrap();
        fs::write(at("mount/..1/file"), "").unwrap();
        symlink("..1", at("mount/..data")).unwrap();
        symlink("..data/file", at("mount/file")).unwrap();
        symlink(at("mount"), at("config")).unwrap();
        let check = |path: &str, links: &[&str], end: &str| {
            let expected = Links { links: links.iter().map(|link| at(link)).collect(), end: at(end) };
            assert_eq!(Links::of(&at(path)), expected, "{path}");
        };
        check("mount/..1/file", &[], "mount/..1/file");
        check("config/file", &["config", "mount/file", "mount/..data"], "mount/..1/file");
        check("mount/../config/gone/file", &["config"], "mount/gone");
        symlink("gone", at("dangling")).unwrap();
        check("dangling", &["dangling"], "gone");
        symlink("loop", at("loop")).unwrap();
        assert!(Links::of(&at("loop")).links.len() <= STEPS_MAX);
    }
}
