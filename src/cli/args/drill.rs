//! Options of `drill` and of the verbs below it.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::{IdentityArgs, SourceArgs};
use crate::config::Pick;
use crate::id::{ProofLevel, TenantName};
use crate::ops::snapshots::Which;

/// Options of `drill`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct DrillArgs {
    /// What else is done with drills
    #[command(subcommand)]
    pub verb: Option<DrillVerb>,
    /// Whose
    #[arg(required = true)]
    pub tenant: Option<TenantName>,
    /// Which; a snapshot id or latest; left out: as --pick or the policy says
    #[arg(long, short, conflicts_with = "pick")]
    pub snapshot: Option<Which>,
    /// Which, by a rule
    #[arg(long, value_enum)]
    pub pick: Option<PickArg>,
    /// With --pick random: one that is no older than this (90d); left out: as the policy says
    #[arg(long, value_name = "SPAN", requires = "pick")]
    pub within: Option<String>,
    /// How far, L3 or L4; left out: as the policy says
    #[arg(long)]
    pub level: Option<ProofLevel>,
    #[command(flatten)]
    pub identity: IdentityArgs,
    /// Boot the application from this image, instead of the tenant's own
    #[arg(long, value_name = "IMAGE")]
    pub app_image: Option<String>,
    /// Also write the report here: JSON with its signature, HTML, Markdown
    #[arg(long, value_name = "DIR")]
    pub report_dir: Option<PathBuf>,
    #[command(flatten)]
    pub source: SourceArgs,
}

/// Verbs below `drill`.
#[derive(Debug, Subcommand)]
pub enum DrillVerb {
    /// Check the signature of a report through the root of trust, and compare it with the store
    #[command(after_help = after!("  lifeboat drill verify /srv/reports/byrne-20261123t040000z-1a2b3c4d.json\n  lifeboat drill verify report.json --kit kit.txt"))]
    Verify(VerifyArgs),
    /// Show how long restores took, phase by phase, and what the next is likely to take
    #[command(after_help = after!("  lifeboat drill history byrne\n  lifeboat drill history\n  lifeboat drill history --json | jq .host"))]
    History(HistoryArgs),
}

/// Options of `drill verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// The report, JSON; its signature lies beside it, as REPORT.minisig
    pub report: PathBuf,
    /// Without configuration or state: open the repository this kit describes
    #[arg(long, value_name = "FILE")]
    pub kit: Option<PathBuf>,
    #[command(flatten)]
    pub source: SourceArgs,
}

/// Options of `drill history`.
#[derive(Debug, Args)]
pub struct HistoryArgs {
    /// Tenants; all in the repository when none is named
    pub tenants: Vec<TenantName>,
    #[command(flatten)]
    pub source: SourceArgs,
}

/// A rule by which a snapshot is picked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PickArg {
    /// The newest whole one
    Latest,
    /// Any whole one, by chance
    Random,
    /// The oldest whole one
    Oldest,
    /// The newest that no drill has proven yet
    NeverDrilled,
}

impl PickArg {
    /// Returns the rule.
    pub fn pick(self) -> Pick {
        match self {
            PickArg::Latest => Pick::Latest,
            PickArg::Random => Pick::Random,
            PickArg::Oldest => Pick::Oldest,
            PickArg::NeverDrilled => Pick::NeverDrilled,
        }
    }
}
