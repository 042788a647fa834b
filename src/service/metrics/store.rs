//! What lies in the store: anomalies, locks, the second copy, prune.

use jiff::Timestamp;

use super::page::{Labels, Page};
use crate::id::TenantName;
use crate::service::desk::Sight;
use crate::service::facts::TenantFacts;
use crate::service::status::TenantStatus;

/// Every anomaly that is told by its own word; all others are `other`.
pub const ANOMALIES: [&str; 11] = [
    "suspicious",
    "overwritten",
    "deleted",
    "damaged",
    "missing",
    "fork",
    "unlinked",
    "rolled-back",
    "unverifiable",
    "too-new",
    "other",
];

pub fn write(sight: &Sight, page: &mut Page) {
    let facts = || sight.status.tenants.iter().filter_map(|t| Some((t, sight.facts.tenants.get(&t.tenant)?)));
    let anomalies = facts().flat_map(|(t, facts)| anomalies(t, facts));
    page.whole("anomalies", "Objects and receipts in the store that are not what they should be", anomalies);
    let locked = facts().filter_map(|(t, f)| Some((Labels::of(&t.tenant), f.locked_until?.as_second())));
    page.whole(
        "lock_end_timestamp_seconds",
        "When the first lock ends of what the newest snapshot needs",
        locked,
    );
    let horizons = sight
        .status
        .tenants
        .iter()
        .filter_map(|t| Some((Labels::of(&t.tenant), i64::try_from(t.lock_seconds?).ok()?)));
    page.whole("lock_horizon_seconds", "For how long the policy locks what is stored", horizons);
    let copied = facts().filter_map(|(t, f)| Some((&t.tenant, f.copied?)));
    ended(page, ["copy_last_timestamp_seconds", "copy_good"], "copy to the second store", copied.collect());
    let pruned = facts().filter_map(|(t, f)| Some((&t.tenant, f.pruned?)));
    ended(page, ["prune_last_timestamp_seconds", "prune_good"], "prune", pruned.collect());
}

fn ended(page: &mut Page, names: [&str; 2], what: &str, all: Vec<(&TenantName, (Timestamp, bool))>) {
    let at = all.iter().map(|(t, (at, _))| (Labels::of(t), at.as_second()));
    page.whole(names[0], &format!("When the last {what} ended"), at);
    let good = all.iter().map(|(t, (_, good))| (Labels::of(t), i64::from(*good)));
    page.whole(names[1], &format!("1 where the last {what} did all of its work"), good);
}

/// Adds up what the state folder remembers of packs and what the last backup saw of receipts.
fn anomalies(t: &TenantStatus, facts: &TenantFacts) -> Vec<(Labels, i64)> {
    let mut sums = [0_u64; ANOMALIES.len()];
    let seen = t.committed.as_ref().and_then(|run| run.report.anomalies.as_ref());
    let of_receipts = seen.into_iter().flatten().map(|(word, n)| (word.as_str(), *n));
    for (word, n) in facts.anomalies.iter().map(|(word, n)| (*word, *n)).chain(of_receipts) {
        let place = ANOMALIES.iter().position(|a| *a == word).unwrap_or(ANOMALIES.len() - 1);
        sums[place] += n;
    }
    let line = |(word, n): (&str, u64)| {
        (Labels::of(&t.tenant).and("anomaly", word), i64::try_from(n).unwrap_or(i64::MAX))
    };
    ANOMALIES.into_iter().zip(sums).map(line).collect()
}
