//! The daemon: what runs when, what became of it, and whom to tell.
//!
//! Owns the loop that starts runs when they are due and keeps their record. Knows nothing of how a backup or drill
//! is made: that is plugged in as [`Jobs`]; nor of the time, which is a [`Clock`]; nor of HTTP, which asks a [`Desk`].

mod asked;
mod clock;
mod desk;
mod facts;
mod jobs;
mod journal;
pub mod metrics;
mod notify;
mod plan;
mod queue;
mod report;
mod reread;
mod run;
pub mod schedule;
mod status;
mod timeliness;
pub mod unlocked;
pub mod verbs;
mod watch;
mod work;

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

pub use clock::{Clock, SystemClock};
pub use desk::{Desk, Sight};
pub use facts::{Disk, Facts, TenantFacts};
pub use jobs::Jobs;
pub use journal::{Journal, Peek, Runs};
pub use notify::{Notice, Patience, Ping};
pub use plan::rule_of;
pub use queue::Waiting;
pub use report::{CheckRun, ComponentRun, JobReport, PhaseRun};
pub use run::{JobKind, Outcome, Run, Trigger};
pub use status::{Light, Status, TenantStatus};
pub use timeliness::Timeliness;

use crate::config::{Config, Tenant};
use crate::error::{Context, Kind, Result};
use crate::id::TenantName;
use notify::Notifier;
use queue::Queue;
use reread::Folder;
use schedule::{Action, next_run};
use watch::Pace;

/// How long the loop sleeps at most: a clock that was set anew is noticed after this time.
const LONGEST_SLEEP: SignedDuration = SignedDuration::from_secs(60);

/// The service of one host.
pub struct Service<C, J> {
    desk: Arc<Desk>,
    clock: Arc<C>,
    jobs: Arc<J>,
    notifier: Notifier,
    queue: Queue,
    running: JoinSet<Run>,
    /// Told when a run has ended: what is known of the state folder is old then.
    changed: Arc<Notify>,
    /// The configuration's folder, where it is looked at again.
    folder: Option<Folder>,
}

impl<C: Clock, J: Jobs> Service<C, J> {
    /// Opens the journal, tells of runs that the last service did not end, and starts the receivers of notices.
    ///
    /// # Errors
    /// [`crate::error::Kind::Locked`] where a service runs on this host already.
    pub fn open(config: Arc<Config>, clock: Arc<C>, jobs: Arc<J>, patience: Patience) -> Result<Self> {
        let (mut journal, interrupted) = Journal::open(&config.machine.state_dir)?;
        see_all(&config, &mut journal, clock.now());
        let notifier = Notifier::start(&config.machine.notify, patience)?;
        for run in &interrupted {
            tracing::error!(tenant.name = %run.tenant, job = %run.kind, planned = %run.planned, "a run was interrupted");
            notifier.tell(Notice::of(&config.machine.host, run));
        }
        let held = {
            let (jobs, clock) = (jobs.clone(), clock.clone());
            move |tenant: &TenantName| jobs.held(tenant, clock.now())
        };
        let desk = Arc::new(Desk::new(config, journal, clock.now(), held));
        let (queue, running, changed) = (Queue::default(), JoinSet::new(), Arc::default());
        Ok(Service { desk, clock, jobs, notifier, queue, running, changed, folder: None })
    }

    /// Looks at the configuration's folder again and again: tenants and policies that change count from then on.
    #[must_use]
    pub fn rereading(mut self) -> Self {
        self.folder = Some(Folder::of(&self.desk.config()));
        self
    }

    /// Returns where others may ask how things stand.
    pub fn desk(&self) -> Arc<Desk> {
        self.desk.clone()
    }

    /// Runs what is due until `stop` is ready; then ends what runs, and notes so.
    pub async fn run(mut self, stop: impl Future<Output = ()>) -> Result<()> {
        let mut stop = std::pin::pin!(stop);
        let facts = facts::keep(self.desk(), Arc::clone(&self.clock), Arc::clone(&self.changed));
        let _facts = AbortOnDropHandle::new(tokio::spawn(facts));
        let watch = watch::keep(self.desk(), Arc::clone(&self.jobs), Pace::HEALTH);
        let _watch = AbortOnDropHandle::new(tokio::spawn(watch));
        let measure = watch::measure(self.desk(), Arc::clone(&self.jobs), Pace::CAPACITY);
        let _measure = AbortOnDropHandle::new(tokio::spawn(measure));
        loop {
            let now = self.clock.now();
            self.desk.beat(now);
            self.reread(now).await;
            self.take_what_is_due(now).await;
            self.take_up_drills_not_run();
            self.start_what_fits(now).await;
            self.desk.queued(self.queue.waiting());
            let wake = self.next_wake(now);
            tokio::select! {
                () = &mut stop => break,
                Some(ended) = self.running.join_next() => match ended {
                    Ok(run) => self.close(run).await,
                    // A job's panic is caught where it happens, so this is a slip in the service itself.
                    Err(e) => tracing::error!(error = %e, "a run was lost"),
                },
                () = self.clock.sleep_until(wake) => {}
            }
        }
        self.stop().await;
        Ok(())
    }

