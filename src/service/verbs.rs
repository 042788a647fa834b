//! The service's jobs, done by the verbs of `ops`.
//!
//! Each job opens the repository anew, so that new certificates and a replaced store are seen; it runs in a task of its own,
//! so that one that is given up still removes what it made.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::clock::Clock;
use super::jobs::Jobs;
use super::report::JobReport;
use super::run::Trigger;
use super::unlocked::Unlocked;
use crate::config::{Config, DrillPlace};
use crate::error::{Context, Error, Kind, Result, counted};
use crate::id::TenantName;
use crate::monitor::{Monitor, SharedMonitor, Silent};
use crate::ops::appliance::{self, Appliance, Surroundings};
use crate::ops::backup::{self, Request};
use crate::ops::capacity::{self, Capacity};
use crate::ops::copy;
use crate::ops::drill;
use crate::ops::health::{self, Scope};
use crate::ops::prune;
use crate::ops::snapshots;
use crate::ops::state::State;
use crate::repo::receipt;
use crate::store::Lines;

/// The verbs, with what they need.
pub struct Verbs<C> {
    config: RwLock<Arc<Config>>,
    clock: Arc<C>,
    unlocked: Arc<Unlocked>,
    tasks: TaskTracker,
    /// Jobs run side by side and share what the limits allow.
    lines: Lines,
}

/// Writes what happens to the log.
#[derive(Debug)]
struct Log(TenantName);

impl Monitor for Log {
    fn step(&self, name: &str) {
        tracing::info!(tenant.name = %self.0, step = name, "step");
    }

    fn problem(&self, error: &Error) {
        tracing::warn!(tenant.name = %self.0, error = %error, "problem");
    }

    fn note(&self, text: &str) {
        tracing::info!(tenant.name = %self.0, "{text}");
    }
}

impl<C: Clock> Verbs<C> {
    /// Makes them for a host.
    pub fn new(config: Arc<Config>, clock: Arc<C>) -> Self {
        let config = RwLock::new(config);
        Verbs { config, clock, unlocked: Arc::default(), tasks: TaskTracker::new(), lines: Lines::default() }
    }

    fn config(&self) -> Arc<Config> {
        Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns where keys that operators lend are kept.
    pub fn unlocked(&self) -> Arc<Unlocked> {
        Arc::clone(&self.unlocked)
    }

    /// Waits until jobs that were given up have removed what they made.
    pub async fn finish(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn around(&self, tenant: &TenantName, stop: &CancellationToken) -> Surroundings {
        let clock = Arc::clone(&self.clock);
        let monitor: SharedMonitor = Arc::new(Log(tenant.clone()));
        let lines = self.lines.clone();
        Surroundings { clock: Arc::new(move || clock.now()), monitor, stop: stop.clone(), lines }
    }

    /// Surroundings of whoever only looks.
    fn unseen(&self) -> Surroundings {
        let (clock, lines) = (Arc::clone(&self.clock), self.lines.clone());
        let stop = CancellationToken::new();
        Surroundings { clock: Arc::new(move || clock.now()), monitor: Arc::new(Silent), stop, lines }
    }

    /// Runs a job in a task of its own; when the caller gives up, the job is asked to stop and does so on its own.
    async fn detached<T: Send + 'static>(
        &self,
        stop: CancellationToken,
        job: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let _asks_to_stop = stop.drop_guard();
        self.tasks.spawn(job).await.context(Kind::Bug, "the job's task")?
    }

    fn identity_file(&self) -> Option<std::path::PathBuf> {
        let config = self.config();
        let state = State::open(&config.machine.state_dir).ok()?;
        appliance::drill_identity_file(&config.machine.drills, &state)
    }
}

#[async_trait]
impl<C: Clock> Jobs for Verbs<C> {
    fn configure(&self, config: Arc<Config>) {
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = config;
    }

    async fn backup(&self, tenant: &TenantName, _trigger: Trigger) -> Result<JobReport> {
        let stop = CancellationToken::new();
        let around = self.around(tenant, &stop);
        let config = (*self.config()).clone();
        let request = Request {
            tenant: tenant.clone(),
            trigger: receipt::Trigger::Scheduled,
            label: None,
            pinned_until: None,
        };
        let report = self.detached(stop, async move {
            let appliance = Appliance::open(config, around.clone()).await?;
            let backed = backup::backup(&appliance, &request).await?;
            let mut report = JobReport::of_backup(&backed);
            report.anomalies = anomalies_after(&appliance, &request.tenant).await;
            if appliance.config.machine.prune.after_backup {
                prune_after(appliance.config.clone(), around.clone(), &request.tenant).await;
            }
            if appliance.config.machine.copy.as_ref().is_some_and(|copy| copy.after_backup) {
                copy_after(appliance.config, around, &request.tenant).await;
            }
            Ok(report)
        });
        report.await
    }

