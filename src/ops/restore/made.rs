//! What a restore made in Docker, so that it can be taken away again.

use std::time::Duration;

use crate::error::Result;
use crate::host::{ContainerSpec, Docker};

use super::journal::{Event, Thing, ThingKind};
use super::run::Run;

/// How often a removal is tried, and how long it waits in between.
const REMOVALS: usize = 5;
const REMOVAL_PAUSE: Duration = Duration::from_millis(500);

/// Containers, volumes and networks made by this restore, in the order of their making.
#[derive(Debug, Default)]
pub(super) struct Made {
    containers: Vec<String>,
    volumes: Vec<String>,
    networks: Vec<String>,
}

impl Made {
    /// Returns those of what a journal names.
    pub fn of(things: &[Thing]) -> Made {
        let of = |kind: ThingKind| {
            things.iter().filter(|t| t.kind == kind).map(|t| t.name.clone()).collect::<Vec<_>>()
        };
        Made {
            containers: of(ThingKind::Container),
            volumes: of(ThingKind::Volume),
            networks: of(ThingKind::Network),
        }
    }

    /// Makes a container that is not there, and writes down before what comes with it; tells whether it was made.
    pub async fn ensure(run: &Run<'_>, spec: &ContainerSpec) -> Result<bool> {
        let docker = &run.docker;
        if docker.try_inspect(&spec.name).await?.is_some() {
            return Ok(false);
        }
        let making =
            |kind, name: &str| run.write(Event::Making(Thing { kind, name: name.to_owned(), of: None }));
        // Before the call: one that fails half-way leaves what it had made.
        for endpoint in &spec.networks {
            let name = &endpoint.network.name;
            if docker.try_inspect_network(name).await?.is_none() {
                making(ThingKind::Network, name)?;
            }
        }
        for volume in spec.mounts.iter().filter_map(|m| m.volume.as_ref()) {
            if docker.try_inspect_volume(&volume.name).await?.is_none() {
                making(ThingKind::Volume, &volume.name)?;
            }
        }
        making(ThingKind::Container, &spec.name)?;
        docker.create(spec).await?;
        Ok(true)
    }

    /// Returns all names, for people.
    pub fn names(&self) -> Vec<String> {
        let containers = self.containers.iter().map(|n| format!("container {n}"));
        let volumes = self.volumes.iter().map(|n| format!("volume {n}"));
        let networks = self.networks.iter().map(|n| format!("network {n}"));
        containers.chain(volumes).chain(networks).collect()
    }

    /// Tells whether this restore made a container.
    pub fn container(&self, name: &str) -> bool {
        self.containers.iter().any(|n| n == name)
    }

    /// Removes all of it; returns what could not be removed.
    ///
    /// What is still in use is tried again: whoever unpacked files into a volume notices only after an entry that
    /// nobody wants them any more.
    pub async fn remove(&self, docker: &Docker) -> Vec<String> {
        let mut left = Vec::new();
        for attempt in 0..REMOVALS {
            if attempt > 0 {
                tokio::time::sleep(REMOVAL_PAUSE).await;
            }
            left = self.try_remove(docker).await;
            if left.is_empty() {
                break;
            }
        }
        left
    }

    async fn try_remove(&self, docker: &Docker) -> Vec<String> {
        let mut left = Vec::new();
        for name in self.containers.iter().rev() {
            if docker.remove(name).await.is_err() {
                left.push(format!("container {name}"));
            }
        }
        for name in self.volumes.iter().rev() {
            if docker.remove_volume(name).await.is_err() {
                left.push(format!("volume {name}"));
            }
        }
        for name in self.networks.iter().rev() {
            if docker.remove_network(name).await.is_err() {
                left.push(format!("network {name}"));
            }
        }
        left
    }
}
