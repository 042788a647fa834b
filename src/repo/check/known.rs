//! Which bytes belong under which key: by it a check sees that an object holds those of another.

use std::collections::HashMap;

use crate::id::{Sha256, TenantName};
use crate::repo::history::History;
use crate::repo::keys::{self, SnapshotPart};
use crate::store::{Kept, Key};

/// Hashes of objects, each with the key that it belongs under.
#[derive(Debug, Default)]
pub(super) struct Known(HashMap<Sha256, Place>);

/// Where an object belongs.
#[derive(Debug)]
pub(super) struct Place {
    key: Key,
    signed: bool,
}

impl Place {
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// Tells whether it is an object that carries a signature.
    pub fn is_signed(&self) -> bool {
        self.signed
    }
}

impl Known {
    /// Takes what the names of objects tell.
    pub fn of_names(tenant: &TenantName, kept: &Kept) -> Known {
        let mut known = Known::default();
        for entry in &kept.versions {
            let hash =
                keys::parse_pack(tenant, &entry.key).or_else(|| keys::parse_any_wrap(tenant, &entry.key));
            if let Some(hash) = hash {
                known.add(hash, entry.key.clone(), false);
            }
        }
        known
    }

    /// Takes what names and right receipts tell.
    pub fn of(tenant: &TenantName, kept: &Kept, history: &History) -> Known {
        let mut known = Known::of_names(tenant, kept);
        for c in history.forgotten.iter().chain(&history.snapshots) {
            let r = &c.receipt;
            let part = |part| keys::snapshot(tenant, &r.snapshot, part);
            known.add(r.manifest.hash, part(SnapshotPart::Manifest), false);
            known.add(r.packs.hash, part(SnapshotPart::PackList), false);
            known.add(c.hash, part(SnapshotPart::Receipt), true);
        }
        known
    }

    /// Takes one more; what two keys may hold belongs to the first.
    pub fn add(&mut self, hash: Sha256, key: Key, signed: bool) {
        self.0.entry(hash).or_insert(Place { key, signed });
    }

    /// Returns where these bytes belong, if not under `key`.
    pub fn other(&self, hash: &Sha256, key: &Key) -> Option<&Place> {
        self.0.get(hash).filter(|place| place.key != *key)
    }
}
