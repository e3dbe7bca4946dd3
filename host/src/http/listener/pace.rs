//! A bound on what is read of a stream in one turn: HTTP/2 is decoded as it is read, and heads that were decoded wait for
//! their requests to begin until nothing more can be read.
//!
//! While the requests of strangers are as many as they may be, no more are read from theirs. Of HTTP/1, it is noted that
//! something came.
//!
//! One byte can stand for a header line that was sent before (RFC 7541, section 6.1), and takes 72 bytes once it is
//! decoded. Without this, the heads of all streams of a connection would lie in memory before the first is looked at.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::Sleep;

use crate::http::limits::Activity;

/// Maximum number of bytes that are read in one turn.
const TURN_BYTES: usize = 64 << 10;
/// The same from strangers: between two turns, what was begun for others goes on.
const TURN_OF_STRANGERS_BYTES: usize = 16 << 10;
/// Interval between looks while nothing is read from strangers because they are crowded.
const PAUSE: Duration = Duration::from_millis(5);
/// The begin of an HTTP/2 connection (RFC 9113, section 3.4), as far as no request of HTTP/1 begins like it.
const PREFACE: &[u8] = b"PRI * HTTP/2";

/// Reads 64 KiB in a turn, 16 KiB from strangers, and what the last read of it brings, if the stream is one of HTTP/2.
#[derive(Debug)]
pub(super) struct Pace {
    activity: Arc<Activity>,
    /// Runs while nothing is read.
    pause: Option<Pin<Box<Sleep>>>,
    /// Bytes of the preface that have come; nothing once the stream turned out to be of HTTP/1.
    preface: Option<usize>,
}

impl Pace {
    pub(super) fn new(activity: Arc<Activity>) -> Self {
        Self { activity, pause: None, preface: Some(0) }
    }

    /// Reads from `stream`, unless this turn has read enough.
    pub(super) fn poll_read(
        &mut self,
        stream: Pin<&mut impl AsyncRead>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        if self.preface.is_none() {
            let read = stream.poll_read(context, buffer);
            if buffer.filled().len() > before {
                self.activity.hears();
            }
            return read;
        }
        if self.waits(context) {
            return Poll::Pending;
        }
        let most = if self.activity.strangers.are_known() { TURN_BYTES } else { TURN_OF_STRANGERS_BYTES };
        if self.activity.turn_bytes.load(Ordering::Relaxed) >= most {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let read = stream.poll_read(context, buffer);
        let new = &buffer.filled()[before..];
        self.activity.turn_bytes.fetch_add(new.len(), Ordering::Relaxed);
        self.look(new);
        read
    }

    /// Returns true if other requests of strangers must end first; the task is woken to look again.
    fn waits(&mut self, context: &mut Context<'_>) -> bool {
        let strangers = &self.activity.strangers;
        if strangers.are_known() || !strangers.all.are_crowded() {
            self.pause = None;
            return false;
        }
        while self
            .pause
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(PAUSE)))
            .as_mut()
            .poll(context)
            .is_ready()
        {
            self.pause = None;
        }
        true
    }

    /// Looks at the first bytes.
    fn look(&mut self, bytes: &[u8]) {
        if let Some(seen) = self.preface.filter(|seen| *seen < PREFACE.len()) {
            let expected = &PREFACE[seen..];
            let common = expected.len().min(bytes.len());
            self.preface = (expected[..common] == bytes[..common]).then_some(seen + common);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncWriteExt as _, DuplexStream};

    use super::*;
    use crate::http::limits::Strangers;

    fn activity(strangers: &Arc<Strangers>) -> Arc<Activity> {
        Arc::new(Activity::new(std::time::Instant::now(), Arc::clone(strangers)))
    }

    async fn read(pace: &mut Pace, stream: &mut DuplexStream, bytes: &mut [u8]) -> usize {
        let mut buffer = ReadBuf::new(bytes);
        poll_fn(|context| pace.poll_read(Pin::new(stream), context, &mut buffer)).await.unwrap();
        buffer.filled().len()
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_read_from_strangers_while_they_are_crowded() {
        let strangers = Strangers::new(0);
        let crowd = activity(&strangers);
        let requests: Vec<_> = (0..1025).map(|_| crowd.begin()).collect();
        let (mut ours, mut theirs) = tokio::io::duplex(64);
        let reader = activity(&strangers);
        let mut pace = Pace::new(Arc::clone(&reader));
        theirs.write_all(b"PRI").await.unwrap();
        let mut buffer = [0; 8];
        let second = Duration::from_secs(1);
        assert!(tokio::time::timeout(second, read(&mut pace, &mut ours, &mut buffer)).await.is_err());
        drop(requests);
        let again = tokio::time::timeout(second, read(&mut pace, &mut ours, &mut buffer)).await;
        assert_eq!(again.unwrap(), 3);
        let _again: Vec<_> = (0..1025).map(|_| crowd.begin()).collect();
        reader.begin().known();
        theirs.write_all(b" * ").await.unwrap();
        assert_eq!(read(&mut pace, &mut ours, &mut buffer).await, 3, "it stopped being a stranger's");
    }

    /// Returns the number of bytes that are read before the first turn ends.
    async fn reads_at_once(begins: &[u8], is_known: bool) -> usize {
        // The runtime bounds the work of a task between two yields.
        tokio::task::yield_now().await;
        let (mut ours, mut theirs) = tokio::io::duplex(1 << 20);
        // In pieces, as the system may hand them over.
        let (first, rest) = begins.split_at(2);
        let activity = activity(&Arc::default());
        if is_known {
            activity.begin().known();
        }
        let mut pace = Pace::new(Arc::clone(&activity));
        activity.turn_bytes.store(0, Ordering::Relaxed);
        let mut buffer = vec![0; 8 << 10];
        theirs.write_all(first).await.unwrap();
        let mut count = read(&mut pace, &mut ours, &mut buffer).await;
        theirs.write_all(&[rest, &vec![0; 512 << 10]].concat()).await.unwrap();
        loop {
            let more = std::pin::pin!(read(&mut pace, &mut ours, &mut buffer));
            match futures_util::FutureExt::now_or_never(more) {
                Some(more) => count += more,
                None => break,
            }
            if count == begins.len() + (512 << 10) {
                break;
            }
        }
        activity.turn_bytes.store(0, Ordering::Relaxed);
        if count < 512 << 10 {
            assert!(read(&mut pace, &mut ours, &mut buffer).await > 0, "the next turn goes on");
        }
        count
    }

    #[tokio::test]
    async fn a_turn_of_http2_ends_and_http1_goes_on() {
        for (is_known, most) in [(true, TURN_BYTES), (false, TURN_OF_STRANGERS_BYTES)] {
            let read = reads_at_once(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", is_known).await;
            assert!((most..most + (8 << 10)).contains(&read), "{read} bytes were read");
        }
        assert!(reads_at_once(b"PRIVATE / HTTP/1.1\r\n\r\n", false).await > 512 << 10);
        assert!(reads_at_once(b"POST / HTTP/1.1\r\n\r\n", false).await > 512 << 10);
    }
}
