//! The rules of sequence: each receipt follows the one before it. Pure.

use crate::id::{Sha256, SnapshotId};
use crate::repo::receipt::Committed;
use crate::repo::void::Forgotten;

use super::{Fault, Head};

/// What the rules need of a receipt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Link {
    pub sequence: u64,
    pub hash: Sha256,
    pub previous: Option<Sha256>,
    pub snapshot: SnapshotId,
}

impl From<&Committed> for Link {
    fn from(c: &Committed) -> Link {
        Link {
            sequence: c.receipt.sequence,
            hash: c.hash,
            previous: c.receipt.previous,
            snapshot: c.receipt.snapshot.clone(),
        }
    }
}

/// Returns what receipts are sorted by.
pub(super) fn order(link: &Link) -> (u64, SnapshotId) {
    (link.sequence, link.snapshot.clone())
}

/// Finds gaps, forks and broken links in receipts sorted by [`order`], which follow `after` where one is given.
///
/// Receipts that prune has `forgotten` are no gap; what follows them must name the last of them.
pub(super) fn faults(after: Option<&Head>, links: &[Link], forgotten: &[Forgotten]) -> Vec<Fault> {
    let mut faults = Vec::new();
    let start = after.map(|head| Link {
        sequence: head.sequence,
        hash: head.receipt,
        previous: None,
        snapshot: head.snapshot.clone(),
    });
    let mut before: Vec<&Link> = start.iter().collect();
    for same in links.chunk_by(|a, b| a.sequence == b.sequence) {
        let sequence = same[0].sequence;
        let last = before.first().map_or(0, |l| l.sequence);
        let rivals = if sequence == last { before.as_slice() } else { &[] };
        if same.len() + rivals.len() > 1 {
            let snapshots = rivals.iter().copied().chain(same).map(|l| l.snapshot.clone()).collect();
            faults.push(Fault::Fork { sequence, snapshots });
        }
        faults.extend(gaps(last + 1, sequence, forgotten));
        let signed_for = forgotten.iter().find(|f| f.to + 1 == sequence && last < sequence);
        if let Some(run) = signed_for {
            let broken = same.iter().filter(|l| l.previous != Some(run.last));
            faults.extend(broken.map(|l| Fault::Unlinked { snapshot: l.snapshot.clone(), sequence }));
        } else if sequence == last + 1 && last > 0 {
            let follows = |l: &&Link| !before.iter().any(|b| l.previous == Some(b.hash));
            faults.extend(
                same.iter()
                    .filter(follows)
                    .map(|l| Fault::Unlinked { snapshot: l.snapshot.clone(), sequence }),
            );
        }
        // Receipts older than the head that came late leave the head where it is.
        if sequence > last {
            before = same.iter().collect();
        }
    }
    faults
}

/// Finds the numbers from `from` up to `until`, that one not, that are not forgotten.
fn gaps(mut from: u64, until: u64, forgotten: &[Forgotten]) -> Vec<Fault> {
    let mut gaps = Vec::new();
    // Sorted, and none touches another.
    for run in forgotten {
        if run.to < from || run.from >= until {
            continue;
        }
        if run.from > from {
            gaps.push(Fault::Missing { from, to: run.from - 1 });
        }
        from = from.max(run.to + 1);
    }
    if from < until {
        gaps.push(Fault::Missing { from, to: until - 1 });
    }
    gaps
}

