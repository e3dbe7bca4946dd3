//! Cheap checks of a library's bytes before the system's loader sees them, and its descriptor, read without running it.
//!
//! The loader maps what the headers claim: a truncated file would kill the process with SIGBUS later on.

use std::path::{Path, PathBuf};

use object::elf;
use object::read::elf::{FileHeader, ProgramHeader};
use object::{Architecture, BinaryFormat, Object, ObjectSegment, ObjectSymbol, ReadRef};

use super::descriptor::Description;
use framex_abi::{DESCRIPTOR_SYMBOL, LAYOUT_SYMBOL, PluginDescriptor};

/// Most libraries and folders that are looked at of one library.
const NEEDED_MAX: usize = 256;

/// The contents of a plugin library that the host checks.
#[derive(Debug, Clone)]
pub(crate) struct ObjectFile {
    pub(crate) description: Description,
    /// It exports the layouts of the ABI types, as Rust plugins do.
    pub(crate) has_layout: bool,
    pub(crate) needs: LibraryNeeds,
}

/// The libraries that a library needs, and where it has the loader look for them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct LibraryNeeds {
    /// The name by which other libraries need it.
    pub(crate) soname: Option<String>,
    /// The names of libraries, without paths.
    pub(crate) libraries: Vec<String>,
    /// Folders, perhaps with `$ORIGIN` for its own.
    run_path: Vec<String>,
    /// Rust's standard library as a library of its own. Of one that several plugins shared, the host could not tell what is
    /// left behind on its threads, and none of them could be unmapped.
    standard_library: Option<String>,
}

impl LibraryNeeds {
    fn add(&mut self, library: String) {
        if library.starts_with("libstd-") {
            self.standard_library.get_or_insert_with(|| library.clone());
        }
        if self.libraries.len() < NEEDED_MAX && !library.contains('/') {
            self.libraries.push(library);
        }
    }

    /// The folders that it has the loader look into, for a library that lies in `origin`.
    pub(crate) fn folders(&self, origin: &Path) -> Vec<PathBuf> {
        let absolute = |folder: &String| {
            let rest = ["$ORIGIN", "${ORIGIN}"].iter().find_map(|token| folder.strip_prefix(token));
            let folder = match rest {
                Some(rest) => origin.join(rest.trim_start_matches('/')),
                None => PathBuf::from(folder),
            };
            // The loader has other tokens, which are not supported, and a relative folder would depend on where the host was started.
            (folder.is_absolute() && !folder.to_string_lossy().contains('$')).then_some(folder)
        };
        self.run_path.iter().filter_map(absolute).collect()
    }
}

/// Checks a library; an error completes the sentence "plugin file X ...".
///
/// `bytes` are read as they are needed: a library has many more than these checks look at.
pub(crate) fn check<'a, B: ReadRef<'a>>(bytes: B) -> Result<ObjectFile, String> {
    if bytes.len() == Ok(0) {
        return Err("is empty".to_owned());
    }
    object::FileKind::parse(bytes)
        .map_err(|_| "is not a library: its first bytes are of no known format".to_owned())?;
    let needs = needs(bytes)?;
    if let Some(shared) = &needs.standard_library {
        let shared: String = shared.chars().take(64).collect();
        return Err(format!(
            "needs `{shared}`, a standard library that it would share with other plugins: build it without `-C prefer-dynamic`"
        ));
    }
    let file = object::File::parse(bytes).map_err(damaged)?;
    check_platform(&file)?;
    let (descriptor, has_layout) = exports(&file);
    let address = descriptor.ok_or_else(|| {
        format!(
            "is a library, but no framex plugin: it exports no `{DESCRIPTOR_SYMBOL}`; mark its impl #[plugin] and build it as a cdylib"
        )
    })?;
    let size = size_of::<PluginDescriptor>() as u64;
    let descriptor = file
        .segments()
        .find_map(|segment| segment.data_range(address, size).ok().flatten())
        .ok_or_else(|| format!("is damaged: its `{DESCRIPTOR_SYMBOL}` lies outside of the file"))?;
    Ok(ObjectFile { description: Description::read(descriptor)?, has_layout, needs })
}

