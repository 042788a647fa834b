//! The signed objects of a repository: certificates, and a tenant's receipts, void marks and outcomes of drills.
//!
//! Owns which of them are looked at, and what only their row shows: that the newest lacks, or that a receipt was signed
//! under a certificate that is gone. Knows nothing of packs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc;

use serde::Deserialize;

use super::finding::{Finding, Wrong};
use super::known::Known;
use super::signed::{Look, Subject, Versions, diagnose, look};
use crate::error::Result;
use crate::id::{DrillId, HostName, SnapshotId, TenantName};
use crate::repo::certificate::{self, Certificate, Trust};
use crate::repo::drill;
use crate::repo::history::{Fault, History};
use crate::repo::keys::{self, Signed, SnapshotPart};
use crate::repo::receipt;
use crate::repo::repository::Repository;
use crate::repo::sign::PublicKey;
use crate::repo::void;
use crate::store::{Kept, Key, Store};

/// The highest certificate number that was ever seen of each host.
pub type Certificates = BTreeMap<HostName, u32>;

/// Checks the certificates below `hosts/`; `remembered` are those that this machine saw before. Returns also those that
/// are there now.
pub async fn certificates(
    repo: &Repository,
    kept: &Kept,
    remembered: &Certificates,
) -> Result<(Vec<Finding>, Certificates)> {
    let mut numbers: BTreeMap<HostName, BTreeSet<u32>> = BTreeMap::new();
    for entry in &kept.versions {
        if let Some((host, n)) = keys::parse_certificate(&entry.key) {
            numbers.entry(host).or_default().insert(n);
        }
    }
    // Numbers that were never issued, and the certificate that says so.
    let (say_never, never) = mpsc::channel();
    let mut subjects = Vec::new();
    for (host, all) in &numbers {
        for n in all {
            let say_never = say_never.clone();
            let verify = move |json: &[u8], sig: &[u8]| {
                let right = certificate::verify(repo, host, *n, json, sig)?;
                drop(say_never.send(right));
                Ok(())
            };
            subjects.push(Subject {
                keys: keys::certificate(host, *n),
                limit_bytes: certificate::LIMIT_BYTES,
                verify: Box::new(verify),
            });
        }
    }
    let mut known = Known::default();
    let looked = look_at(&**repo.store(), kept, subjects, &mut known).await?;
    let mut found = findings(looked, &known, kept, &[repo.root()]);
    let said = |c: Certificate| c.never.into_iter().map(move |n| ((c.host.clone(), n), c.number));
    let never: BTreeMap<(HostName, u32), u32> = never.try_iter().flat_map(said).collect();
    let signatures = kept.versions.iter().filter_map(|e| keys::parse_certificate_signature(&e.key));
    let mut begun: BTreeMap<HostName, u32> = BTreeMap::new();
    for (host, n) in signatures {
        begun.entry(host).and_modify(|highest| *highest = n.max(*highest)).or_insert(n);
    }
    let hosts: BTreeSet<&HostName> = numbers.keys().chain(remembered.keys()).collect();
    for host in hosts {
        let there = numbers.get(host);
        let highest = there.and_then(|all| all.last()).copied().unwrap_or(0);
        let known = remembered.get(host).copied().unwrap_or(0);
        let seen = known.max(highest);
        // Whoever has seen a number before another is said to take its place knows better.
        let was_never =
            |n: u32| never.get(&(host.clone(), n)).is_some_and(|said_by| !(n..*said_by).contains(&known));
        for n in (1..=seen).filter(|n| !there.is_some_and(|all| all.contains(n)) && !was_never(*n)) {
            found.push(lost_certificate(host, n, n > highest && begun.get(host).is_none_or(|b| *b < n)));
        }
    }
    let highest = numbers.into_iter().filter_map(|(host, all)| Some((host, *all.last()?)));
    Ok((found, highest.collect()))
}

/// A certificate that was there; with all newer ones gone, what they ended would count again.
fn lost_certificate(host: &HostName, number: u32, none_after: bool) -> Finding {
    let key = keys::certificate(host, number).json;
    let what = format!("{key} is not in the store any more");
    let wrong = if none_after { Wrong::RolledBack } else { Wrong::Missing };
    let advice = "what it allowed or ended does not count without it: `lifeboat check --repair` brings it back from a copy";
    Finding::new(wrong, key, what).advice(advice)
}

