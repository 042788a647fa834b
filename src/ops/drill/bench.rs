//! The place where a drill is carried out: an isolated network, fresh containers and volumes, all under one label.

use std::path::PathBuf;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret, SecretString};

use crate::error::Result;
use crate::host::{
    ContainerSpec, Docker, Endpoint, EnvVar, Leftover, Mount, MountKind, NetworkSpec, RunLabels, VolumeSpec,
};
use crate::id::{DrillId, TenantName};

/// After this, what a drill made is a leftover of one that died.
const LIFETIME: SignedDuration = SignedDuration::from_hours(12);

/// The volume of the bench's folder `sites`.
pub(super) const SITES: &str = "sites";

/// How often the teardown is tried, and how long it waits in between.
const REMOVALS: u32 = 5;
const REMOVAL_PAUSE: Duration = Duration::from_millis(500);

/// What a drill made, found again by its label.
#[derive(Debug)]
pub(super) struct Bench {
    pub docker: Docker,
    labels: RunLabels,
    network: String,
    name: String,
}

impl Bench {
    /// Names what a drill is to have; makes nothing yet.
    pub fn new(docker: Docker, owner: String, tenant: &TenantName, drill: &DrillId, now: Timestamp) -> Bench {
        let name = format!("lifeboat-drill-{tenant}-{drill}");
        let labels = RunLabels {
            run: name.clone(),
            kind: "drill".to_owned(),
            owner: Some(owner),
            expires: now.saturating_add(LIFETIME).unwrap_or(Timestamp::MAX),
        };
        Bench { docker, labels, network: format!("{name}-net"), name }
    }

    /// Makes the network: internal, its bridge without an address on this host, nothing published.
    pub async fn isolate(&mut self) -> Result<()> {
        self.docker.create_isolated_network(&self.network, &self.labels).await
    }

    /// Returns the name that a part of this drill has in Docker.
    pub fn part(&self, part: &str) -> String {
        format!("{}-{part}", self.name)
    }

    /// Makes a volume and returns its folder on this host.
    pub async fn volume(&self, part: &str) -> Result<PathBuf> {
        self.docker.ensure_volume(&self.volume_spec(part)).await?;
        self.docker.volume_path(&self.part(part)).await
    }

    fn volume_spec(&self, part: &str) -> VolumeSpec {
        VolumeSpec { name: self.part(part), labels: self.labels.labels(), ..VolumeSpec::default() }
    }

    /// Returns a fresh container like a recorded one: its image, command and limits; nothing else of it.
    ///
    /// Each of the recorded volumes' targets gets a new volume of this drill.
    pub fn fresh(&self, part: &str, recorded: &ContainerSpec) -> ContainerSpec {
        let mounts =
            recorded.mounts.iter().filter(|m| m.kind == MountKind::Volume).enumerate().map(|(i, m)| {
                let volume = self.volume_spec(&format!("{part}-{i}"));
                Mount {
                    kind: MountKind::Volume,
                    source: volume.name.clone(),
                    target: m.target.clone(),
                    volume: Some(volume),
                    ..Mount::default()
                }
            });
        ContainerSpec {
            name: self.part(part),
            image: recorded.image.clone(),
            image_id: recorded.image_id.clone(),
            image_digests: recorded.image_digests.clone(),
            command: recorded.command.clone(),
            entrypoint: recorded.entrypoint.clone(),
            user: recorded.user.clone(),
            working_dir: recorded.working_dir.clone(),
            limits: recorded.limits.clone(),
            mounts: mounts.collect(),
            ..self.placed(part, &self.network)
        }
    }

