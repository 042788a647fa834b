//! `restore`: a tenant brought back from a snapshot, in its place or under another name, with a way back.
//!
//! A plan is made first, a value that says what would be made, loaded and moved aside; `apply` does it. Everything is
//! loaded beside what is there and compared; then the application stops, all parts take their places, and it starts again.
//! What was there is kept until the restore is committed, and an undo puts it back. Each step is written down before, so that
//! a restore that was killed is completed or taken back.

mod apply;
mod database;
mod ending;
mod files;
mod journal;
mod made;
mod naming;
mod outlook;
mod part;
mod plan;
mod queues;
mod run;
mod safety;
mod settings;
mod sso;
mod vitals;

use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;

use crate::config::Config;
use crate::error::{Error, Kind, Result};
use crate::id::{ComponentName, SnapshotId, TenantName};
use crate::ops::appliance::Appliance;
use crate::ops::check::open_reader;
use crate::ops::record::Envelope;
use crate::ops::snapshots::{self, Which};
use crate::repo::age_file::Identities;
use crate::repo::manifest;
use crate::repo::receipt::Committed;
use crate::repo::snapshot::{self, SnapshotReader};

use journal::{Begun, Event};
use naming::Naming;
use run::Run;

pub use ending::{Ended, Ending, Outcome};
pub use journal::{Kept, Pending, Phase, Safety, pending, refuse_half, refuse_pending};
pub use outlook::{Expected, Outlook, Room, Versions};
pub use plan::{Action, Plan, Step};

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Request {
    /// Whose snapshot.
    pub tenant: TenantName,
    /// Which.
    pub which: Which,
    /// Another name to restore under.
    pub into: Option<TenantName>,
    /// Under another name: leave mail, scheduler and integrations as they were.
    pub live: bool,
    /// Only these components; all when empty.
    pub only: Vec<ComponentName>,
    /// Load the job queue, whose jobs may run twice.
    pub with_queue: bool,
    /// Put the tenant's client in Authentik back, which others may have changed since.
    pub with_sso: bool,
    /// Leave the scheduler paused.
    pub pause_scheduler: bool,
    /// The tenant whose data may be moved aside, typed by the operator.
    pub yes_overwrite: Option<TenantName>,
    /// Go on where what is there cannot be backed up first, and why.
    pub without_safety: Option<String>,
    /// Keep nothing of what was there: there will be no undo.
    pub commit: bool,
}

impl Request {
    /// Returns the name under which the tenant comes back.
    pub fn target(&self) -> &TenantName {
        self.into.as_ref().unwrap_or(&self.tenant)
    }

    /// Returns what was asked for when a restore was begun.
    fn of(begun: &Begun) -> Request {
        Request {
            tenant: begun.tenant.clone(),
            which: Which::Id(begun.snapshot.clone()),
            into: (begun.target != begun.tenant).then(|| begun.target.clone()),
            live: begun.live,
            only: begun.only.clone(),
            with_queue: begun.with_queue,
            with_sso: begun.with_sso,
            pause_scheduler: begun.pause_scheduler,
            yes_overwrite: Some(begun.target.clone()),
            without_safety: None,
            commit: false,
        }
    }

    /// Fails with [`Kind::Usage`] where the client in Authentik is asked for and cannot be put back.
    pub fn refuse_sso_without_place(&self, config: &Config) -> Result<()> {
        let what = if !self.with_sso {
            return Ok(());
        } else if self.into.is_some() {
            "--with-sso is not for another name: the client in Authentik is that of the tenant itself"
        } else if config.machine.platform.as_ref().is_none_or(|p| p.sso.is_none()) {
            "--with-sso needs [platform.sso] in lifeboat.toml: where Authentik is, and its token"
        } else {
            return Ok(());
        };
        Err(Error::new(Kind::Usage, what))
    }

    /// Fails with [`Kind::Usage`] where the other name is not one of its own.
    pub fn refuse_name_in_use(&self, config: &Config) -> Result<()> {
        let Some(into) = &self.into else { return Ok(()) };
        let what = if *into == self.tenant {
            format!("--into {into} is the tenant itself")
        } else if config.tenants().any(|t| t.name == *into) {
            format!("--into {into} is a tenant that is configured on this host")
        } else {
            return Ok(());
        };
        Err(Error::new(Kind::Usage, what)
            .hint("--into takes a new name; without it the tenant comes back in its own place"))
    }

    fn wants(&self, component: ComponentName) -> bool {
        self.only.is_empty() || self.only.contains(&component)
    }
}

/// One component that came back.
#[derive(Debug, Serialize)]
pub struct RestoredComponent {
    /// Which.
    pub component: ComponentName,
    /// What was done and compared.
    pub detail: String,
    /// How long it took.
    pub seconds: f64,
}

/// What a restore did.
#[derive(Debug, Serialize)]
pub struct Restored {
    /// Whose snapshot.
    pub tenant: TenantName,
    /// Under which name.
    pub target: TenantName,
    /// Which snapshot.
    pub snapshot: SnapshotId,
    /// What its state is as of.
    pub as_of: jiff::Timestamp,
    /// The components.
    pub components: Vec<RestoredComponent>,
    /// What became of the snapshot that was to be taken first.
    pub safety: Safety,
    /// What was there before, where it lies now, and what space it takes.
    pub kept: Vec<Kept>,
    /// Whether `--undo` brings it back.
    pub undoable: bool,
    /// Containers, volumes and networks that were made.
    pub made: Vec<String>,
    /// Whether mail, scheduler and integrations were switched off.
    pub muted: bool,
    /// What was asked for besides and could not be done; the rest is whole.
    pub lacks: Vec<String>,
    /// Checks of the tenant's health that fail now and did not before.
    pub worse: Vec<String>,
    /// What an operator should know.
    pub notes: Vec<String>,
    /// How long it took.
    pub seconds: f64,
}

