//! Options of `provision` and `deprovision`.

use clap::Args;

use super::IdentityArgs;
use crate::id::TenantName;
use crate::ops::provision::StepName;
use crate::ops::snapshots::Which;

/// Options of `provision`.
#[derive(Debug, Args)]
pub struct ProvisionArgs {
    /// The tenant's name, with which all names in Docker begin
    pub tenant: TenantName,
    /// Where it is reached; needed for a new tenant
    pub domain: Option<String>,
    /// Print what each step would make, and how far it is; change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Bring the site back from a snapshot of this tenant, by its id or latest, instead of making a new one
    #[arg(long, value_name = "SNAPSHOT")]
    pub from: Option<Which>,
    #[command(flatten)]
    pub identity: IdentityArgs,
    /// Only this step, several times for more: secrets, services, site, dns, certs, admin, setup, branding, sso, verify
    #[arg(long, value_name = "STEP")]
    pub only: Vec<StepName>,
    /// All steps but this one, several times for more
    #[arg(long, value_name = "STEP")]
    pub skip: Vec<StepName>,
    /// Bring a running tenant to the size and the single sign-on that its file states
    #[arg(long, conflicts_with_all = ["only", "skip", "rollback"])]
    pub apply: bool,
    /// Remove what an unfinished run made, and no more
    #[arg(long, conflicts_with_all = ["only", "skip"])]
    pub rollback: bool,
}

/// Options of `deprovision`.
#[derive(Debug, Args)]
pub struct DeprovisionArgs {
    /// Whose containers, volumes, files and accounts are removed
    pub tenant: TenantName,
    /// Allow it: repeat the tenant's name
    #[arg(long, value_name = "TENANT")]
    pub yes_remove: Option<TenantName>,
    /// Print what would be removed, change nothing
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub identity: IdentityArgs,
}
