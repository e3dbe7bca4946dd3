//! The lines that wait to be written to the error output, and the one thread that writes them.
//!
//! Its other end may not read (a full pipe, a full disk, a shim that has ended): only this thread waits for it. Other
//! threads add lines to a queue of a fixed size, in bytes, or drop them. Lost lines are counted, and the count is logged
//! once lines arrive again.
//!
//! Not `tracing-appender`, which bounds the number of lines and not their size, loses lines by errors of the output
//! without counting them, and leaves half a line where a pipe does not block.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use framex_host::base::{LOG_LINES_DROPPED, Mutex};

/// Most bytes that wait. A host that logs 100,000 lines a second fills them in half a second.
const BYTES_MAX: usize = 8 << 20;
/// Maximum size of one write: whole lines up to this many bytes reach a pipe undivided, also where the processes of
/// plugins write to it as well (`PIPE_BUF`, pipe(7)).
const WRITE_BYTES_MAX: usize = 4096;
/// A buffer that has become larger is not kept.
const KEPT_BYTES_MAX: usize = 256 << 10;
/// Interval between attempts to write to a non-blocking output that is full.
const RETRY: Duration = Duration::from_millis(10);
/// Lost lines are not said more often while others arrive.
const REPORT_PAUSE: Duration = Duration::from_secs(1);
/// Longest waits of the process's end for its lines: without progress, and in total.
const STALL_MAX: Duration = Duration::from_millis(500);
const FLUSH_MAX: Duration = Duration::from_secs(3);

static QUEUE: OnceLock<Option<&'static Queue>> = OnceLock::new();

/// Lines on their way to the error output.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    state: Mutex<QueueState>,
    added: Condvar,
    written: Condvar,
    /// Counts the writes that went well, so that one who waits sees progress.
    writes: AtomicU64,
}

#[derive(Debug, Default)]
struct QueueState {
    waiting: Vec<u8>,
    is_writing: bool,
    /// Lines that were lost and have not been spoken of.
    lost: u64,
}

impl Queue {
    /// The queue of this process, whose thread starts with the first line; `None` where the system has no thread.
    pub(crate) fn of_process() -> Option<&'static Self> {
        *QUEUE.get_or_init(|| {
            let queue: &Self = Box::leak(Box::default());
            let thread = std::thread::Builder::new().name("log".to_owned());
            thread.spawn(move || queue.write_all(io::stderr().as_fd())).ok().map(|_| queue)
        })
    }

    /// The same, if there was a line.
    pub(crate) fn if_used() -> Option<&'static Self> {
        *QUEUE.get()?
    }

    /// Adds a line, which has its end; or drops it, if there is no room.
    pub(crate) fn add(&self, line: &[u8]) {
        let mut state = self.state.lock();
        if state.waiting.len() + line.len() > BYTES_MAX {
            state.lost += 1;
            LOG_LINES_DROPPED.count();
            return;
        }
        let was_empty = state.waiting.is_empty();
        state.waiting.extend_from_slice(line);
        drop(state);
        if was_empty {
            self.added.notify_one();
        }
    }

    /// Waits until everything is written, as long as something is.
    pub(crate) fn flush(&self) {
        let deadline = Instant::now() + FLUSH_MAX;
        let mut state = self.state.lock();
        let mut seen = self.writes.load(Ordering::Relaxed);
        while state.is_writing || !state.waiting.is_empty() {
            let waited = self.written.wait_timeout(state, STALL_MAX);
            let (woken, outcome) = waited.unwrap_or_else(PoisonError::into_inner);
            state = woken;
            let now = self.writes.load(Ordering::Relaxed);
            if Instant::now() >= deadline || (outcome.timed_out() && now == seen) {
                return;
            }
            seen = now;
        }
    }

    /// Writes what comes, for as long as the process lives. No error ends it: a disk has room again some time.
    fn write_all(&self, to: BorrowedFd<'_>) {
        let (mut batch, mut is_torn, mut reported) = (Vec::new(), false, None::<Instant>);
        loop {
            self.next(&mut batch);
            let lost = self.write(to, &batch, &mut is_torn);
            batch.clear();
            batch.shrink_to(KEPT_BYTES_MAX);
            LOG_LINES_DROPPED.add(lost);
            let mut state = self.state.lock();
            state.is_writing = false;
            state.lost += lost;
            let may_report =
                state.waiting.is_empty() || reported.is_none_or(|at| at.elapsed() >= REPORT_PAUSE);
            let lost = if lost == 0 && may_report { std::mem::take(&mut state.lost) } else { 0 };
            drop(state);
            if lost > 0 {
                reported = Some(Instant::now());
                tracing::warn!(lines = lost, "lines of the log were dropped: its reader did not take them");
            }
            self.written.notify_all();
        }
    }

    /// Takes all lines that wait, at least one, in exchange for an empty buffer.
    fn next(&self, batch: &mut Vec<u8>) {
        let mut state = self.state.lock();
        while state.waiting.is_empty() {
            state = self.added.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        std::mem::swap(batch, &mut state.waiting);
        state.is_writing = true;
    }

    /// Writes lines; returns how many were lost. `is_torn`: the last one that was written has no end.
    fn write(&self, to: BorrowedFd<'_>, mut lines: &[u8], is_torn: &mut bool) -> u64 {
        let mut lost = 0;
        while !lines.is_empty() {
            let (chunk, rest) = lines.split_at(whole_lines(lines));
            lines = rest;
            let begun = if *is_torn { write_to(to, b"\n") } else { Ok(()) };
            let written = begun.and_then(|()| {
                *is_torn = false;
                write_to(to, chunk)
            });
            match written {
                Ok(()) => _ = self.writes.fetch_add(1, Ordering::Relaxed),
                Err(Broken { left, .. }) => {
                    let unwritten = &chunk[chunk.len().saturating_sub(left)..];
                    *is_torn |= unwritten.len() < chunk.len();
                    lost += unwritten.iter().filter(|byte| **byte == b'\n').count() as u64;
                }
            }
        }
        lost
    }
}

