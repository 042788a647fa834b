//! The verbs below `keys`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use jiff::Timestamp;

use super::{CertifyArgs, IdentityArgs};
use crate::id::{HostName, TenantName};

/// Verbs below `keys`.
#[derive(Debug, Subcommand)]
pub enum KeysVerb {
    /// List the root, host certificates, and who opens which vault
    #[command(after_help = after!("  lifeboat keys list\n  lifeboat keys list --identity kit.txt   # also learns who opens what was sealed elsewhere"))]
    List(IdentityArgs),
    /// Certify this host for the tenants in its configuration (needs the root of the recovery kit)
    #[command(after_help = after!("  lifeboat keys certify --kit kit.txt\n  lifeboat keys certify --kit kit.txt --role prune"))]
    Certify(CertifyArgs),
    /// Show that the recovery kit, as it was taken away, opens what is sealed; until then nothing counts as protected
    #[command(after_help = after!("  lifeboat keys confirm --kit /media/usb/kit.txt\n  lifeboat keys confirm --kit - < kit.txt\n  lifeboat keys confirm --kit kit.txt --identity own.txt   # where operators have keys of their own"))]
    Confirm(ConfirmArgs),
    /// Wrap every vault to the operators again (needs an identity)
    #[command(after_help = after!("  lifeboat keys rewrap --identity kit.txt"))]
    Rewrap(RewrapArgs),
    /// Add an operator, who then opens every snapshot, old ones too (needs an identity)
    #[command(after_help = after!("  lifeboat keys add-operator age1… --identity kit.txt"))]
    AddOperator(OperatorArgs),
    /// Remove an operator: new vault keys from now on (needs another operator's identity)
    #[command(after_help = after!("  lifeboat keys remove-operator age1… --identity kit.txt\n\nSnapshots until now stay open to him; no tool takes that back. Give the identity of an operator who stays."))]
    RemoveOperator(OperatorArgs),
    /// Give this host a new signing key and end the old one (needs the root of the recovery kit)
    #[command(after_help = after!("  lifeboat keys rotate-host --kit kit.txt"))]
    RotateHost(RotateArgs),
    /// End the key of a host that is lost, stolen or retired (needs the root of the recovery kit)
    #[command(after_help = after!("  lifeboat keys end-host h2 --kit kit.txt\n  lifeboat keys end-host h2 --kit kit.txt --distrust-since 2026-11-20T00:00:00Z"))]
    EndHost(EndHostArgs),
    /// After a suspected compromise: new host key, new vaults, new dedup keys; what was signed since counts no more
    #[command(after_help = after!("  lifeboat keys new-epoch --kit kit.txt --distrust-since 2026-11-20T00:00:00Z --dry-run\n  lifeboat keys new-epoch --kit kit.txt --distrust-since 2026-11-20T00:00:00Z\n\nThe next backup of each tenant stores everything once more. Snapshots until now stay open to whoever could read them."))]
    NewEpoch(RotateArgs),
    /// Let another host write for a tenant, and no other host any more (needs the root of the recovery kit)
    #[command(after_help = after!("  lifeboat keys hand-over byrne --to h2 --kit kit.txt\n\nCertify h2 there first; run `lifeboat backup` there after."))]
    HandOver(HandOverArgs),
}

/// Options of `keys confirm`.
#[derive(Debug, Args)]
pub struct ConfirmArgs {
    /// The recovery kit, or - for standard input
    #[arg(long, value_name = "FILE|-")]
    pub kit: PathBuf,
    /// An operator's own identity, where the kit holds none
    #[arg(long, short, value_name = "FILE")]
    pub identity: Option<PathBuf>,
}

/// What changes certificates.
#[derive(Debug, Args)]
pub struct RootArgs {
    /// The recovery kit
    #[arg(long, value_name = "FILE")]
    pub kit: PathBuf,
    /// Say what would change, change nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// Options of `keys rotate-host` and `keys new-epoch`.
#[derive(Debug, Args)]
pub struct RotateArgs {
    #[command(flatten)]
    pub root: RootArgs,
    /// Receipts that were stored after this time, by the store's clock, do not count
    #[arg(long, value_name = "TIME")]
    pub distrust_since: Option<Timestamp>,
}

/// Options of `keys end-host`.
#[derive(Debug, Args)]
pub struct EndHostArgs {
    /// Which
    pub host: HostName,
    #[command(flatten)]
    pub rotate: RotateArgs,
}

/// Options of `keys hand-over`.
#[derive(Debug, Args)]
pub struct HandOverArgs {
    /// Whose backups
    pub tenant: TenantName,
    /// Who writes them from now on
    #[arg(long, value_name = "HOST")]
    pub to: HostName,
    #[command(flatten)]
    pub root: RootArgs,
}

/// Options of `keys add-operator` and `keys remove-operator`.
#[derive(Debug, Args)]
pub struct OperatorArgs {
    /// The operator's age recipient
    // A text, because clap repeats what does not parse: an identity given by mistake must not be printed.
    #[arg(value_name = "AGE1…")]
    pub recipient: String,
    #[command(flatten)]
    pub identity: IdentityArgs,
    /// Say what would change, change nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// Options of `keys rewrap`.
#[derive(Debug, Args)]
pub struct RewrapArgs {
    #[command(flatten)]
    pub identity: IdentityArgs,
    /// Say what would change, change nothing
    #[arg(long)]
    pub dry_run: bool,
}
