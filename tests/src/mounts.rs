//! Mounts that one daemon alone sees: a full disk, a read-only folder.

use std::process::Command;

use tempfile::TempDir;

use crate::process::say_skipped;
use crate::{Daemon, DaemonBuilder, Exit, run_to_end};

/// The right to give a daemon mounts of its own: root has it, and every user where the system allows user namespaces.
#[derive(Debug)]
pub struct Mounts {
    unshare: &'static [&'static str],
    nsenter: &'static [&'static str],
}

const WAYS: [Mounts; 2] = [
    Mounts { unshare: &["unshare", "-m"], nsenter: &["-m"] },
    Mounts { unshare: &["unshare", "-U", "-r", "-m"], nsenter: &["-U", "--preserve-credentials", "-m"] },
];

impl Mounts {
    /// Tries it. Where the system refuses, says on the error output that this test is skipped, and why.
    ///
    /// # Panics
    /// If there is no room for temporary files.
    #[must_use]
    pub fn or_skip() -> Option<Self> {
        let scratch = TempDir::new().expect("there is room for temporary files");
        let mut refusals = Vec::new();
        for way in WAYS {
            let exit = way.attempt(&scratch);
            if exit.code == Some(0) {
                return Some(way);
            }
            refusals.push(format!("`{}`: {}", way.unshare.join(" "), exit.stderr.trim()));
        }
        say_skipped(&format!("mounts need root or user namespaces: {}", refusals.join("; ")));
        None
    }

    /// Begins a command that gets mounts of its own; a program and its arguments follow.
    #[must_use]
    pub fn apart(&self) -> Command {
        let mut command = Command::new(self.unshare[0]);
        command.args(&self.unshare[1..]);
        command
    }

    /// Begins a command that sees the mounts of a process; a program and its arguments follow.
    #[must_use]
    pub fn beside(&self, pid: u32) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["-t", &pid.to_string()]).args(self.nsenter);
        command
    }

    fn attempt(&self, scratch: &TempDir) -> Exit {
        let mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs"];
        run_to_end(self.apart().args(mount).arg(scratch.path()))
    }
}

impl DaemonBuilder {
    /// Runs a script of `mount` commands first, in the scratch folder, whose effects this daemon alone sees.
    #[must_use]
    pub fn mount(self, mounts: &Mounts, script: &str) -> Self {
        let script = format!("(cd \"$0\" && mkdir -p state && {script}) && exec \"$@\"");
        let folder = self.folder().to_str().expect("the scratch folder's path is text").to_owned();
        let words = [mounts.unshare, &["sh", "-c", &script, &folder]].concat();
        self.wrapper(&words)
    }
}

impl Daemon {
    /// Runs a script of `mount` commands in the scratch folder as the daemon sees it.
    ///
    /// # Panics
    /// If it fails.
    pub fn mount(&self, mounts: &Mounts, script: &str) {
        let script = format!("cd \"$0\" && {script}");
        let exit = run_to_end(mounts.beside(self.pid()).args(["sh", "-c", &script]).arg(self.folder()));
        assert_eq!(exit.code, Some(0), "{script}: {}", exit.stderr);
    }
}
