//! What the service's parts and its visitors share: the configuration, the journal, and when the loop last turned.
//!
//! Owns the locks around them. Nothing holds one across an await, and no visitor can hold the loop up for longer
//! than it takes to read the runs in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};

use super::facts::Facts;
use super::journal::Journal;
use super::queue::Waiting;
use super::run::{JobKind, Outcome, Run};
use super::schedule::Past;
use super::status::Status;
use crate::config::Config;
use crate::error::Result;
use crate::id::TenantName;
use crate::ops::capacity::Capacity;
use crate::ops::health::Report;

/// A loop that has not turned for this long is stuck: it turns each minute.
const STUCK: SignedDuration = SignedDuration::from_mins(5);

type Held = Box<dyn Fn(&TenantName) -> Option<String> + Send + Sync>;

/// Where the parts of the service meet, and others ask.
pub struct Desk {
    config: Mutex<Arc<Config>>,
    journal: Arc<Mutex<Journal>>,
    beat: Mutex<Timestamp>,
    held: Held,
    facts: Mutex<Facts>,
    waiting: Mutex<Vec<Waiting>>,
    ended: Mutex<Ended>,
    health: Mutex<Option<Arc<Report>>>,
    capacity: Mutex<Option<Arc<Capacity>>>,
}

/// How many runs have ended since the service began, by tenant, kind and outcome.
pub type Ended = BTreeMap<(TenantName, JobKind, Outcome), u64>;

/// All that the service tells of itself at one time.
#[derive(Debug, Clone)]
pub struct Sight {
    /// How the tenants stand.
    pub status: Status,
    /// What the state folder told.
    pub facts: Facts,
    /// The runs that wait.
    pub waiting: Vec<Waiting>,
    /// The runs that have ended since the service began.
    pub ended: Ended,
    /// When the loop last turned.
    pub beat: Timestamp,
    /// What the last look at health found; none before the first.
    pub health: Option<Arc<Report>>,
    /// What the last look at what is used found; none before the first.
    pub capacity: Option<Arc<Capacity>>,
}

fn open<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Desk {
    pub(super) fn new(
        config: Arc<Config>,
        journal: Journal,
        now: Timestamp,
        held: impl Fn(&TenantName) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        Desk {
            config: Mutex::new(config),
            journal: Arc::new(Mutex::new(journal)),
            beat: Mutex::new(now),
            held: Box::new(held),
            facts: Mutex::default(),
            waiting: Mutex::default(),
            ended: Mutex::default(),
            health: Mutex::default(),
            capacity: Mutex::default(),
        }
    }

    /// Returns the configuration.
    pub fn config(&self) -> Arc<Config> {
        Arc::clone(&open(&self.config))
    }

    pub(super) fn configure(&self, config: Arc<Config>) {
        *open(&self.config) = config;
    }

    /// Returns how things stand at `now`.
    pub fn status(&self, now: Timestamp) -> Status {
        Status::of(&self.config(), open(&self.journal).runs(), |tenant| (self.held)(tenant), true, now)
    }

    /// Returns all that the service tells of itself at `now`.
    pub fn sight(&self, now: Timestamp) -> Sight {
        Sight {
            status: self.status(now),
            facts: open(&self.facts).clone(),
            waiting: open(&self.waiting).clone(),
            ended: open(&self.ended).clone(),
            beat: *open(&self.beat),
            health: self.health(),
            capacity: open(&self.capacity).clone(),
        }
    }

    /// Returns what the last look at health found.
    pub fn health(&self) -> Option<Arc<Report>> {
        open(&self.health).clone()
    }

    pub(super) fn looked(&self, report: Report) {
        *open(&self.health) = Some(Arc::new(report));
    }

    pub(super) fn measured(&self, capacity: Capacity) {
        *open(&self.capacity) = Some(Arc::new(capacity));
    }

    pub(super) fn learn(&self, facts: Facts) {
        *open(&self.facts) = facts;
    }

    pub(super) fn queued(&self, waiting: Vec<Waiting>) {
        *open(&self.waiting) = waiting;
    }

    pub(super) fn tally(&self, tenant: &TenantName, kind: JobKind, outcome: Outcome) {
        *open(&self.ended).entry((tenant.clone(), kind, outcome)).or_default() += 1;
    }

    /// Tells whether the loop turns.
    pub fn is_alive(&self, now: Timestamp) -> bool {
        now.duration_since(*open(&self.beat)) < STUCK
    }

    pub(super) fn beat(&self, now: Timestamp) {
        *open(&self.beat) = now;
    }

    pub(super) fn past(&self, tenant: &TenantName, kind: JobKind, now: Timestamp) -> Past {
        open(&self.journal).runs().past(tenant, kind, now)
    }

    pub(super) fn next_attempt(&self, run: &Run) -> u32 {
        open(&self.journal).runs().next_attempt(&run.tenant, run.kind, run.planned)
    }

    pub(super) fn last_outcome(&self, tenant: &TenantName, kind: JobKind) -> Option<Outcome> {
        open(&self.journal).runs().last(tenant, kind).and_then(|run| run.outcome)
    }

    /// Returns the tenant's last drill where it could not be begun and none runs now.
    pub(super) fn drill_not_run(&self, tenant: &TenantName) -> Option<Run> {
        let journal = open(&self.journal);
        let last = journal.runs().of(tenant, JobKind::Drill).next_back()?;
        (last.outcome == Some(Outcome::NotRun)).then(|| last.clone())
    }

    /// Notes from when on a tenant's runs are planned here, so that what lay before was not missed.
    pub(super) async fn see(&self, tenant: &TenantName, kind: JobKind, now: Timestamp) {
        let tenant = tenant.clone();
        self.write(move |journal| journal.see(&tenant, kind, now)).await;
    }

    /// Returns the last try of the run that was planned for a time.
    pub(super) fn run_planned_for(
        &self,
        tenant: &TenantName,
        kind: JobKind,
        planned: Timestamp,
    ) -> Option<Run> {
        open(&self.journal).runs().of(tenant, kind).rev().find(|run| run.planned == planned).cloned()
    }

    pub(super) fn unfinished(&self) -> Vec<Run> {
        open(&self.journal).runs().unfinished()
    }

    /// Notes a run. A journal that cannot be written costs no backup: the run is known in memory and goes on.
    pub(super) async fn put(&self, run: Run) {
        self.write(move |journal| journal.put(run)).await;
    }

    pub(super) async fn see_again(&self, tenant: &TenantName, kind: JobKind, now: Timestamp) {
        if open(&self.journal).runs().first_seen(tenant, kind).is_some_and(|seen| seen > now) {
            let tenant = tenant.clone();
            self.write(move |journal| journal.see(&tenant, kind, now)).await;
        }
    }

    /// Writes on a thread that may wait for the disk.
    async fn write(&self, work: impl FnOnce(&mut Journal) -> Result<()> + Send + 'static) {
        let journal = self.journal.clone();
        match tokio::task::spawn_blocking(move || work(&mut open(&journal))).await {
            Ok(Ok(())) => {}
            Ok(Err(e)) => tracing::error!(error = %e, "the journal was not written"),
            Err(e) => tracing::error!(error = %e, "the journal was not written"),
        }
    }
}