    /// Takes over tenants and policies that changed; what runs goes on as it began.
    async fn reread(&mut self, now: Timestamp) {
        let present = self.desk.config();
        let Some(folder) = &mut self.folder else { return };
        let Some(config) = folder.changed(&present).await.map(Arc::new) else { return };
        for gone in present.tenants().filter(|t| config.tenant(&t.name).is_err()) {
            self.queue.forget(&gone.name);
        }
        let all = config.tenants().flat_map(|t| JobKind::ALL.map(|kind| (t, kind)));
        for (tenant, kind) in all.filter(|(t, kind)| rule_of(&config, t, *kind).is_some()) {
            self.desk.see(&tenant.name, kind, now).await;
        }
        tracing::info!(tenants = config.tenants().count(), "the configuration was read anew");
        self.jobs.configure(Arc::clone(&config));
        self.desk.configure(config);
        self.changed.notify_one();
    }

    /// Moves runs whose time has come into the queue, and notes those that were missed.
    async fn take_what_is_due(&mut self, now: Timestamp) {
        let config = self.desk.config();
        for tenant in config.tenants() {
            for kind in JobKind::ALL {
                self.take_due(&config, tenant, kind, now).await;
            }
            self.take_asked_drill(&config, tenant, now);
        }
    }

    async fn take_due(&mut self, config: &Config, tenant: &Tenant, kind: JobKind, now: Timestamp) {
        let Some(rule) = rule_of(config, tenant, kind) else { return };
        // Nothing was first seen in the future: the clock was set back since.
        self.desk.see_again(&tenant.name, kind, now).await;
        let mut past = self.desk.past(&tenant.name, kind, now);
        past.handled = self.queue.newest(&tenant.name, kind).map_or(past.handled, |q| q.max(past.handled));
        let Some(due) = schedule::due(&rule, &past, now) else { return };
        let run = |planned, trigger| Run::new(tenant.name.clone(), kind, planned, trigger);
        let missed = due.missed.into_iter().map(|planned| run(planned, Trigger::Scheduled)).collect();
        self.note_missed(missed, now).await;
        let trigger = match due.action {
            Action::Start => Trigger::Scheduled,
            Action::CatchUp => Trigger::CatchUp,
            Action::Miss => {
                let missed = run(due.planned, Trigger::Scheduled);
                let reason = "nothing ran here at its time, and the policy does not make up for it";
                return self.end(missed.ended(now, Outcome::Missed, reason.to_owned())).await;
            }
        };
        if let Some(older) = self.queue.put(run(due.planned, trigger)) {
            let reason = "the runs before it took until the next one was due";
            self.end(older.ended(now, Outcome::Missed, reason.to_owned())).await;
        }
    }

    /// Queues drills that could not be begun for want of an identity, now that there is one.
    fn take_up_drills_not_run(&mut self) {
        let config = self.desk.config();
        let drilled = config.tenants().filter(|t| rule_of(&config, t, JobKind::Drill).is_some());
        for tenant in drilled.map(|t| &t.name) {
            let waits = self.queue.newest(tenant, JobKind::Drill).is_some();
            if let Some(run) = self.desk.drill_not_run(tenant)
                && !waits
                && self.jobs.can_drill(tenant)
            {
                self.queue.put(Run::new(tenant.clone(), JobKind::Drill, run.planned, Trigger::CatchUp));
            }
        }
    }

    /// Notes each run that was missed, and tells of the last one only: a long downtime is one event.
    async fn note_missed(&self, mut missed: Vec<Run>, now: Timestamp) {
        let reason = "nothing ran here at its time";
        let Some(last) = missed.pop() else { return };
        let earlier = missed.len();
        for run in missed {
            self.desk.put(run.ended(now, Outcome::Missed, reason.to_owned())).await;
        }
        let more =
            if earlier > 0 { format!(", nor at those of {earlier} earlier runs") } else { String::new() };
        self.end(last.ended(now, Outcome::Missed, format!("{reason}{more}"))).await;
    }

