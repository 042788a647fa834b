//! From a [`ContainerSpec`] to a container, with the networks and volumes it needs.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use bollard::models::{
    ContainerCreateBody, EndpointIpamConfig, EndpointSettings, HealthConfig, HostConfig, HostConfigLogConfig,
    Ipam, IpamConfig, Mount as ApiMount, MountBindOptions, MountType, NetworkConnectRequest,
    NetworkCreateRequest, NetworkingConfig, PortBinding, RestartPolicy, VolumeCreateRequest,
};
use bollard::query_parameters::{CreateContainerOptionsBuilder, CreateImageOptionsBuilder};
use futures::StreamExt;

use super::{ContainerSpec, Docker, Endpoint, Mount, MountKind, NetworkSpec, VolumeSpec, call, fault};
use crate::error::{Context, Error, Kind, Result};

/// The longest an image may take to come from its registry.
const PULL_LIMIT: Duration = Duration::from_secs(30 * 60);

/// Networks that every daemon has.
const BUILT_IN: [&str; 4] = ["bridge", "host", "none", "default"];

impl Docker {
    /// Makes a container that is not there, with those of its networks and volumes that are gone; does not start it.
    ///
    /// Takes the recorded image where it is still here, else the one of that name, which may be newer, else pulls
    /// it by its digest.
    /// Fails with [`Kind::Conflict`] where the name is taken.
    pub async fn create(&self, spec: &ContainerSpec) -> Result<()> {
        let image = self.image_for(spec).await?;
        for endpoint in &spec.networks {
            self.ensure_network(&endpoint.network, endpoint.ipv4.is_some()).await?;
        }
        for mount in &spec.mounts {
            if let Some(volume) = &mount.volume {
                self.ensure_volume(volume).await?;
            }
        }
        let what = format!("container {}", spec.name);
        let options = CreateContainerOptionsBuilder::new().name(&spec.name).build();
        let (client, body, named) = (self.client.clone(), body(spec, image)?, what.clone());
        self.to_its_end(async move { call(named, client.create_container(Some(options), body)).await })
            .await?;
        // Before API 1.44 a container is made with one network; it joins the others before it starts.
        for endpoint in spec.networks.iter().filter(|e| !is_first(spec, e)) {
            let request = NetworkConnectRequest {
                container: spec.name.clone(),
                endpoint_config: Some(endpoint_settings(endpoint)),
            };
            call(&what, self.client.connect_network(&endpoint.network.name, request)).await?;
        }
        Ok(())
    }

    /// Makes a volume where none of that name exists.
    pub async fn ensure_volume(&self, volume: &VolumeSpec) -> Result<()> {
        let request = VolumeCreateRequest {
            name: Some(volume.name.clone()),
            driver: filled(&volume.driver),
            driver_opts: Some(hashed(&volume.options)),
            labels: Some(hashed(&volume.labels)),
            ..VolumeCreateRequest::default()
        };
        // The daemon answers with the volume that is there, where one is.
        let (client, what) = (self.client.clone(), format!("volume {}", volume.name));
        self.to_its_end(async move { call(what, client.create_volume(request)).await }).await.map(drop)
    }

    /// Makes a network where none of that name exists.
    ///
    /// Its address range is taken over only where it is `fixed`, because a container has an address of its own in
    /// it, and dropped where another network has it by now.
    pub async fn ensure_network(&self, network: &NetworkSpec, fixed: bool) -> Result<()> {
        if BUILT_IN.contains(&network.name.as_str())
            || self.try_inspect_network(&network.name).await?.is_some()
        {
            return Ok(());
        }
        let subnets = network.subnets.iter().map(|s| IpamConfig {
            subnet: Some(s.subnet.clone()),
            ip_range: s.ip_range.clone(),
            gateway: s.gateway.clone(),
            auxiliary_addresses: None,
        });
        let request = NetworkCreateRequest {
            name: network.name.clone(),
            driver: filled(&network.driver),
            internal: Some(network.internal),
            attachable: Some(network.attachable),
            enable_ipv6: Some(network.ipv6),
            ipam: fixed.then(|| Ipam { config: Some(subnets.collect()), ..Ipam::default() }),
            options: Some(hashed(&network.options)),
            labels: Some(hashed(&network.labels)),
            ..NetworkCreateRequest::default()
        };
        let (client, what) = (self.client.clone(), format!("network {}", network.name));
        self.to_its_end(async move { call(what, client.create_network(request)).await }).await.map(drop)
    }

