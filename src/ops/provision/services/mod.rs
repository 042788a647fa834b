//! The step `services`: network, volumes and containers as `[size]` says, and the bench's common configuration.
//!
//! `provision --apply` is this step alone: it changes limits while containers run, makes those that lack, makes anew those
//! whose command changed, and removes those that are too many. Volumes stay, but for that of a replica.

mod common;
mod differ;
mod replica;
mod specs;

use std::time::Duration;

use async_trait::async_trait;

use super::compose;
use super::job::{Job, Order};
use super::journal::Thing;
use super::step::{Standing, Step, StepName};
use crate::error::{Error, Kind, Result, counted};
use crate::host::{ContainerSpec, State};
use crate::ops::state::{read_if_there, remove, write_private};

pub use specs::{Pins, RUN_LABEL, Specs};

const NETWORK: &str = "network";
const VOLUME: &str = "volume";
const CONTAINER: &str = "container";
const FILE: &str = "file";

/// How long a container may take to become healthy: an empty data folder is filled first.
const HEALTHY_LIMIT: Duration = Duration::from_secs(300);

/// How long a server or a worker may take to stop: a job at work is let end.
const STOP_GRACE: Duration = Duration::from_secs(60);

/// The step.
#[derive(Debug)]
pub struct Services;

/// Returns what the images mean for a tenant: what its containers run already, else what the names mean now.
pub async fn pins(job: &Job) -> Result<Pins> {
    let images = &job.order.platform.images;
    let one = |service: &'static str, image: &str| {
        let (container, image) = (job.order.names.container(service), image.to_owned());
        async move {
            match job.docker.try_inspect(&container).await? {
                Some(found) => job.docker.pin(&found.image).await,
                None => job.docker.pin(&image).await,
            }
        }
    };
    Ok(Pins {
        app: one("backend", &images.app).await?,
        mariadb: one("db", &images.mariadb).await?,
        redis: one("redis-cache", &images.redis).await?,
    })
}

#[async_trait]
impl Step for Services {
    fn name(&self) -> StepName {
        StepName::Services
    }

    fn sentence(&self, order: &Order) -> String {
        let size = &order.tenant.size;
        let pairs = counted(size.workers, "pair");
        let workers = counted(size.queue_workers, "worker");
        let replica = if size.replica { ", a replica" } else { "" };
        format!(
            "network {}, MariaDB ({}, {} cpus){replica}, two Redis ({} and {}), {pairs} of frontend and backend, \
             {workers} a queue, websocket, scheduler; {}",
            order.names.network(),
            size.db_memory,
            size.db_cpus,
            size.redis_cache_memory,
            size.redis_queue_memory,
            order.folder.compose().display(),
        )
    }

    async fn check(&self, job: &Job) -> Result<Standing> {
        if job.docker.try_inspect_network(&job.order.names.network()).await?.is_none() {
            return Ok(Standing::missing(format!("network {}", job.order.names.network())));
        }
        if job.docker.is_network_doubled(&job.order.names.network()).await? {
            return Ok(Standing::differs(format!("network {} is there twice", job.order.names.network())));
        }
        let pins = pins(job).await?;
        let wanted = Specs::new(&job.order, &pins, &job.run).all();
        for spec in &wanted {
            match standing(job, spec).await? {
                Standing::Done => {}
                other => return Ok(other),
            }
        }
        if let Some(extra) = extra(job, &wanted).await?.first() {
            return Ok(Standing::differs(format!("container {extra} is more than [size] asks for")));
        }
        let text = compose::text(&job.order, &wanted);
        if read_if_there(&job.order.folder.compose())?.as_deref() != Some(text.as_bytes()) {
            return Ok(Standing::missing(format!("the present {}", job.order.folder.compose().display())));
        }
        match common::check(job).await? {
            Standing::Done => replica::check(job).await,
            other => Ok(other),
        }
    }

