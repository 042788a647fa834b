//! A container as data: all that is needed to make it again, and nothing that only its past explains.
//!
//! Source of the fields: the Docker Engine API 1.41, `ContainerInspect`, `NetworkInspect`, `VolumeInspect`.
//! A specification holds secrets (environment, arguments, labels): it belongs in the encrypted part of a manifest,
//! and its `Debug` names neither.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// A container as it can be made again.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerSpec {
    /// Its name, without the leading slash.
    pub name: String,
    /// The image as it was asked for, such as `mariadb:10.11`.
    pub image: String,
    /// The id of the image it ran, `sha256:…`.
    pub image_id: String,
    /// The image's registry digests, `name@sha256:…`; empty for an image built here.
    pub image_digests: Vec<String>,
    /// Its command, as configured; may hold secrets.
    pub command: Vec<String>,
    /// Its entrypoint, as configured.
    pub entrypoint: Vec<String>,
    /// Its environment, that of the image included; may hold secrets.
    pub environment: Vec<EnvVar>,
    /// Its labels, that of the image included.
    pub labels: BTreeMap<String, String>,
    /// The user it runs as; the image's where empty.
    pub user: String,
    /// Its working directory.
    pub working_dir: String,
    /// Its host name, where one was given.
    pub hostname: Option<String>,
    /// Its domain name.
    pub domainname: String,
    /// The signal that stops it.
    pub stop_signal: Option<String>,
    /// How long it may take to stop, in seconds.
    pub stop_timeout_s: Option<i64>,
    /// Whether it has a terminal.
    pub tty: bool,
    /// Whether its stdin stays open.
    pub open_stdin: bool,
    /// Its healthcheck, where one is configured.
    pub healthcheck: Option<Healthcheck>,
    /// Ports it declares, such as `3306/tcp`.
    pub exposed: Vec<String>,
    /// Ports it publishes on the host, by container port.
    pub published: BTreeMap<String, Vec<Published>>,
    /// Folders and volumes mounted into it.
    pub mounts: Vec<Mount>,
    /// Temporary file systems: options by target.
    pub tmpfs: BTreeMap<String, String>,
    /// `bridge`, `host`, `none`, `container:…` or a network's name.
    pub network_mode: String,
    /// The networks it is in, with the networks' own settings.
    pub networks: Vec<Endpoint>,
    /// What it may use.
    pub limits: Limits,
    /// When it is started again.
    pub restart: Restart,
    /// Where its output goes.
    pub log: LogSpec,
    /// Lines of its hosts file, `name:address`.
    pub extra_hosts: Vec<String>,
    /// Capabilities besides the default ones.
    pub cap_add: Vec<String>,
    /// Default capabilities it lacks.
    pub cap_drop: Vec<String>,
    /// Security options, such as `no-new-privileges`.
    pub security_opt: Vec<String>,
    /// All other settings of the API's `HostConfig` that are set, under their own names.
    pub more: serde_json::Map<String, serde_json::Value>,
}

/// An environment variable.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvVar {
    /// Its name.
    pub name: String,
    /// Its value; may be a secret.
    pub value: String,
}

/// How the daemon finds out whether a container is well; times are in nanoseconds, as in the API.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Healthcheck {
    /// `["CMD", …]`, `["CMD-SHELL", …]` or `["NONE"]`.
    pub test: Vec<String>,
    /// Time between checks.
    pub interval_ns: Option<i64>,
    /// The longest a check may take.
    pub timeout_ns: Option<i64>,
    /// Failures in a row that make it unhealthy.
    pub retries: Option<i64>,
    /// Time after the start in which failures do not count.
    pub start_period_ns: Option<i64>,
}

/// A published port.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// The host's address; all of them where empty.
    pub host_ip: String,
    /// The host's port; any where empty.
    pub host_port: String,
}

/// What kind of thing is mounted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MountKind {
    /// A folder or file of the host.
    #[default]
    Bind,
    /// A Docker volume.
    Volume,
    /// A temporary file system.
    Tmpfs,
}

/// Something mounted into a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Mount {
    /// What kind of thing.
    pub kind: MountKind,
    /// The host's path, or the volume's name.
    pub source: String,
    /// The path inside the container.
    pub target: String,
    /// Whether the container may not write.
    pub read_only: bool,
    /// The bind's SELinux label, `z` or `Z`, where one was asked for.
    pub mode: String,
    /// The bind's propagation, such as `rprivate`.
    pub propagation: String,
    /// The volume's own settings.
    pub volume: Option<VolumeSpec>,
}

/// A volume as it can be made again, empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct VolumeSpec {
    /// Its name.
    pub name: String,
    /// Its driver.
    pub driver: String,
    /// The driver's options.
    pub options: BTreeMap<String, String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

