//! Names under which a tenant comes back: its own, or those of another tenant.
//!
//! Under another name nothing of the old tenant is touched: containers, volumes and networks get the new tenant's name in
//! place of the old one (or before theirs), ports are not published, and no proxy is told of it.

use crate::host::{ContainerSpec, MountKind};
use crate::id::TenantName;

use super::Request;

/// How recorded names become those of the target.
#[derive(Debug, Clone)]
pub(super) struct Naming {
    from: TenantName,
    into: Option<TenantName>,
    live: bool,
}

impl Naming {
    pub fn of(request: &Request) -> Naming {
        Naming { from: request.tenant.clone(), into: request.into.clone(), live: request.live }
    }

    fn renamed(&self, name: &str) -> String {
        match &self.into {
            None => name.to_owned(),
            Some(new) => match name.strip_prefix(self.from.as_str()) {
                Some(rest) if !rest.starts_with(|c: char| c.is_ascii_alphanumeric()) => {
                    format!("{new}{rest}")
                }
                _ => format!("{new}-{name}"),
            },
        }
    }

    /// Returns a container's name.
    pub fn container(&self, name: &str) -> String {
        self.renamed(name)
    }

    /// Returns a volume's name.
    pub fn volume(&self, name: &str) -> String {
        self.renamed(name)
    }

    /// Returns a host path; under another name a sibling of the recorded one.
    pub fn host_path(&self, path: &str) -> String {
        match &self.into {
            None => path.to_owned(),
            Some(new) => format!("{}-{new}", path.trim_end_matches('/')),
        }
    }

    /// Returns a recorded container as the target has it.
    pub fn spec(&self, recorded: &ContainerSpec) -> ContainerSpec {
        let mut spec = recorded.clone();
        if self.into.is_none() {
            return spec;
        }
        spec.name = self.container(&recorded.name);
        spec.published.clear();
        spec.hostname = None;
        spec.labels
            .retain(|label, _| !label.starts_with("traefik.") && !label.starts_with("com.docker.compose."));
        for mount in &mut spec.mounts {
            match (mount.kind, &mut mount.volume) {
                (MountKind::Volume, Some(volume)) => {
                    volume.name = self.volume(&volume.name);
                    mount.source.clone_from(&volume.name);
                }
                (MountKind::Bind, _) if !mount.read_only => mount.source = self.host_path(&mount.source),
                _ => {}
            }
        }
        for endpoint in &mut spec.networks {
            endpoint.network.name = self.renamed(&endpoint.network.name);
            endpoint.network.labels.clear();
            endpoint.network.subnets.clear();
            endpoint.network.internal |= !self.live;
            endpoint.ipv4 = None;
            endpoint.ipv6 = None;
            // Configuration that names the old container finds the new one, in this network only.
            endpoint.aliases.push(recorded.name.clone());
        }
        if let Some(first) = spec.networks.first()
            && recorded.networks.iter().any(|e| e.network.name == recorded.network_mode)
        {
            spec.network_mode.clone_from(&first.network.name);
        }
        spec
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::{Endpoint, NetworkSpec};

    fn naming(into: Option<&str>) -> Naming {
        Naming { from: "byrne".parse().unwrap(), into: into.map(|n| n.parse().unwrap()), live: false }
    }

    #[test]
    fn under_another_name_nothing_keeps_the_old_tenants_name_but_an_alias() {
        let recorded = ContainerSpec {
            name: "byrne-db".into(),
            network_mode: "byrne_net".into(),
            networks: vec![Endpoint {
                network: NetworkSpec { name: "byrne_net".into(), ..NetworkSpec::default() },
                ..Endpoint::default()
            }],
            labels: [("traefik.enable".to_owned(), "true".to_owned())].into(),
            ..ContainerSpec::default()
        };
        let spec = naming(Some("copy")).spec(&recorded);
        assert_eq!((spec.name.as_str(), spec.network_mode.as_str()), ("copy-db", "copy_net"));
        assert!(spec.networks[0].network.internal && spec.labels.is_empty());
        assert_eq!(spec.networks[0].aliases, ["byrne-db"]);
        assert_eq!(naming(None).spec(&recorded), recorded);
    }

    #[test]
    fn a_name_that_only_begins_like_the_tenants_is_put_behind_the_new_one() {
        assert_eq!(naming(Some("copy")).container("byrneson-db"), "copy-byrneson-db");
        assert_eq!(naming(Some("copy")).container("shared-db"), "copy-shared-db");
    }
}