    async fn apply(&self, job: &Job) -> Result<()> {
        proxy_is_there(job).await?;
        let pins = pins(job).await?;
        let specs = Specs::new(&job.order, &pins, &job.run);
        let wanted = specs.all();
        write_files(job, &wanted).await?;
        make_network(job, &specs).await?;
        for spec in &wanted {
            volumes(job, spec).await?;
            container(job, spec).await?;
        }
        start(job, &wanted).await?;
        for name in extra(job, &wanted).await? {
            job.around.monitor.note(&format!("container {name} is removed"));
            job.docker.stop(&name, STOP_GRACE).await?;
            job.docker.remove(&name).await?;
            job.journal.undone(job.now(), StepName::Services, &Thing::new(CONTAINER, name.as_str()))?;
        }
        replica::apply(job).await
    }

    async fn undo(&self, job: &Job) -> Result<()> {
        job.unmake(StepName::Services, |thing| remove_thing(job, thing)).await
    }
}

async fn remove_thing(job: &Job, thing: Thing) -> Result<()> {
    let docker = &job.docker;
    // What has the name but not this run's label was made by somebody else after the intent.
    let ours = |labels: &std::collections::BTreeMap<String, String>| labels.get(RUN_LABEL) == Some(&job.run);
    match thing.kind.as_str() {
        CONTAINER => match docker.try_inspect(&thing.name).await? {
            Some(found) if ours(&found.labels) => docker.remove_with_volumes(&thing.name).await,
            _ => Ok(()),
        },
        VOLUME => match docker.try_inspect_volume(&thing.name).await? {
            Some(found) if ours(&found.labels) => docker.remove_volume(&thing.name).await,
            _ => Ok(()),
        },
        NETWORK => docker.remove_networks(&thing.name, (RUN_LABEL, &job.run)).await,
        _ => remove(std::path::Path::new(&thing.name)),
    }
}

/// Fails where the proxy's network is not there: making it here would hide that no proxy listens.
async fn proxy_is_there(job: &Job) -> Result<()> {
    let Some(proxy) = &job.order.platform.proxy else { return Ok(()) };
    if job.docker.try_inspect_network(&proxy.network).await?.is_some() {
        return Ok(());
    }
    Err(Error::new(Kind::Host, format!("network {} of the proxy does not exist", proxy.network))
        .hint("start the proxy first, or take [platform.proxy] out of lifeboat.toml"))
}

async fn standing(job: &Job, spec: &ContainerSpec) -> Result<Standing> {
    let Some(found) = job.docker.try_inspect(&spec.name).await? else {
        return Ok(Standing::missing(format!("container {}", spec.name)));
    };
    if found.labels.get(RUN_LABEL) != Some(&job.run) {
        return Ok(Standing::differs(format!("container {} was made by somebody else", spec.name)));
    }
    if let Some(what) = differ::configuration(spec, &found).or_else(|| differ::limits(spec, &found)) {
        return Ok(Standing::differs(format!("container {} has another {what}", spec.name)));
    }
    Ok(match job.docker.state(&spec.name).await? {
        Some(State::Running | State::Healthy) => Standing::Done,
        Some(State::Starting | State::Unhealthy) if found.healthcheck.is_some() => {
            Standing::differs(format!("container {} is not healthy yet", spec.name))
        }
        Some(state) if state.is_running() => Standing::Done,
        _ => Standing::differs(format!("container {} does not run", spec.name)),
    })
}

/// Returns the containers of this tenant that are too many.
async fn extra(job: &Job, wanted: &[ContainerSpec]) -> Result<Vec<String>> {
    let mut all = job.docker.containers_with(&format!("{RUN_LABEL}={}", job.run)).await?;
    all.retain(|name| wanted.iter().all(|spec| spec.name != *name));
    Ok(all)
}

