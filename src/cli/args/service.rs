//! Options of `discover` and `serve`.

use clap::Args;

/// Options of `discover`.
#[derive(Debug, Args)]
pub struct DiscoverArgs {
    /// Only this compose project
    #[arg(long)]
    pub project: Option<String>,
}

/// Options of `serve`.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Address to answer on, instead of the configured one
    #[arg(long, value_name = "HOST:PORT")]
    pub listen: Option<String>,
}
