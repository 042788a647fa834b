//! The command line's shape: every verb, its options, an example and its exit codes.
//!
//! Owns words and help texts only; `dispatch` gives them meaning.

/// Assembles a verb's closing help: examples, then the exit codes.
macro_rules! after {
    ($examples:literal) => {
        concat!(
            "Examples:\n",
            $examples,
            "\n\nExit codes:\n  0 done   1 failed   2 usage or configuration   3 partial   4 check or drill found a ",
            "fault\n  10 no repository   11 locked   12 wrong key   130 interrupted"
        )
    };
}

mod benchmark;
mod check;
mod copy;
mod drill;
mod erase;
mod files;
mod health;
mod keys;
mod provision;
mod prune;
mod service;
mod unlock;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::id::{ComponentName, TenantName};
use crate::ops::snapshots::Which;

pub use benchmark::BenchmarkArgs;
pub use check::CheckArgs;
pub use copy::{CopyArgs, SourceArgs};
pub use drill::{DrillArgs, DrillVerb, HistoryArgs, VerifyArgs};
pub use erase::EraseArgs;
pub use files::{CatArgs, DiffArgs, FilesArgs, FilesVerb, PairArgs, SnapshotArgs};
pub use health::{CapacityArgs, HealthArgs};
pub use keys::{
    ConfirmArgs, EndHostArgs, HandOverArgs, KeysVerb, OperatorArgs, RewrapArgs, RootArgs, RotateArgs,
};
pub use provision::{DeprovisionArgs, ProvisionArgs};
pub use prune::{PinArgs, PruneArgs};
pub use service::{DiscoverArgs, ServeArgs};
pub use unlock::UnlockArgs;

const EXIT_CODES: &str = "\
Exit codes:
  0 done   1 failed   2 usage or configuration   3 partial   4 check or drill found a fault
  10 no repository   11 locked   12 wrong key   130 interrupted";

/// Encrypted backup and proven recovery for ERPNext tenants in Docker.
#[derive(Debug, Parser)]
#[command(name = "lifeboat", version, after_help = EXIT_CODES, propagate_version = true)]
pub struct Cli {
    /// Folder with lifeboat.toml, policies/ and tenants/
    #[arg(long, global = true, env = "LIFEBOAT_CONFIG", default_value = "/etc/lifeboat", value_name = "DIR")]
    pub config: PathBuf,
    /// Print one JSON object a line
    #[arg(long, global = true)]
    pub json: bool,
    /// Print results only, no progress
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// Log more (once: info, twice: debug) to standard error
    #[arg(long, short, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// What to do
    #[command(subcommand)]
    pub verb: Verb,
}