    /// Returns a container of the application: image, command and limits of `like`, the drill's sites, nothing published.
    pub fn app(&self, part: &str, like: &ContainerSpec, sites: &str) -> ContainerSpec {
        let volume = self.volume_spec(SITES);
        ContainerSpec {
            command: like.command.clone(),
            entrypoint: like.entrypoint.clone(),
            user: like.user.clone(),
            working_dir: like.working_dir.clone(),
            limits: like.limits.clone(),
            mounts: vec![Mount {
                kind: MountKind::Volume,
                source: volume.name.clone(),
                target: sites.to_owned(),
                volume: Some(volume),
                ..Mount::default()
            }],
            ..self.of_image(like, self.placed(part, &self.network))
        }
    }

    /// Returns a container that only waits to be told to knock somewhere, in the drill's network or an ordinary one.
    pub fn canary(&self, part: &str, like: &ContainerSpec, network: &str) -> ContainerSpec {
        let idle = ContainerSpec {
            entrypoint: vec!["sleep".to_owned()],
            command: vec!["3600".to_owned()],
            ..self.placed(part, network)
        };
        self.of_image(like, idle)
    }

    fn of_image(&self, like: &ContainerSpec, spec: ContainerSpec) -> ContainerSpec {
        ContainerSpec {
            image: like.image.clone(),
            image_id: like.image_id.clone(),
            image_digests: like.image_digests.clone(),
            ..spec
        }
    }

    /// Returns a container in one network, where it is called by its part.
    fn placed(&self, part: &str, network: &str) -> ContainerSpec {
        ContainerSpec {
            name: self.part(part),
            labels: self.labels.labels(),
            network_mode: network.to_owned(),
            networks: vec![Endpoint {
                aliases: vec![part.to_owned()],
                network: NetworkSpec { name: network.to_owned(), ..NetworkSpec::default() },
                ..Endpoint::default()
            }],
            ..ContainerSpec::default()
        }
    }

    /// Returns the name of the drill's network.
    pub fn network(&self) -> &str {
        &self.network
    }

    /// Makes a network as any other, with a way out, and returns its name: what is not isolated, to compare with.
    pub async fn ordinary_network(&self) -> Result<String> {
        let network = NetworkSpec {
            name: format!("{}-ordinary", self.name),
            driver: "bridge".to_owned(),
            labels: self.labels.labels(),
            ..NetworkSpec::default()
        };
        self.docker.ensure_network(&network, false).await?;
        Ok(network.name)
    }

    /// Returns what bears this drill's label.
    pub async fn made(&self) -> Result<Vec<Leftover>> {
        self.docker.leftovers(&self.labels.filter()).await
    }

    /// Removes all that bears this drill's label; returns what was there, and what is still there.
    ///
    /// What is still in use is tried again: whoever unpacked files into a volume notices only after an entry that
    /// nobody wants them any more.
    pub async fn tear_down(&self) -> Result<TornDown> {
        self.docker.settle().await;
        let label = self.labels.filter();
        let names = |all: Vec<Leftover>| all.into_iter().map(|l| l.name).collect::<Vec<String>>();
        let removed = names(self.docker.leftovers(&label).await?);
        for attempt in 1..=REMOVALS {
            match self.docker.sweep(&label).await {
                Err(e) if attempt == REMOVALS => return Err(e),
                _ if self.docker.leftovers(&label).await?.is_empty() => {
                    return Ok(TornDown { removed, left: Vec::new() });
                }
                _ => tokio::time::sleep(REMOVAL_PAUSE).await,
            }
        }
        Ok(TornDown { removed, left: names(self.docker.leftovers(&label).await?) })
    }
}

/// What a teardown found.
#[derive(Debug, Clone, Default)]
pub(super) struct TornDown {
    /// What the drill had made.
    pub removed: Vec<String>,
    /// What of it is still there.
    pub left: Vec<String>,
}

/// Makes a password that nobody needs to know.
pub(super) fn random_password() -> SecretString {
    SecretString::from(hex::encode(rand::random::<[u8; 24]>()))
}

/// Returns an environment variable.
pub(super) fn variable(name: &str, value: &SecretString) -> EnvVar {
    EnvVar { name: name.to_owned(), value: value.expose_secret().to_owned() }
}