/// A container's place in a network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Endpoint {
    /// Names under which others reach it there, besides its own.
    pub aliases: Vec<String>,
    /// Its fixed address, where one was given.
    pub ipv4: Option<String>,
    /// Its fixed IPv6 address, where one was given.
    pub ipv6: Option<String>,
    /// The network.
    pub network: NetworkSpec,
}

/// A network as it can be made again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkSpec {
    /// Its name.
    pub name: String,
    /// Its driver.
    pub driver: String,
    /// Whether it has no way out.
    pub internal: bool,
    /// Whether single containers may join a swarm's network.
    pub attachable: bool,
    /// Whether it has IPv6.
    pub ipv6: bool,
    /// The driver's options.
    pub options: BTreeMap<String, String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its address ranges.
    pub subnets: Vec<Subnet>,
}

/// An address range of a network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Subnet {
    /// The range, such as `172.20.0.0/16`.
    pub subnet: String,
    /// The part that containers get addresses from.
    pub ip_range: Option<String>,
    /// The network's own address.
    pub gateway: Option<String>,
}

/// What a container may use; nothing means no limit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Memory, in bytes.
    pub memory_bytes: Option<i64>,
    /// Memory and swap together, in bytes; -1 for no limit.
    pub memory_swap_bytes: Option<i64>,
    /// Memory it is left when the host is short of it, in bytes.
    pub memory_reservation_bytes: Option<i64>,
    /// Processors, in billionths of one.
    pub nano_cpus: Option<i64>,
    /// Its weight against other containers.
    pub cpu_shares: Option<i64>,
    /// Microseconds of processor time in each period.
    pub cpu_quota: Option<i64>,
    /// The period, in microseconds.
    pub cpu_period: Option<i64>,
    /// The processors it may run on, such as `0-1`.
    pub cpuset_cpus: Option<String>,
    /// Processes.
    pub pids: Option<i64>,
}

/// When a container is started again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Restart {
    /// `no`, `always`, `unless-stopped` or `on-failure`; `no` where empty.
    pub policy: String,
    /// How often after failures.
    pub maximum_retries: Option<i64>,
}

/// Where a container's output goes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LogSpec {
    /// The log driver; the daemon's where empty.
    pub driver: String,
    /// The driver's options.
    pub options: BTreeMap<String, String>,
}

impl ContainerSpec {
    /// Returns the value of an environment variable.
    pub fn env(&self, name: &str) -> Option<&str> {
        self.environment.iter().find(|v| v.name == name).map(|v| v.value.as_str())
    }

    /// Returns the mount that holds `path`, the innermost where several do.
    pub fn mount_of(&self, path: &str) -> Option<&Mount> {
        self.mounts
            .iter()
            .filter(|m| super::paths::below(path, &m.target).is_some())
            .max_by_key(|m| m.target.trim_end_matches('/').len())
    }
}

impl EnvVar {
    /// Reads `NAME=value`.
    pub fn parse(line: &str) -> Self {
        let (name, value) = line.split_once('=').unwrap_or((line, ""));
        EnvVar { name: name.to_owned(), value: value.to_owned() }
    }
}

impl fmt::Debug for EnvVar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}=…", self.name)
    }
}

impl fmt::Debug for ContainerSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ContainerSpec")
            .field("name", &self.name)
            .field("image", &self.image)
            .field("environment", &self.environment)
            .field("mounts", &self.mounts)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_secret() {
        let spec = ContainerSpec {
            name: "byrne-db".into(),
            command: vec!["redis-server".into(), "--requirepass".into(), "s3cret-command".into()],
            environment: vec![EnvVar::parse("MARIADB_ROOT_PASSWORD=s3cret-environment")],
            labels: [("users".to_owned(), "s3cret-label".to_owned())].into(),
            ..ContainerSpec::default()
        };
        let shown = format!("{spec:?}");
        assert!(shown.contains("MARIADB_ROOT_PASSWORD"));
        assert!(!shown.contains("s3cret"), "{shown}");
    }

    #[test]
    fn the_innermost_mount_holds_a_path() {
        let mount = |target: &str| Mount { target: target.into(), ..Mount::default() };
        let spec = ContainerSpec {
            mounts: vec![mount("/data"), mount("/data/inner"), mount("/data2")],
            ..ContainerSpec::default()
        };
        assert_eq!(spec.mount_of("/data/inner/x").unwrap().target, "/data/inner");
        assert_eq!(spec.mount_of("/data/innerx").unwrap().target, "/data");
        assert_eq!(spec.mount_of("/data").unwrap().target, "/data");
        assert!(spec.mount_of("/dat").is_none());
    }

    #[test]
    fn a_specification_of_an_older_version_is_read() {
        let spec: ContainerSpec = serde_json::from_str(r#"{"name":"x","unknown":1}"#).unwrap();
        assert_eq!(spec.name, "x");
    }
}
