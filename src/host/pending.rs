//! What goes on in the daemon though nobody may wait for it any more.
//!
//! A request that was sent cannot be taken back: a container whose maker was interrupted appears a moment later. So
//! what makes something runs to its end by itself, and whoever cleans up waits for that first.

use std::future::Future;

use tokio_util::task::TaskTracker;

use super::Docker;
use crate::error::{Context, Kind, Result};

/// Calls under way; clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct Pending {
    making: TaskTracker,
    removing: TaskTracker,
}

impl Docker {
    /// Makes a call that goes on to its end when whoever waits for it is dropped.
    pub(super) async fn to_its_end<T: Send + 'static>(
        &self,
        call: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        self.pending.making.spawn(call).await.context(Kind::Bug, "call of docker")?
    }

    /// Waits until what was asked for is made and what [`Docker::remove_later`] was told is gone.
    ///
    /// To be called before anything is removed after an interruption. Bounded by the time limit of the calls.
    pub async fn settle(&self) {
        for tracker in [&self.pending.making, &self.pending.removing] {
            tracker.close();
            tracker.wait().await;
            tracker.reopen();
        }
    }

    /// Removes a container as soon as nothing is being made any more, without anybody waiting for it.
    ///
    /// For use when a future is dropped; does nothing outside a runtime. What fails is swept by its labels.
    pub fn remove_later(&self, container: String) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let docker = self.clone();
        let removal = async move {
            docker.pending.making.close();
            docker.pending.making.wait().await;
            if let Err(error) = docker.remove(&container).await {
                tracing::warn!(%error, "a container is left");
            }
        };
        self.pending.removing.spawn_on(removal, &runtime);
    }
}
