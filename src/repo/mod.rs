//! The repository format: how snapshots become objects and come back. `docs/format.md` has it to the byte.
//!
//! Owns cutting, deduplication, compression, encryption, signatures and the names of objects. Knows nothing of
//! where streams come from or go to.

pub mod age_file;
pub mod cache;
pub mod certificate;
pub mod check;
pub mod chunk;
pub mod copy;
pub mod cutter;
pub mod drill;
pub mod erasure;
pub mod extent;
pub mod frame;
pub mod history;
pub mod keys;
pub mod lease;
pub mod manifest;
pub mod object;
pub mod pack;
pub mod reader;
pub mod rebuild;
pub mod recall;
pub mod receipt;
pub mod renewal;
pub mod repair;
pub mod repository;
pub mod reuse;
pub mod seal;
pub mod sign;
pub mod snapshot;
pub mod spool;
pub mod survey;
pub mod tampered;
#[cfg(test)]
pub(crate) mod testing;
pub mod transfer;
pub mod twin;
pub mod vault;
pub mod void;
pub mod wraps;
pub mod writer;
