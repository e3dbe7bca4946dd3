//! Mapping a library with those that it brings along, and the layout check. One of the files with hand-written `unsafe` (ARCHITECTURE.md).
#![expect(unsafe_code, reason = "maps a library and looks symbols up")]

use std::mem::ManuallyDrop;
use std::ops::Range;

use framex_abi::layout::{CheckingGlobals, StableAbi, check_layout_compatibility_with_globals};
use framex_abi::{ABI_MINOR, AbiSurface, DESCRIPTOR_SYMBOL, LAYOUT_SYMBOL, LayoutFn, PluginDescriptor};
use libloading::os::unix::{Library as Handle, RTLD_LOCAL, RTLD_NOW};

use crate::base::Mutex;
use crate::plugins::error::PluginError;
use crate::plugins::file::companions::Companion;
use crate::plugins::file::object_file::ObjectFile;
use crate::plugins::file::stage::Staged;
use crate::plugins::native;
use crate::plugins::process::linker::{self, Brought, in_words, words_about};
use crate::plugins::process::maps::Maps;

/// A mapped plugin library whose descriptor and layouts fit.
///
/// Dropping it leaves it mapped, since a thread may still come back to its code; `close` is for a generation
/// that is known to be at rest.
#[derive(Debug)]
pub(crate) struct Library {
    /// Taken by `close`.
    handle: Mutex<Option<ManuallyDrop<Handle>>>,
    descriptor: *const PluginDescriptor,
}

// SAFETY: the descriptor is an immutable static of a library that stays mapped.
unsafe impl Send for Library {}
// SAFETY: as above.
unsafe impl Sync for Library {}

impl Library {
    /// Maps the staged copy. Its constructors run, so the thread must be the one that maps (`threads`).
    ///
    /// # Errors
    /// [`PluginError::Load`] and [`PluginError::Unfit`].
    pub(crate) fn open(staged: &Staged, object: &ObjectFile) -> Result<Self, PluginError> {
        let refuse = |reason: String| PluginError::Load { file: staged.file.clone(), reason };
        // Through the descriptor of its folder, which was checked: what is mapped is the file that was hashed. Its name
        // is never used twice: the loader takes what it has by path or by inode, and both are new.
        let folder = staged.folder.open().map_err(|fault| refuse(fault.to_string()))?;
        let copy = folder.entry(&staged.copy);
        native::check_room().map_err(refuse)?;
        // SAFETY: loading runs the library's constructors. That is what the operator asked for by putting the file
        // into the plugin directory; the file is a private copy, whole, and never written to again.
        let open = || unsafe { Handle::open(Some(&copy), RTLD_NOW | RTLD_LOCAL) };
        let handle = native::while_mapping(|| {
            let handle = open();
            Maps::read().range(&staged.copy).into_iter().for_each(native::watch);
            handle
        });
        let handle = handle.map_err(|error| refuse(words_about(&copy, &error)))?;
        // SAFETY: the symbol was found in the file as a static that begins with the descriptor's magic.
        let descriptor = unsafe { handle.get::<*const PluginDescriptor>(DESCRIPTOR_SYMBOL) };
        let descriptor = *descriptor.map_err(|error| refuse(error.to_string()))?;
        // From here on nothing of the library goes away: its constructors may have started threads.
        let library = Self { handle: Mutex::new(Some(ManuallyDrop::new(handle))), descriptor };
        if object.has_layout && object.description.abi_minor == ABI_MINOR {
            library.check_layout().map_err(|reason| {
                library.give_back(staged);
                PluginError::Unfit { file: staged.file.clone(), reason }
            })?;
        }
        Ok(library)
    }

    /// Runs `look` on the plugin's exported static; `None` once the library was closed.
    ///
    /// The caller keeps the library from being closed meanwhile: a generation is closed after its last call.
    pub(crate) fn with_descriptor<T>(&self, look: impl FnOnce(&PluginDescriptor) -> T) -> Option<T> {
        self.handle.lock().as_ref()?;
        // SAFETY: checked for magic, version and size in the file; the library is mapped.
        Some(look(unsafe { &*self.descriptor }))
    }

    /// Gives the library back to the system, which unmaps it if nothing else pins it. Its destructors run, so the thread
    /// must be the one that maps.
    ///
    /// # Errors
    /// What would still call its code, and what the loader says.
    pub(crate) fn close(&self, range: &Range<usize>) -> Result<(), String> {
        native::close(range, || {
            let Some(handle) = self.handle.lock().take() else { return Ok(()) };
            ManuallyDrop::into_inner(handle).close().map_err(|error| in_words(&error))
        })
    }

    /// Closes a library of which nothing but constructors has run.
    fn give_back(&self, staged: &Staged) {
        let Some(range) = Maps::read().range(&staged.copy) else { return };
        if let Err(reason) = self.close(&range) {
            return tracing::warn!(file = staged.file, reason, "the library stays mapped");
        }
        if Maps::read().bytes_of(&staged.copy) == 0 {
            native::forget(&range);
        }
    }

    /// Compares the layouts of everything that crosses, with a map of its own:
    /// abi_stable's global one would keep references into the library.
    fn check_layout(&self) -> Result<(), String> {
        let handle = self.handle.lock();
        let handle = handle.as_ref().ok_or("was closed")?;
        // SAFETY: the symbol was found in the file; by the ABI's rules it is a `LayoutFn`.
        let layout = unsafe { handle.get::<LayoutFn>(LAYOUT_SYMBOL) };
        let layout = layout.map_err(|error| format!("has no usable `{LAYOUT_SYMBOL}`: {error}"))?;
        let found = layout();
        check_layout_compatibility_with_globals(
            <AbiSurface as StableAbi>::LAYOUT,
            found,
            &CheckingGlobals::new(),
        )
        .map_err(|error| {
            format!("has other layouts of the ABI's types than this host: {}", first_line(&error.to_string()))
        })
    }
}

/// Maps the libraries that a plugin brings along; their constructors run. One that is mapped already is left as it is.
///
/// # Errors
/// [`PluginError::Load`] and [`PluginError::OldCompanion`]; some of them may then stay mapped.
pub(crate) fn map_companions(
    companions: Vec<Companion>,
    plugin: &str,
    file: &str,
) -> Result<(), PluginError> {
    for Companion { soname, staged, path } in companions {
        if let Some(mapped) = linker::find(&soname) {
            if mapped.sha256 == staged.sha256 {
                continue;
            }
            let folder = path.parent().unwrap_or(&path).to_owned();
            return Err(PluginError::OldCompanion {
                file: file.to_owned(),
                soname,
                folder,
                plugin: mapped.plugin,
            });
        }
        let refuse = |reason: String| PluginError::Load {
            file: file.to_owned(),
            reason: format!("its library `{soname}`: {reason}"),
        };
        let folder = staged.folder.open().map_err(|fault| refuse(fault.to_string()))?;
        let library = Brought { sha256: staged.sha256, plugin: plugin.to_owned() };
        linker::map(soname.clone(), &folder.entry(&staged.copy), library).map_err(refuse)?;
    }
    Ok(())
}

/// The report of abi_stable is pages long; its first lines that say something are enough to act on.
fn first_line(report: &str) -> String {
    let lines = report.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('-'));
    lines.take(3).collect::<Vec<_>>().join(" ").chars().take(300).collect()
}
