//! What a backup reports, and what is remembered of the last attempt.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::id::{ComponentName, Sha256, SnapshotId, TenantName};
use crate::ops::anomaly::{self, Anomaly};
use crate::ops::appliance::Appliance;
use crate::ops::state;
use crate::repo::receipt::Committed;

use super::Request;

/// What became of a component.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ComponentState {
    /// All of it is in the snapshot.
    Whole,
    /// Something could not be read and is named; the rest is whole.
    Lacking,
    /// Nothing of it is in the snapshot.
    Failed,
    /// The tenant's file switches it off, for a reason.
    Skipped,
    /// The tenant's file does not mention it.
    NotConfigured,
}

impl ComponentState {
    /// All states.
    pub const ALL: [ComponentState; 5] = [
        ComponentState::Whole,
        ComponentState::Lacking,
        ComponentState::Failed,
        ComponentState::Skipped,
        ComponentState::NotConfigured,
    ];

    /// Returns the word for it, as in JSON.
    pub fn word(self) -> &'static str {
        match self {
            ComponentState::Whole => "whole",
            ComponentState::Lacking => "lacking",
            ComponentState::Failed => "failed",
            ComponentState::Skipped => "skipped",
            ComponentState::NotConfigured => "not-configured",
        }
    }
}

/// One component of a backup.
#[derive(Debug, Serialize)]
pub struct ComponentOutcome {
    /// Which.
    pub component: ComponentName,
    /// What became of it.
    pub state: ComponentState,
    /// Bytes read from the source.
    pub read_bytes: u64,
    /// Bytes of its chunks that were not known, before compression; those of tries that failed included.
    pub new_bytes: u64,
    /// What looks wrong beside the nights before.
    pub anomalies: Vec<Anomaly>,
    /// How long it took.
    pub seconds: f64,
    /// What could not be read.
    pub lacks: Vec<String>,
    /// Why it failed or was skipped.
    pub reason: Option<String>,
    /// What an operator should know.
    pub warnings: Vec<String>,
    /// Set where storing failed: no other component would fare better.
    #[serde(skip)]
    pub(super) store_failure: Option<Error>,
}

/// A committed snapshot.
#[derive(Debug, Serialize)]
pub struct Backed {
    /// Whose.
    pub tenant: TenantName,
    /// Its id.
    pub snapshot: SnapshotId,
    /// Its place in the chain of receipts.
    pub sequence: u64,
    /// The hash of its receipt: with sequence and time, the head.
    pub receipt: Sha256,
    /// Whether every configured component is whole.
    pub whole: bool,
    /// The components.
    pub components: Vec<ComponentOutcome>,
    /// Bytes this snapshot newly stored.
    pub added_bytes: u64,
    /// Bytes of the packs it needs in all.
    pub needed_bytes: u64,
    /// How many locks of reused objects were made longer.
    pub renewed_locks: u64,
    /// How long it took.
    pub seconds: f64,
    /// What an operator should know of the repository.
    pub warnings: Vec<String>,
}

impl Backed {
    /// Says what looks wrong in it beside the nights before, and what to do; nothing where all is as usual.
    pub fn suspicion(&self) -> Option<String> {
        let all = |c: &ComponentOutcome| c.anomalies.iter().map(ToString::to_string).collect::<Vec<_>>();
        let said: Vec<String> = self.components.iter().flat_map(all).collect();
        (!said.is_empty()).then(|| anomaly::advice(&self.tenant, &said.join("; ")))
    }
}

/// What the end of a night leaves to report.
pub(super) struct Ended {
    pub committed: Committed,
    pub renewed_locks: u64,
    pub warnings: Vec<String>,
}

impl Backed {
    pub(super) fn new(night: Ended, components: Vec<ComponentOutcome>, took: Duration) -> Self {
        let Ended { committed, renewed_locks, warnings } = night;
        let r = &committed.receipt;
        Backed {
            tenant: r.tenant.clone(),
            snapshot: r.snapshot.clone(),
            sequence: r.sequence,
            receipt: committed.hash,
            whole: r.is_whole(),
            components,
            added_bytes: r.added_bytes,
            needed_bytes: r.packs_bytes(),
            renewed_locks,
            seconds: took.as_secs_f64(),
            warnings,
        }
    }
}

/// The last attempt at a backup, good or bad, as the state folder keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// When it began.
    pub started: Timestamp,
    /// When it ended.
    pub finished: Timestamp,
    /// `whole`, `partial`, or the word of an error's kind.
    pub outcome: String,
    /// What went wrong.
    pub message: Option<String>,
    /// The snapshot, if one was committed.
    pub snapshot: Option<SnapshotId>,
}

/// Returns the last attempt of a tenant on this host.
pub fn last_attempt(appliance: &Appliance, tenant: &TenantName) -> Result<Option<Attempt>> {
    state::read_json(&appliance.state.tenant_if_there(tenant).join("last-attempt.json"))
}

pub(super) fn remember_attempt(
    appliance: &Appliance,
    request: &Request,
    started: Timestamp,
    result: &Result<Backed>,
) -> Result<()> {
    let attempt = match result {
        Ok(b) => Attempt {
            started,
            finished: appliance.around.now(),
            outcome: if b.whole { "whole" } else { "partial" }.to_owned(),
            message: first_trouble(&b.components),
            snapshot: Some(b.snapshot.clone()),
        },
        Err(e) => Attempt {
            started,
            finished: appliance.around.now(),
            outcome: e.kind().word().to_owned(),
            message: Some(e.to_string()),
            snapshot: None,
        },
    };
    state::write_json(&appliance.state.tenant(&request.tenant)?.join("last-attempt.json"), &attempt)
}

fn first_trouble(components: &[ComponentOutcome]) -> Option<String> {
    let bad =
        components.iter().find(|c| matches!(c.state, ComponentState::Failed | ComponentState::Lacking))?;
    Some(match &bad.reason {
        Some(reason) => format!("{}: {reason}", bad.component),
        None => format!("{}: lacks {}", bad.component, bad.lacks.join(", ")),
    })
}