/// The length of the lines that one write takes, at least one.
fn whole_lines(lines: &[u8]) -> usize {
    let end_of_line = |bytes: &[u8]| bytes.iter().rposition(|byte| *byte == b'\n').map(|at| at + 1);
    let within = end_of_line(&lines[..lines.len().min(WRITE_BYTES_MAX)]);
    let first = || lines.iter().position(|byte| *byte == b'\n').map(|at| at + 1);
    within.or_else(first).unwrap_or(lines.len())
}

/// The failure of a write.
#[derive(Debug)]
pub(crate) struct Broken {
    /// The number of bytes that were not written, the last ones.
    left: usize,
    pub(crate) error: io::Error,
}

/// Writes everything, and waits for an output that is full, also if it was set not to block, as a program at the other
/// end of a pipe or terminal may have done.
pub(crate) fn write_to(to: BorrowedFd<'_>, mut bytes: &[u8]) -> Result<(), Broken> {
    while !bytes.is_empty() {
        match rustix::io::write(to, bytes) {
            Ok(0) => return Err(Broken { left: bytes.len(), error: io::ErrorKind::WriteZero.into() }),
            Ok(written) => bytes = &bytes[written..],
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => std::thread::park_timeout(RETRY),
            Err(error) => return Err(Broken { left: bytes.len(), error: error.into() }),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_write_takes_whole_lines() {
        let check = |lines: &[u8], length: usize| assert_eq!(whole_lines(lines), length);
        check(b"one\ntwo\n", 8);
        let long = [&[b'x'; WRITE_BYTES_MAX][..], b"\n"].concat();
        check(&long, WRITE_BYTES_MAX + 1);
        check(&[b"one\n", &long[..]].concat(), 4);
        check(b"without an end", 14);
    }

    #[test]
    fn a_reader_that_does_not_read_holds_nobody_and_what_it_misses_is_counted() {
        let (mut reader, writer) = io::pipe().unwrap();
        let queue = Arc::new(Queue::default());
        let of_thread = Arc::clone(&queue);
        let _until_the_end = std::thread::spawn(move || of_thread.write_all(writer.as_fd()));
        let line = [&[b'x'; 1023][..], b"\n"].concat();
        let before = LOG_LINES_DROPPED.get();
        // Twice the bound, as one half may be with the thread, and what a pipe takes.
        for _ in 0..BYTES_MAX * 3 / line.len() {
            queue.add(&line);
        }
        let dropped = LOG_LINES_DROPPED.get() - before;
        assert!(dropped > 0);
        let begun = Instant::now();
        queue.flush();
        assert!(begun.elapsed() < FLUSH_MAX, "without a reader, the end does not wait");
        let mut all = vec![0; line.len() * (BYTES_MAX * 3 / line.len() - usize::try_from(dropped).unwrap())];
        reader.read_exact(&mut all).unwrap();
        queue.flush();
        assert!(all.chunks(line.len()).all(|read| read == line), "whole lines, in order");
    }
}