/// Reads what a library needs, if all that the loader would map is in the file; nothing of one for another system.
///
/// # Errors
/// What is wrong with it, in words.
pub(crate) fn needs<'a, B: ReadRef<'a>>(bytes: B) -> Result<LibraryNeeds, String> {
    if object::FileKind::parse(bytes) != Ok(object::FileKind::Elf64) {
        return Ok(LibraryNeeds::default());
    }
    let header = elf::FileHeader64::<object::Endianness>::parse(bytes).map_err(damaged)?;
    let endian = header.endian().map_err(damaged)?;
    let segments = header.program_headers(endian, bytes).map_err(damaged)?.iter();
    let ends = segments.map(|segment| segment.p_offset(endian).saturating_add(segment.p_filesz(endian)));
    let (end, length) = (ends.max().unwrap_or(0), bytes.len().unwrap_or(0));
    if end > length {
        return Err(format!("is cut off: it has {length} bytes of at least {end}"));
    }
    let sections = header.sections(endian, bytes).map_err(damaged)?;
    let dynamic = sections.dynamic_table(endian, bytes).map_err(damaged)?;
    let mut needs = LibraryNeeds::default();
    // The newer entry replaces the older one.
    let (mut rpath, mut runpath) = (None, None);
    for entry in dynamic.iter() {
        let text = || {
            let text = dynamic.string(entry).map_err(damaged)?;
            Ok::<_, String>(String::from_utf8_lossy(text).into_owned())
        };
        match entry.tag {
            elf::DT_SONAME => needs.soname = Some(text()?),
            elf::DT_NEEDED => needs.add(text()?),
            elf::DT_RPATH => rpath = Some(text()?),
            elf::DT_RUNPATH => runpath = Some(text()?),
            _ => {}
        }
    }
    let run_path = runpath.or(rpath).unwrap_or_default();
    needs.run_path = run_path.split(':').take(NEEDED_MAX).map(str::to_owned).collect();
    Ok(needs)
}

fn damaged(error: object::read::Error) -> String {
    format!("is damaged or cut off: {error}")
}

fn check_platform<'a, B: ReadRef<'a>>(file: &object::File<'a, B>) -> Result<(), String> {
    let (found, needed) = (file.format(), BinaryFormat::native_object());
    if found != needed {
        return Err(format!("is {}, this host needs {}", format_name(found), format_name(needed)));
    }
    let (found, needed) = (architecture_name(file.architecture()), std::env::consts::ARCH);
    if found != needed {
        return Err(format!("is built for {found}, this host is {needed}"));
    }
    if !matches!(file.kind(), object::ObjectKind::Dynamic) {
        return Err("is an object file, but no dynamic library: build it as a cdylib".to_owned());
    }
    Ok(())
}

fn format_name(format: BinaryFormat) -> &'static str {
    match format {
        BinaryFormat::Elf => "an ELF library (Linux)",
        BinaryFormat::Pe | BinaryFormat::Coff => "a Windows DLL",
        BinaryFormat::MachO => "a macOS library",
        _ => "a library of another system",
    }
}

/// Returns the name that std has for an architecture.
fn architecture_name(architecture: Architecture) -> String {
    match architecture {
        Architecture::I386 => "x86".to_owned(),
        other => format!("{other:?}").to_lowercase(),
    }
}

/// Returns the address of the descriptor, and whether the library exports the layouts of the ABI types.
fn exports<'a, B: ReadRef<'a>>(file: &object::File<'a, B>) -> (Option<u64>, bool) {
    let (mut descriptor, mut has_layout) = (None, false);
    for symbol in file.dynamic_symbols().filter(ObjectSymbol::is_definition) {
        match symbol.name() {
            Ok(name) if name == DESCRIPTOR_SYMBOL => descriptor = Some(symbol.address()),
            Ok(name) if name == LAYOUT_SYMBOL => has_layout = true,
            _ => {}
        }
    }
    (descriptor, has_layout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_library_is_refused_in_words() {
        let refused = |bytes: &[u8]| check(bytes).unwrap_err();
        assert_eq!(refused(b""), "is empty");
        assert_eq!(
            refused(b"#!/bin/sh\necho plugin\n"),
            "is not a library: its first bytes are of no known format"
        );
        assert!(refused(b"\x7fELF\x02\x01\x01").starts_with("is "));
    }

    #[test]
    fn this_very_program_is_no_plugin_at_any_length() {
        let program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert!(check(&program[..]).unwrap_err().contains("no framex plugin"));
        for length in (0..program.len()).step_by(program.len() / 50) {
            assert!(check(&program[..length]).is_err());
        }
    }
}