/// Every verb.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Make a new repository, its operator keys and the recovery kit, and certify this host
    #[command(after_help = after!("  lifeboat init --kit /media/usb/kit.txt --drills elsewhere\n  lifeboat init --kit kit.txt --drills here --operator age1…"))]
    Init(InitArgs),
    /// Who can read and who may write: operators, hosts, the recovery kit
    #[command(subcommand)]
    Keys(KeysVerb),
    /// Back tenants up now
    #[command(after_help = after!("  lifeboat backup\n  lifeboat backup byrne --label 'before the upgrade' --pin 2027-03-31"))]
    Backup(BackupArgs),
    /// Say for each tenant whether it is recoverable, and how old that proof is
    #[command(after_help = after!("  lifeboat status\n  lifeboat status --json | jq '.tenants[].tenant'"))]
    Status(StatusArgs),
    /// List snapshots
    #[command(after_help = after!("  lifeboat snapshots byrne"))]
    Snapshots(SnapshotsArgs),
    /// Show one snapshot: receipt, and with an identity its components
    #[command(after_help = after!("  lifeboat show byrne latest --identity kit.txt"))]
    Show(ShowArgs),
    /// Pause a tenant's backups until a date, with a reason
    #[command(after_help = after!("  lifeboat hold byrne --until 2026-12-01 --reason 'moving servers'\n  lifeboat hold byrne --release"))]
    Hold(HoldArgs),
    /// Take what looked wrong in the newest backup for right (on the host that made it): later nights are held against it
    #[command(after_help = after!("  lifeboat accept byrne --reason 'orders before 2020 were archived'"))]
    Accept(AcceptArgs),
    /// Forget the snapshots that the policy does not keep, and remove what nothing needs any more
    #[command(after_help = after!("  lifeboat prune --dry-run\n  lifeboat prune byrne --yes\n  lifeboat prune byrne --forget 20261123t020000z-1a2b3c4d\n\nSnapshots go now; their packs go in a later run, after a backup has seen that they are void."))]
    Prune(PruneArgs),
    /// Keep a snapshot until a date, with a reason, whatever the policy says (on the machine that prunes)
    #[command(after_help = after!("  lifeboat pin byrne 20261123t020000z-1a2b3c4d --until 2027-12-31 --reason 'audit 2026'\n  lifeboat pin byrne 20261123t020000z-1a2b3c4d --release"))]
    Pin(PinArgs),
    /// Erase a tenant that must be forgotten, and sign a dated statement about what is left of it
    #[command(after_help = after!("  lifeboat erase byrne --kit kit.txt --dry-run\n  lifeboat erase byrne --kit kit.txt --yes-erase byrne --statement byrne-erased.json\n\nWhat is locked stays until its lock ends; run it again then. Copies and live data are not touched."))]
    Erase(EraseArgs),
    /// Bring a tenant back
    #[command(after_help = after!("  lifeboat restore byrne --identity kit.txt --dry-run\n  lifeboat restore byrne --identity kit.txt\n  lifeboat restore byrne --identity kit.txt --yes-overwrite byrne\n  lifeboat restore byrne --undo\n  lifeboat restore byrne --commit\n  lifeboat restore byrne --identity kit.txt --into byrne-test\n\nWhat is there is backed up first, kept beside what is restored, and brought back by --undo until --commit drops it.\nA restore that was killed is completed by --resume or taken back by --undo."))]
    Restore(RestoreArgs),
    /// Browse and fetch single files of a snapshot
    #[command(subcommand)]
    Files(FilesVerb),
    /// Say in what two snapshots of a tenant differ: tables by their rows, files by their content
    #[command(after_help = after!("  lifeboat diff byrne 20261122t020000z-1a2b3c4d latest --identity kit.txt\n\n`lifeboat files diff` names every file."))]
    Diff(PairArgs),
    /// Verify what the store holds
    #[command(after_help = after!("  lifeboat check\n  lifeboat check byrne --read-data\n  lifeboat check --read-data next/7\n  lifeboat check byrne --identity kit.txt\n  lifeboat check byrne --read-data --repair --dry-run --identity kit.txt"))]
    Check(CheckArgs),
    /// Copy the repository to the second store, without any key
    #[command(after_help = after!("  lifeboat copy --dry-run\n  lifeboat copy\n  lifeboat check --from-copy --read-data next/7"))]
    Copy(CopyArgs),
    /// Restore a tenant into a fresh isolated one, prove it equal, boot it, time it, tear it down
    #[command(after_help = after!("  lifeboat drill byrne --identity kit.txt\n  lifeboat drill byrne --report-dir /srv/reports\n  lifeboat drill byrne --pick random --within 90d\n  lifeboat drill byrne --level L3 --from-copy\n  lifeboat drill history byrne\n  lifeboat drill verify /srv/reports/byrne-20261123t040000z-1a2b3c4d.json\n\nL3 loads and compares; L4 also boots the application, in a network whose isolation is proven first. What a drill\nmakes is removed; what is left behind fails it."))]
    Drill(DrillArgs),
    /// Lend tenants' keys to the service for minutes, so that drills that are due run; make a lost cache again
    #[command(after_help = after!("  lifeboat unlock byrne dickinson --identity kit.txt\n  lifeboat unlock byrne --identity kit.txt --for 5m\n  lifeboat unlock byrne --end\n\nThe service keeps a key in memory only, and notes in unlocks.jsonl who lent what."))]
    Unlock(UnlockArgs),
    /// Find out by trying what the store and this host's credential really do
    #[command(after_help = after!("  lifeboat probe\n  lifeboat probe --json | jq '.findings[] | select(.outcome != \"holds\")'"))]
    Probe(ProbeArgs),
    /// Measure what this host can do in each stage of a backup, and say which one holds it up
    #[command(after_help = after!("  lifeboat benchmark\n  lifeboat benchmark --store --seconds 30\n  lifeboat benchmark --json | jq .bottleneck"))]
    Benchmark(BenchmarkArgs),
    /// Say how every tenant is: database, Redis, application, containers, names, backups
    #[command(after_help = after!("  lifeboat health\n  lifeboat health byrne --all\n  lifeboat health --watch\n  lifeboat health --json | jq '.tenants[] | select(.state == \"failed\") | .tenant'\n\nExit code 4 where a check failed; warnings and what is not known are shown. It changes nothing."))]
    Health(HealthArgs),
    /// Say what each tenant uses, how many more clients fit this host, and when a disk or the store is full
    #[command(after_help = after!("  lifeboat capacity\n  lifeboat capacity --json | jq '.fits[] | {profile, more}'"))]
    Capacity(CapacityArgs),
    /// Say what of this host is protected, who can read, delete and sign, and whether there is room
    #[command(after_help = after!("  lifeboat doctor\n  lifeboat doctor --json | jq '.findings[] | select(.weight == \"bad\") | .said'\n\nExit code 4 where something is to be changed."))]
    Doctor,
    /// Make a new tenant: containers, site, name, certificate, looks, sign-on, a first backup; or complete one
    #[command(after_help = after!("  lifeboat provision acme acme.example --dry-run\n  lifeboat provision acme acme.example\n  lifeboat provision acme acme.example --from latest --identity kit.txt\n  lifeboat provision acme --only branding\n  lifeboat provision acme --apply\n  lifeboat provision acme --rollback\n\nA second call completes what a first one left; what is as it should be is left alone. --rollback is for a tenant\nthat was never whole; deprovision removes one that was."))]
    Provision(ProvisionArgs),
    /// Remove a tenant that provision made, behind a verified last snapshot
    #[command(after_help = after!("  lifeboat deprovision acme --dry-run\n  lifeboat deprovision acme --yes-remove acme\n  lifeboat deprovision acme --yes-remove acme --identity kit.txt\n\nSnapshots and keys stay. With an identity the last snapshot is read back stream by stream."))]
    Deprovision(DeprovisionArgs),
    /// Print a tenant file for each compose project that Docker runs here
    #[command(after_help = after!("  lifeboat discover\n  lifeboat discover --project byrne > /etc/lifeboat/tenants/byrne.toml"))]
    Discover(DiscoverArgs),
    /// Check the configuration
    #[command(subcommand)]
    Config(ConfigVerb),
    /// Run the nightly service
    #[command(after_help = after!("  lifeboat serve"))]
    Serve(ServeArgs),
}

