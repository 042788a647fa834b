//! What each snapshot loses by what nobody can put right: packs and bytes, and with an identity which streams.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::error::Result;
use crate::id::{ComponentName, PackId, SnapshotId};
use crate::ops::appliance::Appliance;
use crate::repo::age_file::Identities;
use crate::repo::check::Finding;
use crate::repo::history::History;
use crate::repo::keys;
use crate::repo::receipt::Committed;
use crate::repo::repair::Needs;
use crate::repo::snapshot::{open_vault, read_manifest, read_packs};

/// A part of a stream that is lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LostStream {
    /// Whose.
    pub component: ComponentName,
    /// Which.
    pub stream: String,
    /// How many of its bytes are lost.
    pub lost_bytes: u64,
    /// How many it has.
    pub size_bytes: u64,
}

/// What a snapshot lost for good.
#[derive(Debug, Serialize)]
pub struct Loss {
    /// Which.
    pub snapshot: SnapshotId,
    /// How many of its packs.
    pub packs: usize,
    /// Their bytes in the store.
    pub bytes: u64,
    /// The parts of its streams; none where no identity was given, or its manifest is lost.
    pub streams: Option<Vec<LostStream>>,
    /// Whether its manifest or pack list is lost, and so all of it.
    pub all: bool,
}

/// Finds what each snapshot loses with the packs that are `given_up` and the objects that are `left` as they are.
pub(super) async fn losses(
    appliance: &Appliance,
    history: &History,
    (given_up, left): (&[PackId], &[&str]),
    findings: &[Finding],
    needs: &Needs,
    identities: Option<&Identities>,
) -> Vec<Loss> {
    let tenant = &history.tenant;
    let mut lost: BTreeMap<SnapshotId, (BTreeSet<PackId>, u64)> = BTreeMap::new();
    let left_packs = left.iter().filter_map(|o| keys::parse_pack(tenant, &o.parse().ok()?));
    let gone = given_up.iter().copied().chain(left_packs);
    for id in gone {
        let Some((size, by)) = needs.get(&id) else { continue };
        for snapshot in by {
            let (packs, bytes) = lost.entry(snapshot.clone()).or_default();
            packs.insert(id);
            *bytes += size;
        }
    }
    let headless: BTreeSet<SnapshotId> = findings
        .iter()
        .filter(|f| f.loses() && left.contains(&f.object.as_str()))
        .filter_map(|f| Some(keys::parse_snapshot(tenant, &f.object.parse().ok()?)?.0))
        .collect();
    for snapshot in &headless {
        lost.entry(snapshot.clone()).or_default();
    }
    let mut all = Vec::new();
    for (snapshot, (packs, bytes)) in lost {
        let is_headless = headless.contains(&snapshot);
        let committed = history.find(&snapshot).filter(|_| !is_headless);
        let streams = match (committed, identities) {
            (Some(committed), Some(identities)) => {
                lost_streams(appliance, committed, &packs, identities).await.ok()
            }
            _ => None,
        };
        all.push(Loss { snapshot, packs: packs.len(), bytes, streams, all: is_headless });
    }
    all
}

async fn lost_streams(
    appliance: &Appliance,
    committed: &Committed,
    lost: &BTreeSet<PackId>,
    identities: &Identities,
) -> Result<Vec<LostStream>> {
    let vault = open_vault(&appliance.repo, &committed.receipt, identities).await?;
    let manifest = read_manifest(&appliance.repo, committed, &vault).await?;
    let packs = read_packs(&appliance.repo, committed).await?;
    let is_lost = |n: u32| packs.get(n as usize).is_some_and(|p| lost.contains(&p.id));
    let all = manifest.streams.iter().map(|s| LostStream {
        component: s.component,
        stream: s.stream.clone(),
        lost_bytes: s
            .segments
            .iter()
            .flat_map(|s| &s.extents)
            .filter(|e| is_lost(e.pack))
            .map(|e| u64::from(e.length))
            .sum(),
        size_bytes: s.size_bytes,
    });
    Ok(all.filter(|s| s.lost_bytes > 0).collect())
}