/// Tells whether the receipts that are there end before the head that was seen, or have another in its place.
pub(super) fn rolled_back(remembered: &Head, links: &[Link]) -> Option<Fault> {
    let shown = links.last().map_or(0, |l| l.sequence);
    let there = links.iter().any(|l| l.hash == remembered.receipt);
    let replaced = links.iter().any(|l| l.sequence == remembered.sequence);
    (!there && (replaced || shown < remembered.sequence))
        .then(|| Fault::RolledBack { remembered: remembered.clone(), shown })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(sequence: u64, hash: &str, previous: &str) -> Link {
        let random = [0, 0, 0, hash.as_bytes()[0]];
        Link {
            sequence,
            hash: Sha256::of(hash.as_bytes()),
            previous: (!previous.is_empty()).then(|| Sha256::of(previous.as_bytes())),
            snapshot: SnapshotId::new("2026-11-23T02:00:00Z".parse().unwrap(), random),
        }
    }

    fn head(l: &Link) -> Head {
        Head {
            sequence: l.sequence,
            receipt: l.hash,
            snapshot: l.snapshot.clone(),
            finished: "2026-11-23T02:00:00Z".parse().unwrap(),
        }
    }

    fn words(after: Option<&Head>, links: &[Link]) -> Vec<&'static str> {
        faults(after, links, &[]).iter().map(Fault::word).collect()
    }

    #[test]
    fn an_unbroken_row_has_no_fault() {
        let row = [link(1, "a", ""), link(2, "b", "a"), link(3, "c", "b")];
        assert_eq!(words(None, &row), [""; 0]);
        assert_eq!(words(Some(&head(&row[0])), &row[1..]), [""; 0]);
        assert_eq!(words(None, &[]), [""; 0]);
    }

    #[test]
    fn gaps_are_named_by_their_numbers() {
        let row = [link(3, "c", "b"), link(4, "d", "c"), link(7, "g", "f")];
        let expected = [Fault::Missing { from: 1, to: 2 }, Fault::Missing { from: 5, to: 6 }];
        assert_eq!(faults(None, &row, &[]), expected);
    }

    #[test]
    fn what_prune_signed_for_is_no_gap_and_the_next_must_follow_it() {
        let run = |from, to, last: &str| Forgotten { from, to, last: Sha256::of(last.as_bytes()) };
        let row = [link(3, "c", "b"), link(4, "d", "c"), link(7, "g", "f")];
        assert_eq!(faults(None, &row, &[run(1, 2, "b"), run(5, 6, "f")]), []);
        assert_eq!(faults(None, &row, &[run(1, 2, "b")]), [Fault::Missing { from: 5, to: 6 }]);
        assert_eq!(
            faults(None, &row, &[run(2, 2, "b"), run(5, 5, "e")]),
            [Fault::Missing { from: 1, to: 1 }, Fault::Missing { from: 6, to: 6 }]
        );
        let other = faults(None, &row, &[run(1, 2, "x"), run(5, 6, "f")]);
        assert_eq!(other.iter().map(Fault::word).collect::<Vec<_>>(), ["unlinked"]);
        assert_eq!(faults(Some(&head(&row[1])), &row[2..], &[run(1, 2, "b"), run(5, 6, "f")]), []);
    }

    #[test]
    fn two_successors_are_a_fork_and_the_next_may_follow_either() {
        let row = [link(1, "a", ""), link(2, "b", "a"), link(2, "x", "a"), link(3, "c", "x")];
        assert_eq!(words(None, &row), ["fork"]);
        assert_eq!(words(Some(&head(&row[1])), &row[2..3]), ["fork"]);
    }

    #[test]
    fn a_receipt_that_follows_one_that_is_not_there_is_unlinked() {
        let row = [link(1, "a", ""), link(2, "b", "z"), link(3, "c", "b")];
        assert_eq!(words(None, &row), ["unlinked"]);
    }

    #[test]
    fn an_older_head_than_remembered_is_a_rollback() {
        let row = [link(1, "a", ""), link(2, "b", "a"), link(3, "c", "b")];
        assert!(rolled_back(&head(&row[2]), &row).is_none());
        assert!(rolled_back(&head(&row[0]), &row).is_none());
        assert!(rolled_back(&head(&row[2]), &row[..2]).is_some());
        assert!(rolled_back(&head(&row[2]), &[]).is_some());
        let replaced = [link(1, "a", ""), link(2, "x", "a"), link(3, "y", "x")];
        assert!(rolled_back(&head(&row[1]), &replaced).is_some());
        assert!(rolled_back(&head(&row[1]), &row[2..]).is_none(), "prune may have taken it");
    }
}