/// Checks a tenant's signed objects; `kept` is the listing of the tenant, `certificates` what was ever seen of them.
///
/// Receipts that `history` verified and that have one version are not read again.
pub async fn tenant(
    repo: &Repository,
    trust: &Trust,
    history: &History,
    kept: &Kept,
    certificates: &Certificates,
) -> Result<Vec<Finding>> {
    let tenant = &history.tenant;
    let mut known = Known::of(tenant, kept, history);
    let mut looked = look_at(&**repo.store(), kept, marks(trust, tenant, kept), &mut known).await?;
    looked.extend(look_at(&**repo.store(), kept, drills(trust, tenant, kept), &mut known).await?);
    let receipts = receipts(trust, history, kept);
    let of_receipts = look_at(&**repo.store(), kept, receipts, &mut known).await?;
    let signers: Vec<&PublicKey> = trust.certificates().map(|c| &c.signing_key).collect();
    let mut found = findings(looked, &known, kept, &signers);
    for (subject, seen) in of_receipts {
        let snapshot = keys::parse_snapshot(tenant, &subject.keys.json).map(|(s, _)| s);
        let finding = match &seen {
            Look::Wrong(versions) => uncertified(trust, &subject.keys, versions, certificates)
                .unwrap_or_else(|| diagnose(&subject, versions, &known, kept, &signers)),
            Look::Behind(finding, _) => finding.clone(),
            Look::Nothing | Look::Right(_) => continue,
        };
        found.push(finding.needed_by(snapshot));
    }
    found.extend(lost_marks(history, kept));
    found.extend(
        history.faults.iter().filter(|f| !is_explained(f, history)).filter_map(|f| of_row(tenant, f)),
    );
    Ok(found)
}

type Looked<'a> = Vec<(Subject<'a>, Look)>;

async fn look_at<'a>(
    store: &dyn Store,
    kept: &Kept,
    subjects: Vec<Subject<'a>>,
    known: &mut Known,
) -> Result<Looked<'a>> {
    let mut looked = Vec::with_capacity(subjects.len());
    for subject in subjects {
        let seen = look(store, kept, &subject).await?;
        if let Look::Right(hash) | Look::Behind(_, hash) = &seen {
            known.add(*hash, subject.keys.json.clone(), true);
        }
        looked.push((subject, seen));
    }
    Ok(looked)
}

fn findings(looked: Looked<'_>, known: &Known, kept: &Kept, signers: &[&PublicKey]) -> Vec<Finding> {
    let finding = |(subject, seen): (Subject<'_>, Look)| match seen {
        Look::Nothing | Look::Right(_) => None,
        Look::Behind(finding, _) => Some(finding),
        Look::Wrong(versions) => Some(diagnose(&subject, &versions, known, kept, signers)),
    };
    looked.into_iter().filter_map(finding).collect()
}

fn marks<'a>(trust: &'a Trust, tenant: &'a TenantName, kept: &Kept) -> Vec<Subject<'a>> {
    let subject = |n| Subject {
        keys: keys::void_mark(tenant, n),
        limit_bytes: void::LIMIT_BYTES,
        verify: Box::new(move |json: &[u8], sig: &[u8]| void::verify(trust, tenant, n, json, sig).map(drop)),
    };
    void::numbers(tenant, &kept.versions).into_iter().map(subject).collect()
}

fn drills<'a>(trust: &'a Trust, tenant: &'a TenantName, kept: &Kept) -> Vec<Subject<'a>> {
    let ids: BTreeSet<DrillId> =
        kept.versions.iter().filter_map(|e| keys::parse_drill(tenant, &e.key)).collect();
    let subject = |id: DrillId| Subject {
        keys: keys::drill(tenant, &id),
        limit_bytes: drill::LIMIT_BYTES,
        verify: Box::new(move |json: &[u8], sig: &[u8]| {
            drill::verify(trust, tenant, &id, json, sig).map(drop)
        }),
    };
    ids.into_iter().map(subject).collect()
}

/// The receipts that are not right, or have more than their first version.
fn receipts<'a>(trust: &'a Trust, history: &'a History, kept: &Kept) -> Vec<Subject<'a>> {
    let tenant = &history.tenant;
    let touched = |key: &Key| kept.versions_of(key).len() > 1 || kept.is_deleted(key);
    let right: BTreeSet<&SnapshotId> =
        history.forgotten.iter().chain(&history.snapshots).map(|c| &c.receipt.snapshot).collect();
    let is_suspect = |snapshot: &SnapshotId, keys: &Signed| {
        !right.contains(snapshot) || touched(&keys.json) || touched(&keys.minisig)
    };
    let all = kept.versions.iter().filter_map(|e| match keys::parse_snapshot(tenant, &e.key) {
        Some((snapshot, SnapshotPart::Receipt)) => Some(snapshot),
        _ => None,
    });
    let all: BTreeSet<SnapshotId> = all.collect();
    let subject = |snapshot: SnapshotId| {
        let keys = keys::receipt(tenant, &snapshot);
        is_suspect(&snapshot, &keys).then(|| Subject {
            keys,
            limit_bytes: receipt::LIMIT_BYTES,
            verify: Box::new(move |json: &[u8], sig: &[u8]| {
                receipt::verify(trust, tenant, &snapshot, json, sig).map(drop)
            }),
        })
    };
    all.into_iter().filter_map(subject).collect()
}

