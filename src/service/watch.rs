//! A look at how all tenants are every few minutes, and at what they use every hour, so that whoever asks the service gets
//! an answer at once.
//!
//! Owns when it is looked and for how long at most. What a look is stands in `ops::health` and `ops::capacity`; it changes
//! nothing.

use std::sync::Arc;
use std::time::Duration;

use super::desk::Desk;
use super::jobs::Jobs;
use crate::error::Result;

/// When it is looked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// How long after a look the next one begins. Real time: a clock that is set wrong must not stop it.
    period: Duration,
    /// A look that takes longer is given up; each of its probes has a far shorter limit of its own.
    limit: Duration,
}

impl Pace {
    /// That of looks at health.
    pub const HEALTH: Pace = Pace { period: Duration::from_secs(300), limit: Duration::from_secs(240) };

    /// That of looks at what is used: it changes by days.
    pub const CAPACITY: Pace = Pace { period: Duration::from_secs(3600), limit: Duration::from_secs(900) };
}

/// Looks again and again, for as long as it is not dropped.
pub(super) async fn keep<J: Jobs>(desk: Arc<Desk>, jobs: Arc<J>, pace: Pace) {
    loop {
        match seen("health", jobs.look(), pace).await {
            Seen::This(report) => desk.looked(report),
            Seen::Nothing => {}
            Seen::Never => return,
        }
        tokio::time::sleep(pace.period).await;
    }
}

/// Measures again and again, for as long as it is not dropped.
pub(super) async fn measure<J: Jobs>(desk: Arc<Desk>, jobs: Arc<J>, pace: Pace) {
    loop {
        match seen("capacity", jobs.measure(), pace).await {
            Seen::This(capacity) => desk.measured(capacity),
            Seen::Nothing => {}
            Seen::Never => return,
        }
        tokio::time::sleep(pace.period).await;
    }
}

enum Seen<T> {
    This(T),
    /// Not this time.
    Nothing,
    /// Nothing here can look.
    Never,
}

async fn seen<T>(what: &str, look: impl Future<Output = Option<Result<T>>>, pace: Pace) -> Seen<T> {
    match tokio::time::timeout(pace.limit, look).await {
        Ok(Some(Ok(found))) => return Seen::This(found),
        Ok(None) => return Seen::Never,
        Ok(Some(Err(e))) => tracing::warn!(error = %e, what, "it was not looked at"),
        Err(_) => tracing::warn!(limit_seconds = pace.limit.as_secs(), what, "a look took too long"),
    }
    Seen::Nothing
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use async_trait::async_trait;
    use jiff::Timestamp;

    use super::*;
    use crate::config::{Config, SourceFile, Surroundings};
    use crate::error::{Error, Kind};
    use crate::id::TenantName;
    use crate::ops::health::{Report, State};
    use crate::service::journal::Journal;
    use crate::service::report::JobReport;
    use crate::service::run::Trigger;

    /// Whoever is asked to look: hangs at first, then fails, then sees.
    #[derive(Default)]
    struct Eyes(AtomicUsize);

    #[async_trait]
    impl Jobs for Eyes {
        async fn backup(&self, _: &TenantName, _: Trigger) -> Result<JobReport> {
            Err(Error::new(Kind::Bug, "nobody asked for it"))
        }

        async fn drill(&self, _: &TenantName) -> Result<JobReport> {
            Err(Error::new(Kind::Bug, "nobody asked for it"))
        }

        async fn look(&self) -> Option<Result<Report>> {
            match self.0.fetch_add(1, Ordering::SeqCst) {
                0 => std::future::pending().await,
                1 => Some(Err(Error::new(Kind::Host, "docker does not answer"))),
                n => Some(Ok(Report {
                    format: 1,
                    now: Timestamp::UNIX_EPOCH,
                    seconds: n as f64,
                    state: State::Ok,
                    host: Vec::new(),
                    tenants: Vec::new(),
                })),
            }
        }

        fn can_drill(&self, _: &TenantName) -> bool {
            false
        }

        fn held(&self, _: &TenantName, _: Timestamp) -> Option<String> {
            None
        }
    }

    #[tokio::test]
    async fn a_look_that_hangs_and_one_that_fails_keep_none_from_being_taken() {
        let dir = tempfile::tempdir().unwrap();
        let files = [SourceFile::new("lifeboat.toml", "host = \"h1\"\n[store]\nurl = \"file:///s\"\n")];
        let around = Surroundings { hostname: "h1".into(), zone: jiff::tz::TimeZone::UTC };
        let config = Config::from_files(Path::new("/etc/lifeboat"), &files, &around).unwrap();
        let (journal, _) = Journal::open(dir.path()).unwrap();
        let desk = Arc::new(Desk::new(Arc::new(config), journal, Timestamp::UNIX_EPOCH, |_| None));
        let millis = Duration::from_millis;
        let pace = Pace { period: millis(1), limit: millis(20) };
        let watching = tokio::spawn(keep(Arc::clone(&desk), Arc::new(Eyes::default()), pace));
        while desk.health().is_none_or(|seen| seen.seconds < 3.0) {
            tokio::time::sleep(millis(1)).await;
        }
        watching.abort();
    }
}
