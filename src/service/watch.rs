//! A look at how all tenants are, every few minutes, so that whoever asks the service gets an answer at once.
//!
//! Owns when it is looked and for how long at most. What a look is stands in `ops::health`; it changes nothing.

use std::sync::Arc;
use std::time::Duration;

use super::desk::Desk;
use super::jobs::Jobs;

/// How long after a look the next one begins.
const PERIOD: Duration = Duration::from_secs(300);

/// A look that takes longer is given up; each of its probes has a far shorter limit of its own.
const LIMIT: Duration = Duration::from_secs(240);

/// Looks again and again, for as long as it is not dropped.
pub(super) async fn keep<J: Jobs>(desk: Arc<Desk>, jobs: Arc<J>) {
    loop {
        match tokio::time::timeout(LIMIT, jobs.look()).await {
            Ok(Some(Ok(report))) => desk.looked(report),
            Ok(Some(Err(e))) => tracing::warn!(error = %e, "health was not looked at"),
            // Nothing here can look.
            Ok(None) => return,
            Err(_) => tracing::warn!(limit_seconds = LIMIT.as_secs(), "a look at health took too long"),
        }
        // Real time: a clock that is set wrong must not stop it.
        tokio::time::sleep(PERIOD).await;
    }
}
