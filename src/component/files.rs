//! The component `files`: a site's folder as the streams `tar` and `list` (`docs/format.md`, Streams).
//!
//! Promises: two dumps of an unchanged folder are the same bytes; nothing outside the root is read or written, whatever
//! links or renames a tenant puts there; the tar is whole even if files change under the reader, and each that did is
//! named in `lacks`; a large file that did not change is not opened. Loading writes into a fresh folder beside the
//! target, compares every content with the list, and swaps last.
//!
//! Does not keep devices, sockets and FIFOs (a warning), hard links as such (each becomes a file), extended attributes
//! and ACLs, holes in sparse files, and times below a second. Does not take files at one instant: a file and its row in
//! the database may be seconds apart.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use futures::FutureExt;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Completion, Dump, SegmentId};
use crate::error::{Context, Error, Kind, Result};
use crate::monitor::SharedMonitor;

pub(super) mod beneath;
mod census;
mod content;
mod dump;
mod exclude;
mod extract;
mod index;
mod later;
mod list;
mod load;
mod parked;
mod pieces;
pub(super) mod settle;
mod staging;
mod swap;
mod tree;

pub use census::{Census, Drift};
pub use content::OWN_SEGMENT_BYTES;
pub use exclude::{Excludes, OWN_PREFIX};
pub use extract::{Content, Extraction};
pub use index::{FileIndex, Stamp};
pub use list::{Line, Listing, Placed, locate, spell, spell_shown, unspell};
pub use load::{Loaded, load};
pub use parked::{Parked, sweep};
pub use staging::Target;

/// How a folder is dumped.
#[derive(Debug, Clone)]
pub struct Options {
    /// What is left out.
    pub excludes: Excludes,
    /// Patterns, as in [`Excludes`], of small files that may be caught half written and must parse as a JSON object.
    pub json: Vec<String>,
    /// When the backup began; files changed later than that are read again next time.
    pub now: Timestamp,
}

impl Options {
    /// Takes a folder as it is.
    pub fn plain(now: Timestamp) -> Self {
        Options { excludes: Excludes::none(), json: Vec::new(), now }
    }

    /// Takes one site's folder.
    pub fn frappe_site(now: Timestamp) -> Self {
        Options { excludes: Excludes::frappe_site(), json: vec!["/site_config.json".into()], now }
    }

    /// Takes a whole `sites` folder.
    pub fn frappe_sites(now: Timestamp) -> Self {
        let json = ["/common_site_config.json", "/*/site_config.json"].map(String::from).to_vec();
        Options { excludes: Excludes::frappe_sites(), json, now }
    }

    fn must_be_json(&self, path: &[u8]) -> bool {
        self.json.iter().any(|pattern| exclude::matches(pattern, path))
    }
}

/// What a dump of files held, as its record says it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Regular files.
    pub files: u64,
    /// Folders, the root not among them.
    pub folders: u64,
    /// Symbolic links.
    pub links: u64,
    /// Bytes of contents.
    pub bytes: u64,
    /// Bytes of contents that were not read again because the repository knew them.
    pub unread_bytes: u64,
}

/// Tells whether a dump that ended holds no file at all, as the mount point of a volume that is not mounted does.
pub fn is_empty(completion: &Completion) -> bool {
    completion.lacks.is_empty() && Record::parse(&completion.record).is_ok_and(|r| r.totals.files == 0)
}

/// Owner, mode and time of the root, which is no entry of its own tar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Root {
    /// The permission bits.
    pub mode: u32,
    /// The numeric owner.
    pub uid: u32,
    /// The numeric group.
    pub gid: u32,
    /// The time of the last change, in seconds since 1970.
    pub mtime: i64,
}

/// What a dump of files says of itself in the manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The root's attributes.
    pub root: Root,
    /// What was taken.
    pub totals: Totals,
}

impl Record {
    /// Reads it from a manifest.
    pub fn parse(record: &serde_json::Value) -> Result<Record> {
        Record::deserialize(record).context(Kind::Damaged, "record of the files component")
    }

    /// Fails where something else was unpacked than was taken.
    fn compare(&self, found: &Totals) -> Result<()> {
        if (Totals { unread_bytes: 0, ..self.totals }) == *found {
            return Ok(());
        }
        let what = format!("files: {:?} were backed up, {found:?} came back", self.totals);
        Err(Error::new(Kind::Damaged, what))
    }
}

/// The index that the next backup may rely on once this one is committed, and what the files held.
#[derive(Debug, Clone, Default)]
pub struct NextIndex(Arc<OnceLock<(FileIndex, Census)>>);

impl NextIndex {
    /// Returns the index, if the dump ended well.
    pub fn get(&self) -> Option<&FileIndex> {
        self.0.get().map(|(index, _)| index)
    }

    /// Returns what the files held, if the dump ended well.
    pub fn census(&self) -> Option<&Census> {
        self.0.get().map(|(_, census)| census)
    }
}

/// Starts the dump of a folder on a blocking thread; `knows` tells whether the repository can reuse a content.
///
/// The pieces are the streams `tar` and `list`. The dump ends when its pieces are no longer taken. To be called within a
/// Tokio runtime.
pub fn dump(
    root: PathBuf,
    options: Options,
    index: FileIndex,
    knows: impl Fn(&SegmentId) -> bool + Send + 'static,
    monitor: SharedMonitor,
) -> (Dump, NextIndex) {
    let (pieces, receiver) = pieces::Pieces::channel();
    let next = NextIndex::default();
    let slot = next.clone();
    let walking = tokio::task::spawn_blocking(move || {
        let (completion, seen) = dump::Walk::new(pieces, options, index, knows, monitor)?.run(&root)?;
        // Nobody else holds the slot to write to it.
        let _already_set = slot.0.set(seen);
        Ok(completion)
    });
    let completion = async move { walking.await.context(Kind::Bug, "files task")? };
    (Dump { pieces: receiver, completion: completion.boxed() }, next)
}
