//! Starts the process of a probe, and reads from its lines and its end what is wrong with a build.

use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::pin::pin;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::io::retry_on_intr;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use signal_hook::consts::SIGXCPU;
use signal_hook::low_level::signal_name;
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::timeout;

use super::report::{ProbeLine, ProbeRequest, ProbedFile};
use crate::base::{Mutex, one_line};
use crate::plugins::error::PluginError;
use crate::plugins::file::candidate::Candidate;
use crate::plugins::file::stage::Staged;

/// The binary of the host, also if another one lies in its place on disk by now.
const HOST: &str = "/proc/self/exe";
/// Most bytes that are read of either output.
const OUTPUT_BYTES_MAX: usize = 64 << 10;
/// Most characters that an error repeats of what the build's code wrote.
const WORDS_MAX: usize = 300;
/// Time for the rest of the output once the process has ended: another process may have the pipe open.
const REST: Duration = Duration::from_millis(100);
/// Time for the process to vanish once it was killed: a disk that hangs may hold it.
const VANISH: Duration = Duration::from_secs(1);

/// Maps a build in a process of its own, and unmaps it there.
///
/// # Errors
/// [`PluginError::Probe`] and [`PluginError::NotProbed`]; and [`PluginError::Load`] and [`PluginError::Unfit`],
/// as mapping it in the host would have.
pub(in crate::plugins) async fn probe(candidate: &Candidate, within: Duration) -> Result<(), PluginError> {
    let file = candidate.staged.file.clone();
    let not_probed = {
        let file = file.clone();
        move |cause: io::Error| PluginError::NotProbed { file: file.clone(), cause: Arc::new(cause) }
    };
    let request = request(candidate, within);
    // A disk that hangs may hold up the start. A process that starts later ends at once, as it is dropped.
    let started = timeout(within, spawn_blocking(move || ProbeProcess::start(&request))).await;
    let started = started.map_err(io::Error::from).and_then(|joined| joined?);
    let mut process = started.map_err(&not_probed)?;
    let output = process.output(within).await.map_err(&not_probed)?;
    match output.verdict(within) {
        ProbeVerdict::Passed => Ok(()),
        ProbeVerdict::NotMapped(reason) => Err(PluginError::Load { file, reason }),
        ProbeVerdict::Unfit(reason) => Err(PluginError::Unfit { file, reason }),
        ProbeVerdict::Harmful(reason) => Err(PluginError::Probe { file, reason }),
        ProbeVerdict::Unknown(reason) => Err(not_probed(io::Error::other(reason))),
    }
}

fn request(candidate: &Candidate, within: Duration) -> ProbeRequest {
    let probed = |staged: &Staged, file: &str| ProbedFile {
        folder: staged.folder.path().into(),
        copy: staged.copy.clone(),
        file: file.to_owned(),
        sha256: staged.sha256,
    };
    let companions = candidate.companions.iter();
    ProbeRequest {
        companions: companions.map(|companion| probed(&companion.staged, &companion.soname)).collect(),
        plugin: probed(&candidate.staged, &candidate.staged.file),
        name: candidate.name().to_owned(),
        cpu_seconds: within.as_secs() + 1,
    }
}

/// The process of one probe. Dropping it ends the process, and what belongs to its group.
struct ProbeProcess {
    group: Arc<ProcessGroup>,
    /// Closed when this is dropped, which ends the process as well.
    _input: ChildStdin,
    lines: pipe::Receiver,
    words: pipe::Receiver,
    ended: JoinHandle<io::Result<ExitStatus>>,
}

/// The group of a process that this one waits for.
struct ProcessGroup {
    id: Pid,
    /// The process was waited for, so the id may belong to another one.
    is_gone: Mutex<bool>,
}

impl ProcessGroup {
    fn kill(&self) {
        let is_gone = self.is_gone.lock();
        if !*is_gone {
            // Nothing is left of it otherwise.
            let _gone = kill_process_group(self.id, Signal::KILL);
        }
    }

    /// Waits for the process, and ends the rest of its group. Blocks.
    fn wait(&self, child: &mut Child) -> io::Result<ExitStatus> {
        // The id stays taken until the group is ended.
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        let ended = retry_on_intr(|| waitid(WaitId::Pid(self.id), options));
        self.kill();
        ended?;
        let mut is_gone = self.is_gone.lock();
        *is_gone = true;
        child.wait()
    }
}

