//! Which snapshot a drill takes.
//!
//! Pure: the snapshots, earlier proofs, time and chance are passed in.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::config::Pick;
use crate::id::SnapshotId;
use crate::repo::drill::DrillOutcome;
use crate::repo::history::History;

/// What may be picked.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// The whole snapshots with their times, oldest first.
    whole: Vec<(SnapshotId, Timestamp)>,
    /// When the last drill of each that passed ended.
    proven: BTreeMap<SnapshotId, Timestamp>,
}

impl Kept {
    /// Takes them from a tenant's history and drills.
    pub fn of(history: &History, drills: &[DrillOutcome]) -> Kept {
        let whole = history.snapshots.iter().filter(|c| c.receipt.is_whole());
        let mut kept = Kept {
            whole: whole.map(|c| (c.receipt.snapshot.clone(), c.receipt.started)).collect(),
            ..Kept::default()
        };
        for drill in drills.iter().filter(|d| d.passed()) {
            let last = kept.proven.entry(drill.snapshot.clone()).or_insert(drill.finished);
            *last = drill.finished.max(*last);
        }
        kept
    }

    /// Returns the whole snapshot that `pick` means, and how it came about, in words; none where no whole one is there.
    ///
    /// By chance means one of those no older than `within`, each as likely; where none is so young, the newest. Where
    /// each was proven already, never drilled is the one whose proof is the oldest.
    pub fn choose(
        &self,
        pick: Pick,
        within: SignedDuration,
        now: Timestamp,
        chance: u64,
    ) -> Option<(SnapshotId, String)> {
        let (newest, _) = self.whole.last()?;
        let word = pick.word();
        let (found, how) = match pick {
            Pick::Latest => (newest, word.to_owned()),
            Pick::Oldest => (&self.whole.first()?.0, format!("{word} of {}", self.whole.len())),
            Pick::Random => {
                let young: Vec<&SnapshotId> = self
                    .whole
                    .iter()
                    .filter(|(_, at)| now.duration_since(*at) <= within)
                    .map(|(s, _)| s)
                    .collect();
                let n = u64::try_from(young.len()).unwrap_or(u64::MAX);
                match chance.checked_rem(n).and_then(|i| young.get(usize::try_from(i).ok()?)) {
                    Some(found) => (*found, format!("{word}, one of {n}")),
                    None => (newest, format!("{word}: none is young enough, so the newest")),
                }
            }
            Pick::NeverDrilled => {
                let never = self.whole.iter().rev().find(|(s, _)| !self.proven.contains_key(s));
                let oldest = || self.whole.iter().min_by_key(|(s, _)| self.proven.get(s));
                match never {
                    Some((found, _)) => (found, word.to_owned()),
                    None => (
                        &oldest()?.0,
                        format!("{word}: each was proven, so the one whose proof is the oldest"),
                    ),
                }
            }
        };
        Some((found.clone(), how))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(n: u8) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + i64::from(n) * 86_400).unwrap()
    }

    fn snapshot(n: u8) -> SnapshotId {
        SnapshotId::new(day(n), [n; 4])
    }

    fn kept(proven: &[(u8, u8)]) -> Kept {
        Kept {
            whole: (1..=4).map(|n| (snapshot(n), day(n))).collect(),
            proven: proven.iter().map(|(n, at)| (snapshot(*n), day(*at))).collect(),
        }
    }

    fn chosen(kept: &Kept, pick: Pick, within: i64, chance: u64) -> (SnapshotId, String) {
        kept.choose(pick, SignedDuration::from_hours(24 * within), day(5), chance).unwrap()
    }

    #[test]
    fn each_rule_picks_its_own() {
        let some = kept(&[(4, 5), (2, 5)]);
        assert_eq!(chosen(&some, Pick::Latest, 9, 0).0, snapshot(4));
        assert_eq!(chosen(&some, Pick::Oldest, 9, 0).0, snapshot(1));
        assert_eq!(chosen(&some, Pick::NeverDrilled, 9, 0).0, snapshot(3));
        let all = kept(&[(1, 8), (2, 7), (3, 6), (4, 9)]);
        let (found, how) = chosen(&all, Pick::NeverDrilled, 9, 0);
        assert!(found == snapshot(3) && how.contains("each was proven"), "{how}");
        assert!(Kept::default().choose(Pick::Random, SignedDuration::MAX, day(5), 1).is_none());
    }

    #[test]
    fn chance_reaches_each_within_the_window_and_none_outside() {
        let of = |within| (0..6).map(move |chance| chosen(&kept(&[]), Pick::Random, within, chance).0);
        assert_eq!(of(2).collect::<Vec<_>>(), [3, 4, 3, 4, 3, 4].map(snapshot));
        assert!(of(9).collect::<std::collections::BTreeSet<_>>().len() == 4);
        assert!(chosen(&kept(&[]), Pick::Random, 0, 7).1.contains("so the newest"));
    }
}
