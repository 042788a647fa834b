//! What must be there: every snapshot that was committed, with the site as it was; and the judgement at a run's end.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::sync::Arc;

use jiff::Timestamp;
use lifeboat::id::{ComponentName, SnapshotId};
use lifeboat::monitor::Silent;
use lifeboat::ops::check::{self, Extent, ReadData};
use lifeboat::repo::certificate::Trust;
use lifeboat::repo::history::{Fault, History};
use lifeboat::repo::receipt::Committed;
use lifeboat::repo::repository::Repository;
use lifeboat::repo::snapshot::{ReadOptions, SnapshotReader, open_vault};
use lifeboat::store::SharedStore;

use super::support::repository::read_stream;
use super::tally::Tally;
use super::world::{PRUNER, Site, World, folder, tenant};

/// The snapshots that were committed, each with what it has to hold.
#[derive(Debug, Clone, Default)]
pub struct Model {
    sites: BTreeMap<SnapshotId, Arc<Site>>,
    /// Those of which a backup said so.
    claimed: BTreeSet<SnapshotId>,
    /// The latest time at which a prune began, by the earlier of the two clocks that it knows.
    pruned: Option<Timestamp>,
}

impl Model {
    /// Takes up that a prune begins; a clock that jumped ahead alone counts for nothing.
    pub fn prunes(&mut self, now: Timestamp) {
        self.pruned = self.pruned.max(Some(now));
    }

    /// Takes up receipts that are new: they can only be of the site as it is now.
    pub fn look(&mut self, receipts: &BTreeSet<SnapshotId>, site: &Site) {
        let site = Arc::new(site.clone());
        for snapshot in receipts {
            self.sites.entry(snapshot.clone()).or_insert_with(|| Arc::clone(&site));
        }
    }

    /// Takes up what a backup says that it committed.
    pub fn claim(&mut self, snapshot: &SnapshotId, site: &Site) {
        self.look(&BTreeSet::from([snapshot.clone()]), site);
        self.claimed.insert(snapshot.clone());
    }
}

/// What the store shows to somebody who comes with the operator's identity alone.
struct Shown {
    repo: Repository,
    history: History,
    alarms: Vec<Fault>,
}

impl World {
    /// Ends a run: the store is whole again, the next backup goes well, and all is judged.
    pub fn finish(&mut self, tally: &mut Tally) -> Result<(), String> {
        let mended = self.mend();
        // A store that lost what it said it had stored may leave no way but an operator's.
        if !self.storm.lies {
            mended?;
        }
        self.judge(tally)
    }

