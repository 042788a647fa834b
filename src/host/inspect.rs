//! From the daemon's answers to a [`ContainerSpec`].

use std::collections::{BTreeMap, HashMap};

use bollard::models::{ContainerInspectResponse, HostConfig, MountPoint};
use bollard::query_parameters::InspectContainerOptions;

use super::{
    ContainerSpec, Docker, Endpoint, EnvVar, Healthcheck, Limits, LogSpec, Mount, MountKind, NetworkSpec,
    Published, Restart, Subnet, VolumeSpec, call, fault,
};
use crate::error::{Context, Kind, Result};

/// Settings of `HostConfig` that a specification holds under names of its own, or that say nothing of the future.
const OWN_SETTINGS: &[&str] = &[
    "Binds",
    "Mounts",
    "VolumesFrom",
    "VolumeDriver",
    "PortBindings",
    "RestartPolicy",
    "LogConfig",
    "NetworkMode",
    "Tmpfs",
    "CapAdd",
    "CapDrop",
    "SecurityOpt",
    "ExtraHosts",
    "Memory",
    "MemorySwap",
    "MemoryReservation",
    "NanoCpus",
    "CpuShares",
    "CpuQuota",
    "CpuPeriod",
    "CpusetCpus",
    "PidsLimit",
    "ContainerIDFile",
    "ConsoleSize",
    "MaskedPaths",
    "ReadonlyPaths",
];

impl Docker {
    /// Describes a container, running or not, with its volumes and networks.
    pub async fn inspect(&self, container: &str) -> Result<ContainerSpec> {
        let what = format!("container {container}");
        let answer =
            call(&what, self.client.inspect_container(container, None::<InspectContainerOptions>)).await?;
        self.describe(answer).await
    }

    /// Describes a container where it exists.
    pub async fn try_inspect(&self, container: &str) -> Result<Option<ContainerSpec>> {
        match self.client.inspect_container(container, None::<InspectContainerOptions>).await {
            Ok(answer) => Ok(Some(self.describe(answer).await?)),
            Err(e) if fault::is_missing(&e) => Ok(None),
            Err(e) => Err(fault::of(e, format_args!("container {container}"))),
        }
    }

    /// Describes a network where it exists.
    pub async fn try_inspect_network(&self, network: &str) -> Result<Option<NetworkSpec>> {
        let Some(answer) = self.ask_network(network).await? else { return Ok(None) };
        let subnets = answer.ipam.and_then(|ipam| ipam.config).unwrap_or_default().into_iter();
        Ok(Some(NetworkSpec {
            name: answer.name.unwrap_or_else(|| network.to_owned()),
            driver: answer.driver.unwrap_or_default(),
            internal: answer.internal.unwrap_or_default(),
            attachable: answer.attachable.unwrap_or_default(),
            ipv6: answer.enable_ipv6.unwrap_or_default(),
            options: sorted(answer.options),
            labels: sorted(answer.labels),
            subnets: subnets
                .filter_map(|s| {
                    Some(Subnet {
                        subnet: s.subnet?,
                        ip_range: filled(s.ip_range),
                        gateway: filled(s.gateway),
                    })
                })
                .collect(),
        }))
    }

    /// Describes a volume where it exists.
    pub async fn try_inspect_volume(&self, volume: &str) -> Result<Option<VolumeSpec>> {
        match self.client.inspect_volume(volume).await {
            Ok(v) => Ok(Some(VolumeSpec {
                name: v.name,
                driver: v.driver,
                options: v.options.into_iter().collect(),
                labels: v.labels.into_iter().collect(),
            })),
            Err(e) if fault::is_missing(&e) => Ok(None),
            Err(e) => Err(fault::of(e, format_args!("volume {volume}"))),
        }
    }

