//! What a restore will need, beside what is there: versions, space, time.
//!
//! Owns the estimates, and the figures of earlier restores that they come from. It looks only; what it cannot find out it
//! calls unknown.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::component::files::Record as FilesRecord;
use crate::component::mariadb::{self, DatabaseRecord, Server};
use crate::component::redis::{self, RedisRecord};
use crate::error::Result;
use crate::host::Docker;
use crate::id::{ComponentName, TenantName};
use crate::ops::appliance::Appliance;
use crate::ops::health::Space;
use crate::ops::snapshots;
use crate::ops::state;

use super::naming::Naming;
use super::{Opened, Request, Restored};

/// How long a server may take to say its version.
const LIMIT: Duration = Duration::from_secs(10);
/// Tables with their indexes take about twice the bytes of their SQL.
const TABLES_PER_SQL: u64 = 2;
/// The file below a tenant's state folder that keeps how fast restores were.
const RATES: &str = "restored.json";

/// A server's version, then and now.
#[derive(Debug, Serialize)]
pub struct Versions {
    /// The component.
    pub component: ComponentName,
    /// When it was backed up.
    pub then: String,
    /// Now; unknown where the server does not run or answer.
    pub now: Option<String>,
}

/// The space that a component takes while old and new stand side by side.
#[derive(Debug, Serialize)]
pub struct Room {
    /// The component.
    pub component: ComponentName,
    /// About how many bytes it needs; exact for files.
    pub needed_bytes: u64,
    /// How many are free where it goes; unknown where that is made first.
    pub free_bytes: Option<u64>,
}

impl Room {
    /// Tells whether it is known not to fit.
    pub fn lacks(&self) -> bool {
        self.free_bytes.is_some_and(|free| free < self.needed_bytes)
    }
}

/// How long it will take.
#[derive(Debug, Serialize)]
pub struct Expected {
    /// About so long.
    pub seconds: f64,
    /// What that is taken from.
    pub from: String,
}

/// What a restore will need.
#[derive(Debug, Default, Serialize)]
pub struct Outlook {
    /// Versions of the servers.
    pub versions: Vec<Versions>,
    /// Space.
    pub space: Vec<Room>,
    /// Time; unknown where nothing was measured.
    pub expected: Option<Expected>,
}

/// Looks at servers, disks and earlier restores.
pub(super) async fn look(
    appliance: &Appliance,
    docker: &Docker,
    request: &Request,
    opened: &Opened,
    naming: &Naming,
) -> Result<Outlook> {
    let mut outlook = Outlook::default();
    for component in [ComponentName::Database, ComponentName::RedisCache, ComponentName::RedisQueue] {
        if let Some(envelope) = opened.envelope(component)?.filter(|_| request.wants(component))
            && let Ok(spec) = envelope.container_of(component)
        {
            let container = naming.container(&spec.name);
            outlook.versions.push(match component {
                ComponentName::Database => of_database(docker, container, envelope.own()?).await,
                _ => of_redis(docker, component, container, envelope.own()?).await,
            });
        }
    }
    outlook.space = space(docker, request, opened, naming).await?;
    outlook.expected = expected(appliance, request, opened).await?;
    Ok(outlook)
}

async fn of_database(docker: &Docker, container: String, record: DatabaseRecord) -> Versions {
    let credentials = mariadb::Credentials::Container;
    let server = Server { docker: docker.clone(), container, credentials };
    let asked = tokio::time::timeout(LIMIT, mariadb::server_version(&server)).await;
    Versions {
        component: ComponentName::Database,
        then: record.server_version,
        now: asked.ok().and_then(Result::ok),
    }
}

async fn of_redis(
    docker: &Docker,
    component: ComponentName,
    container: String,
    record: RedisRecord,
) -> Versions {
    let asked = redis::vitals(docker, &container, &redis::Credentials::Container, LIMIT).await.ok();
    let now = asked.and_then(|vitals| vitals.text("redis_version").map(str::to_owned));
    Versions { component, then: record.version, now }
}

