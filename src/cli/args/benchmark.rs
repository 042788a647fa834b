//! Options of `benchmark`.

use clap::Args;

/// Options of `benchmark`.
#[derive(Debug, Args)]
pub struct BenchmarkArgs {
    /// About how long it may take in all
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=600), value_name = "N")]
    pub seconds: u32,
    /// The configured store too: objects below benchmark/ in it, which are removed afterwards
    #[arg(long)]
    pub store: bool,
}
