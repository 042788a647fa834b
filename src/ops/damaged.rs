//! Packs that were read and found damaged, as this host last saw them: nothing new relies on them.
//!
//! Owns where that is remembered between verbs: a check, a restore or a drill finds it, the next backup writes what the packs
//! held anew, `status` tells it. A memory, no proof: a check that finds a pack right again forgets it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::id::{PackId, TenantName};
use crate::ops::appliance::Appliance;
use crate::ops::state::{self, State};
use crate::repo::check::{Finding, Wrong};
use crate::repo::keys;
use crate::repo::receipt::Committed;
use crate::repo::snapshot::{SnapshotReader, read_packs};
use crate::store::Kept;

/// One that was found damaged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Damaged {
    /// What was wrong with it.
    pub what: String,
    /// When it was found last.
    pub found: Timestamp,
}

/// All of a tenant, as `tenants/<tenant>/damaged.json` in the state folder keeps them.
pub type All = BTreeMap<PackId, Damaged>;

/// Changes are read, made and written under this: several packs of one restore may turn out wrong at once.
static CHANGE: Mutex<()> = Mutex::new(());

/// Returns what is remembered; a file that is damaged itself counts as none.
pub fn remembered(state: &State, tenant: &TenantName) -> Result<All> {
    Ok(state::read_json(&file(state, tenant)?).ok().flatten().unwrap_or_default())
}

/// Takes what a check saw: the packs that are there, those it read and found right, and what it found wrong.
pub fn checked(
    state: &State,
    tenant: &TenantName,
    kept: &Kept,
    right: &[PackId],
    findings: &[Finding],
    now: Timestamp,
) -> Result<()> {
    let there: BTreeSet<PackId> =
        kept.versions.iter().filter_map(|e| keys::parse_pack(tenant, &e.key)).collect();
    let wrong = |f: &&Finding| matches!(f.wrong, Wrong::Damaged | Wrong::Swapped);
    let found = findings.iter().filter(wrong).filter_map(|f| {
        let id = keys::parse_pack(tenant, &f.object.parse().ok()?)?;
        Some((id, Damaged { what: f.what.clone(), found: now }))
    });
    change(state, tenant, |all| {
        all.retain(|id, _| there.contains(id) && !right.contains(id));
        all.extend(found);
    })
}

/// Has a reader remember each pack that it finds damaged.
pub fn watch(appliance: &Appliance, tenant: &TenantName, reader: &SnapshotReader) {
    let (state, tenant) = (appliance.state.clone(), tenant.clone());
    let clock = Arc::clone(&appliance.around.clock);
    reader.when_damaged(Box::new(move |pack, error: &Error| {
        let damaged = Damaged { what: error.to_string(), found: clock() };
        let kept = change(&state, &tenant, |all| drop(all.insert(*pack, damaged)));
        if let Err(e) = kept {
            tracing::warn!(%tenant, %pack, error = %e, "a damaged pack is not remembered");
        }
    }));
}

/// What the damaged packs of a tenant mean for its newest whole snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Meaning {
    /// There are none.
    None,
    /// It needs so many of them, one of which is named with its fault: nothing newer can be restored whole.
    Newest(usize, String),
    /// Only older ones need them.
    Older(usize),
}

/// Weighs what is remembered; the pack list of the newest whole snapshot is fetched only where there is something.
pub async fn meaning(
    appliance: &Appliance,
    tenant: &TenantName,
    newest: Option<&Committed>,
) -> Result<Meaning> {
    let all = remembered(&appliance.state, tenant)?;
    let (Some(newest), false) = (newest, all.is_empty()) else { return Ok(Meaning::None) };
    let needs = read_packs(&appliance.repo, newest).await?;
    let relied: Vec<&Damaged> = needs.iter().filter_map(|p| all.get(&p.id)).collect();
    Ok(match relied.first() {
        Some(first) => Meaning::Newest(relied.len(), first.what.clone()),
        None => Meaning::Older(all.len()),
    })
}

fn change(state: &State, tenant: &TenantName, change: impl FnOnce(&mut All)) -> Result<()> {
    let _alone = CHANGE.lock().unwrap_or_else(PoisonError::into_inner);
    let before = remembered(state, tenant)?;
    let mut all = before.clone();
    change(&mut all);
    if all == before { Ok(()) } else { state::write_json(&file(state, tenant)?, &all) }
}

fn file(state: &State, tenant: &TenantName) -> Result<PathBuf> {
    Ok(state.tenant(tenant)?.join("damaged.json"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Sha256;
    use crate::store::Entry;

    #[test]
    fn what_is_damaged_is_remembered_until_it_is_right_or_gone() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::open(folder.path()).unwrap();
        let tenant: TenantName = "byrne".parse().unwrap();
        let packs: Vec<PackId> = (0..4_u8).map(|n| Sha256::of(&[n])).collect();
        let entry = |id: &PackId| Entry {
            key: keys::pack(&tenant, id),
            size_bytes: 1,
            modified: Timestamp::UNIX_EPOCH,
            version: None,
        };
        let kept =
            |packs: &[PackId]| Kept { versions: packs.iter().map(entry).collect(), markers: Vec::new() };
        let found = |wrong, id: &PackId| Finding::new(wrong, keys::pack(&tenant, id), "is wrong");
        let findings = [
            found(Wrong::Damaged, &packs[0]),
            found(Wrong::Swapped, &packs[1]),
            found(Wrong::Missing, &packs[2]),
            Finding::new(Wrong::Damaged, "files/tar", "a stream"),
        ];
        let see = |packs: &[PackId], right: &[PackId], findings: &[Finding]| {
            checked(&state, &tenant, &kept(packs), right, findings, Timestamp::UNIX_EPOCH).unwrap();
            remembered(&state, &tenant).unwrap().into_keys().collect::<BTreeSet<_>>()
        };
        let both = BTreeSet::from([packs[0], packs[1]]);
        assert_eq!(see(&packs, &[], &findings), both);
        assert_eq!(
            see(&packs, &packs[2..], &[]),
            both,
            "a check that did not read them says nothing of them"
        );
        assert_eq!(see(&packs, &packs[1..], &[]), BTreeSet::from([packs[0]]));
        assert_eq!(see(&packs[1..], &[], &[]), BTreeSet::new());
    }
}