async fn space(docker: &Docker, request: &Request, opened: &Opened, naming: &Naming) -> Result<Vec<Room>> {
    let mut rooms = Vec::new();
    if let Some(envelope) =
        opened.envelope(ComponentName::Database)?.filter(|_| request.wants(ComponentName::Database))
    {
        let record: DatabaseRecord = envelope.own()?;
        let folder = match &envelope.container {
            Some(spec) => docker.host_path_of(&naming.container(&spec.name), "/var/lib/mysql").await.ok(),
            None => None,
        };
        let needed_bytes = record.size_bytes * TABLES_PER_SQL;
        rooms.push(Room {
            component: ComponentName::Database,
            needed_bytes,
            free_bytes: folder.and_then(free),
        });
    }
    if let Some(envelope) =
        opened.envelope(ComponentName::Files)?.filter(|_| request.wants(ComponentName::Files))
    {
        let record: FilesRecord = envelope.own()?;
        let path = envelope.path.clone().unwrap_or_default();
        let folder = match &envelope.container {
            Some(spec) => docker.host_path_of(&naming.container(&spec.name), &path).await.ok(),
            None => Some(PathBuf::from(naming.host_path(&path))),
        };
        let needed_bytes = record.totals.bytes;
        rooms.push(Room { component: ComponentName::Files, needed_bytes, free_bytes: folder.and_then(free) });
    }
    Ok(rooms)
}

fn free(folder: PathBuf) -> Option<u64> {
    // What is made first lies on the disk of its parent.
    let there = folder.ancestors().find(|f| f.exists())?;
    Space::of(there).ok().map(|space| space.free_bytes)
}

/// How fast components of a tenant were restored last.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Rates {
    /// Bytes and seconds by component.
    components: BTreeMap<ComponentName, (u64, f64)>,
    /// Seconds besides: the safety snapshot, the switch.
    besides: f64,
}

/// Estimates from the last restore of this tenant on this host, else from a drill.
async fn expected(appliance: &Appliance, request: &Request, opened: &Opened) -> Result<Option<Expected>> {
    let rates: Option<Rates> = state::read_json(&rates_file(appliance, &request.tenant))?;
    let sizes = sizes(request, opened);
    if let Some(rates) = rates
        && sizes.keys().all(|component| rates.components.contains_key(component))
    {
        let of = |(component, bytes): (&ComponentName, &u64)| {
            let (then, seconds) = rates.components.get(component).copied().unwrap_or_default();
            if then == 0 { seconds } else { seconds * (*bytes as f64 / then as f64) }
        };
        let seconds = sizes.iter().map(of).sum::<f64>() + rates.besides;
        return Ok(Some(Expected { seconds, from: "the last restore of this tenant here".to_owned() }));
    }
    let Ok((_, drills, _)) = snapshots::seen(appliance, &request.tenant).await else { return Ok(None) };
    let drill = drills.iter().rev().find(|d| d.passed());
    Ok(drill.map(|d| Expected { seconds: d.seconds(), from: format!("the whole drill of {}", d.snapshot) }))
}

/// Returns the bytes of the components that take time.
fn sizes(request: &Request, opened: &Opened) -> BTreeMap<ComponentName, u64> {
    let mut sizes = BTreeMap::new();
    for component in [ComponentName::Database, ComponentName::Files] {
        if request.wants(component) && opened.reader.components().iter().any(|c| c.component == component) {
            let streams = opened.reader.streams().iter().filter(|s| s.component == component);
            sizes.insert(component, streams.map(|s| s.size_bytes).sum());
        }
    }
    sizes
}

/// Remembers how long a restore took, for the next plan; to lose it costs an estimate.
pub(super) fn remember(appliance: &Appliance, request: &Request, opened: &Opened, restored: &Restored) {
    let sizes = sizes(request, opened);
    let mut rates = Rates { besides: restored.seconds, ..Rates::default() };
    for done in &restored.components {
        rates.besides -= done.seconds;
        if let Some(bytes) = sizes.get(&done.component) {
            rates.components.insert(done.component, (*bytes, done.seconds));
        }
    }
    rates.besides = rates.besides.max(0.0);
    let kept = state::write_json(&rates_file(appliance, &request.tenant), &rates);
    if let Err(e) = kept {
        tracing::warn!(error = %e, "how long this took is not remembered");
    }
}

fn rates_file(appliance: &Appliance, tenant: &TenantName) -> PathBuf {
    appliance.state.root_of(tenant).join(RATES)
}
