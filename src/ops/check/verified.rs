//! When each pack was last read and found right, kept in the tenant's state between checks.
//!
//! Owns the rotation of `--read-data next/t`. It is a memory, no proof: whoever owns this host can write it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::id::{PackId, TenantName};
use crate::ops::state::{self, State};
use crate::repo::check::{Depth, Finding, Share};
use crate::repo::keys;
use crate::store::Kept;

/// What is kept, as `tenants/<tenant>/verified.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    /// The packs that were in the store at the last check, and when each was last read and right, in seconds since 1970;
    /// 0 for never.
    packs: BTreeMap<PackId, i64>,
    /// When anything was last checked.
    checked: Option<Timestamp>,
    /// The part of how many that was read last.
    part: Option<(u32, u32)>,
}

/// When a tenant's packs were last read and right.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// When the last check was.
    pub checked: Option<Timestamp>,
    /// How many packs there were then.
    pub packs: usize,
    /// How many of them no check on this host ever read.
    pub never: usize,
    /// When the one was read that was read longest ago, of those that ever were.
    pub oldest: Option<Timestamp>,
    /// The part that was read last, as `3/7`.
    pub part: Option<String>,
}

impl Memory {
    /// Reads what is kept of a tenant; one that is damaged counts as none.
    pub fn load(state: &State, tenant: &TenantName) -> Result<Memory> {
        let path = state.tenant(tenant)?.join("verified.json");
        Ok(state::read_json(&path).ok().flatten().unwrap_or_default())
    }

    /// Keeps it.
    pub fn save(&self, state: &State, tenant: &TenantName) -> Result<()> {
        state::write_json(&state.tenant(tenant)?.join("verified.json"), self)
    }

    /// Returns the part after the last that was read, of so many; the first where there were not as many.
    pub fn next(&self, of: u32) -> Share {
        let n = match self.part {
            Some((n, parts)) if parts == of => n % of.max(1) + 1,
            _ => 1,
        };
        Share { n, of }
    }

    /// Takes what a check saw: the packs that are there, those it read, and what it found wrong.
    pub fn update(
        &mut self,
        tenant: &TenantName,
        kept: &Kept,
        read: &[PackId],
        findings: &[Finding],
        depth: Depth,
        now: Timestamp,
    ) {
        let before = std::mem::take(&mut self.packs);
        let there = kept.versions.iter().filter_map(|e| keys::parse_pack(tenant, &e.key));
        self.packs = there.map(|id| (id, before.get(&id).copied().unwrap_or(0))).collect();
        for id in read {
            self.packs.entry(*id).and_modify(|at| *at = now.as_second());
        }
        for finding in findings {
            let id = finding.object.parse().ok().and_then(|key| keys::parse_pack(tenant, &key));
            id.and_then(|id| self.packs.get_mut(&id)).into_iter().for_each(|at| *at = 0);
        }
        self.checked = Some(now);
        if let Depth::Part(share) = depth {
            self.part = Some((share.n, share.of));
        }
    }

    /// Returns what people are told of it.
    pub fn told(&self) -> Verified {
        let oldest = self.packs.values().copied().filter(|at| *at > 0).min();
        Verified {
            checked: self.checked,
            packs: self.packs.len(),
            never: self.packs.values().filter(|at| **at == 0).count(),
            oldest: oldest.and_then(|at| Timestamp::from_second(at).ok()),
            part: self.part.map(|(n, of)| format!("{n}/{of}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Sha256;
    use crate::repo::check::Wrong;
    use crate::store::Entry;

    fn tenant() -> TenantName {
        "byrne".parse().unwrap()
    }

    fn kept(packs: &[PackId]) -> Kept {
        let entry = |id| Entry {
            key: keys::pack(&tenant(), id),
            size_bytes: 1,
            modified: Timestamp::UNIX_EPOCH,
            version: None,
        };
        let mut versions: Vec<Entry> = packs.iter().map(entry).collect();
        versions.sort_by(|a, b| a.key.cmp(&b.key));
        Kept { versions, markers: Vec::new() }
    }

    #[test]
    fn parts_rotate_and_after_all_of_them_every_pack_was_read() {
        let packs: Vec<PackId> = (0..100_u8).map(|n| Sha256::of(&[n])).collect();
        let mut memory = Memory::default();
        for round in 1..=8 {
            let share = memory.next(7);
            assert_eq!(share.n, (round - 1) % 7 + 1);
            let read: Vec<PackId> = packs.iter().filter(|id| share.holds(id)).copied().collect();
            let now = Timestamp::from_second(i64::from(round) * 86_400).unwrap();
            memory.update(&tenant(), &kept(&packs), &read, &[], Depth::Part(share), now);
        }
        let told = memory.told();
        assert_eq!((told.packs, told.never, told.part.as_deref()), (100, 0, Some("1/7")));
        assert_eq!(told.oldest, Timestamp::from_second(2 * 86_400).ok(), "the first part was read again");
        assert_eq!(memory.next(3).n, 1, "another division begins anew");
    }

    #[test]
    fn what_is_gone_is_forgotten_and_what_is_wrong_was_never_right() {
        let packs: Vec<PackId> = (0..3_u8).map(|n| Sha256::of(&[n])).collect();
        let mut memory = Memory::default();
        let now = Timestamp::from_second(86_400).unwrap();
        memory.update(&tenant(), &kept(&packs), &packs, &[], Depth::Hashes, now);
        assert_eq!(memory.told().never, 0);
        let wrong = Finding::new(Wrong::Damaged, keys::pack(&tenant(), &packs[1]), "x");
        memory.update(&tenant(), &kept(&packs[..2]), &[], &[wrong], Depth::Sizes, now);
        assert_eq!((memory.told().packs, memory.told().never), (2, 1));
    }
}