    async fn describe(&self, mut answer: ContainerInspectResponse) -> Result<ContainerSpec> {
        let host = answer.host_config.take().unwrap_or_default();
        let mounts = answer.mounts.take().unwrap_or_default();
        let networks = self.endpoints(&mut answer).await?;
        let mut spec = settings(&mut answer);
        spec.image_digests = self.image_digests(&spec.image_id).await?;
        spec.networks = networks;
        for mount in mounts {
            spec.mounts.extend(self.mount(mount).await?);
        }
        spec.mounts.sort_by(|a, b| a.target.cmp(&b.target));
        take_host_config(&mut spec, host)?;
        Ok(spec)
    }

    async fn image_digests(&self, image_id: &str) -> Result<Vec<String>> {
        match self.client.inspect_image(image_id).await {
            Ok(image) => Ok(image.repo_digests.unwrap_or_default()),
            // A running container keeps its image, but its record may have been removed by force.
            Err(e) if fault::is_missing(&e) => Ok(Vec::new()),
            Err(e) => Err(fault::of(e, format_args!("image {image_id}"))),
        }
    }

    async fn mount(&self, point: MountPoint) -> Result<Option<Mount>> {
        let (kind, source) = match point.typ.as_deref() {
            Some("volume") => (MountKind::Volume, point.name.unwrap_or_default()),
            Some("tmpfs") => (MountKind::Tmpfs, String::new()),
            Some("bind") => (MountKind::Bind, point.source.unwrap_or_default()),
            _ => return Ok(None),
        };
        let volume = match kind {
            MountKind::Volume => self.try_inspect_volume(&source).await?,
            MountKind::Bind | MountKind::Tmpfs => None,
        };
        Ok(Some(Mount {
            kind,
            source,
            target: point.destination.unwrap_or_default(),
            read_only: !point.rw.unwrap_or(true),
            mode: selinux_label(&point.mode.unwrap_or_default(), kind),
            propagation: point.propagation.unwrap_or_default(),
            volume,
        }))
    }

    async fn endpoints(&self, answer: &mut ContainerInspectResponse) -> Result<Vec<Endpoint>> {
        let short_id: String = answer.id.as_deref().unwrap_or_default().chars().take(12).collect();
        let joined = answer.network_settings.take().and_then(|n| n.networks).unwrap_or_default();
        let mut endpoints = Vec::new();
        for (name, settings) in joined {
            let network = self
                .try_inspect_network(&name)
                .await?
                .unwrap_or_else(|| NetworkSpec { name: name.clone(), ..NetworkSpec::default() });
            let mut aliases = settings.aliases.unwrap_or_default();
            // The daemon adds the container's own short id; a new container gets a new one.
            aliases.retain(|a| *a != short_id);
            aliases.sort();
            aliases.dedup();
            let fixed = settings.ipam_config.unwrap_or_default();
            endpoints.push(Endpoint {
                aliases,
                ipv4: filled(fixed.ipv4_address),
                ipv6: filled(fixed.ipv6_address),
                network,
            });
        }
        endpoints.sort_by(|a, b| a.network.name.cmp(&b.network.name));
        Ok(endpoints)
    }
}

fn settings(answer: &mut ContainerInspectResponse) -> ContainerSpec {
    let config = answer.config.take().unwrap_or_default();
    let id = answer.id.take().unwrap_or_default();
    let mut exposed = config.exposed_ports.unwrap_or_default();
    exposed.sort();
    ContainerSpec {
        name: answer.name.take().unwrap_or_default().trim_start_matches('/').to_owned(),
        image: config.image.unwrap_or_default(),
        image_id: answer.image.take().unwrap_or_default(),
        command: config.cmd.unwrap_or_default(),
        entrypoint: config.entrypoint.unwrap_or_default(),
        environment: config.env.unwrap_or_default().iter().map(|line| EnvVar::parse(line)).collect(),
        labels: sorted(config.labels),
        user: config.user.unwrap_or_default(),
        working_dir: config.working_dir.unwrap_or_default(),
        hostname: filled(config.hostname).filter(|h| !id.starts_with(h.as_str())),
        domainname: config.domainname.unwrap_or_default(),
        stop_signal: filled(config.stop_signal),
        stop_timeout_s: config.stop_timeout,
        tty: config.tty.unwrap_or_default(),
        open_stdin: config.open_stdin.unwrap_or_default(),
        healthcheck: config.healthcheck.map(|h| Healthcheck {
            test: h.test.unwrap_or_default(),
            interval_ns: h.interval,
            timeout_ns: h.timeout,
            retries: h.retries,
            start_period_ns: h.start_period,
        }),
        exposed,
        ..ContainerSpec::default()
    }
}

