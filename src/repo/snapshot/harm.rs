//! What became of a tenant's objects that are there already, without this host's doing: packs that are lost or damaged, wraps
//! that are gone.
//!
//! Owns what a writer does about it: nothing new relies on such a pack, and whoever needs it is named. A wrap is put back.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write;

use crate::error::{Error, Kind, Result};
use crate::id::{PackId, SnapshotId};
use crate::repo::extent::PackRef;
use crate::repo::history::History;
use crate::repo::keys::{self, SnapshotPart};
use crate::repo::tampered::{self, Tampered};
use crate::repo::void::VoidMarks;
use crate::repo::writer::Head;
use crate::repo::{manifest, object, receipt, survey};

use super::write::SnapshotOptions;
use crate::store::Kept;

/// How many lost packs are told one by one, and how many of the snapshots that need one.
const TOLD: usize = 5;

/// The packs that the store holds when a snapshot is begun.
pub(super) struct Holdings {
    /// Their newest versions, with lengths.
    pub held: HashMap<PackId, u64>,
    /// Those that somebody overwrote or deleted.
    pub tampered: Vec<Tampered>,
}

impl Holdings {
    /// Finds the packs in a listing of the tenant, and those that somebody overwrote or deleted.
    pub async fn of(options: &SnapshotOptions, kept: &Kept, marks: &VoidMarks) -> Result<Holdings> {
        let SnapshotOptions { repo, tenant, .. } = options;
        let tampered = tampered::packs(&**repo.store(), tenant, kept, &marks.packs).await?;
        for what in tampered::told(&tampered) {
            options.monitor.problem(&Error::new(Kind::Damaged, what).hint(
                "somebody else has this host's store credential, or one like it; what is kept is still read, and written anew",
            ));
        }
        Ok(Holdings { held: tampered::newest(tenant, kept).collect(), tampered })
    }

    /// Returns the packs that nothing new may refer to, whatever their length.
    pub fn unusable(&self, options: &SnapshotOptions, marks: &VoidMarks) -> HashSet<PackId> {
        let tampered = self.tampered_packs(options);
        marks.packs.iter().chain(&options.damaged).copied().chain(tampered).collect()
    }

    fn tampered_packs(&self, options: &SnapshotOptions) -> impl Iterator<Item = PackId> {
        self.tampered.iter().filter_map(|t| keys::parse_pack(&options.tenant, &t.object.parse().ok()?))
    }

    /// Finds the packs that this host relied on until now and can no more, and says of each which snapshots lost it.
    ///
    /// `remembered` and `head` are those of the cache; only where they are not of the receipt before is its pack list
    /// fetched. Where nothing is lost, nothing else is asked of the store.
    pub async fn lost(
        &self,
        options: &SnapshotOptions,
        marks: &VoidMarks,
        head: Option<Head>,
        remembered: &[PackRef],
    ) -> Result<Vec<String>> {
        let mut lost: BTreeMap<PackId, String> =
            remembered.iter().filter_map(|p| Some((p.id, self.fate(options, p)?))).collect();
        let before = options.predecessor.as_ref().map(|h| h.receipt);
        if remembered.is_empty() || head.map(|h| h.receipt) != before {
            for id in packs_before(options).await? {
                if !self.held.contains_key(&id) {
                    lost.insert(id, GONE.to_owned());
                }
            }
        }
        let known: HashSet<PackId> = self.tampered_packs(options).collect();
        lost.retain(|id, _| !marks.packs.contains(id) && !known.contains(id));
        if lost.is_empty() {
            return Ok(Vec::new());
        }
        let needed = needed_by(options, &lost).await;
        let mut told = Vec::new();
        // What no snapshot needs was given up before, by prune or with the run that wrote it.
        for (id, snapshots) in needed.iter().take(TOLD) {
            told.push(sentence(&keys::pack(&options.tenant, id).to_string(), &lost[id], snapshots));
        }
        if needed.len() > TOLD {
            told.push(format!(
                "and {} packs more: `lifeboat check --read-data` names all",
                needed.len() - TOLD
            ));
        }
        for what in &told {
            options.monitor.problem(&Error::new(Kind::Damaged, what));
        }
        Ok(told)
    }

