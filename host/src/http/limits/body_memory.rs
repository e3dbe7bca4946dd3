//! The memory of all bodies together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The memory that all bodies of requests and responses may take together. The body of a request takes what has arrived
/// of it, so that announcing more takes nothing; that of a response holds its part until the client has received it.
///
/// A quarter is kept for requests that have shown a key: what strangers hold beyond the rest does not count for those.
#[derive(Debug)]
pub struct BodyMemory {
    of_strangers: AtomicUsize,
    of_known: AtomicUsize,
    max: usize,
}

/// The memory of one body, given back when it drops.
#[derive(Debug)]
pub(crate) struct MemoryPermit {
    of: Arc<BodyMemory>,
    bytes: usize,
    is_strangers: bool,
}

/// All bodies together take more than [`BodyMemory`] allows.
#[derive(Debug)]
pub(crate) struct OutOfMemory;

impl BodyMemory {
    /// Creates the memory, of `max` bytes.
    pub fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { of_strangers: AtomicUsize::new(0), of_known: AtomicUsize::new(0), max })
    }

    /// Returns the bytes in use.
    pub fn taken(&self) -> usize {
        self.of_strangers.load(Ordering::Relaxed) + self.of_known.load(Ordering::Relaxed)
    }

    /// Returns the share of strangers in bytes.
    fn part_of_strangers(&self) -> usize {
        self.max - self.max / 4
    }

    fn of(&self, is_strangers: bool) -> &AtomicUsize {
        if is_strangers { &self.of_strangers } else { &self.of_known }
    }
}

impl MemoryPermit {
    /// Creates an empty permit.
    pub(crate) fn new(of: &Arc<BodyMemory>, is_strangers: bool) -> Self {
        Self { of: Arc::clone(of), bytes: 0, is_strangers }
    }

    /// Returns its size in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds bytes. They count even beyond the limit, since they are in memory already.
    pub(crate) fn grow(&mut self, bytes: usize) -> Result<(), OutOfMemory> {
        let before = self.of.of(self.is_strangers).fetch_add(bytes, Ordering::Relaxed);
        self.bytes += bytes;
        let others = if self.is_strangers {
            self.of.of_known.load(Ordering::Relaxed)
        } else {
            self.of.of_strangers.load(Ordering::Relaxed).min(self.of.part_of_strangers())
        };
        let all = before.saturating_add(bytes).saturating_add(others);
        if all > self.of.max { Err(OutOfMemory) } else { Ok(()) }
    }

    /// Moves it from the share of strangers to the rest: its request has shown a key.
    pub(crate) fn known(&mut self) {
        if self.is_strangers {
            self.is_strangers = false;
            self.of.of_known.fetch_add(self.bytes, Ordering::Relaxed);
            self.of.of_strangers.fetch_sub(self.bytes, Ordering::Relaxed);
        }
    }

    /// Returns the bytes by which strangers exceed their share, if this is a stranger's; one body of `bytes_max` always
    /// fits.
    pub(crate) fn too_much_of_strangers(&self, bytes_max: usize) -> usize {
        let most = self.of.part_of_strangers().max(bytes_max);
        match self.is_strangers && self.bytes > 0 {
            true => self.of.of_strangers.load(Ordering::Relaxed).saturating_sub(most),
            false => 0,
        }
    }
}

impl Drop for MemoryPermit {
    fn drop(&mut self) {
        self.of.of(self.is_strangers).fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
