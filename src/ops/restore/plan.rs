//! What a restore would do, as a value that can be printed.

use serde::Serialize;

use crate::component::files::Record as FilesRecord;
use crate::component::mariadb::{self, DatabaseRecord, Server};
use crate::error::{Error, Kind, Result};
use crate::host::{ContainerSpec, Docker};
use crate::id::{ComponentName, SnapshotId, TenantName};
use crate::ops::appliance::Appliance;
use crate::ops::record::Envelope;
use crate::repo::manifest::State;

use super::naming::Naming;
use super::outlook::{self, Outlook, Room};
use super::{Opened, Request, journal};

/// What is to be done with a component.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Loaded from the snapshot.
    Load,
    /// Not loaded: made empty or flushed, for its content would be stale.
    Flush,
    /// Left as it is.
    Leave,
}

/// One component's part of the plan.
#[derive(Debug, Serialize)]
pub struct Step {
    /// Which.
    pub component: ComponentName,
    /// What is to be done.
    pub action: Action,
    /// Where to, or why not.
    pub target: String,
    /// Bytes to load.
    pub bytes: u64,
    /// What is there and would be moved aside.
    pub moves_aside: Option<String>,
}

/// What a restore would do.
#[derive(Debug, Serialize)]
pub struct Plan {
    /// Whose snapshot.
    pub tenant: TenantName,
    /// Under which name.
    pub target: TenantName,
    /// Which snapshot.
    pub snapshot: SnapshotId,
    /// What its state is as of.
    pub as_of: jiff::Timestamp,
    /// The components.
    pub steps: Vec<Step>,
    /// Containers that are gone and would be made again.
    pub makes: Vec<String>,
    /// Whether mail, scheduler and integrations will be switched off.
    pub muted: bool,
    /// Whether a snapshot of what is there is taken first.
    pub safety_snapshot: bool,
    /// Versions, space and time.
    #[serde(flatten)]
    pub outlook: Outlook,
    /// What an operator should know.
    pub notes: Vec<String>,
}

impl Plan {
    /// Tells whether something that is there would be moved aside.
    pub fn overwrites(&self) -> bool {
        self.steps.iter().any(|s| s.moves_aside.is_some())
    }

    /// Fails where nothing at all would be done, which nobody asks for on purpose.
    fn refuse_idleness(&self, request: &Request) -> Result<()> {
        if !self.makes.is_empty() || self.steps.iter().any(|s| s.action != Action::Leave) {
            return Ok(());
        }
        let queue = ComponentName::RedisQueue;
        let hint = match request.only.contains(&queue) && !request.with_queue {
            true => "the job queue is loaded with --with-queue only: its jobs could run twice",
            false => "name other components with --only, or none for all of them",
        };
        Err(Error::new(Kind::Usage, format!("nothing of {} would be restored", self.tenant)).hint(hint))
    }

    /// Fails with [`Kind::Full`] where files are known not to fit beside those that are there.
    pub fn refuse_no_room(&self) -> Result<()> {
        let full = |room: &&Room| room.component == ComponentName::Files && room.lacks();
        let Some(room) = self.outlook.space.iter().find(full) else { return Ok(()) };
        let what = format!(
            "restore of {}: files need {} MB and {} MB are free",
            self.tenant,
            room.needed_bytes / 1_000_000,
            room.free_bytes.unwrap_or_default() / 1_000_000
        );
        Err(Error::new(Kind::Full, what)
            .hint("make room on that disk, or restore other components with --only"))
    }

    /// Fails where something would be moved aside and the operator did not type the name of the tenant it belongs to.
    pub fn refuse_overwriting(&self, request: &Request) -> Result<()> {
        if !self.overwrites() || request.yes_overwrite.as_ref() == Some(&self.target) {
            return Ok(());
        }
        let what: Vec<&str> = self.steps.iter().filter_map(|s| s.moves_aside.as_deref()).collect();
        Err(Error::new(Kind::Conflict, format!("tenant {} is there: {}", self.target, what.join("; "))).hint(
            format!(
                "it would be backed up, replaced, and kept until --commit; to go on add --yes-overwrite {}",
                self.target
            ),
        ))
    }
}

/// Looks at the snapshot and at what is there.
pub(super) async fn make(appliance: &Appliance, request: &Request, opened: &Opened) -> Result<Plan> {
    let docker = appliance.docker().await?;
    let naming = Naming::of(request);
    let receipt = &opened.committed.receipt;
    let mut plan = Plan {
        tenant: request.tenant.clone(),
        target: request.target().clone(),
        snapshot: receipt.snapshot.clone(),
        as_of: receipt.started,
        steps: Vec::new(),
        makes: Vec::new(),
        muted: request.into.is_some() && !request.live,
        safety_snapshot: false,
        outlook: outlook::look(appliance, &docker, request, opened, &naming).await?,
        notes: Vec::new(),
    };
    for component in opened.reader.components() {
        if component.state == State::Failed {
            plan.notes.push(format!("{} is not in this snapshot: it failed", component.component));
            continue;
        }
        let envelope = Envelope::parse(&component.record)?;
        if !component.lacks.is_empty() {
            plan.notes.push(format!("{} lacks {}", component.component, component.lacks.join(", ")));
        }
        let wanted = request.wants(component.component);
        for spec in envelope.container.iter().chain(&envelope.apps).filter(|_| wanted) {
            let name = naming.container(&spec.name);
            if docker.try_inspect(&name).await?.is_none() && !plan.makes.contains(&name) {
                plan.makes.push(name);
            }
        }
        let step = step(&docker, request, opened, &naming, component.component, &envelope).await?;
        if component.component == ComponentName::Database && step.moves_aside.is_some() {
            plan.notes.extend(reaches_the_old(&envelope)?);
        }
        plan.steps.push(step);
    }
    if let Some(missing) = request.only.iter().find(|c| plan.steps.iter().all(|s| s.component != **c)) {
        return Err(Error::new(Kind::NotFound, format!("snapshot {} has no {missing}", plan.snapshot)));
    }
    plan.refuse_idleness(request)?;
    plan.safety_snapshot = plan.overwrites() && request.into.is_none() && !request.commit;
    if let Some(pending) = journal::pending(&appliance.state, request.target())? {
        plan.notes.push(pending.sentence());
    }
    Ok(plan)
}

