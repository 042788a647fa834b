//! The time, passed in.
//!
//! Owns how the service waits for a time of day. Knows nothing of what it waits for.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::sync::watch;
use tokio_cron_scheduler::{Job, JobScheduler};

use crate::error::{Context, Kind, Result};

/// How long a wait goes at most without a look at the clock, which may have been set anew.
const LOOK: Duration = Duration::from_secs(20);

/// A clock that tells the time and waits.
#[async_trait]
pub trait Clock: Send + Sync + 'static {
    /// Returns the time.
    fn now(&self) -> Timestamp;

    /// Waits until the clock shows `at` or later, or was set back.
    async fn sleep_until(&self, at: Timestamp);

    /// Waits for a span of real time, however the clock is set meanwhile.
    async fn sleep(&self, span: Duration);
}

/// The clock of this machine.
///
/// A cron job ticks at each full second of ten, so that runs start on the dot. Beside it a wait that no change of
/// the clock can stretch looks at the time again and again.
pub struct SystemClock {
    ticks: watch::Receiver<()>,
    _scheduler: JobScheduler,
}

impl SystemClock {
    /// Starts the ticks.
    pub async fn start() -> Result<Self> {
        let (tick, ticks) = watch::channel(());
        let job = Job::new("*/10 * * * * *", move |_, _| {
            tick.send_replace(());
        })
        .context(Kind::Bug, "the service's tick")?;
        let scheduler = JobScheduler::new().await.context(Kind::Bug, "the service's scheduler")?;
        scheduler.add(job).await.context(Kind::Bug, "the service's tick")?;
        scheduler.start().await.context(Kind::Bug, "the service's scheduler")?;
        Ok(SystemClock { ticks, _scheduler: scheduler })
    }
}

#[async_trait]
impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    async fn sleep_until(&self, at: Timestamp) {
        let mut ticks = self.ticks.clone();
        let mut before = self.now();
        loop {
            let now = self.now();
            let Ok(left) = Duration::try_from(at.duration_since(now)) else { return };
            if left.is_zero() || now < before {
                return;
            }
            before = now;
            let wait = tokio::time::sleep(left.min(LOOK));
            tokio::select! {
                () = wait => {}
                ticked = ticks.changed() => if ticked.is_err() {
                    // Without ticks the plain wait is all there is.
                    tokio::time::sleep(left.min(LOOK)).await;
                },
            }
        }
    }

    async fn sleep(&self, span: Duration) {
        tokio::time::sleep(span).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_clock_of_the_machine_wakes_whoever_waits_and_never_early() {
        let clock = SystemClock::start().await.unwrap();
        let past = clock.now() - jiff::SignedDuration::from_hours(1);
        clock.sleep_until(past).await;
        let soon = clock.now() + jiff::SignedDuration::from_millis(30);
        clock.sleep_until(soon).await;
        assert!(clock.now() >= soon);
    }
}
