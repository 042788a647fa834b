//! What follows from the store as it is, and from what is forgotten now: which packs are needed, void, or may go.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::{Orders, Wait};
use crate::id::{PackId, SnapshotId};
use crate::ops::prune::retention::LEAST_AGE;
use crate::repo::history::Fault;
use crate::repo::survey::{HeldPack, Survey};
use crate::repo::void::{Forgotten, joined};

/// The store as it is, and the snapshots that are forgotten now.
pub(super) struct Facts<'a> {
    pub survey: &'a Survey,
    pub chosen: &'a BTreeSet<SnapshotId>,
}

impl Facts<'_> {
    /// Returns the packs that the snapshots need that stay.
    pub fn needed(&self) -> BTreeSet<PackId> {
        let kept = self.survey.needs.iter().filter(|(s, _)| !self.chosen.contains(*s));
        kept.flat_map(|(_, packs)| packs.iter().map(|p| p.id)).collect()
    }

    /// Returns the packs that become void: needed by what is forgotten now and by none that stays, and those of runs
    /// that died so long ago that no run of that time can still live.
    pub fn becomes_void(&self, needed: &BTreeSet<PackId>) -> Vec<PackId> {
        let forgotten: BTreeSet<PackId> =
            self.chosen.iter().filter_map(|s| self.survey.needs.get(s)).flatten().map(|p| p.id).collect();
        let dead = |id: &PackId, held: &HeldPack| {
            !needed.contains(id)
                && !self.survey.void.contains_key(id)
                && (forgotten.contains(id) || self.is_long_before_all_writers(held.stored))
        };
        self.survey.packs.iter().filter(|(id, held)| dead(id, held)).map(|(id, _)| *id).collect()
    }

    /// Returns the packs that go now: void, named by no receipt that counts, and every writer has committed one that
    /// saw the mark. Whoever begins later knows the mark too, so that no clock is needed.
    pub fn removable(&self) -> Vec<PackId> {
        let named: BTreeSet<PackId> = self.survey.needs.values().flatten().map(|p| p.id).collect();
        let seen = |mark: u32| self.survey.writers.iter().all(|w| w.seen.is_some_and(|seen| seen >= mark));
        let goes =
            |id: &PackId, mark: u32| self.survey.packs.contains_key(id) && !named.contains(id) && seen(mark);
        self.survey.void.iter().filter(|(id, mark)| goes(id, **mark)).map(|(id, _)| *id).collect()
    }

    /// Names the writers that hold up packs which are void and needed by none.
    pub fn waits(&self) -> Vec<Wait> {
        let named: BTreeSet<PackId> = self.survey.needs.values().flatten().map(|p| p.id).collect();
        let void = self
            .survey
            .void
            .iter()
            .filter(|(id, _)| self.survey.packs.contains_key(*id) && !named.contains(*id));
        let Some(mark) = void.map(|(_, mark)| *mark).max() else { return Vec::new() };
        let late = self.survey.writers.iter().filter(|w| w.seen.is_none_or(|seen| seen < mark));
        late.map(|w| Wait { host: w.host.clone(), mark, seen: w.seen }).collect()
    }

    /// Tells whether something was stored 14 days before the newest receipt of every writer, all by the store's clock.
    fn is_long_before_all_writers(&self, stored: Timestamp) -> bool {
        let newest: Option<Vec<Timestamp>> = self.survey.writers.iter().map(|w| w.stored).collect();
        let first = newest.and_then(|all| all.into_iter().min());
        first.is_some_and(|first| first.duration_since(stored) > LEAST_AGE)
    }

    /// Finds snapshots of which objects are there though they are forgotten or were never committed.
    pub fn leftovers(&self) -> Vec<SnapshotId> {
        let forgotten = self.survey.history.forgotten.iter().map(|c| c.receipt.snapshot.clone());
        let died = self.survey.begun().filter(|(_, stored)| self.is_long_before_all_writers(*stored));
        forgotten.chain(died.map(|(snapshot, _)| snapshot.clone())).collect()
    }

    /// Returns the receipts to sign for.
    pub fn forgotten(&self, orders: &Orders) -> Vec<Forgotten> {
        let history = &self.survey.history;
        let chosen = history.snapshots.iter().filter(|c| self.chosen.contains(&c.receipt.snapshot));
        let mut all: Vec<Forgotten> = chosen
            .map(|c| Forgotten { from: c.receipt.sequence, to: c.receipt.sequence, last: c.hash })
            .collect();
        for fault in history.faults.iter().filter(|_| orders.accept_missing) {
            let Fault::Missing { from, to } = fault else { continue };
            let next = history.snapshots.iter().find(|c| c.receipt.sequence == to + 1);
            if let Some(last) = next.and_then(|c| c.receipt.previous) {
                all.push(Forgotten { from: *from, to: *to, last });
            }
        }
        joined(all)
    }

    /// Returns the marks that the newest one repeats and every writer has seen a later one of.
    pub fn old_marks(&self) -> BTreeSet<u32> {
        let Some((_, repeated)) = self.survey.marks.last_key_value() else { return BTreeSet::new() };
        let seen = self.survey.writers.iter().map(|w| w.seen.unwrap_or(0)).min().unwrap_or(0);
        self.survey.marks.keys().copied().filter(|n| n <= repeated && *n < seen).collect()
    }
}