    /// Restores everything and tells what is not as it has to be.
    pub fn judge(&self, tally: &mut Tally) -> Result<(), String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let store: SharedStore = Arc::new(self.shelf().await);
            let shown = self.shown(store.clone()).await?;
            if self.storm.lies {
                self.noticed(&shown, store, tally).await
            } else {
                self.kept(&shown, tally).await
            }
        })
    }

    async fn shown(&self, store: SharedStore) -> Result<Shown, String> {
        let repo = Repository::open(store, None).await.map_err(|e| e.to_string())?;
        let trust = Trust::load(&repo).await.map_err(|e| e.to_string())?;
        let history = History::load(&repo, &trust, &tenant(), None).await.map_err(|e| e.to_string())?;
        let alarms = history.faults.iter().filter(|f| f.is_alarm()).cloned().collect();
        Ok(Shown { repo, history, alarms })
    }

    /// Every committed snapshot is there, or signed for, and comes back; nothing alarms that has no cause.
    async fn kept(&self, shown: &Shown, tally: &mut Tally) -> Result<(), String> {
        let forks = self.storm.may_fork();
        let caused = |f: &Fault| forks && matches!(f, Fault::Fork { .. } | Fault::Unlinked { .. });
        if let Some(alarm) = shown.alarms.iter().find(|f| !caused(f)) {
            return Err(format!("the history alarms: {alarm}"));
        }
        tally.forks += u64::from(!shown.alarms.is_empty());
        for (snapshot, site) in &self.model.sites {
            let found = shown.history.find(snapshot);
            let judged = match found {
                Some(committed) => self.comes_back(shown, committed, site).await,
                None => self.signed_for(shown, snapshot),
            };
            tally.lost += u64::from(judged.is_err());
            judged?;
            *(if found.is_some() { &mut tally.restored } else { &mut tally.forgotten }) += 1;
        }
        let unknown =
            shown.history.snapshots.iter().find(|c| !self.model.sites.contains_key(&c.receipt.snapshot));
        unknown.map_or(Ok(()), |c| Err(format!("snapshot {} came from nowhere", c.receipt.snapshot)))
    }

    async fn comes_back(&self, shown: &Shown, committed: &Committed, site: &Site) -> Result<(), String> {
        let snapshot = &committed.receipt.snapshot;
        let read = self
            .read(&shown.repo, committed)
            .await
            .map_err(|e| format!("snapshot {snapshot} is lost: {e}"))?;
        if read == *site { Ok(()) } else { Err(format!("snapshot {snapshot} comes back as another")) }
    }

    /// Reads the site's files of a snapshot with a reader that knows nothing.
    async fn read(&self, repo: &Repository, committed: &Committed) -> lifeboat::error::Result<Site> {
        let vault = open_vault(repo, &committed.receipt, &self.operator).await?;
        let fetched = folder();
        let options = ReadOptions {
            frames: lifeboat::repo::reader::frame_memory(),
            folder: fetched.path().to_owned(),
            folder_limit_bytes: 64 << 20,
            fetches: 2,
            monitor: Arc::new(Silent),
        };
        let reader = SnapshotReader::open(repo, committed, &vault, options).await?;
        for record in reader.streams().to_vec().iter().filter(|r| r.stream != "tar") {
            read_stream(&reader, record.component, &record.stream).await?;
        }
        let tar = read_stream(&reader, ComponentName::Files, "tar").await?;
        Ok(files(&tar))
    }

    /// A snapshot that is gone was older than 14 days, was not among the newest three, and prune signed for it.
    fn signed_for(&self, shown: &Shown, snapshot: &SnapshotId) -> Result<(), String> {
        let later = shown.history.snapshots.iter().filter(|c| c.receipt.snapshot > *snapshot).count();
        // History's own prunes were at the time of a snapshot; one of this run may have had no backup since.
        let known = shown.history.snapshots.iter().map(|c| time_of(&c.receipt.snapshot)).max();
        let age = known
            .max(self.model.pruned)
            .map_or(0, |last| (last.as_second() - time_of(snapshot).as_second()) / 86_400);
        if shown.history.marks.forgotten.is_empty() || later < 3 || age < 14 {
            return Err(format!("snapshot {snapshot} is gone, {later} are later, it was {age} days old"));
        }
        Ok(())
    }

    /// On a store that lies: what does not come back is named by a check, on the host that committed it at least.
    async fn noticed(&self, shown: &Shown, store: SharedStore, tally: &mut Tally) -> Result<(), String> {
        let mut faults = Vec::new();
        for host in 0..PRUNER {
            let appliance = self.appliance(host, store.clone()).await.map_err(|e| e.to_string())?;
            let (all, extent) = ([tenant()], Extent { read_data: ReadData::All, latest_only: false });
            let checked = check::check(&appliance, &all, extent, Some(&self.operator));
            faults.append(
                &mut checked.await.map_err(|e| format!("a check fails: {e}"))?.tenants.remove(0).faults,
            );
        }
        for (snapshot, site) in &self.model.sites {
            let found = shown.history.find(snapshot);
            let why = match found {
                Some(committed) => self.comes_back(shown, committed, site).await.err(),
                None if self.signed_for(shown, snapshot).is_ok() => None,
                None => Some(format!("snapshot {snapshot} is gone")),
            };
            tally.restored += u64::from(found.is_some() && why.is_none());
            let Some(why) = why else { continue };
            if !names(&faults, snapshot, found.is_some()) {
                tally.lost += 1;
                return Err(format!("{why}, and a check says only {faults:?}"));
            }
            tally.noticed += 1;
        }
        tally.lying += 1;
        Ok(())
    }
}

/// Tells whether a check names a snapshot, or, of one whose receipt is gone, that something is missing.
///
/// Where the store never kept the newest receipt, the next night says that the store was set back and takes its number: from
/// then on a check names the snapshot as one that was never committed, which is no alarm.
fn names(faults: &[check::Fault], snapshot: &SnapshotId, is_there: bool) -> bool {
    let of_it = |f: &check::Fault| (f.alarm || !is_there) && f.snapshots.contains(snapshot);
    let lacks = |f: &check::Fault| f.alarm && f.snapshots.is_empty();
    faults.iter().any(|f| of_it(f) || !is_there && lacks(f))
}

fn time_of(snapshot: &SnapshotId) -> Timestamp {
    let text = snapshot.as_str()[..16].to_uppercase();
    jiff::fmt::strtime::parse("%Y%m%dT%H%M%SZ", &text)
        .unwrap()
        .to_datetime()
        .unwrap()
        .to_zoned(jiff::tz::TimeZone::UTC)
        .unwrap()
        .timestamp()
}

fn files(tar: &[u8]) -> Site {
    let mut archive = tar::Archive::new(tar);
    let mut site = Site::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        if entry.header().entry_type().is_file() {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            site.insert(entry.path().unwrap().to_str().unwrap().to_owned(), bytes);
        }
    }
    site
}
