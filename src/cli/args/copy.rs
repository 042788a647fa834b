//! Options of `copy`, and how other verbs work with what it made.

use clap::Args;

use crate::id::TenantName;

/// Options of `copy`.
#[derive(Debug, Args)]
pub struct CopyArgs {
    /// Tenants; all in the repository when none is named
    pub tenants: Vec<TenantName>,
    /// Say what would be copied, change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// The copy that was there is lost: begin again
    #[arg(long)]
    pub anew: bool,
}

/// Which store a verb reads.
#[derive(Debug, Clone, Copy, Args)]
pub struct SourceArgs {
    /// Work with the copy in the second store instead of the store
    #[arg(long)]
    pub from_copy: bool,
}