    async fn image_for(&self, spec: &ContainerSpec) -> Result<String> {
        let named = self.image_id(&spec.image).await?;
        // By its name where that still means the same, so that the new container says what the old one said.
        if named.is_some() && (spec.image_id.is_empty() || named.as_ref() == Some(&spec.image_id)) {
            return Ok(spec.image.clone());
        }
        if let Some(id) = self.image_id(&spec.image_id).await? {
            return Ok(id);
        }
        if named.is_some() {
            return Ok(spec.image.clone());
        }
        let name = spec.image_digests.first().unwrap_or(&spec.image);
        self.pull(name).await?;
        Ok(name.clone())
    }

    pub(super) async fn image_id(&self, image: &str) -> Result<Option<String>> {
        if image.is_empty() {
            return Ok(None);
        }
        match self.client.inspect_image(image).await {
            Ok(answer) => Ok(answer.id),
            Err(e) if fault::is_missing(&e) => Ok(None),
            Err(e) => Err(fault::of(e, format_args!("image {image}"))),
        }
    }

    pub(super) async fn pull(&self, image: &str) -> Result<()> {
        let options = CreateImageOptionsBuilder::new().from_image(image).build();
        let mut progress = self.client.create_image(Some(options), None, None);
        let work = async {
            while let Some(step) = progress.next().await {
                step.map_err(|e| fault::of(e, format_args!("image {image}")))?;
            }
            Ok(())
        };
        let pulled = tokio::time::timeout(PULL_LIMIT, work).await.unwrap_or_else(|_| {
            Err(Error::new(Kind::Timeout, format!("image {image}: not here after {PULL_LIMIT:?}")))
        });
        pulled.map_err(|e| e.hint("build or pull the image; the manifest names its id and digests"))
    }
}

fn body(spec: &ContainerSpec, image: String) -> Result<ContainerCreateBody> {
    let first = spec.networks.iter().find(|e| is_first(spec, e));
    Ok(ContainerCreateBody {
        image: Some(image),
        hostname: spec.hostname.clone(),
        domainname: filled(&spec.domainname),
        user: filled(&spec.user),
        working_dir: filled(&spec.working_dir),
        env: Some(spec.environment.iter().map(|v| format!("{}={}", v.name, v.value)).collect()),
        cmd: listed(&spec.command),
        entrypoint: listed(&spec.entrypoint),
        labels: Some(hashed(&spec.labels)),
        exposed_ports: listed(&spec.exposed),
        stop_signal: spec.stop_signal.clone(),
        stop_timeout: spec.stop_timeout_s,
        tty: Some(spec.tty),
        open_stdin: Some(spec.open_stdin),
        healthcheck: spec.healthcheck.as_ref().map(|h| HealthConfig {
            test: Some(h.test.clone()),
            interval: h.interval_ns,
            timeout: h.timeout_ns,
            retries: h.retries,
            start_period: h.start_period_ns,
            start_interval: None,
        }),
        host_config: Some(host_config(spec)?),
        networking_config: first.map(|e| NetworkingConfig {
            endpoints_config: Some([(e.network.name.clone(), endpoint_settings(e))].into()),
        }),
        ..ContainerCreateBody::default()
    })
}

