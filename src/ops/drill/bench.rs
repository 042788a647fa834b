//! The place where a drill is carried out: an isolated network, fresh containers and volumes, all under one label.

use std::path::PathBuf;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret, SecretString};

use crate::error::Result;
use crate::host::{
    ContainerSpec, Docker, Endpoint, EnvVar, Mount, MountKind, NetworkSpec, RunLabels, VolumeSpec,
};
use crate::id::{DrillId, TenantName};

/// After this, what a drill made is a leftover of one that died.
const LIFETIME: SignedDuration = SignedDuration::from_hours(12);

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
    pub fn new(docker: Docker, tenant: &TenantName, drill: &DrillId, now: Timestamp) -> Bench {
        let name = format!("lifeboat-drill-{tenant}-{drill}");
        let labels = RunLabels {
            run: name.clone(),
            kind: "drill".to_owned(),
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
            labels: self.labels.labels(),
            network_mode: self.network.clone(),
            networks: vec![Endpoint {
                network: NetworkSpec { name: self.network.clone(), internal: true, ..NetworkSpec::default() },
                ..Endpoint::default()
            }],
            ..ContainerSpec::default()
        }
    }

    /// Removes all that bears this drill's label; returns what is still there.
    ///
    /// What is still in use is tried again: whoever unpacked files into a volume notices only after an entry that
    /// nobody wants them any more.
    pub async fn tear_down(&self) -> Result<Vec<String>> {
        self.docker.settle().await;
        let label = self.labels.filter();
        for attempt in 1..=REMOVALS {
            match self.docker.sweep(&label).await {
                Err(e) if attempt == REMOVALS => return Err(e),
                _ if self.docker.leftovers(&label).await?.is_empty() => return Ok(Vec::new()),
                _ => tokio::time::sleep(REMOVAL_PAUSE).await,
            }
        }
        Ok(self.docker.leftovers(&label).await?.into_iter().map(|l| l.name).collect())
    }
}

/// Makes a password that nobody needs to know.
pub(super) fn random_password() -> SecretString {
    SecretString::from(hex::encode(rand::random::<[u8; 24]>()))
}

/// Returns an environment variable.
pub(super) fn variable(name: &str, value: &SecretString) -> EnvVar {
    EnvVar { name: name.to_owned(), value: value.expose_secret().to_owned() }
}
