//! A second store in a folder, and a machine that copies the tenant of a [`Bucket`] there and checks both.

use std::path::Path;
use std::sync::Arc;

use lifeboat::error::Result;
use lifeboat::ops::appliance::Appliance;
use lifeboat::ops::check::{Checked, Extent, ReadData, check};
use lifeboat::ops::copy::{Copied, Copying};
use lifeboat::ops::state;
use lifeboat::repo::certificate::Trust;
use lifeboat::repo::history::{History, Seen};
use lifeboat::repo::repository::Repository;
use lifeboat::store::{LocalStore, SharedStore, Timeouts};

use super::pruner;
use super::repository::{Bucket, tenant};

/// Keeps everything.
const POLICY: &str = "[drill]\nskip = \"a test\"\n";

/// Opens a folder as a store.
pub async fn folder(path: &Path) -> SharedStore {
    Arc::new(LocalStore::open(path, Timeouts::default(), true).await.unwrap())
}

/// Opens the repository in a store with the state of a machine.
pub async fn machine(store: SharedStore, state: &Path, bucket: &Bucket) -> Appliance {
    pruner::appliance(store, state, POLICY, bucket.tonight()).await
}

/// Copies the tenant.
pub async fn copy(appliance: &Appliance, to: SharedStore) -> Result<Copied> {
    Copying::into(appliance, to, false, false).await?.tenant(&tenant()).await
}

/// Loads the history that a store shows.
pub async fn history(store: &SharedStore) -> Result<(Repository, History)> {
    let repo = Repository::open(Arc::clone(store), None).await?;
    let trust = Trust::load(&repo).await?;
    let history = History::load(&repo, &trust, &tenant(), None).await?;
    Ok((repo, history))
}

/// Lets a machine remember what the store shows now, as a backup or a copy does.
pub async fn remember(appliance: &Appliance) {
    let mut seen = Seen::default();
    seen.advance(&appliance.repo, &appliance.trust, &tenant()).await.unwrap();
    let path = appliance.state.tenant(&tenant()).unwrap().join("seen.json");
    state::write_json(&path, &seen).unwrap();
}

/// Checks the tenant with all its data.
pub async fn checked(appliance: &Appliance) -> Checked {
    let extent = Extent { read_data: ReadData::All, latest_only: false };
    check(appliance, &[tenant()], extent, None).await.unwrap()
}

/// The words and objects of all faults of a check, sorted.
pub fn words(checked: &Checked) -> Vec<(String, String)> {
    let of_tenants = checked.tenants.iter().flat_map(|t| &t.faults);
    let all = checked.repository.iter().chain(of_tenants).filter(|f| f.alarm);
    let mut words: Vec<_> = all.map(|f| (f.kind.clone(), f.object.clone())).collect();
    words.sort();
    words
}