/// Where drills run; decides whether this host may hold an identity that reads backups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DrillsRun {
    /// On this host, unattended: this host then can read its backups
    Here,
    /// On another machine
    Elsewhere,
    /// On this host, after an operator unlocked it
    Unlocked,
}

/// Options of `init`.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// Where to write the recovery kit; take it off this host
    #[arg(long, value_name = "FILE")]
    pub kit: PathBuf,
    /// Where drills run; asked for when left out
    #[arg(long, value_enum)]
    pub drills: Option<DrillsRun>,
    /// An operator's age recipient to use besides those in the configuration; without any, one is made
    #[arg(long, value_name = "AGE1…")]
    pub operator: Vec<String>,
    /// Never ask; fail where an answer is missing
    #[arg(long)]
    pub non_interactive: bool,
}

/// Options of `keys certify`.
#[derive(Debug, Args)]
pub struct CertifyArgs {
    /// The recovery kit
    #[arg(long, value_name = "FILE")]
    pub kit: PathBuf,
    /// What this host may do, several with commas; without it: what it may now, at first backup and drill
    #[arg(long, value_enum, value_delimiter = ',', value_name = "ROLE")]
    pub role: Vec<RoleArg>,
}

/// What a host may be certified for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RoleArg {
    /// Write snapshots
    Backup,
    /// Write outcomes of drills
    Drill,
    /// Forget snapshots and remove what nothing needs
    Prune,
}

/// How an identity that opens backups is given.
#[derive(Debug, Args, Default)]
pub struct IdentityArgs {
    /// An age identity file or a recovery kit, or - for standard input
    #[arg(long, short, value_name = "FILE|-")]
    pub identity: Option<PathBuf>,
}

