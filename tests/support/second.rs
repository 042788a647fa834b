//! A second store in a folder, and a machine that copies the tenant of a [`Bucket`] there and checks both.

use std::path::Path;
use std::sync::Arc;

use lifeboat::error::Result;
use lifeboat::ops::appliance::Appliance;
use lifeboat::ops::check::repair::{self, Plan, Repaired};
use lifeboat::ops::check::{Checked, Extent, ReadData, check};
use lifeboat::ops::copy::{Copied, Copying};
use lifeboat::ops::state;
use lifeboat::repo::age_file::Identities;
use lifeboat::repo::certificate::Trust;
use lifeboat::repo::check::Depth;
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

/// What a repair planned and did, round by round.
#[derive(Debug, Default)]
pub struct Repair {
    pub plans: Vec<Plan>,
    pub done: Vec<Repaired>,
}

impl Repair {
    /// What could not be put right at the end.
    pub fn left(&self) -> Vec<String> {
        self.plans.last().unwrap().left.iter().map(|l| format!("[{}] {}", l.kind, l.what)).collect()
    }

    /// Where objects came from.
    pub fn origins(&self) -> Vec<&'static str> {
        self.plans.iter().flat_map(|p| &p.steps).map(|s| s.from).collect()
    }
}

/// Repairs the tenant until nothing is left to do.
pub async fn repair(
    appliance: &mut Appliance,
    other: Option<&Repository>,
    identities: Option<&Identities>,
) -> Repair {
    let mut all = Repair::default();
    for _ in 0..repair::MOST_ROUNDS {
        let plan = repair::plan(appliance, other, &tenant(), Depth::Hashes, identities).await.unwrap();
        let idle = plan.is_idle();
        if !idle {
            let done = repair::apply(appliance, &plan).await.unwrap();
            assert_eq!(done.failed, [""; 0]);
            all.done.push(done);
        }
        all.plans.push(plan);
        if idle {
            return all;
        }
    }
    panic!("it goes in circles: {all:?}");
}
