//! Options of `erase`.

use std::path::PathBuf;

use clap::Args;

use crate::id::TenantName;

/// Options of `erase`.
#[derive(Debug, Args)]
pub struct EraseArgs {
    /// Whose
    pub tenant: TenantName,
    /// The recovery kit; its root key signs the statement
    #[arg(long, value_name = "FILE", required_unless_present = "only_here")]
    pub kit: Option<PathBuf>,
    /// Allow it: repeat the tenant's name
    #[arg(long, value_name = "TENANT")]
    pub yes_erase: Option<TenantName>,
    /// Print the plan, change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Also write the statement here
    #[arg(long, value_name = "FILE")]
    pub statement: Option<PathBuf>,
    /// Only take away what this host remembers of a tenant that was erased elsewhere
    #[arg(long, conflicts_with_all = ["kit", "statement", "dry_run"])]
    pub only_here: bool,
}
