//! `health`: how every tenant is, from the database to the name that its users type, as one report.
//!
//! Owns the recipe; each area judges in a file of its own. It changes nothing anywhere. Every probe has a time limit of its
//! own, all run together within bounds, and what one tenant does not answer slows no other.

mod application;
mod ask;
mod backups;
mod containers;
mod database;
mod host;
mod outside;
mod pace;
mod redis;
mod replica;
mod report;
mod subject;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use futures::FutureExt;
use futures::future::{BoxFuture, Shared, join_all};
use jiff::Timestamp;

use crate::config::{Config, Tenant};
use crate::error::{Error, Kind, Result};
use crate::host::Docker;
use crate::id::TenantName;
use crate::monitor::Silent;
use crate::ops::appliance::{Appliance, Surroundings};

pub use ask::{Versions, versions_of};
pub use containers::{Space, names as containers_of};
pub use pace::Limits;
use pace::{HELD, Places, within};
pub use report::{Area, Check, Report, State, TenantHealth, troubles};
use subject::Subject;

/// What to look at.
#[derive(Debug, Clone)]
pub struct Scope {
    /// Which tenants; all that are configured where none is named.
    pub tenants: Vec<TenantName>,
    /// Which areas.
    pub areas: BTreeSet<Area>,
    /// How long it may take.
    pub limits: Limits,
}

impl Scope {
    /// All areas of the named tenants, or of all.
    pub fn of(tenants: &[TenantName]) -> Scope {
        Scope { tenants: tenants.to_vec(), areas: Area::ALL.into(), limits: Limits::default() }
    }

    /// The same without an area: a tenant that is being made has no backup yet.
    #[must_use]
    pub fn without(mut self, area: Area) -> Scope {
        self.areas.remove(&area);
        self
    }
}

/// An opened repository, or why it cannot be opened, for all who wait for it.
type Opened = Shared<BoxFuture<'static, Result<Arc<Appliance>, Arc<Error>>>>;

/// What all probes of one look share.
struct Round<'a> {
    config: &'a Config,
    around: Surroundings,
    docker: Result<Docker, Arc<Error>>,
    opened: Opened,
    limits: Limits,
    areas: &'a BTreeSet<Area>,
    places: Places,
}

/// Looks at the host and at tenants.
///
/// Fails only with [`Kind::Usage`] for a tenant that is not configured: whatever cannot be reached is a check that failed.
pub async fn look(config: &Config, around: &Surroundings, scope: &Scope) -> Result<Report> {
    let tenants = named(config, &scope.tenants)?;
    let begun = Instant::now();
    let round = Round::begin(config, around, scope).await;
    let of_tenants = join_all(tenants.into_iter().map(|t| of_tenant(&round, t)));
    let (host, tenants) = futures::join!(host::look(&round), of_tenants);
    let all = host.iter().map(|c| c.state).chain(tenants.iter().map(|t| t.state));
    Ok(Report {
        format: 1,
        now: around.now(),
        seconds: begun.elapsed().as_secs_f64(),
        state: all.max().unwrap_or(State::Ok),
        host,
        tenants,
    })
}

fn named<'a>(config: &'a Config, names: &[TenantName]) -> Result<Vec<&'a Tenant>> {
    if names.is_empty() {
        return Ok(config.tenants().collect());
    }
    let mut tenants = names.iter().map(|name| config.tenant(name)).collect::<Result<Vec<_>>>()?;
    tenants.sort_by(|a, b| a.name.cmp(&b.name));
    tenants.dedup_by(|a, b| a.name == b.name);
    Ok(tenants)
}

async fn of_tenant(round: &Round<'_>, tenant: &Tenant) -> TenantHealth {
    let subject = round.places.take(Subject::find(round, tenant)).await;
    let looks: Vec<BoxFuture<'_, Vec<Check>>> = vec![
        round.asked(Area::Containers, containers::look(round, &subject)),
        round.asked(Area::Database, database::look(round, &subject)),
        round.asked(Area::RedisCache, redis::look(round, &subject, Area::RedisCache)),
        round.asked(Area::RedisQueue, redis::look(round, &subject, Area::RedisQueue)),
        round.asked(Area::Application, application::look(round, &subject)),
        round.asked(Area::Outside, outside::look(round, &subject)),
        round.asked(Area::Backups, backups::look(round, &subject)),
    ];
    let checks = join_all(looks).await.into_iter().flatten();
    TenantHealth::of(tenant.name.clone(), checks.filter(|c| round.areas.contains(&c.area)).collect())
}

impl<'a> Round<'a> {
    async fn begin(config: &'a Config, around: &Surroundings, scope: &'a Scope) -> Round<'a> {
        let limits = scope.limits;
        // What the opening finds worth telling is told by the checks.
        let around = Surroundings { monitor: Arc::new(Silent), ..around.clone() };
        let connecting = Docker::connect_to(config.machine.docker_host.as_deref());
        let docker = within(limits.probe, "docker", connecting).await.map_err(Arc::new);
        let (own, own_around) = (config.clone(), around.clone());
        let opening = async move {
            let opening = Appliance::open(own, own_around);
            within(limits.store, "the store", opening).await.map(Arc::new).map_err(Arc::new)
        };
        Round {
            config,
            around,
            docker,
            opened: opening.boxed().shared(),
            limits,
            areas: &scope.areas,
            places: Places::new(limits.at_once, HELD),
        }
    }

    /// Looks at an area in its turn, where it is asked for.
    fn asked<'b>(
        &'b self,
        area: Area,
        look: impl Future<Output = Vec<Check>> + Send + 'b,
    ) -> BoxFuture<'b, Vec<Check>> {
        let wanted = self.areas.contains(&area);
        async move { if wanted { self.places.take(look).await } else { Vec::new() } }.boxed()
    }

    fn now(&self) -> Timestamp {
        self.around.now()
    }

    /// Returns the connection to Docker; without one, the check of an area that needs it.
    fn docker(&self, area: Area, name: &'static str) -> Result<&Docker, Check> {
        self.docker
            .as_ref()
            .map_err(|e| Check::new(area, name, State::Unknown, format!("not looked at: {e}")))
    }

    /// Makes sure that a container runs; else returns the check that says why nothing in it can be asked.
    async fn running(&self, area: Area, name: &'static str, container: &str) -> Result<&Docker, Check> {
        let docker = self.docker(area, name)?;
        let what = format!("container {container}");
        match within(self.limits.probe, &what, docker.condition(container)).await {
            Err(e) => Err(Check::of_error(area, name, State::Failed, &e)),
            Ok(None) => Err(containers::missing(area, name, container)),
            Ok(Some(condition)) => match containers::stopped(container, &condition) {
                Some((reason, advice)) => Err(Check::new(area, name, State::Failed, reason).advise(advice)),
                None => Ok(docker),
            },
        }
    }
}

/// Returns how bad an error is for whoever wanted an answer: refused and silent servers have failed.
fn state_of(error: &Error) -> State {
    match error.kind() {
        Kind::Denied | Kind::Host | Kind::Timeout | Kind::Full => State::Failed,
        _ => State::Unknown,
    }
}
