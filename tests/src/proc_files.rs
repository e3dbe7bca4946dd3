//! A daemon's process, as Linux reports it.

use std::collections::BTreeSet;
use std::fs;

use crate::Daemon;

impl Daemon {
    fn proc_file(&self, name: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{name}", self.pid())).expect("Linux has /proc")
    }

    /// The staged copies of plugin files that are mapped.
    #[must_use]
    pub fn mapped_copies(&self) -> BTreeSet<String> {
        let maps = self.proc_file("maps");
        let paths = maps.lines().filter_map(|line| line.splitn(6, ' ').nth(5));
        let staged = paths.map(str::trim_start).filter(|path| path.contains("/state/staged/"));
        staged.map(|path| path.trim_end_matches(" (deleted)").to_owned()).collect()
    }

    /// Memory that the process has resident, in bytes (`VmRSS`).
    #[must_use]
    pub fn resident_bytes(&self) -> usize {
        self.status_bytes("VmRSS:")
    }

    /// The most memory that the process ever had resident, in bytes (`VmHWM`).
    ///
    /// # Panics
    /// If the system does not say; Linux does.
    #[must_use]
    pub fn resident_bytes_max(&self) -> usize {
        self.status_bytes("VmHWM:")
    }

    fn status_bytes(&self, key: &str) -> usize {
        let status = self.proc_file("status");
        let line = status.lines().find_map(|line| line.strip_prefix(key)).expect("Linux says so");
        let kibibytes: usize = line.trim().trim_end_matches(" kB").parse().expect("it is a number of kB");
        kibibytes * 1024
    }

    /// Open descriptors, but for the sockets, which come and go with clients.
    #[must_use]
    pub fn descriptors(&self) -> Vec<String> {
        let folder = fs::read_dir(format!("/proc/{}/fd", self.pid())).expect("Linux has /proc");
        // One may be closed between the two looks.
        let targets = folder.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
        let targets = targets.map(|target| target.to_string_lossy().into_owned());
        let mut targets: Vec<String> = targets.filter(|target| !target.starts_with("socket:")).collect();
        targets.sort();
        targets
    }

    /// Threads of the process that have this name.
    #[must_use]
    pub fn threads_named(&self, name: &str) -> usize {
        let folder = fs::read_dir(format!("/proc/{}/task", self.pid())).expect("Linux has /proc");
        // One may end between the two looks.
        let names = folder.filter_map(|entry| fs::read_to_string(entry.ok()?.path().join("comm")).ok());
        names.filter(|found| found.trim_end() == name).count()
    }

    /// Threads of the process.
    #[must_use]
    pub fn threads(&self) -> usize {
        fs::read_dir(format!("/proc/{}/task", self.pid())).expect("Linux has /proc").count()
    }
}