async fn step(
    docker: &Docker,
    request: &Request,
    opened: &Opened,
    naming: &Naming,
    component: ComponentName,
    envelope: &Envelope,
) -> Result<Step> {
    let streams = opened.reader.streams();
    let bytes = streams.iter().filter(|s| s.component == component).map(|s| s.size_bytes).sum();
    let mut step = Step { component, action: Action::Load, target: String::new(), bytes, moves_aside: None };
    if !request.wants(component) {
        step.action = Action::Leave;
        step.target = "not asked for".to_owned();
        return Ok(step);
    }
    let container = envelope.container_of(component).map(|c| naming.container(&c.name));
    let running = match &container {
        Ok(name) => docker.state(name).await?.is_some_and(|s| s.is_running()),
        Err(_) => false,
    };
    match component {
        ComponentName::Database => database_step(docker, running, container?, envelope, &mut step).await?,
        ComponentName::RedisCache => {
            step.action = Action::Flush;
            step.target = format!(
                "{}: flushed for the site, a cache of another time is stale",
                container.unwrap_or_default()
            );
        }
        ComponentName::RedisQueue if !request.with_queue => {
            step.action = Action::Leave;
            step.target = "jobs of another time could run twice; --with-queue loads them".to_owned();
        }
        ComponentName::RedisQueue => {
            let name = container?;
            if docker.try_inspect(&name).await?.is_some() {
                step.moves_aside = Some(format!("the queue in {name}"));
            }
            step.target = name;
        }
        ComponentName::Files => files_step(docker, naming, envelope, &mut step).await?,
        ComponentName::Config | ComponentName::Certs => {
            step.target = "files on this host; those that differ are copied aside".to_owned();
            if request.into.is_some() {
                step.action = Action::Leave;
                step.target = "under another name, the host's files are left alone".to_owned();
            }
        }
    }
    Ok(step)
}

/// Says what would go on with the database that is moved aside, which keeps its name where that of the new one changes.
fn reaches_the_old(envelope: &Envelope) -> Result<Option<String>> {
    let record: DatabaseRecord = envelope.own()?;
    let names = record.names_schema.join(", ");
    Ok((!names.is_empty()).then(|| format!("{names} would {}", names_it(&record.database))))
}

/// Says of objects that name a database what that means once theirs has another name.
pub(super) fn names_it(database: &str) -> String {
    format!("read and write database {database}, which they name, not the one restored: mend them at once")
}

async fn database_step(
    docker: &Docker,
    running: bool,
    container: String,
    envelope: &Envelope,
    step: &mut Step,
) -> Result<()> {
    let record: DatabaseRecord = envelope.own()?;
    step.target = format!("database {} in {container}", record.database);
    if running {
        let credentials = mariadb::Credentials::Container;
        let server = Server { docker: docker.clone(), container, credentials };
        if mariadb::has_tables(&server, &record.database).await? {
            step.moves_aside = Some(step.target.clone());
        }
    } else if docker.try_inspect(&container).await?.is_some() {
        step.moves_aside = Some(format!("whatever the stopped container {container} holds"));
    }
    Ok(())
}

async fn files_step(docker: &Docker, naming: &Naming, envelope: &Envelope, step: &mut Step) -> Result<()> {
    let record: FilesRecord = envelope.own()?;
    let path = envelope.path.clone().unwrap_or_default();
    step.bytes = record.totals.bytes;
    let host_path = match &envelope.container {
        Some(spec) => {
            let name = naming.container(&spec.name);
            step.target = format!("{path}/{} in {name}", envelope.site);
            match docker.try_inspect(&name).await? {
                Some(_) => Some(docker.host_path_of(&name, &path).await?),
                None => surviving_volume(docker, naming, spec, &path).await?,
            }
        }
        None => {
            step.target = format!("{}/{}", naming.host_path(&path), envelope.site);
            Some(naming.host_path(&path).into())
        }
    };
    if host_path.is_some_and(|p: std::path::PathBuf| p.join(&envelope.site).exists()) {
        step.moves_aside = Some(format!("the site folder {}", step.target));
    }
    Ok(())
}

/// Finds the host path of a volume that outlived its container.
async fn surviving_volume(
    docker: &Docker,
    naming: &Naming,
    spec: &ContainerSpec,
    path: &str,
) -> Result<Option<std::path::PathBuf>> {
    let Some(mount) = spec.mount_of(path) else { return Ok(None) };
    let Some(volume) = &mount.volume else { return Ok(None) };
    let name = naming.volume(&volume.name);
    if docker.try_inspect_volume(&name).await?.is_none() {
        return Ok(None);
    }
    let rest = path.strip_prefix(mount.target.as_str()).unwrap_or_default().trim_start_matches('/');
    Ok(Some(docker.volume_path(&name).await?.join(rest)))
}
