//! A time limit of the head of a request, from its first byte: a timer for hyper, whose own begins as soon as the
//! last answer is out, and so ends connections that are only idle (hyperium/hyper#3828).

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::rt::{Sleep, Timer};

use crate::http::limits::Activity;

/// Makes the timers of one connection of HTTP/1. They run for `within`, not for the time that hyper asks for.
#[derive(Debug, Clone)]
pub(crate) struct HeadTime {
    activity: Arc<Activity>,
    within: Duration,
}

/// Ends when the head that is awaited has begun, and is not there in time. hyper polls it for as long as it awaits one.
struct Awaited {
    of: HeadTime,
    /// Since the head began.
    running: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl HeadTime {
    pub(crate) fn new(activity: &Arc<Activity>, within: Duration) -> Self {
        Self { activity: Arc::clone(activity), within }
    }
}

impl Timer for HeadTime {
    fn sleep(&self, _: Duration) -> Pin<Box<dyn Sleep>> {
        self.activity.listens();
        Box::pin(Awaited { of: self.clone(), running: None })
    }

    fn sleep_until(&self, _: Instant) -> Pin<Box<dyn Sleep>> {
        self.sleep(Duration::ZERO)
    }

    fn reset(&self, sleep: &mut Pin<Box<dyn Sleep>>, _: Instant) {
        *sleep = self.sleep(Duration::ZERO);
    }
}

impl Future for Awaited {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        if this.running.is_none() && this.of.activity.has_heard() {
            this.running = Some(Box::pin(tokio::time::sleep(this.of.within)));
        }
        this.running.as_mut().map_or(Poll::Pending, |running| running.as_mut().poll(context))
    }
}

impl Sleep for Awaited {}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use tokio::time::advance;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn the_time_begins_with_the_first_byte() {
        let activity = Arc::new(Activity::new(Instant::now(), Arc::default()));
        activity.hears();
        let mut awaited = HeadTime::new(&activity, SECOND).sleep_until(Instant::now());
        advance(SECOND * 100).await;
        assert_eq!(awaited.as_mut().now_or_never(), None, "earlier bytes are not part of this head");
        activity.hears();
        assert_eq!(awaited.as_mut().now_or_never(), None);
        advance(SECOND / 2).await;
        activity.hears();
        assert_eq!(awaited.as_mut().now_or_never(), None);
        advance(SECOND / 2).await;
        assert_eq!(awaited.as_mut().now_or_never(), Some(()), "later bytes do not give it more time");
    }
}
