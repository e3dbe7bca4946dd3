use std::fs;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use super::*;

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, DirFault>, part: &str) {
    let text = result.unwrap_err().to_string();
    assert!(text.contains(part), "{text}");
}

#[test]
fn what_is_missing_is_made_for_this_user_alone() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("a/b");
    let dir = PrivateDir::open(&path).unwrap();
    let inner = dir.folder("inner").unwrap();
    for made in [scratch.path().join("a"), path.clone(), path.join("inner")] {
        assert_eq!(fs::metadata(made).unwrap().mode() & 0o7777, 0o700);
    }
    inner.replace("record", b"one").unwrap();
    inner.replace("record", b"two").unwrap();
    assert_eq!(fs::metadata(path.join("inner/record")).unwrap().mode() & 0o7777, 0o600);
    let mut text = String::new();
    inner.read("record").unwrap().read_to_string(&mut text).unwrap();
    assert_eq!((text.as_str(), inner.names().unwrap()), ("two", vec![OsString::from("record")]));
    assert_eq!(inner.create("record", 0o600).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
}

#[test]
fn a_directory_that_others_may_change_is_refused() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("above/state");
    drop(PrivateDir::open(&path).unwrap());
    for mode in [0o720, 0o702, 0o777, 0o1777, 0o2770] {
        set_mode(&path, mode);
        refused(
            PrivateDir::open(&path),
            &format!("can be changed by other users (mode {mode:04o}): `chmod go-w "),
        );
    }
    set_mode(&path, 0o755);
    PrivateDir::open(&path).unwrap();
    set_mode(path.parent().unwrap(), 0o777);
    refused(PrivateDir::open(&path), "can be replaced by every user of this machine");
    set_mode(path.parent().unwrap(), 0o1777);
    PrivateDir::open(&path).unwrap();
}

#[test]
fn what_belongs_to_another_user_is_refused() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("state");
    let dir = PrivateDir::open(&path).unwrap();
    fs::write(path.join("file"), "").unwrap();
    fs::create_dir(path.join("folder")).unwrap();
    for entry in ["file", "folder", ""] {
        std::os::unix::fs::chown(path.join(entry), Some(12345), None).unwrap();
    }
    let sentence = "belongs to user 12345, and this host runs as user 0";
    refused(dir.read("file"), sentence);
    refused(dir.open_or_create("file"), sentence);
    refused(dir.folder("folder"), sentence);
    refused(PrivateDir::open(&path), sentence);
    // Links of that user are not followed; links of this one are.
    let own = scratch.path().join("own");
    drop(PrivateDir::open(&own).unwrap());
    let link = scratch.path().join("link");
    symlink("own", &link).unwrap();
    PrivateDir::open(&link).unwrap();
    std::os::unix::fs::lchown(&link, Some(12345), None).unwrap();
    refused(PrivateDir::open(&link), "is a link that user 12345 made");
}

#[test]
fn links_inside_are_not_followed() {
    let scratch = tempfile::tempdir().unwrap();
    let precious = scratch.path().join("precious");
    fs::create_dir(&precious).unwrap();
    fs::write(precious.join("file"), "precious").unwrap();
    let dir = PrivateDir::open(&scratch.path().join("state")).unwrap();
    symlink(&precious, dir.path().join("staged")).unwrap();
    symlink(precious.join("file"), dir.path().join("record")).unwrap();
    symlink(precious.join("file"), dir.path().join("record.new")).unwrap();
    let sentence = "is a link, which this host does not follow there: remove it";
    refused(dir.folder("staged"), sentence);
    refused(dir.read("record"), sentence);
    refused(dir.open_or_create("record"), sentence);
    assert_eq!(dir.create("record", 0o600).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    dir.replace("record", b"new").unwrap();
    assert!(fs::symlink_metadata(dir.path().join("record")).unwrap().is_file());
    assert_eq!(fs::read(precious.join("file")).unwrap(), b"precious");
    rustix::fs::mknodat(&dir, "pipe", FileType::Fifo, 0o600.into(), 0).unwrap();
    refused(dir.read("pipe"), "pipe is not a regular file: remove it");
    refused(dir.open_or_create("pipe"), "is not a regular file");
    refused(dir.folder("pipe"), "pipe: Not a directory");
}

#[test]
fn entries_stay_those_of_the_directory_that_was_checked() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("state");
    let dir = PrivateDir::open(&path).unwrap();
    dir.replace("record", b"checked").unwrap();
    fs::rename(&path, scratch.path().join("aside")).unwrap();
    fs::create_dir(&path).unwrap();
    fs::write(path.join("record"), "swapped").unwrap();
    assert_eq!(fs::read(dir.entry("record")).unwrap(), b"checked");
    dir.replace("record", b"again").unwrap();
    assert_eq!(fs::read(scratch.path().join("aside/record")).unwrap(), b"again");
    assert_eq!(fs::read(path.join("record")).unwrap(), b"swapped");
}

#[test]
fn a_way_in_circles_and_a_file_on_the_way_are_refused() {
    let scratch = tempfile::tempdir().unwrap();
    symlink("circle", scratch.path().join("circle")).unwrap();
    refused(PrivateDir::open(&scratch.path().join("circle")), "circle: ");
    fs::write(scratch.path().join("file"), "").unwrap();
    refused(PrivateDir::open(&scratch.path().join("file/state")), "file: Not a directory");
    let relative = scratch.path().join("a/../b/./c");
    drop(PrivateDir::open(&relative).unwrap());
    assert!(scratch.path().join("b/c").is_dir());
}
