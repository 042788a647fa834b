//! What can be wrong with a tenant's receipts.

use std::fmt;

use crate::error::Kind;
use crate::id::SnapshotId;
use crate::store::Key;

use super::Head;

/// One thing that is wrong with a tenant's receipts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// A receipt that cannot be read or does not verify; what it names counts as live.
    Unverifiable {
        /// Its snapshot.
        snapshot: SnapshotId,
        /// [`Kind::Forged`], [`Kind::Damaged`], or why it could not be fetched.
        kind: Kind,
        /// What is wrong with it.
        what: String,
    },
    /// A receipt that its host's key signed after the end that the operators signed for that key. It counts for
    /// nothing, as they said; no alarm.
    Ended {
        /// Its snapshot.
        snapshot: SnapshotId,
        /// Whose key, and which number.
        what: String,
    },
    /// A receipt of a later format; what it names counts as live.
    TooNew {
        /// Its snapshot.
        snapshot: SnapshotId,
        /// Which format.
        what: String,
    },
    /// Receipts that should be there by their numbers; prune may have signed for them.
    Missing {
        /// The first number that is not there.
        from: u64,
        /// The last number that is not there.
        to: u64,
    },
    /// Two receipts with the same number.
    Fork {
        /// The number.
        sequence: u64,
        /// Their snapshots.
        snapshots: Vec<SnapshotId>,
    },
    /// A receipt whose predecessor is not the one that is there.
    Unlinked {
        /// Its snapshot.
        snapshot: SnapshotId,
        /// Its number.
        sequence: u64,
    },
    /// Objects of a snapshot that was never committed: a run that died. No alarm.
    Orphan {
        /// Its snapshot.
        snapshot: SnapshotId,
    },
    /// A key with versions of different content; the oldest right one was read.
    Overwritten {
        /// Its snapshot.
        snapshot: SnapshotId,
        /// The key.
        key: Key,
        /// How many versions it has.
        versions: usize,
    },
    /// A key that is hidden by a delete marker; its version was read nevertheless.
    Deleted {
        /// Its snapshot.
        snapshot: SnapshotId,
        /// The key.
        key: Key,
    },
    /// The store shows less than this host has seen.
    RolledBack {
        /// What this host saw.
        remembered: Head,
        /// The highest number the store shows, 0 for none.
        shown: u64,
    },
}

impl Fault {
    /// Returns the stable word for it in JSON output.
    pub fn word(&self) -> &'static str {
        match self {
            Fault::Unverifiable { .. } => "unverifiable",
            Fault::Ended { .. } => "ended",
            Fault::TooNew { .. } => "too-new",
            Fault::Missing { .. } => "missing",
            Fault::Fork { .. } => "fork",
            Fault::Unlinked { .. } => "unlinked",
            Fault::Orphan { .. } => "orphan",
            Fault::Overwritten { .. } => "overwritten",
            Fault::Deleted { .. } => "deleted",
            Fault::RolledBack { .. } => "rolled-back",
        }
    }

    /// Returns the snapshot it concerns, where it is one.
    pub fn snapshot(&self) -> Option<&SnapshotId> {
        match self {
            Fault::Unverifiable { snapshot, .. }
            | Fault::Ended { snapshot, .. }
            | Fault::TooNew { snapshot, .. }
            | Fault::Unlinked { snapshot, .. }
            | Fault::Orphan { snapshot }
            | Fault::Overwritten { snapshot, .. }
            | Fault::Deleted { snapshot, .. } => Some(snapshot),
            Fault::Missing { .. } | Fault::Fork { .. } | Fault::RolledBack { .. } => None,
        }
    }

    /// Tells whether a receipt that was listed was not there any more: prune may have removed it meanwhile.
    pub(super) fn is_gone(&self) -> bool {
        matches!(self, Fault::Unverifiable { kind: Kind::NotFound, .. })
    }

    /// Tells whether a receipt came and does not verify, which another look may show to be right.
    pub(super) fn is_doubtful(&self) -> bool {
        matches!(self, Fault::Unverifiable { kind: Kind::Forged | Kind::Damaged, .. })
    }

    /// Returns why a receipt did not come at all; what came and is wrong, or was gone by then, is another matter.
    pub(super) fn not_fetched(&self) -> Option<(Kind, &str)> {
        match self {
            Fault::Unverifiable { kind: Kind::Forged | Kind::Damaged | Kind::NotFound, .. } => None,
            Fault::Unverifiable { kind, what, .. } => Some((*kind, what)),
            _ => None,
        }
    }

    /// Tells whether somebody must look, and prune must stop; a run that died, or what the operators ended, is neither.
    pub fn is_alarm(&self) -> bool {
        !matches!(self, Fault::Orphan { .. } | Fault::Ended { .. })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Unverifiable { what, .. } | Fault::Ended { what, .. } | Fault::TooNew { what, .. } => {
                f.write_str(what)
            }
            Fault::Missing { from, to } if from == to => write!(f, "receipt {from} is missing"),
            Fault::Missing { from, to } => write!(f, "receipts {from} to {to} are missing"),
            Fault::Fork { sequence, snapshots } => {
                let names: Vec<&str> = snapshots.iter().map(SnapshotId::as_str).collect();
                write!(f, "receipt {sequence} is there twice: {}", names.join(", "))
            }
            Fault::Unlinked { snapshot, sequence } => {
                write!(f, "receipt {sequence} ({snapshot}) follows another receipt than the one before it")
            }
            Fault::Orphan { snapshot } => write!(f, "{snapshot} was begun and never committed"),
            Fault::Overwritten { key, versions, .. } => {
                write!(f, "{key} was overwritten: {versions} versions of different content")
            }
            Fault::Deleted { key, .. } => {
                write!(f, "{key} was deleted; its version behind the marker is read")
            }
            Fault::RolledBack { remembered, shown } => write!(
                f,
                "the store shows receipt {shown} as the newest, this host saw {} ({}) of {}",
                remembered.sequence,
                remembered.receipt.short(),
                remembered.finished
            ),
        }
    }
}
