//! How many probes run at a time, and how long each may take.
//!
//! Owns the bounds. A probe holds one of a few places, but not for long: whoever does not answer within a moment goes on
//! waiting without one. So many healthy tenants do not burden the host all at once, and dead ones keep no place from them.

use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use crate::error::{Error, Kind, Result};

/// How long probes may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// One probe of a server, a container, a file system or a name.
    pub probe: Duration,
    /// One run of `bench`, which starts a Python with all of Frappe.
    pub bench: Duration,
    /// Opening the repository, and reading one tenant's receipts.
    pub store: Duration,
    /// How many probes hold a place at a time.
    pub at_once: usize,
}

impl Default for Limits {
    fn default() -> Self {
        let s = Duration::from_secs;
        Limits { probe: s(10), bench: s(30), store: s(20), at_once: 16 }
    }
}

impl Limits {
    /// Returns the longest that a single probe may take.
    pub fn slowest(&self) -> Duration {
        self.probe.max(self.bench).max(self.store)
    }
}

/// How long a probe holds its place.
pub(super) const HELD: Duration = Duration::from_millis(700);

/// The places.
#[derive(Debug)]
pub(super) struct Places {
    free: Semaphore,
    held: Duration,
}

impl Places {
    pub fn new(n: usize, held: Duration) -> Places {
        Places { free: Semaphore::new(n.max(1)), held }
    }

    /// Runs probes of one thing, one after the other, once there is a place.
    pub async fn take<T>(&self, work: impl Future<Output = T>) -> T {
        // Never closed.
        let place = self.free.acquire().await.ok();
        tokio::pin!(work);
        tokio::select! {
            biased;
            done = &mut work => return done,
            () = sleep(self.held) => {}
        }
        drop(place);
        work.await
    }
}

/// Waits for one probe of `what`, at most `limit`.
pub(super) async fn within<T>(
    limit: Duration,
    what: impl std::fmt::Display,
    probe: impl Future<Output = Result<T>>,
) -> Result<T> {
    match timeout(limit, probe).await {
        Ok(answer) => answer,
        Err(_) => {
            Err(Error::new(Kind::Timeout, format!("{what} does not answer within {} s", limit.as_secs())))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_dead_keep_no_place_from_the_living() {
        let places = Places::new(2, Duration::from_millis(1));
        let dead = || places.take(std::future::pending::<()>());
        let alive = || places.take(async {});
        // The dead never end; that the living do is the proof.
        tokio::select! {
            biased;
            _ = async { futures::join!(dead(), dead(), dead(), dead(), dead()) } => unreachable!("they are dead"),
            _ = async { futures::join!(alive(), alive(), alive()) } => {}
        }
    }

    #[tokio::test]
    async fn what_does_not_answer_is_named_with_its_limit() {
        let never = std::future::pending::<Result<()>>();
        let error = within(Duration::from_secs(1), "mariadb in container x", never).await.unwrap_err();
        assert_eq!(error.to_string(), "mariadb in container x does not answer within 1 s");
    }
}
