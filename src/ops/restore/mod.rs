//! `restore`: a tenant brought back from a snapshot, in its place or under another name.
//!
//! A plan is made first, a value that says what would be made, loaded and moved aside; `apply` does it. Everything is
//! loaded under staging names and compared; it takes its place last. What was there is moved aside under a dated name,
//! never dropped. After a failure, containers and volumes that this run made are removed again.

mod apply;
mod database;
mod files;
mod made;
mod naming;
mod plan;
mod queues;
mod settings;
mod sso;

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
use crate::repo::manifest::State;
use crate::repo::receipt::Committed;
use crate::repo::snapshot::{self, SnapshotReader};

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
    /// The tenant whose data may be moved aside, typed by the operator.
    pub yes_overwrite: Option<TenantName>,
}

impl Request {
    /// Returns the name under which the tenant comes back.
    pub fn target(&self) -> &TenantName {
        self.into.as_ref().unwrap_or(&self.tenant)
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
    /// What was there before, and where it lies now.
    pub aside: Vec<String>,
    /// Containers, volumes and networks that were made.
    pub made: Vec<String>,
    /// Whether mail, scheduler and integrations were switched off.
    pub muted: bool,
    /// What was asked for besides and could not be done; the rest is whole.
    pub lacks: Vec<String>,
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
        found.filter(|c| c.state != State::Failed).map(|c| Envelope::parse(&c.record)).transpose()
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
/// name. Interrupted or failed, it removes the containers and volumes it made; what was there is still there. A component
/// that had taken its place by then stays, and the error's hint says so and where the old one is kept.
pub async fn apply(
    appliance: &Appliance,
    request: &Request,
    opened: &Opened,
    plan: &Plan,
) -> Result<Restored> {
    let clock = Instant::now();
    plan.refuse_overwriting(request)?;
    let _lock = appliance.state.lock(request.target())?;
    let mut work = apply::Work::new(appliance, request, opened).await?;
    let (stop, unbroken) = (appliance.around.stop.clone(), Arc::clone(&work.unbroken));
    let interrupted = async {
        stop.cancelled().await;
        // What is taking its place does so to the end first.
        drop(unbroken.lock().await);
    };
    let result = tokio::select! {
        result = work.run() => result,
        () = interrupted => Err(Error::new(Kind::Interrupted, "interrupted")),
    };
    if let Err(e) = result {
        let left = work.undo().await;
        return Err(work.after(e, &left));
    }
    Ok(work.report(clock.elapsed()))
}
