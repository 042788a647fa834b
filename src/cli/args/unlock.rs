//! Options of `unlock`.

use std::time::Duration;

use clap::Args;

use super::IdentityArgs;
use crate::id::TenantName;

/// Options of `unlock`.
#[derive(Debug, Args)]
pub struct UnlockArgs {
    /// Tenants
    #[arg(required = true)]
    pub tenants: Vec<TenantName>,
    #[command(flatten)]
    pub identity: IdentityArgs,
    /// How long the service keeps the keys, in memory; at most 15m
    #[arg(long = "for", value_name = "TIME", default_value = "15m", value_parser = crate::config::duration)]
    pub time: Duration,
    /// Have the service forget the keys now
    #[arg(long, conflicts_with = "identity")]
    pub end: bool,
}
