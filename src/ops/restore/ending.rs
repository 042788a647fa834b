//! The end of a restore that was begun: resumed, undone or committed. Neither the store nor an identity is needed.

use serde::Serialize;

use crate::config::Config;
use crate::error::{Error, Kind, Result};
use crate::host::Docker;
use crate::id::{SnapshotId, TenantName};
use crate::ops::appliance::Surroundings;
use crate::ops::state::State;

use super::journal::{self, Kept, Pending, Phase};
use super::run::Run;

/// How a restore that had been begun was ended.
#[derive(Debug, Serialize)]
pub struct Ended {
    /// Under which name.
    pub target: TenantName,
    /// Of which snapshot.
    pub snapshot: SnapshotId,
    /// What is so now.
    pub outcome: Outcome,
    /// What is kept, or was dropped.
    pub kept: Vec<Kept>,
    /// What could not be done, and is tried again by the same command.
    pub left: Vec<String>,
}

/// What is so after a restore was ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The restored tenant runs, and the old one is kept.
    Restored,
    /// The restored tenant runs, and nothing else is left.
    Committed,
    /// The tenant is as it was before.
    Undone,
}

/// Who ends a restore that was begun: needs neither the store nor any identity.
#[derive(Debug)]
pub struct Ending<'a> {
    /// The checked configuration.
    pub config: &'a Config,
    /// The state folder.
    pub state: &'a State,
    /// Clock, monitor, stop.
    pub around: &'a Surroundings,
}

impl Ending<'_> {
    async fn run(&self, target: &TenantName) -> Result<Run<'_>> {
        let docker = Docker::connect_to(self.config.machine.docker_host.as_deref()).await?;
        Ok(Run::new(docker, journal::open(self.state, target)?, self.around))
    }

    /// Returns the restore that was begun, or [`Kind::NotFound`].
    pub fn pending(&self, target: &TenantName) -> Result<Pending> {
        journal::pending(self.state, target)?.ok_or_else(|| {
            Error::new(
                Kind::NotFound,
                format!("tenant {target}: no restore waits to be committed, undone or resumed"),
            )
        })
    }

    /// Goes on with what was cut off after all was built: a switch, an undo, a commit.
    pub async fn resume(&self, target: &TenantName) -> Result<Ended> {
        let pending = self.pending(target)?;
        let _lock = self.state.lock(target)?;
        match pending.phase {
            Phase::Undoing => return self.back(pending).await,
            Phase::Committing => return self.drop_kept(pending).await,
            Phase::Done if pending.keeps.is_empty() => return self.drop_kept(pending).await,
            Phase::Done => return Ok(ended(pending, Outcome::Restored, Vec::new())),
            Phase::Staging if pending.needs_snapshot() => {
                let what = format!("tenant {target}: {}", pending.sentence());
                return Err(
                    Error::new(Kind::WrongKey, what).hint("it was still being built: give --identity FILE")
                );
            }
            Phase::Staging | Phase::Switching => {}
        }
        let run = self.run(target).await?;
        run.switch().await?;
        let kept = run.finish().await?;
        let outcome = match kept.is_empty() {
            true => run.commit().await.map(|_| Outcome::Committed)?,
            false => Outcome::Restored,
        };
        Ok(Ended { kept, ..ended(pending, outcome, Vec::new()) })
    }

    /// Brings back what was there before.
    pub async fn undo(&self, target: &TenantName) -> Result<Ended> {
        let pending = self.pending(target)?;
        if pending.phase == Phase::Committing {
            return Err(Error::new(Kind::Conflict, format!("tenant {target}: {}", pending.sentence())));
        }
        let _lock = self.state.lock(target)?;
        self.back(pending).await
    }

    async fn back(&self, pending: Pending) -> Result<Ended> {
        let left = self.run(&pending.target).await?.back().await?;
        Ok(ended(pending, Outcome::Undone, left))
    }

    /// Drops what was there before.
    pub async fn commit(&self, target: &TenantName) -> Result<Ended> {
        let pending = self.pending(target)?;
        if !matches!(pending.phase, Phase::Done | Phase::Committing) {
            return Err(Error::new(Kind::Conflict, format!("tenant {target}: {}", pending.sentence())));
        }
        let _lock = self.state.lock(target)?;
        self.drop_kept(pending).await
    }

    async fn drop_kept(&self, pending: Pending) -> Result<Ended> {
        self.run(&pending.target).await?.commit().await?;
        Ok(ended(pending, Outcome::Committed, Vec::new()))
    }
}

fn ended(pending: Pending, outcome: Outcome, left: Vec<String>) -> Ended {
    Ended { target: pending.target, snapshot: pending.snapshot, outcome, kept: pending.keeps, left }
}