/// Options of `backup`.
#[derive(Debug, Args)]
pub struct BackupArgs {
    /// Tenants; all configured ones when none is named
    pub tenants: Vec<TenantName>,
    /// A text kept, encrypted, with the snapshot
    #[arg(long, value_name = "TEXT")]
    pub label: Option<String>,
    /// Keep the snapshot at least until this date (2027-03-31) or time
    #[arg(long, value_name = "UNTIL")]
    pub pin: Option<String>,
    /// Say what would be backed up, change nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// Options of `status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Tenants; all configured ones when none is named
    pub tenants: Vec<TenantName>,
}

/// Options of `snapshots`.
#[derive(Debug, Args)]
pub struct SnapshotsArgs {
    /// Tenants; all in the repository when none is named
    pub tenants: Vec<TenantName>,
    #[command(flatten)]
    pub source: SourceArgs,
}

/// Options of `show`.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// Whose
    pub tenant: TenantName,
    /// Which; a snapshot id or latest
    #[arg(default_value = "latest")]
    pub snapshot: Which,
    #[command(flatten)]
    pub identity: IdentityArgs,
    #[command(flatten)]
    pub source: SourceArgs,
}

/// Options of `hold`.
#[derive(Debug, Args)]
pub struct HoldArgs {
    /// Whose
    pub tenant: TenantName,
    /// Until when (2026-12-01)
    #[arg(long, required_unless_present = "release")]
    pub until: Option<String>,
    /// Why
    #[arg(long, required_unless_present = "release")]
    pub reason: Option<String>,
    /// End the hold
    #[arg(long, conflicts_with_all = ["until", "reason"])]
    pub release: bool,
}

/// Options of `accept`.
#[derive(Debug, Args)]
pub struct AcceptArgs {
    /// Whose
    pub tenant: TenantName,
    /// Why it is right
    #[arg(long)]
    pub reason: String,
}

/// Options of `restore`.
#[derive(Debug, Args)]
pub struct RestoreArgs {
    /// Whose
    pub tenant: TenantName,
    /// Which; a snapshot id or latest
    #[arg(long, short, default_value = "latest")]
    pub snapshot: Which,
    #[command(flatten)]
    pub identity: IdentityArgs,
    /// Restore under another name; starts muted unless --live
    #[arg(long, value_name = "NEW")]
    pub into: Option<TenantName>,
    /// With --into: mail, scheduler and integrations stay as they were
    #[arg(long, requires = "into")]
    pub live: bool,
    /// Only these components, several with commas: database, redis-queue, redis-cache, files, config, certs
    #[arg(long, value_delimiter = ',', value_name = "COMPONENT")]
    pub only: Vec<ComponentName>,
    /// Load the job queue too (jobs may run twice)
    #[arg(long)]
    pub with_queue: bool,
    /// Put the tenant's client in Authentik back too, its secret included
    #[arg(long)]
    pub with_sso: bool,
    /// Leave the scheduler paused afterwards
    #[arg(long)]
    pub pause_scheduler: bool,
    /// Allow what is there to be replaced: repeat the tenant's name
    #[arg(long, value_name = "TENANT")]
    pub yes_overwrite: Option<TenantName>,
    /// Go on where what is there cannot be backed up first; say why
    #[arg(long, value_name = "REASON")]
    pub no_safety_snapshot: Option<String>,
    /// Print the plan, change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Complete a restore that was cut off
    #[arg(long, group = "end")]
    pub resume: bool,
    /// Bring back what was there before the last restore, or before one that was cut off
    #[arg(long, group = "end")]
    pub undo: bool,
    /// Drop what was there before the last restore: no undo after that
    #[arg(long, group = "end")]
    pub commit: bool,
    /// Without configuration or state: open the repository this kit describes
    #[arg(long, value_name = "FILE")]
    pub kit: Option<PathBuf>,
    #[command(flatten)]
    pub source: SourceArgs,
}

/// Options of `probe`.
#[derive(Debug, Args)]
pub struct ProbeArgs {
    /// Say what would be tried, change nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// Verbs below `config`.
#[derive(Debug, Subcommand)]
pub enum ConfigVerb {
    /// Check every file and report all faults at once
    #[command(after_help = after!("  lifeboat config check"))]
    Check,
}
