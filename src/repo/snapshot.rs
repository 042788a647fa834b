//! One snapshot of a tenant: how its parts become objects and are committed, and how they are read again.
//!
//! Owns the order of writing and the agreement of receipt, manifest and pack list. Knows nothing of what
//! streams mean; bytes are the business of [`super::writer`] and [`super::reader`].

mod commit;
mod harm;
mod read;
mod write;

pub use read::{ReadOptions, SnapshotReader, open_vault, read_manifest, read_packs};
pub use write::{ComponentWriter, SnapshotOptions, SnapshotWriter};
