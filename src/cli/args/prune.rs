//! Options of `prune` and `pin`.

use clap::Args;

use crate::id::{SnapshotId, TenantName};
use crate::ops::snapshots::Which;

/// Options of `prune`.
#[derive(Debug, Args)]
pub struct PruneArgs {
    /// Tenants; all configured ones when none is named
    pub tenants: Vec<TenantName>,
    /// Say what would go and why, change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask
    #[arg(long, conflicts_with = "dry_run")]
    pub yes: bool,
    /// Forget this snapshot whatever the policy says, such as one whose time cannot be
    #[arg(long, value_name = "SNAPSHOT")]
    pub forget: Vec<SnapshotId>,
    /// Receipts that are missing are known to be lost: sign for them and go on
    #[arg(long)]
    pub accept_missing: bool,
}

/// Options of `pin`.
#[derive(Debug, Args)]
pub struct PinArgs {
    /// Whose
    pub tenant: TenantName,
    /// Which; a snapshot id or latest
    pub snapshot: Which,
    /// Until when (2027-12-31)
    #[arg(long, required_unless_present = "release")]
    pub until: Option<String>,
    /// Why
    #[arg(long, required_unless_present = "release")]
    pub reason: Option<String>,
    /// End the pin
    #[arg(long, conflicts_with_all = ["until", "reason"])]
    pub release: bool,
}
