//! Anomalies: a snapshot that looks wrong beside the tenant's own nights before is marked, and nothing is lost meanwhile.
//!
//! Owns what is remembered between nights, on the host that backs the tenant up: sizes, rows by table, marks of files. It
//! opens no backup. A component that looks as usual becomes what the next night is held against; one that does not leaves
//! that alone until an operator accepts it, so that a slow second look still sees the difference. What is wrong is
//! decided in [`judge`](mod@judge), from the stream itself; what follows from it by prune, `status` and the service.

pub mod judge;
pub mod measure;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::component::files::Census;
use crate::config::Config;
use crate::error::{Error, Kind, Result};
use crate::id::{ComponentName, SnapshotId, TenantName};
use crate::ops::appliance::Surroundings;
use crate::ops::state::{self, State};
use crate::repo::receipt::Receipt;

pub use judge::{Anomaly, Check};
use measure::{Measured, Share};

/// So many nights before say what is usual.
const USUAL_NIGHTS: usize = 30;

/// A night's component that looks wrong, as it waits for an operator.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Suspect {
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// Since when each night has looked wrong.
    pub since: Timestamp,
    /// What looks wrong.
    pub anomalies: Vec<Anomaly>,
    measured: Measured,
}

/// What an operator said of a suspicious snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acceptance {
    /// Which.
    pub snapshot: SnapshotId,
    /// When.
    pub at: Timestamp,
    /// Why it is right as it is.
    pub reason: String,
}

/// What is remembered of a tenant's nights.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Nights {
    /// Each component's newest night that looked as usual.
    #[serde(default)]
    clean: BTreeMap<ComponentName, Measured>,
    /// What was new in the nights that looked as usual, oldest first.
    #[serde(default)]
    usual: BTreeMap<ComponentName, Vec<Share>>,
    /// The components that looked wrong when they were backed up last.
    #[serde(default)]
    suspects: BTreeMap<ComponentName, Suspect>,
    /// What was accepted last.
    #[serde(default)]
    accepted: Option<Acceptance>,
}

/// A night's measures while it is not committed.
#[derive(Debug, Default)]
pub(super) struct Tonight {
    found: BTreeMap<ComponentName, (Measured, Vec<Anomaly>)>,
    census: Option<Census>,
}

impl Nights {
    /// Reads what is remembered; nothing where there is nothing.
    pub fn load(state: &State, tenant: &TenantName) -> Result<Nights> {
        Ok(state::read_json(&file(&state.tenant_if_there(tenant)))?.unwrap_or_default())
    }

    /// Returns what looks wrong and waits for an operator.
    pub fn suspects(&self) -> &BTreeMap<ComponentName, Suspect> {
        &self.suspects
    }

    /// Tells whether an operator accepted the snapshot as it is.
    pub fn accepts(&self, snapshot: &SnapshotId) -> bool {
        self.accepted.as_ref().is_some_and(|a| a.snapshot == *snapshot)
    }

    /// Holds a whole component against the nights before.
    pub(super) fn judge(
        &self,
        component: ComponentName,
        measured: Measured,
        census: Option<&Census>,
        folder: &Path,
        tonight: &mut Tonight,
    ) -> Result<Vec<Anomaly>> {
        let drift = match (census, Census::load(&census_file(folder))) {
            (Some(now), Ok(Some(before))) => Some(now.since(&before)),
            // One that cannot be read is replaced tonight.
            (Some(_), Err(e)) if e.kind() != Kind::Damaged => return Err(e),
            _ => None,
        };
        let usual = self.usual.get(&component).map_or(&[][..], Vec::as_slice);
        let anomalies = match self.clean.get(&component) {
            Some(before) => judge::judge(component, before, usual, &measured, drift),
            None => Vec::new(),
        };
        if let Some(census) = census {
            tonight.census = Some(census.clone());
        }
        tonight.found.insert(component, (measured, anomalies.clone()));
        Ok(anomalies)
    }

    /// Remembers a night once it is committed.
    pub(super) fn committed(
        &mut self,
        tonight: Tonight,
        snapshot: &SnapshotId,
        at: Timestamp,
        folder: &Path,
    ) -> Result<()> {
        for (component, (measured, anomalies)) in tonight.found {
            if anomalies.is_empty() {
                if component == ComponentName::Files
                    && let Some(census) = &tonight.census
                {
                    census.save(&census_file(folder))?;
                }
                self.suspects.remove(&component);
                self.take(component, measured);
                continue;
            }
            if component == ComponentName::Files
                && let Some(census) = &tonight.census
            {
                census.save(&suspects_census_file(folder))?;
            }
            let since = self.suspects.get(&component).map_or(at, |s| s.since);
            let suspect = Suspect { snapshot: snapshot.clone(), since, anomalies, measured };
            self.suspects.insert(component, suspect);
        }
        state::write_json(&file(folder), self)
    }

