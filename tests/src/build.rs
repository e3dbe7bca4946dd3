//! Builds of the changing plugin: copies of its library with another marker (`tests/plugins/changing/src/marker.rs`).

use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use crate::{Daemon, DaemonBuilder, plugin_file};

const FILE: &str = "libchanging.so";
const PREFIX: &[u8] = b"framex-changing:";

/// A build of the changing plugin.
#[derive(Debug, Clone, Copy)]
pub struct Build {
    number: u32,
    start: u8,
    shape: u8,
    leaves: u8,
}

impl Build {
    /// A good build, of a name like `build-0001`.
    #[must_use]
    pub fn new(number: u32) -> Self {
        Self { number, start: b'g', shape: b'a', leaves: b'n' }
    }

    /// How it starts: `g`ood, `f`ails, `p`anics, `h`angs, `a`borts the process.
    #[must_use]
    pub fn start(mut self, start: u8) -> Self {
        self.start = start;
        self
    }

    /// What it registers: `a` everything, `b` no `sometimes`, `c` another type for `typed`.
    #[must_use]
    pub fn shape(mut self, shape: u8) -> Self {
        self.shape = shape;
        self
    }

    /// What it leaves behind: `n`othing, a `t`hread, a tas`k`, ti`m`ers.
    #[must_use]
    pub fn leaves(mut self, leaves: u8) -> Self {
        self.leaves = leaves;
        self
    }

    /// What its functions answer.
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
        static BASE: OnceLock<(Vec<u8>, usize)> = OnceLock::new();
        let (bytes, at) = BASE.get_or_init(|| {
            let bytes = fs::read(plugin_file("changing")).expect("a built plugin can be read");
            let found = bytes.windows(PREFIX.len()).enumerate().filter(|(_, window)| *window == PREFIX);
            let places: Vec<usize> = found.map(|(at, _)| at).collect();
            assert_eq!(places.len(), 1, "the library has one marker");
            let at = places[0];
            (bytes, at)
        });
        let mut bytes = bytes.clone();
        bytes[at + 16..at + 26].copy_from_slice(self.name().as_bytes());
        bytes[at + 33] = self.start;
        bytes[at + 41] = self.shape;
        bytes[at + 49] = self.leaves;
        bytes
    }
}

impl DaemonBuilder {
    /// Puts a build of the changing plugin into the plugin directory.
    #[must_use]
    pub fn build(self, build: Build) -> Self {
        self.plugin_bytes(FILE, &build.bytes())
    }
}

impl Daemon {
    /// The plugin directory.
    #[must_use]
    pub fn plugins(&self) -> std::path::PathBuf {
        self.folder().join("plugins")
    }

    /// Puts a file into the plugin directory as operators should: whole, in the place of the old one.
    ///
    /// # Panics
    /// If the system does not let it.
    pub fn put(&self, name: impl AsRef<Path>, bytes: &[u8]) {
        let incoming = self.folder().join("incoming");
        fs::write(&incoming, bytes).expect("the scratch folder takes files");
        fs::rename(&incoming, self.plugins().join(name)).expect("the plugin directory takes files");
    }

    /// Puts a build of the changing plugin into the place of the last one.
    pub fn put_build(&self, build: Build) {
        self.put(FILE, &build.bytes());
    }
}