fn host_config(spec: &ContainerSpec) -> Result<HostConfig> {
    let more = serde_json::Value::Object(spec.more.clone());
    let mut host: HostConfig = serde_json::from_value(more)
        .context(Kind::Damaged, format_args!("container {}: recorded settings", spec.name))?;
    let limits = &spec.limits;
    host.memory = limits.memory_bytes;
    host.memory_swap = limits.memory_swap_bytes;
    host.memory_reservation = limits.memory_reservation_bytes;
    host.nano_cpus = limits.nano_cpus;
    host.cpu_shares = limits.cpu_shares;
    host.cpu_quota = limits.cpu_quota;
    host.cpu_period = limits.cpu_period;
    host.cpuset_cpus = limits.cpuset_cpus.clone();
    host.pids_limit = limits.pids;
    host.network_mode = filled(&spec.network_mode);
    host.port_bindings =
        Some(spec.published.iter().map(|(port, at)| (port.clone(), Some(bindings(at)))).collect());
    host.restart_policy = serde_json::from_value(serde_json::json!({
        "Name": spec.restart.policy, "MaximumRetryCount": spec.restart.maximum_retries,
    }))
    .ok()
    .filter(|_: &RestartPolicy| !spec.restart.policy.is_empty());
    host.log_config = filled(&spec.log.driver)
        .map(|driver| HostConfigLogConfig { typ: Some(driver), config: Some(hashed(&spec.log.options)) });
    host.tmpfs = Some(hashed(&spec.tmpfs)).filter(|t| !t.is_empty());
    host.extra_hosts = listed(&spec.extra_hosts);
    host.cap_add = listed(&spec.cap_add);
    host.cap_drop = listed(&spec.cap_drop);
    host.security_opt = listed(&spec.security_opt);
    let (labelled, plain): (Vec<&Mount>, Vec<&Mount>) =
        spec.mounts.iter().partition(|m| m.kind == MountKind::Bind && !m.mode.is_empty());
    host.binds = Some(labelled.into_iter().map(labelled_bind).collect());
    let in_tmpfs = |m: &&Mount| m.kind == MountKind::Tmpfs && spec.tmpfs.contains_key(&m.target);
    host.mounts = Some(plain.into_iter().filter(|m| !in_tmpfs(m)).map(api_mount).collect());
    Ok(host)
}

fn bindings(published: &[super::Published]) -> Vec<PortBinding> {
    let binding = |p: &super::Published| PortBinding {
        host_ip: Some(p.host_ip.clone()),
        host_port: Some(p.host_port.clone()),
    };
    published.iter().map(binding).collect()
}

/// Only this older form of a bind can ask for an SELinux label.
fn labelled_bind(mount: &Mount) -> String {
    let access = if mount.read_only { "ro" } else { "rw" };
    format!("{}:{}:{access},{}", mount.source, mount.target, mount.mode)
}

fn api_mount(mount: &Mount) -> ApiMount {
    let propagation = serde_json::from_value(serde_json::Value::String(mount.propagation.clone())).ok();
    ApiMount {
        target: Some(mount.target.clone()),
        source: filled(&mount.source),
        typ: Some(match mount.kind {
            MountKind::Bind => MountType::BIND,
            MountKind::Volume => MountType::VOLUME,
            MountKind::Tmpfs => MountType::TMPFS,
        }),
        read_only: Some(mount.read_only),
        bind_options: (mount.kind == MountKind::Bind && !mount.propagation.is_empty())
            .then(|| MountBindOptions { propagation, ..MountBindOptions::default() }),
        ..ApiMount::default()
    }
}

fn is_first(spec: &ContainerSpec, endpoint: &Endpoint) -> bool {
    let named = spec.networks.iter().find(|e| e.network.name == spec.network_mode);
    named.or(spec.networks.first()).is_some_and(|first| first.network.name == endpoint.network.name)
}

fn endpoint_settings(endpoint: &Endpoint) -> EndpointSettings {
    // The built-in bridge has no names.
    let named = !BUILT_IN.contains(&endpoint.network.name.as_str());
    let fixed = endpoint.ipv4.is_some() || endpoint.ipv6.is_some();
    EndpointSettings {
        aliases: listed(&endpoint.aliases).filter(|_| named),
        ipam_config: fixed.then(|| EndpointIpamConfig {
            ipv4_address: endpoint.ipv4.clone(),
            ipv6_address: endpoint.ipv6.clone(),
            link_local_ips: None,
        }),
        ..EndpointSettings::default()
    }
}

fn hashed(map: &BTreeMap<String, String>) -> HashMap<String, String> {
    map.iter().map(|(k, v)| (k.clone(), v.clone())).collect()
}

fn filled(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn listed(list: &[String]) -> Option<Vec<String>> {
    (!list.is_empty()).then(|| list.to_vec())
}