    fn take(&mut self, component: ComponentName, measured: Measured) {
        let usual = self.usual.entry(component).or_default();
        usual.push(measured.share());
        let over = usual.len().saturating_sub(USUAL_NIGHTS);
        usual.drain(..over);
        self.clean.insert(component, measured);
    }
}

/// What `accept` did.
#[derive(Debug, Serialize)]
pub struct Accepted {
    /// Whose.
    pub tenant: TenantName,
    /// Each component with what had looked wrong.
    pub components: BTreeMap<ComponentName, Vec<Anomaly>>,
    /// What is remembered.
    pub acceptance: Acceptance,
}

/// Takes a suspicious snapshot for right: from now on nights are held against it.
pub fn accept(config: &Config, tenant: &TenantName, reason: &str, around: &Surroundings) -> Result<Accepted> {
    config.tenant(tenant)?;
    if reason.trim().is_empty() {
        return Err(Error::new(Kind::Usage, "an acceptance needs a reason")
            .hint("whoever compares the books later asks for it"));
    }
    let state = State::open(&config.machine.state_dir)?;
    let _lock = state.lock(tenant)?;
    let folder = state.tenant(tenant)?;
    let mut nights = Nights::load(&state, tenant)?;
    let Some(newest) = nights.suspects.values().map(|s| s.snapshot.clone()).max() else {
        return Err(Error::new(Kind::NotFound, format!("nothing of {tenant} looks wrong on this host"))
            .hint("the host that backs the tenant up remembers what to hold a night against"));
    };
    let acceptance = Acceptance { snapshot: newest, at: around.now(), reason: reason.trim().to_owned() };
    let mut components = BTreeMap::new();
    for (component, suspect) in std::mem::take(&mut nights.suspects) {
        if component == ComponentName::Files
            && let Some(census) = Census::load(&suspects_census_file(&folder))?
        {
            census.save(&census_file(&folder))?;
        }
        nights.take(component, suspect.measured);
        components.insert(component, suspect.anomalies);
    }
    nights.accepted = Some(acceptance.clone());
    state::write_json(&file(&folder), &nights)?;
    Ok(Accepted { tenant: tenant.clone(), components, acceptance })
}

/// Says of a suspicious receipt what looks wrong, as far as everybody may know.
pub fn of_receipt(receipt: &Receipt) -> String {
    let marked = receipt.components.iter().filter(|c| !c.anomalies.is_empty());
    let words: Vec<String> = marked.map(|c| format!("{}: {}", c.component, c.anomalies.join(", "))).collect();
    format!("{} on host {}", advice(&receipt.tenant, &words.join("; ")), receipt.host)
}

/// Says what looks wrong, and what to do.
pub fn advice(tenant: &TenantName, said: &str) -> String {
    format!(
        "looks wrong beside the nights before: {said}; look into it: `lifeboat accept {tenant} --reason TEXT` if it is right"
    )
}

/// Says what looks wrong in the newest receipt, unless an operator of this host accepted it: figures where this host
/// measured them, words otherwise.
pub fn of_newest(state: &State, tenant: &TenantName, newest: Option<&Receipt>) -> Result<Option<String>> {
    let Some(receipt) = newest.filter(|r| r.is_suspicious()) else { return Ok(None) };
    let nights = Nights::load(state, tenant)?;
    if nights.accepts(&receipt.snapshot) {
        return Ok(None);
    }
    let here = nights.suspects.values().filter(|s| s.snapshot == receipt.snapshot);
    let said: Vec<String> = here.flat_map(|s| &s.anomalies).map(ToString::to_string).collect();
    let what = if said.is_empty() { of_receipt(receipt) } else { advice(tenant, &said.join("; ")) };
    Ok(Some(format!("snapshot {} {what}", receipt.snapshot)))
}

fn file(folder: &Path) -> PathBuf {
    folder.join("nights.json")
}

fn census_file(folder: &Path) -> PathBuf {
    folder.join("files.census")
}

/// The marks of the night that looks wrong, which count once an operator accepts it.
fn suspects_census_file(folder: &Path) -> PathBuf {
    folder.join("files.census.suspect")
}

#[cfg(test)]
mod tests;
