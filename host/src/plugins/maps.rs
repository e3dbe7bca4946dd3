//! What of a file is mapped into this process, as the system tells it: `dlclose` returning 0 says nothing.

use std::path::Path;

/// Bytes of `file` that are mapped; 0 where the system does not tell.
pub(super) fn mapped_bytes(file: &Path) -> u64 {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    sum_of(&maps, &file.to_string_lossy())
}

/// Lines are `from-to rwxp offset device inode path`; a removed file has ` (deleted)` behind its path.
fn sum_of(maps: &str, file: &str) -> u64 {
    let of_file = maps.lines().filter(|line| {
        let path = line.splitn(6, ' ').nth(5).unwrap_or_default().trim_start();
        path == file || path.strip_suffix(" (deleted)") == Some(file)
    });
    let bytes = |line: &str| {
        let (from, to) = line.split(' ').next()?.split_once('-')?;
        u64::from_str_radix(to, 16).ok()?.checked_sub(u64::from_str_radix(from, 16).ok()?)
    };
    of_file.filter_map(bytes).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_segments_of_one_file_add_up() {
        let maps = "\
7f0000000000-7f0000001000 r--p 00000000 fe:00 123                        /state/staged/1-1.so
7f0000001000-7f0000003000 r-xp 00001000 fe:00 123                        /state/staged/1-1.so (deleted)
7f0000003000-7f0000004000 r--p 00000000 fe:00 124                        /state/staged/1-11.so
7f0000004000-7f0000005000 rw-p 00000000 00:00 0
";
        assert_eq!(sum_of(maps, "/state/staged/1-1.so"), 0x3000);
        assert_eq!(sum_of(maps, "/none"), 0);
    }

    #[test]
    fn this_program_is_mapped() {
        assert!(mapped_bytes(&std::env::current_exe().unwrap()) > 0);
    }
}