    async fn drill(&self, tenant: &TenantName) -> Result<JobReport> {
        let identities = match self.unlocked.get(tenant, self.clock.now()) {
            Some(lent) => lent,
            None => appliance::read_identities(&self.identity_file().ok_or_else(|| {
                Error::new(Kind::WrongKey, "not run: no identity")
                    .hint("`lifeboat unlock TENANT --identity FILE`, or let drills run here")
            })?)?,
        };
        let stop = CancellationToken::new();
        let around = self.around(tenant, &stop);
        let config = (*self.config()).clone();
        let request = drill::Request {
            tenant: tenant.clone(),
            choice: drill::Choice::AsPolicySays,
            level: None,
            app_image: None,
            chance: rand::random(),
        };
        let report = self.detached(stop, async move {
            let appliance = Appliance::open(config, around).await?;
            drill::sweep(&appliance).await?;
            drill::drill(&appliance, &request, &identities).await
        });
        // A drill that found a fault is a failed run, and says so with all that it saw.
        Ok(JobReport::of_drill(&report.await?.report))
    }

    async fn look(&self) -> Option<Result<health::Report>> {
        Some(health::look(&self.config(), &self.unseen(), &Scope::of(&[])).await)
    }

    async fn measure(&self) -> Option<Result<Capacity>> {
        Some(capacity::capacity(&self.config(), &self.unseen(), &[]).await)
    }

    fn can_drill(&self, tenant: &TenantName) -> bool {
        match self.config().machine.drills {
            DrillPlace::Elsewhere => false,
            _ if self.unlocked.get(tenant, self.clock.now()).is_some() => true,
            DrillPlace::Unlocked => false,
            DrillPlace::Here { .. } | DrillPlace::AsInitSaid => {
                self.identity_file().is_some_and(|f| f.exists())
            }
        }
    }

    fn held(&self, tenant: &TenantName, now: Timestamp) -> Option<String> {
        let state = State::open(&self.config().machine.state_dir).ok()?;
        state.hold(tenant, now).ok()?.map(|h| format!("on hold until {}: {}", h.until, h.reason))
    }
}

/// Prunes a tenant that was backed up; what goes wrong is told and stands in `status`, and never fails the backup.
async fn prune_after(config: Config, around: Surroundings, tenant: &TenantName) {
    let monitor = Arc::clone(&around.monitor);
    let pruned = async {
        let appliance = Appliance::open_to_prune(config, around).await?;
        prune::unattended(&appliance, tenant).await
    };
    match pruned.await {
        Ok(done) => monitor.note(&format!(
            "pruned: {} forgotten, {} and {} bytes removed",
            counted(done.forgotten, "snapshot"),
            counted(done.packs, "pack"),
            done.bytes
        )),
        Err(e) => monitor.problem(&e.in_context("prune after the backup")),
    }
}

/// Copies a tenant that was backed up; what goes wrong is told and stands in `status`, and never fails the backup.
async fn copy_after(config: Config, around: Surroundings, tenant: &TenantName) {
    let monitor = Arc::clone(&around.monitor);
    match copy::unattended(config, around, tenant).await {
        Ok(done) => monitor.note(&format!(
            "copied to {}: {} snapshots, {} packs, {} bytes; {} left out",
            done.address,
            done.snapshots,
            done.packs,
            done.bytes,
            done.left_out.len()
        )),
        Err(e) => monitor.problem(&e.in_context("copy after the backup")),
    }
}

/// Counts what is wrong with a tenant's receipts in the store, by the word of the fault; none where that cannot be told.
async fn anomalies_after(appliance: &Appliance, tenant: &TenantName) -> Option<BTreeMap<String, u64>> {
    match snapshots::seen(appliance, tenant).await {
        Ok((history, ..)) => {
            let mut all = BTreeMap::new();
            for fault in history.faults.iter().filter(|f| f.is_alarm()) {
                *all.entry(fault.word().to_owned()).or_default() += 1;
            }
            Some(all)
        }
        Err(e) => {
            appliance.around.monitor.problem(&e.in_context("a look at the receipts after the backup"));
            None
        }
    }
}
