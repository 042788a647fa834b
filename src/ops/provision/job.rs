//! What a step works with: the order, which is pure, and what it is carried out through.
//!
//! Owns how a thing is made so that the journal knows of it. Knows nothing of single steps.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use jiff::Timestamp;

use super::journal::{Journal, Thing};
use super::names::{Folder, Names};
use super::step::StepName;
use crate::component::bench::Bench;
use crate::config::{Branding, Config, Part, Platform, Role, Setup, Tenant};
use crate::error::Result;
use crate::host::Docker;
use crate::ops::appliance::Surroundings;
use crate::ops::snapshots::Which;
use crate::repo::age_file::Identities;

/// What is to be provisioned; pure.
#[derive(Debug, Clone)]
pub struct Order {
    /// The tenant, as its file says or will say.
    pub tenant: Tenant,
    /// Where it is reached.
    pub domain: String,
    /// What tenants of this host are made of.
    pub platform: Platform,
    /// How its things are called.
    pub names: Names,
    /// Its folder on this host.
    pub folder: Folder,
    /// The snapshot that its site comes from; none for a new one.
    pub from: Option<Which>,
    /// The tenant's file as it is to be written; none where it stays.
    pub file_text: Option<String>,
}

impl Order {
    /// Returns how the tenant looks; the reason where branding is skipped or nothing is said.
    pub fn looks(&self) -> Result<Branding, String> {
        let own = match &self.tenant.branding {
            Part::Skipped { reason } => return Err(reason.clone()),
            Part::On(own) => own.clone(),
            Part::NotConfigured => Branding::default(),
        };
        let looks = own.over(self.platform.branding.as_ref());
        if looks.is_empty() {
            return Err("no [platform.branding] and no [branding]".to_owned());
        }
        Ok(looks)
    }

    /// Returns the answers to the setup wizard; the reason where it is skipped.
    pub fn setup(&self) -> Result<Setup, String> {
        match &self.tenant.setup {
            Part::Skipped { reason } => Err(reason.clone()),
            Part::On(own) => Ok(own.over(&self.platform.setup)),
            Part::NotConfigured => Ok(self.platform.setup.clone()),
        }
    }

    /// Returns whose members may log in through single sign-on, none for all; the reason where it is skipped.
    pub fn sso_groups(&self) -> Result<Vec<String>, String> {
        let Some(sso) = &self.platform.sso else { return Err("no [platform.sso]".to_owned()) };
        match &self.tenant.sso {
            Part::Skipped { reason } => Err(reason.clone()),
            Part::On(own) if !own.groups.is_empty() => Ok(own.groups.clone()),
            Part::On(_) | Part::NotConfigured => Ok(sso.groups.clone()),
        }
    }

    /// Returns the snapshot that the site comes from, as people name it.
    pub fn snapshot(&self) -> Option<String> {
        self.from.as_ref().map(|which| match which {
            Which::Latest => "the newest whole one".to_owned(),
            Which::Id(id) => id.to_string(),
        })
    }

    /// Returns the tenant's address for browsers.
    pub fn url(&self) -> String {
        format!("https://{}", self.domain)
    }

    /// Returns the container in which commands of the site run.
    pub fn backend(&self) -> String {
        let named = self.tenant.roles.get(&Role::Backend).and_then(|all| all.first());
        named.cloned().unwrap_or_else(|| self.names.of_role(Role::Backend, 1))
    }
}

/// An order on its way.
pub struct Job {
    /// What is to be provisioned.
    pub order: Order,
    /// The whole configuration, with the tenant in it.
    pub config: Config,
    /// The daemon in which it is made.
    pub docker: Docker,
    /// What was made.
    pub journal: Journal,
    /// The run's id; stands as the label `lifeboat.provision` on what it makes in Docker.
    pub run: String,
    /// Clock, monitor, stop.
    pub around: Surroundings,
    /// What opens the snapshot that the site comes from.
    pub identities: Option<Identities>,
}

impl Job {
    /// Returns the current time.
    pub fn now(&self) -> Timestamp {
        self.around.now()
    }

    /// Returns the site's bench.
    pub fn bench(&self) -> Bench {
        let site = self.order.tenant.site.clone();
        Bench::new(self.docker.clone(), self.order.backend(), &self.order.platform.bench_dir, site)
    }

    /// Tells whether the site came from a snapshot, in this call or an earlier one.
    pub fn is_from_snapshot(&self) -> bool {
        self.journal.things(StepName::Site).iter().any(|thing| thing.kind == FROM_SNAPSHOT)
    }

    /// Makes a thing that is not there, between an intent and a `made` in the journal.
    ///
    /// To be called only after a look: what is there already is not this run's, and a rollback would remove it.
    pub async fn make<T>(
        &self,
        step: StepName,
        thing: Thing,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        self.journal.intend(self.now(), step, &thing)?;
        let made = work.await?;
        self.journal.made(self.now(), step, &thing)?;
        Ok(made)
    }

    /// Removes what a step made, the last first; `remove` must take a thing that is gone already for removed.
    pub async fn unmake<F, W>(&self, step: StepName, remove: F) -> Result<()>
    where
        F: Fn(Thing) -> W,
        W: Future<Output = Result<()>>,
    {
        for thing in self.journal.things(step) {
            remove(thing.clone()).await?;
            self.journal.undone(self.now(), step, &thing)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job")
            .field("tenant", &self.order.tenant.name)
            .field("run", &self.run)
            .finish_non_exhaustive()
    }
}

/// What the journal says of a site that came from a snapshot.
pub const FROM_SNAPSHOT: &str = "from-snapshot";

/// How long a short command in a container may take: a start of Python and Frappe takes seconds.
pub const COMMAND_LIMIT: Duration = Duration::from_secs(120);