    /// Starts queued runs as far as tenants are idle and limits allow.
    async fn start_what_fits(&mut self, now: Timestamp) {
        let config = self.desk.config();
        while let Some(run) = self.queue.take_next(&config) {
            if let Some(reason) = self.jobs.held(&run.tenant, now) {
                self.queue.release(&run.tenant);
                self.end(run.ended(now, Outcome::Held, reason)).await;
            } else if run.kind == JobKind::Drill && !self.jobs.can_drill(&run.tenant) {
                self.queue.release(&run.tenant);
                self.end(run.ended(now, Outcome::NotRun, "no identity".to_owned())).await;
            } else {
                self.start(&config, run, now).await;
            }
        }
    }

    async fn start(&mut self, config: &Config, mut run: Run, now: Timestamp) {
        run.started = Some(now);
        run.attempt = self.desk.next_attempt(&run);
        tracing::debug!(tenant.name = %run.tenant, job = %run.kind, planned = %run.planned, "a run begins");
        self.desk.put(run.clone()).await;
        if notify::is_pinged(run.kind) {
            self.notifier.ping(Ping::Start, &run.tenant);
        }
        let limit =
            config.tenant(&run.tenant).map_or(work::NO_LIMIT, |t| t.policy.stage_timeout * work::STAGES);
        self.running.spawn(work::run(self.desk.clone(), self.clock.clone(), self.jobs.clone(), run, limit));
    }

    /// Notes the end of a run that had begun.
    async fn close(&mut self, run: Run) {
        self.queue.release(&run.tenant);
        self.end(run).await;
        self.changed.notify_one();
    }

    /// Notes how a run ended and tells whoever must know.
    async fn end(&self, run: Run) {
        self.desk.put(run.clone()).await;
        let Some(outcome) = run.outcome else { return };
        self.desk.tally(&run.tenant, run.kind, outcome);
        let reason = run.reason.as_deref().unwrap_or_default();
        if outcome.is_bad() {
            tracing::error!(tenant.name = %run.tenant, job = %run.kind, planned = %run.planned, %outcome, reason, "a run is not good");
            self.notifier.tell(Notice::of(&self.desk.config().machine.host, &run));
        } else {
            tracing::info!(tenant.name = %run.tenant, job = %run.kind, planned = %run.planned, %outcome, reason, "a run ended");
        }
        if notify::is_pinged(run.kind) && outcome != Outcome::Held {
            self.notifier.ping(self.desk.verdict(&run), &run.tenant);
        }
    }

    fn next_wake(&self, now: Timestamp) -> Timestamp {
        let config = self.desk.config();
        let longest = now.checked_add(LONGEST_SLEEP).unwrap_or(now);
        let planned = config.tenants().flat_map(|tenant| {
            let rules = JobKind::ALL.into_iter().filter_map(|kind| rule_of(&config, tenant, kind));
            rules.filter_map(|rule| next_run(&rule, now)).collect::<Vec<_>>()
        });
        planned.min().map_or(longest, |next| next.min(longest))
    }

    /// Ends what runs; each such run is begun anew, once, when the service comes back.
    async fn stop(mut self) {
        self.running.shutdown().await;
        let now = self.clock.now();
        for run in self.desk.unfinished() {
            tracing::warn!(tenant.name = %run.tenant, job = %run.kind, "a run is ended, since the service is");
            self.desk.put(run.ended(now, Outcome::Interrupted, "the service was stopped".to_owned())).await;
        }
        self.notifier.finish().await;
    }
}

/// Notes from when on each tenant's runs are planned here, so that what lay before was not missed.
fn see_all(config: &Config, journal: &mut Journal, now: Timestamp) {
    for tenant in config.tenants() {
        for kind in JobKind::ALL.into_iter().filter(|kind| rule_of(config, tenant, *kind).is_some()) {
            if let Err(e) = journal.see(&tenant.name, kind, now) {
                tracing::error!(error = %e, "the journal was not written");
            }
        }
    }
}

/// Waits until a signal asks the process to end: SIGTERM or SIGINT.
pub async fn stop_asked() -> Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut term = signal(SignalKind::terminate()).context(Kind::Io, "SIGTERM")?;
    let mut int = signal(SignalKind::interrupt()).context(Kind::Io, "SIGINT")?;
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
    Ok(())
}