fn take_host_config(spec: &mut ContainerSpec, host: HostConfig) -> Result<()> {
    let all = serde_json::to_value(&host).context(Kind::Bug, "host configuration as JSON")?;
    if let serde_json::Value::Object(all) = all {
        spec.more = all
            .into_iter()
            .filter(|(name, value)| !OWN_SETTINGS.contains(&name.as_str()) && !is_unset(value))
            .collect();
    }
    let ports = host.port_bindings.unwrap_or_default().into_iter();
    spec.published = ports
        .map(|(port, bindings)| {
            let bindings = bindings.unwrap_or_default().into_iter();
            let published = bindings.map(|b| Published {
                host_ip: b.host_ip.unwrap_or_default(),
                host_port: b.host_port.unwrap_or_default(),
            });
            (port, published.collect())
        })
        .collect();
    spec.limits = Limits {
        memory_bytes: set(host.memory),
        memory_swap_bytes: set(host.memory_swap),
        memory_reservation_bytes: set(host.memory_reservation),
        nano_cpus: set(host.nano_cpus),
        cpu_shares: set(host.cpu_shares),
        cpu_quota: set(host.cpu_quota),
        cpu_period: set(host.cpu_period),
        cpuset_cpus: filled(host.cpuset_cpus),
        pids: set(host.pids_limit),
    };
    let restart = host.restart_policy.unwrap_or_default();
    spec.restart = Restart {
        policy: restart.name.map(|n| n.to_string()).unwrap_or_default(),
        maximum_retries: set(restart.maximum_retry_count),
    };
    let log = host.log_config.unwrap_or_default();
    spec.log = LogSpec { driver: log.typ.unwrap_or_default(), options: sorted(log.config) };
    spec.tmpfs = sorted(host.tmpfs);
    spec.network_mode = host.network_mode.unwrap_or_default();
    spec.extra_hosts = host.extra_hosts.unwrap_or_default();
    spec.cap_add = host.cap_add.unwrap_or_default();
    spec.cap_drop = host.cap_drop.unwrap_or_default();
    spec.security_opt = host.security_opt.unwrap_or_default();
    Ok(())
}

/// Volumes are labelled by the daemon anyway, and read-only is a field of its own.
fn selinux_label(mode: &str, kind: MountKind) -> String {
    let label = mode.split(',').find(|option| option.eq_ignore_ascii_case("z"));
    label.filter(|_| kind == MountKind::Bind).unwrap_or_default().to_owned()
}

fn is_unset(value: &serde_json::Value) -> bool {
    match value {
        serde_json::Value::Null => true,
        serde_json::Value::Bool(b) => !b,
        serde_json::Value::Number(n) => n.as_f64() == Some(0.0),
        serde_json::Value::String(s) => s.is_empty(),
        serde_json::Value::Array(a) => a.is_empty(),
        serde_json::Value::Object(o) => o.is_empty(),
    }
}

fn sorted(map: Option<HashMap<String, String>>) -> BTreeMap<String, String> {
    map.unwrap_or_default().into_iter().collect()
}

fn filled(text: Option<String>) -> Option<String> {
    text.filter(|t| !t.is_empty())
}

fn set(number: Option<i64>) -> Option<i64> {
    number.filter(|n| *n != 0)
}