    /// Tells what is wrong with a pack, if anything is.
    fn fate(&self, options: &SnapshotOptions, pack: &PackRef) -> Option<String> {
        match self.held.get(&pack.id) {
            None => Some(GONE.to_owned()),
            Some(size) if *size != pack.size_bytes => {
                Some(format!("is {size} bytes long instead of {}", pack.size_bytes))
            }
            Some(_) if options.damaged.contains(&pack.id) => Some("was found damaged".to_owned()),
            Some(_) => None,
        }
    }
}

const GONE: &str = "is no longer in the store";

fn sentence(pack: &str, what: &str, snapshots: &[SnapshotId]) -> String {
    let mut text = format!("{pack} {what}: this backup writes what it held anew; lost with it: ");
    for (n, snapshot) in snapshots.iter().rev().take(TOLD).enumerate() {
        let comma = if n > 0 { ", " } else { "" };
        // Writing to a string does not fail.
        write!(text, "{comma}{snapshot}").ok();
    }
    if snapshots.len() > TOLD {
        write!(text, " and {} older snapshots", snapshots.len() - TOLD).ok();
    }
    text
}

/// Returns the packs that the snapshot before needs, as far as its list can be read.
async fn packs_before(options: &SnapshotOptions) -> Result<Vec<PackId>> {
    let Some(before) = &options.predecessor else { return Ok(Vec::new()) };
    let key = keys::snapshot(&options.tenant, &before.snapshot, SnapshotPart::PackList);
    match object::get(&**options.repo.store(), &key, None, manifest::OBJECT_LIMIT).await {
        Ok(bytes) => Ok(receipt::parse_pack_list(&bytes).unwrap_or_default()),
        // What is lost there is found when this snapshot's own packs are looked for.
        Err(e) if matches!(e.kind(), Kind::NotFound | Kind::Damaged) => Ok(Vec::new()),
        Err(e) => Err(e),
    }
}

/// Finds the snapshots that need lost packs, oldest first; those whose pack list cannot be read are left out.
async fn needed_by(
    options: &SnapshotOptions,
    lost: &BTreeMap<PackId, String>,
) -> BTreeMap<PackId, Vec<SnapshotId>> {
    let SnapshotOptions { repo, trust, tenant, .. } = options;
    let mut needed: BTreeMap<PackId, Vec<SnapshotId>> = BTreeMap::new();
    let history = match History::load(repo, trust, tenant, None).await {
        Ok(history) => history,
        Err(e) => {
            options.monitor.problem(&e.in_context("which snapshots lost packs is not known"));
            return lost.keys().map(|id| (*id, Vec::new())).collect();
        }
    };
    let (lists, _) = survey::pack_lists(repo, &history.snapshots).await;
    for (snapshot, packs) in lists {
        for pack in packs.iter().filter(|p| lost.contains_key(&p.id)) {
            needed.entry(pack.id).or_default().push(snapshot.clone());
        }
    }
    needed
}

/// Puts wraps in force back that a listing of the tenant does not show any more, and says so.
///
/// One that cannot be put back is told and loses nothing yet: each receipt holds them too.
pub(super) async fn put_back_wraps(options: &SnapshotOptions, kept: &Kept) -> Vec<String> {
    let SnapshotOptions { repo, tenant, vault, .. } = options;
    let mut told = Vec::new();
    for wrap in vault.wraps() {
        let key = keys::wrap(tenant, vault.id(), wrap.hash());
        if !kept.versions_of(&key).is_empty() && !kept.is_deleted(&key) {
            continue;
        }
        let put = object::put_once(&**repo.store(), &key, wrap.bytes().clone()).await;
        told.push(match put {
            Ok(_) => format!("{key} was not in the store any more and was put back: who removed it?"),
            Err(e) => format!("{key} is not in the store any more, and could not be put back: {e}"),
        });
    }
    told
}
