//! Builds of the changing plugin: copies of its library with another marker (`tests/plugins/changing/src/marker.rs`).

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use crate::{Daemon, DaemonBuilder, broken, plugin_file};

const PLUGIN: &str = "changing";
const PREFIX: &[u8] = b"framex-changing:";

/// A build of the changing plugin.
#[derive(Debug, Clone, Copy)]
pub struct Build {
    number: u32,
    plugin: &'static str,
    start: u8,
    shape: u8,
    leaves: u8,
}

impl Build {
    /// A good build, of a name like `build-0001`.
    #[must_use]
    pub fn new(number: u32) -> Self {
        Self { number, plugin: PLUGIN, start: b'g', shape: b'a', leaves: b'n' }
    }

    /// Makes it a build of another plugin, whose functions have its name; the name is as long as `changing`.
    #[must_use]
    pub fn of_plugin(mut self, plugin: &'static str) -> Self {
        self.plugin = plugin;
        self
    }

    /// The way it starts: `g`ood, `f`ails, `p`anics, `h`angs, `a`borts the process.
    #[must_use]
    pub fn start(mut self, start: u8) -> Self {
        self.start = start;
        self
    }

    /// Its functions: `a` everything, `b` no `sometimes`, `c` another type for `typed`.
    #[must_use]
    pub fn shape(mut self, shape: u8) -> Self {
        self.shape = shape;
        self
    }

    /// Its remains: `n`othing, a `t`hread, a tas`k`, ti`m`ers.
    #[must_use]
    pub fn leaves(mut self, leaves: u8) -> Self {
        self.leaves = leaves;
        self
    }

    /// The result of its functions.
    #[must_use]
    pub fn name(self) -> String {
        format!("build-{:04}", self.number)
    }

    /// The library.
    ///
    /// # Panics
    /// If it was not built, or has not one marker.
    #[must_use]
    pub fn bytes(self) -> Vec<u8> {
        let base = Base::of(self.plugin);
        let (mut bytes, at) = (base.bytes.clone(), base.marker);
        bytes[at + 16..at + 26].copy_from_slice(self.name().as_bytes());
        bytes[at + 33] = self.start;
        bytes[at + 41] = self.shape;
        bytes[at + 49] = self.leaves;
        bytes
    }

    fn file(self) -> String {
        format!("lib{}.so", self.plugin)
    }
}

/// The file that all builds of a plugin are made of.
struct Base {
    bytes: Vec<u8>,
    /// The offset of the marker.
    marker: usize,
}

impl Base {
    /// Searches through the library are slow, so each is done once.
    fn of(plugin: &'static str) -> Arc<Self> {
        static BASES: Mutex<BTreeMap<&str, Arc<Base>>> = Mutex::new(BTreeMap::new());
        let mut bases = BASES.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(bases.entry(plugin).or_insert_with(|| Arc::new(Self::new(plugin))))
    }

    fn new(plugin: &str) -> Self {
        let mut bytes = fs::read(plugin_file(PLUGIN)).expect("a built plugin can be read");
        let markers = places(&bytes, PREFIX);
        assert_eq!(markers.len(), 1, "the library has one marker");
        if plugin != PLUGIN {
            assert_eq!(plugin.len(), PLUGIN.len(), "nothing in a library may move");
            broken::replace_in_descriptor(&mut bytes, broken::DESCRIPTOR_NAME, plugin.as_bytes());
            for at in places(&bytes, format!("{PLUGIN}.functions.").as_bytes()) {
                bytes[at..at + plugin.len()].copy_from_slice(plugin.as_bytes());
            }
        }
        Self { bytes, marker: markers[0] }
    }
}

/// Returns the offset of a text in a library.
fn places(bytes: &[u8], text: &[u8]) -> Vec<usize> {
    let found = bytes.windows(text.len()).enumerate().filter(|(_, window)| *window == text);
    found.map(|(at, _)| at).collect()
}

impl DaemonBuilder {
    /// Puts a build of the changing plugin into the plugin directory.
    #[must_use]
    pub fn build(self, build: Build) -> Self {
        self.plugin_bytes(&build.file(), &build.bytes())
    }
}

impl Daemon {
    /// The plugin directory.
    #[must_use]
    pub fn plugins(&self) -> std::path::PathBuf {
        self.folder().join("plugins")
    }

    /// Puts a file into the plugin directory as operators should: whole, replacing the old one.
    ///
    /// # Panics
    /// If the system does not let it.
    pub fn put(&self, name: impl AsRef<Path>, bytes: &[u8]) {
        let name = name.as_ref();
        let incoming = self.folder().join(name);
        fs::write(&incoming, bytes).expect("the scratch folder takes files");
        fs::rename(&incoming, self.plugins().join(name)).expect("the plugin directory takes files");
    }

    /// Puts a build of the changing plugin into the place of the last one.
    pub fn put_build(&self, build: Build) {
        self.put(build.file(), &build.bytes());
    }
}
