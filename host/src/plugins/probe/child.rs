//! The process of a probe: maps the libraries of one request, and tells each step on the standard output.

use std::io::{self, BufRead as _, Read as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{
    Pid, Resource, Rlimit, Signal, WaitOptions, getpid, getrlimit, kill_process, set_child_subreaper,
    setrlimit, wait,
};
use tokio::runtime::Builder;

use super::report::{ProbeLine, ProbeRequest, ProbedFile};
use crate::files::PrivatePath;
use crate::plugins::error::PluginError;
use crate::plugins::file::companions::Companion;
use crate::plugins::file::object_file;
use crate::plugins::file::stage::Staged;
use crate::plugins::load::library::{Library, map_companions};
use crate::plugins::load::threads::{Lost, on_mapper};
use crate::plugins::native;
use crate::plugins::process::maps::Maps;

/// Longest request in bytes.
const REQUEST_BYTES_MAX: u64 = 1 << 20;
/// Most memory that the code of a build may take, in bytes.
const MEMORY_BYTES_MAX: u64 = 2 << 30;
/// Most open descriptors.
const DESCRIPTORS_MAX: u64 = 256;
/// Longest time for one step. The host ends the process much sooner.
const STEP_MAX: Duration = Duration::from_secs(24 * 3600);
/// Number of looks for processes that the build's code began.
const LOOKS: u32 = 50;

/// Reads a request from the standard input and maps what it names; `tell` writes one line to the host.
pub(in crate::plugins) fn run(tell: fn(&str)) {
    let tell = |line: ProbeLine| tell(&serde_json::json!(line).to_string());
    let last = probe(tell).unwrap_or_else(|error| ProbeLine::Failed { reason: error.to_string() });
    tell(last);
}

/// Returns the last line.
fn probe(tell: impl Fn(ProbeLine)) -> io::Result<ProbeLine> {
    let request = read_request()?;
    let (plugin, copy): (Arc<str>, _) = (request.name.as_str().into(), request.plugin.copy.clone());
    bound(request.cpu_seconds)?;
    end_with_the_host()?;
    native::prepare();
    let runtime = Builder::new_current_thread().enable_time().build()?;
    tell(ProbeLine::Mapping);
    let process = getpid();
    let mapped = runtime.block_on(on_mapper(&plugin, STEP_MAX, move || {
        let mapped = map(request);
        if getpid() != process {
            // The build's code has made a copy of this process. Only the original tells the host.
            native::end_process(1);
        }
        mapped
    }));
    let library = match done(mapped)? {
        Ok(library) => library,
        Err(line) => return Ok(line),
    };
    tell(ProbeLine::Unmapping);
    let closed = runtime.block_on(on_mapper(&plugin, STEP_MAX, move || {
        // What keeps it mapped here does so in the host as well, which tells when it comes to that.
        Maps::read().range(&copy).map(|range| library.close(&range))
    }));
    done(closed)?;
    Ok(if end_children() { ProbeLine::Forked } else { ProbeLine::Passed })
}

fn read_request() -> io::Result<ProbeRequest> {
    let mut line = String::new();
    io::stdin().lock().take(REQUEST_BYTES_MAX).read_line(&mut line)?;
    Ok(serde_json::from_str(&line)?)
}

/// Bounds what the build's code may take of the machine, as far as the system lets this process (a service's filter of
/// system calls may not), and adopts the processes that it begins.
fn bound(cpu_seconds: u64) -> io::Result<()> {
    let memory = data_bytes()?.saturating_add(MEMORY_BYTES_MAX);
    let limits =
        [(Resource::Data, memory), (Resource::Nofile, DESCRIPTORS_MAX), (Resource::Cpu, cpu_seconds)];
    for (resource, most) in limits {
        let most = getrlimit(resource).maximum.map_or(most, |allowed| allowed.min(most));
        let _unlimited = setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) });
    }
    Ok(set_child_subreaper(Some(getpid()))?)
}

/// Returns the bytes that the limit on memory counts and that the process has already (proc(5), `VmData`).
fn data_bytes() -> io::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let kib = status.lines().find_map(|line| line.strip_prefix("VmData:")?.trim().strip_suffix(" kB"));
    Ok(kib.and_then(|kib| kib.parse::<u64>().ok()).unwrap_or_default().saturating_mul(1024))
}

/// Ends this process once the host has ended, or has heard enough: the standard input closes then.
fn end_with_the_host() -> io::Result<()> {
    let wait = || {
        let _closed = io::copy(&mut io::stdin().lock(), &mut io::sink());
        native::end_process(1)
    };
    std::thread::Builder::new().name("host".to_owned()).spawn(wait).map(drop)
}

/// Maps the libraries; constructors run. On the thread that maps.
fn map(request: ProbeRequest) -> Result<Library, ProbeLine> {
    let ProbeRequest { companions, plugin, name, .. } = request;
    let unreadable = |error: io::Error| ProbeLine::Failed { reason: error.to_string() };
    let copy = copy_of(plugin).map_err(unreadable)?;
    let bytes = object::ReadCache::new(copy.open().map_err(unreadable)?);
    let object = object_file::check(&bytes).map_err(|reason| ProbeLine::Unfit { reason })?;
    let companion = |brought: ProbedFile| {
        let path = Path::new(&brought.folder).join(&brought.copy);
        let soname = brought.file.clone();
        copy_of(brought).map(|staged| Companion { path, soname, staged })
    };
    let companions = companions.into_iter().map(companion).collect::<io::Result<_>>();
    map_companions(companions.map_err(unreadable)?, &name, &copy.file).map_err(line_of)?;
    Library::open(&copy, &object).map_err(line_of)
}

/// Returns the copy, which is the host's to remove.
fn copy_of(ProbedFile { folder, copy, file, sha256 }: ProbedFile) -> io::Result<Staged> {
    Staged::recorded(&PrivatePath::new(Path::new(&folder)), &copy, &file, sha256)
}

fn line_of(error: PluginError) -> ProbeLine {
    match error {
        PluginError::Unfit { reason, .. } => ProbeLine::Unfit { reason },
        PluginError::Load { reason, .. } => ProbeLine::NotMapped { reason },
        other => ProbeLine::NotMapped { reason: other.to_string() },
    }
}

fn done<T>(job: Result<Result<T, Lost>, PluginError>) -> io::Result<T> {
    let done = job.map_err(|error| io::Error::other(error.to_string()))?;
    done.map_err(|_| io::Error::other("the thread that maps it died"))
}

/// Ends the processes that the build's code has begun and not waited for. Returns true if there were any.
fn end_children() -> bool {
    let mut found = false;
    for _ in 0..LOOKS {
        match wait(WaitOptions::NOHANG) {
            Err(_) => break,
            Ok(Some(_)) => {}
            Ok(None) => {
                for child in children() {
                    // It may have ended meanwhile.
                    let _gone = kill_process(child, Signal::KILL);
                }
                std::thread::park_timeout(Duration::from_millis(1));
            }
        }
        found = true;
    }
    found
}

/// Returns the processes that this one is the parent of, also because their own parent has ended (proc(5)).
fn children() -> Vec<Pid> {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let of_task = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("children")).ok();
    let ids = tasks.filter_map(of_task).collect::<String>();
    ids.split_whitespace().filter_map(|id| Pid::from_raw(id.parse().ok()?)).collect()
}