/// An opened snapshot, ready to be planned and restored.
pub struct Opened {
    /// Its receipt.
    pub committed: Committed,
    /// Its streams.
    pub reader: SnapshotReader,
}

impl Opened {
    /// Returns what the snapshot keeps of a component, if it has it.
    pub fn envelope(&self, component: ComponentName) -> Result<Option<Envelope>> {
        let found = self.reader.components().iter().find(|c| c.component == component);
        found.filter(|c| c.state != manifest::State::Failed).map(|c| Envelope::parse(&c.record)).transpose()
    }
}

/// Finds a snapshot and opens it with an identity.
pub async fn open(
    appliance: &Appliance,
    tenant: &TenantName,
    which: &Which,
    identities: &Identities,
) -> Result<Opened> {
    let committed = snapshots::find(appliance, tenant, which).await?;
    let vault = snapshot::open_vault(&appliance.repo, &committed.receipt, identities).await?;
    let reader = open_reader(appliance, &committed, &vault).await?;
    Ok(Opened { committed, reader })
}

/// Plans a restore: looks, changes nothing.
pub async fn plan(appliance: &Appliance, request: &Request, opened: &Opened) -> Result<Plan> {
    plan::make(appliance, request, opened).await
}

/// Does what the plan says.
///
/// Refused with [`Kind::Conflict`] where something would be moved aside and the operator has not typed the tenant's
/// name, where no whole snapshot of what is there could be taken, and while an earlier restore is neither committed nor
/// taken back. Interrupted or failed before all is in its place, it takes everything back: what was there is there again.
pub async fn apply(
    appliance: &Appliance,
    request: &Request,
    opened: &Opened,
    plan: &Plan,
) -> Result<Restored> {
    let clock = Instant::now();
    plan.refuse_overwriting(request)?;
    plan.refuse_no_room()?;
    let target = request.target();
    journal::refuse_pending(&appliance.state, target)?;
    let safety = safety::take(appliance, request, plan).await?;
    let _lock = appliance.state.lock(target)?;
    journal::refuse_pending(&appliance.state, target)?;
    let run =
        Run::new(appliance.docker().await?, journal::open(&appliance.state, target)?, &appliance.around);
    run.write(Event::Begin(Box::new(begun(appliance, request, opened, safety)?)))?;
    carry_out(appliance, request, opened, run, clock).await
}

/// Goes on with a restore that was cut off while it was built; `opened` must be its snapshot.
pub async fn resume(appliance: &Appliance, target: &TenantName, opened: &Opened) -> Result<Restored> {
    let clock = Instant::now();
    let _lock = appliance.state.lock(target)?;
    let run =
        Run::new(appliance.docker().await?, journal::open(&appliance.state, target)?, &appliance.around);
    let request = Request::of(&run.story()?.begun);
    carry_out(appliance, &request, opened, run, clock).await
}

/// Returns what names things of a time: `20261123t101500z`.
fn stamp_of(at: jiff::Timestamp) -> String {
    at.strftime("%Y%m%dt%H%M%Sz").to_string()
}

fn begun(appliance: &Appliance, request: &Request, opened: &Opened, safety: Safety) -> Result<Begun> {
    let naming = Naming::of(request);
    let receipt = &opened.committed.receipt;
    let cache = match request.wants(ComponentName::Database) {
        true => opened.envelope(ComponentName::RedisCache)?,
        false => None,
    };
    Ok(Begun {
        tenant: request.tenant.clone(),
        target: request.target().clone(),
        snapshot: receipt.snapshot.clone(),
        as_of: receipt.started,
        stamp: stamp_of(appliance.around.now()),
        from_copy: appliance.state.is_of_copy(),
        only: request.only.clone(),
        live: request.live,
        with_queue: request.with_queue,
        with_sso: request.with_sso,
        pause_scheduler: request.pause_scheduler,
        apps: apply::apps(opened, &naming)?,
        cache: cache.and_then(|e| e.container).map(|c| naming.container(&c.name)),
        safety,
    })
}

async fn carry_out(
    appliance: &Appliance,
    request: &Request,
    opened: &Opened,
    run: Run<'_>,
    clock: Instant,
) -> Result<Restored> {
    let before = vitals::failing(appliance, request.target()).await;
    let (stop, unbroken) = (appliance.around.stop.clone(), Arc::clone(&run.unbroken));
    let mut work = apply::Work::new(appliance, request, opened, run)?;
    let interrupted = async {
        stop.cancelled().await;
        // What is taking its place does so to the end first.
        drop(unbroken.lock().await);
    };
    let result = tokio::select! {
        biased;
        result = work.all() => result,
        () = interrupted => Err(Error::new(Kind::Interrupted, "interrupted")),
    };
    let kept = match result {
        Ok(kept) => kept,
        Err(e) => return Err(work.give_up(e).await),
    };
    let (told, undoable) = work.settle(&kept).await?;
    let mut restored = told.report(request, opened, kept, undoable, clock.elapsed());
    outlook::remember(appliance, request, opened, &restored);
    restored.worse = vitals::worse(appliance, request.target(), &before).await;
    Ok(restored)
}
