//! Options of `health` and `capacity`.

use clap::Args;

use crate::id::TenantName;

/// Options of `health`.
#[derive(Debug, Args)]
pub struct HealthArgs {
    /// Tenants; all configured ones when none is named
    pub tenants: Vec<TenantName>,
    /// Show the checks that are as they should be too
    #[arg(long, short)]
    pub all: bool,
    /// Look again and again, and redraw the terminal, until interrupted
    #[arg(long, short)]
    pub watch: bool,
    /// With --watch: seconds between two looks
    #[arg(long, value_name = "SECONDS", default_value_t = 10, requires = "watch", value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub every: u64,
}

/// Options of `capacity`.
#[derive(Debug, Args)]
pub struct CapacityArgs {
    /// Tenants; all configured ones when none is named
    pub tenants: Vec<TenantName>,
}
