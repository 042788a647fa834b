//! Options of `files`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{IdentityArgs, SourceArgs};
use crate::id::TenantName;
use crate::ops::snapshots::Which;

/// Verbs below `files`.
#[derive(Debug, Subcommand)]
pub enum FilesVerb {
    /// List the files of a snapshot
    #[command(after_help = after!("  lifeboat files ls byrne latest private/files --identity kit.txt"))]
    Ls(FilesArgs),
    /// Write one file to standard output
    #[command(after_help = after!("  lifeboat files cat byrne latest private/files/a.pdf --identity kit.txt > a.pdf"))]
    Cat(CatArgs),
    /// List the files in which two snapshots differ
    #[command(after_help = after!("  lifeboat files diff byrne 20261122t020000z-1a2b3c4d latest private/files --identity kit.txt"))]
    Diff(DiffArgs),
    /// Write files below a path into a folder
    #[command(after_help = after!("  lifeboat files extract byrne latest private/files --to /tmp/out --identity kit.txt"))]
    Extract(ExtractArgs),
}

/// Which snapshot `files` opens, and with what.
#[derive(Debug, Args)]
pub struct SnapshotArgs {
    /// Whose
    pub tenant: TenantName,
    /// Which; a snapshot id or latest
    pub snapshot: Which,
    #[command(flatten)]
    pub identity: IdentityArgs,
    #[command(flatten)]
    pub source: SourceArgs,
}

/// Two snapshots to compare.
#[derive(Debug, Args)]
pub struct PairArgs {
    /// Whose
    pub tenant: TenantName,
    /// The earlier one; a snapshot id
    pub from: Which,
    /// The later one; a snapshot id or latest
    #[arg(default_value = "latest")]
    pub to: Which,
    #[command(flatten)]
    pub identity: IdentityArgs,
    #[command(flatten)]
    pub source: SourceArgs,
}

/// What `files diff` compares.
#[derive(Debug, Args)]
pub struct DiffArgs {
    #[command(flatten)]
    pub pair: PairArgs,
    /// A path within the site folder, as `files ls` prints it; all of it when left out
    pub path: Option<String>,
}

/// What `files ls` looks at.
#[derive(Debug, Args)]
pub struct FilesArgs {
    #[command(flatten)]
    pub of: SnapshotArgs,
    /// A path within the site folder, as `files ls` prints it; all of it when left out. `%XX` stands for a byte, `%25` for `%`
    pub path: Option<String>,
}

/// What `files cat` prints.
#[derive(Debug, Args)]
pub struct CatArgs {
    #[command(flatten)]
    pub of: SnapshotArgs,
    /// A file's path within the site folder, as `files ls` prints it: `%XX` stands for a byte, `%25` for `%`
    pub path: String,
}

/// What `files extract` takes.
#[derive(Debug, Args)]
pub struct ExtractArgs {
    #[command(flatten)]
    pub what: FilesArgs,
    /// The folder to write into; made when missing
    #[arg(long, value_name = "DIR")]
    pub to: PathBuf,
}