impl ProbeProcess {
    /// Starts the process and hands it the request. Blocks.
    fn start(request: &ProbeRequest) -> io::Result<Self> {
        let (lines, output) = io::pipe()?;
        let (words, error_output) = io::pipe()?;
        let mut child = Command::new(HOST)
            .arg0("framex-host")
            .arg("probe")
            .stdin(Stdio::piped())
            .stdout(output)
            .stderr(error_output)
            // What the supervisor hears is the host's to say.
            .env_remove("NOTIFY_SOCKET")
            .process_group(0)
            .spawn()?;
        let id = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let (Some(id), Some(mut input)) = (id, child.stdin.take()) else {
            return Err(io::Error::other("it has no id, or no input"));
        };
        let group = Arc::new(ProcessGroup { id, is_gone: Mutex::new(false) });
        let ended = {
            let group = Arc::clone(&group);
            spawn_blocking(move || group.wait(&mut child))
        };
        // Without a reader, the process has ended, and its end tells more than this error.
        let _told = writeln!(input, "{}", serde_json::json!(request));
        Ok(Self {
            group,
            _input: input,
            lines: pipe::Receiver::from_owned_fd(OwnedFd::from(lines))?,
            words: pipe::Receiver::from_owned_fd(OwnedFd::from(words))?,
            ended,
        })
    }

    /// Reads what the process tells and what the build's code writes, until the process ends or its time is over.
    async fn output(&mut self, within: Duration) -> io::Result<ProbeOutput> {
        let (mut lines, mut words) = (Vec::new(), Vec::new());
        let ended = {
            let (group, process) = (&self.group, &mut self.ended);
            let mut ended = pin!(async {
                if let Ok(ended) = timeout(within, &mut *process).await {
                    return Some(ended);
                }
                group.kill();
                let _vanished = timeout(VANISH, process).await;
                None
            });
            let mut read = pin!(async {
                tokio::join!(read(&mut self.lines, &mut lines), read(&mut self.words, &mut words));
            });
            tokio::select! {
                ended = &mut ended => {
                    let _partly = timeout(REST, read).await;
                    ended
                }
                () = &mut read => ended.await,
            }
        };
        let status = ended.map(|joined| joined?).transpose()?;
        let lines = String::from_utf8_lossy(&lines);
        let last = lines.lines().filter_map(|line| serde_json::from_str(line).ok()).next_back();
        let words = String::from_utf8_lossy(&words);
        let words = words.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
        let words = one_line(&words.chars().take(WORDS_MAX).collect::<String>()).into_owned();
        Ok(ProbeOutput { last, status, words })
    }
}

impl Drop for ProbeProcess {
    fn drop(&mut self) {
        self.group.kill();
    }
}

/// Reads to the end, and keeps the first bytes.
async fn read(from: &mut pipe::Receiver, to: &mut Vec<u8>) {
    let mut chunk = vec![0; 4096];
    while let Ok(read @ 1..) = from.read(&mut chunk).await {
        let room = OUTPUT_BYTES_MAX.saturating_sub(to.len());
        to.extend_from_slice(&chunk[..read.min(room)]);
    }
}

/// The end of a process, and its last words.
struct ProbeOutput {
    /// Its last line.
    last: Option<ProbeLine>,
    /// Its status; `None` if it was killed because its time was over.
    status: Option<ExitStatus>,
    /// The last line that the build's code wrote to the error output.
    words: String,
}

/// The result of a probe.
enum ProbeVerdict {
    Passed,
    NotMapped(String),
    Unfit(String),
    /// The build does not leave its process alone; in words.
    Harmful(String),
    /// The process of the probe itself failed; in words.
    Unknown(String),
}

impl ProbeOutput {
    fn verdict(self, within: Duration) -> ProbeVerdict {
        let whose = match self.last {
            Some(ProbeLine::Passed) => return ProbeVerdict::Passed,
            Some(ProbeLine::NotMapped { reason }) => return ProbeVerdict::NotMapped(reason),
            Some(ProbeLine::Unfit { reason }) => return ProbeVerdict::Unfit(reason),
            Some(ProbeLine::Forked) => {
                return ProbeVerdict::Harmful(
                    "mapping it began another process and left it behind".to_owned(),
                );
            }
            Some(ProbeLine::Failed { reason }) => return ProbeVerdict::Unknown(reason),
            Some(ProbeLine::Mapping) => "mapping it",
            Some(ProbeLine::Unmapping) => "unmapping it",
            None => {
                let how =
                    self.status.map_or_else(|| "no time was left".to_owned(), |status| status.to_string());
                return ProbeVerdict::Unknown(format!("its process told nothing: {how}{}", self.words()));
            }
        };
        let Some(status) = self.status else {
            return ProbeVerdict::Harmful(format!("{whose} did not end within {} ms", within.as_millis()));
        };
        let how = match (status.signal(), status.code()) {
            (Some(SIGXCPU), _) => format!("took more than {} s of the processor", within.as_secs() + 1),
            (Some(signal), _) => {
                let name = signal_name(signal).map(|name| format!(" ({name})")).unwrap_or_default();
                format!("ended the process with signal {signal}{name}")
            }
            (None, code) => format!("ended the process with exit code {}", code.unwrap_or_default()),
        };
        ProbeVerdict::Harmful(format!("{whose} {how}{}", self.words()))
    }

    fn words(&self) -> String {
        if self.words.is_empty() { String::new() } else { format!("; its last words: {}", self.words) }
    }
}