async fn make_network(job: &Job, specs: &Specs<'_>) -> Result<()> {
    let network = specs.network();
    let ours = (RUN_LABEL, job.run.as_str());
    // A call that was killed may have asked for it, a moment before this one did.
    job.docker.keep_one_network(&network.name, ours).await?;
    match job.docker.try_inspect_network(&network.name).await? {
        Some(found) if found.labels.get(RUN_LABEL) == Some(&job.run) => Ok(()),
        Some(_) => Err(taken("network", &network.name)),
        None => {
            let thing = Thing::new(NETWORK, network.name.as_str());
            job.make(StepName::Services, thing, job.docker.ensure_network(&network, false)).await?;
            job.docker.keep_one_network(&network.name, ours).await
        }
    }
}

async fn volumes(job: &Job, spec: &ContainerSpec) -> Result<()> {
    for volume in spec.mounts.iter().filter_map(|m| m.volume.as_ref()) {
        match job.docker.try_inspect_volume(&volume.name).await? {
            Some(found) if found.labels.get(RUN_LABEL) == Some(&job.run) => {}
            // Data of somebody else: to use it would be a guess, to empty it a loss.
            Some(_) => return Err(taken("volume", &volume.name)),
            None => {
                let thing = Thing::new(VOLUME, volume.name.as_str());
                job.make(StepName::Services, thing, job.docker.ensure_volume(volume)).await?;
            }
        }
    }
    Ok(())
}

async fn container(job: &Job, spec: &ContainerSpec) -> Result<()> {
    let thing = Thing::new(CONTAINER, spec.name.as_str());
    let Some(found) = job.docker.try_inspect(&spec.name).await? else {
        return job.make(StepName::Services, thing, job.docker.create(spec)).await;
    };
    if found.labels.get(RUN_LABEL) != Some(&job.run) {
        return Err(taken("container", &spec.name));
    }
    if let Some(what) = differ::configuration(spec, &found) {
        job.around.monitor.note(&format!("container {} is made anew: another {what}", spec.name));
        job.docker.stop(&spec.name, STOP_GRACE).await?;
        job.docker.remove(&spec.name).await?;
        return job.docker.create(spec).await;
    }
    match differ::limits(spec, &found) {
        Some(_) => job.docker.update_limits(&spec.name, &spec.limits).await,
        None => Ok(()),
    }
}

/// Starts the servers, writes the configuration that leads to them, then starts what reads it.
async fn start(job: &Job, wanted: &[ContainerSpec]) -> Result<()> {
    let (apps, servers): (Vec<&ContainerSpec>, Vec<&ContainerSpec>) =
        wanted.iter().partition(|spec| spec.image_id == wanted_app(wanted));
    for spec in &servers {
        job.docker.start(&spec.name).await?;
    }
    for spec in &servers {
        job.docker.wait_healthy(&spec.name, HEALTHY_LIMIT).await?;
    }
    job.docker.start(&job.order.backend()).await?;
    if common::check(job).await? != Standing::Done {
        common::apply(job).await?;
    }
    for spec in &apps {
        job.docker.start(&spec.name).await?;
    }
    for spec in &apps {
        job.docker.wait_healthy(&spec.name, HEALTHY_LIMIT).await?;
    }
    Ok(())
}

/// Returns the id of the app's image: that of the last container, the scheduler.
fn wanted_app(wanted: &[ContainerSpec]) -> &str {
    wanted.last().map_or("", |spec| spec.image_id.as_str())
}

/// Writes the compose file and its environment file.
async fn write_files(job: &Job, wanted: &[ContainerSpec]) -> Result<()> {
    let files = [
        (job.order.folder.compose(), compose::text(&job.order, wanted)),
        (job.order.folder.env(), compose::environment(&job.order)),
    ];
    for (path, text) in files {
        match read_if_there(&path)? {
            Some(there) if there == text.as_bytes() => {}
            Some(_) => write_private(&path, text.as_bytes())?,
            None => {
                let thing = Thing::new(FILE, path.display().to_string());
                job.make(StepName::Services, thing, async { write_private(&path, text.as_bytes()) }).await?;
            }
        }
    }
    Ok(())
}

fn taken(kind: &str, name: &str) -> Error {
    Error::new(Kind::Conflict, format!("{kind} {name} exists, and provisioning did not make it"))
        .hint("give the tenant another name, or remove it after a look at what it holds")
}
