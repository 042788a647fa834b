//! The manifest: what a snapshot holds, for whoever can open its vault.
//!
//! Owns the lines of the manifest and their bounds. Knows nothing of the store; the bytes come from and go to
//! the caller. Format: `docs/format.md`, JSON lines in zstd in age.

mod decode;
mod encode;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::id::{ComponentName, HostName, RepositoryId, SnapshotId, TenantName};

use super::extent::StreamRecord;

pub use decode::{decode, decode_lines};
pub use encode::encode;

/// The greatest length of a manifest object, in bytes.
pub const OBJECT_LIMIT: u64 = 256 * 1024 * 1024;

/// The greatest length of a decompressed manifest, in bytes.
const TEXT_LIMIT: u64 = 1024 * 1024 * 1024;

/// The greatest length of one line, in bytes.
const LINE_LIMIT: u64 = 16 * 1024 * 1024;

/// How many extents a line holds at most.
const EXTENTS_A_LINE: usize = 512;

/// How many extents, and how many segments, a manifest holds at most; together below 1 GiB in memory.
const EXTENTS_LIMIT: usize = 16_000_000;
const SEGMENTS_LIMIT: usize = 8_000_000;

/// The greatest decompressed length of a pack that a reader accepts, in bytes.
const PACK_LIMIT: u64 = 1024 * 1024 * 1024;

/// How far a component was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// All of it.
    Whole,
    /// Something could not be read; the manifest names it.
    Lacking,
    /// None of it is kept.
    Failed,
}

/// The first line: which snapshot this is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The repository.
    pub repository: RepositoryId,
    /// The tenant.
    pub tenant: TenantName,
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// The host that wrote it.
    pub host: HostName,
    /// When it was begun.
    pub started: Timestamp,
    /// What the operator called it.
    pub label: Option<String>,
    /// How many packs its pack list names.
    pub packs: u32,
}

/// A component of the snapshot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ComponentRecord {
    /// Its name.
    pub component: ComponentName,
    /// How far it was read.
    pub state: State,
    /// What could not be read: tables, files.
    #[serde(default)]
    pub lacks: Vec<String>,
    /// Why it failed: a word of the error table.
    #[serde(default)]
    pub reason: Option<String>,
    /// Why it failed, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// What a restore needs to run it again.
    #[serde(default)]
    pub record: serde_json::Value,
}

/// All that a snapshot holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    /// Which snapshot this is.
    pub header: Header,
    /// Its components, failed ones too.
    pub components: Vec<ComponentRecord>,
    /// The streams of those that did not fail.
    pub streams: Vec<StreamRecord>,
}

impl Manifest {
    /// Finds a component.
    pub fn component(&self, name: ComponentName) -> Option<&ComponentRecord> {
        self.components.iter().find(|c| c.component == name)
    }

    /// Finds a stream.
    pub fn stream(&self, component: ComponentName, stream: &str) -> Option<&StreamRecord> {
        self.streams.iter().find(|s| s.component == component && s.stream == stream)
    }
}

/// Tells whether a stream may be called so: 1 to 40 of `a-z 0-9 -`.
fn is_stream_name(name: &str) -> bool {
    (1..=40).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

#[cfg(test)]
mod tests;
