//! The mapped parts of a file, from `/proc/self/maps`: that `dlclose` returns 0 proves nothing.

use std::ops::Range;

/// The mapped parts of all files at one moment.
pub(crate) struct Maps(String);

impl Maps {
    /// Reads them; there are none where the system does not tell.
    pub(crate) fn read() -> Self {
        Self(std::fs::read_to_string("/proc/self/maps").unwrap_or_default())
    }

    /// Returns the mapped bytes of the file of this name.
    pub(crate) fn bytes_of(&self, file: &str) -> u64 {
        segments(&self.0, file).map(|segment| (segment.end - segment.start) as u64).sum()
    }

    /// Returns the range from the first to the last mapped byte of the file of this name; `None` if nothing of it is mapped,
    /// or the system does not tell.
    pub(crate) fn range(&self, file: &str) -> Option<Range<usize>> {
        let start = segments(&self.0, file).map(|segment| segment.start).min()?;
        let end = segments(&self.0, file).map(|segment| segment.end).max()?;
        Some(start..end)
    }

    /// Returns all mapped files, each with its address ranges.
    pub(crate) fn objects(&self) -> impl Iterator<Item = (Range<usize>, String)> {
        let objects = self.0.lines().filter_map(|line| {
            let path = line.splitn(6, ' ').nth(5).unwrap_or_default().trim_start();
            Some((segment(line)?, path.strip_suffix(" (deleted)").unwrap_or(path).to_owned()))
        });
        objects.filter(|(_, path)| path.starts_with('/'))
    }
}

/// Lines are `from-to rwxp offset device inode path`; a removed file has ` (deleted)` behind its path.
///
/// Files are told apart by their names, which are never used twice: the system shows the path of the folder as it is
/// now, which may have been renamed.
fn segments<'a>(maps: &'a str, file: &str) -> impl Iterator<Item = Range<usize>> + 'a {
    let file = format!("/{file}");
    let of_file = maps.lines().filter(move |line| {
        let path = line.splitn(6, ' ').nth(5).unwrap_or_default();
        path.strip_suffix(" (deleted)").unwrap_or(path).ends_with(&file)
    });
    of_file.filter_map(segment)
}

/// The addresses of a line.
fn segment(line: &str) -> Option<Range<usize>> {
    let (from, to) = line.split(' ').next()?.split_once('-')?;
    let (from, to) = (usize::from_str_radix(from, 16).ok()?, usize::from_str_radix(to, 16).ok()?);
    (from <= to).then_some(from..to)
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
7f0000003000-7f0000004000 r--p 00000000 fe:00 125                        /state/staged/01-1.so
7f0000004000-7f0000005000 rw-p 00000000 00:00 0
";
        let found: Vec<_> = segments(maps, "1-1.so").collect();
        assert_eq!(found, [0x7f00_0000_0000..0x7f00_0000_1000, 0x7f00_0000_1000..0x7f00_0000_3000]);
        assert_eq!(segments(maps, "none").count(), 0);
    }

    #[test]
    fn this_program_is_mapped() {
        let program = std::env::current_exe().unwrap();
        assert!(Maps::read().bytes_of(program.file_name().unwrap().to_str().unwrap()) > 0);
    }
}