/// Says that a receipt cannot be verified because the certificate it names lacks, or does not verify itself.
fn uncertified(
    trust: &Trust,
    keys: &Signed,
    versions: &Versions,
    certificates: &Certificates,
) -> Option<Finding> {
    #[derive(Deserialize)]
    struct Signer {
        host: HostName,
        certificate: u32,
    }
    let signer: Signer = serde_json::from_slice(versions.newest()?).ok()?;
    if trust.holds(&signer.host, signer.certificate) {
        return None;
    }
    let seen = certificates.get(&signer.host).is_some_and(|highest| signer.certificate <= *highest);
    let bad = trust.faults().iter().any(|(host, n, ..)| *host == signer.host && *n == signer.certificate);
    let certificate = keys::certificate(&signer.host, signer.certificate).json;
    let what = format!("{} was signed under {certificate}, which is not there or not right", keys.json);
    (seen || bad).then(|| Finding::new(Wrong::Unverifiable, &keys.json, what))
}

/// Finds void marks that receipts say were there: without them what was forgotten would count again.
fn lost_marks(history: &History, kept: &Kept) -> Option<Finding> {
    let tenant = &history.tenant;
    let seen = history.snapshots.iter().map(|c| c.receipt.void_seen).max().unwrap_or(0);
    let keys = keys::void_mark(tenant, seen.max(1));
    if seen <= history.marks.highest || !kept.versions_of(&keys.json).is_empty() {
        return None;
    }
    let wrong = if kept.versions_of(&keys.minisig).is_empty() { Wrong::RolledBack } else { Wrong::Missing };
    let what = format!("{} is not in the store any more, and a receipt says that it was seen", keys.json);
    let advice = "what was void or forgotten counts again: do not prune; `lifeboat check --repair` brings it back from a copy";
    Some(Finding::new(wrong, keys.json, what).advice(advice))
}

/// Tells whether receipts that are there and do not verify are all that lacks in the row.
fn is_explained(fault: &Fault, history: &History) -> bool {
    let bad = || {
        history.faults.iter().filter_map(|f| match f {
            Fault::Unverifiable { snapshot, .. } | Fault::TooNew { snapshot, .. } => Some(snapshot),
            _ => None,
        })
    };
    match fault {
        Fault::Missing { .. } => {
            let gaps = history.faults.iter().map(|f| match f {
                Fault::Missing { from, to } => to - from + 1,
                _ => 0,
            });
            gaps.sum::<u64>() <= bad().count() as u64
        }
        Fault::RolledBack { remembered, .. } => bad().any(|s| *s == remembered.snapshot),
        _ => false,
    }
}

/// Says what is wrong with the row of receipts. What concerns single objects is found by looking at those.
fn of_row(tenant: &TenantName, fault: &Fault) -> Option<Finding> {
    let wrong = match fault {
        Fault::Unverifiable { .. }
        | Fault::TooNew { .. }
        | Fault::Ended { .. }
        | Fault::Overwritten { .. }
        | Fault::Deleted { .. } => return None,
        Fault::Missing { .. } => Wrong::Missing,
        Fault::Fork { .. } => Wrong::Fork,
        Fault::Unlinked { .. } => Wrong::Unlinked,
        Fault::Orphan { .. } => Wrong::Unfinished,
        Fault::RolledBack { .. } => Wrong::RolledBack,
    };
    let mut finding = Finding::new(wrong, keys::snapshots(tenant), fault.to_string());
    if let Fault::Fork { snapshots, .. } = fault {
        finding = finding.needed_by(snapshots.iter().cloned());
    }
    if matches!(fault, Fault::Missing { .. }) {
        finding = finding.advice(
            "`lifeboat check --repair` brings them back from a copy; `lifeboat prune --accept-missing` signs for their loss",
        );
    }
    Some(finding.needed_by(fault.snapshot().cloned()))
}
