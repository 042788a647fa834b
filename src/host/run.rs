//! What Lifeboat makes for a while: labelled, isolated, and swept away.

use std::collections::{BTreeMap, HashMap};

use bollard::query_parameters::{
    ListContainersOptionsBuilder, ListNetworksOptionsBuilder, ListVolumesOptionsBuilder,
};
use jiff::Timestamp;

use super::{Docker, NetworkSpec, call};
use crate::error::{Error, Result};

const RUN: &str = "lifeboat.run";
const KIND: &str = "lifeboat.kind";
const EXPIRES: &str = "lifeboat.expires";
const OWNER: &str = "lifeboat.owner";

/// Whose something is and when it may be swept away; stands on all that Lifeboat makes for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunLabels {
    /// The run: a drill's or snapshot's id.
    pub run: String,
    /// What the run is, such as `drill`.
    pub kind: String,
    /// Which Lifeboat of several on this host made it, by its state folder; none for what any may sweep away.
    pub owner: Option<String>,
    /// After this, it is a leftover of a run that died.
    pub expires: Timestamp,
}

impl RunLabels {
    /// Returns the labels: `lifeboat.run`, `lifeboat.kind`, `lifeboat.expires`, and `lifeboat.owner` where there is one.
    pub fn labels(&self) -> BTreeMap<String, String> {
        let all = [(RUN, self.run.clone()), (KIND, self.kind.clone()), (EXPIRES, self.expires.to_string())];
        let owner = self.owner.iter().map(|owner| (OWNER, owner.clone()));
        all.into_iter().chain(owner).map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// Returns the label, `name=value`, that finds all of this run.
    pub fn filter(&self) -> String {
        format!("{RUN}={}", self.run)
    }
}

/// What kind of thing was left over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LeftoverKind {
    /// A container.
    Container,
    /// A network.
    Network,
    /// A volume.
    Volume,
}

/// Something with a label, in the order in which it can be removed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Leftover {
    /// What it is.
    pub kind: LeftoverKind,
    /// Its name.
    pub name: String,
    /// When it may be swept away, where it says so.
    pub expires: Option<Timestamp>,
    /// Who alone may do so, where it says so.
    pub owner: Option<String>,
}

impl Docker {
    /// Makes a network without a way out, whose bridge has no address of the host.
    ///
    /// `internal` alone lets containers reach whatever the host binds to 0.0.0.0, through the bridge's own address.
    pub async fn create_isolated_network(&self, name: &str, labels: &RunLabels) -> Result<()> {
        let network = NetworkSpec {
            name: name.to_owned(),
            driver: "bridge".to_owned(),
            internal: true,
            options: [("com.docker.network.bridge.inhibit_ipv4".to_owned(), "true".to_owned())].into(),
            labels: labels.labels(),
            ..NetworkSpec::default()
        };
        self.ensure_network(&network, false).await
    }

    /// Lists the names of containers with a label, `name` or `name=value`, running or not.
    pub async fn containers_with(&self, label: &str) -> Result<Vec<String>> {
        let found = self.leftovers(label).await?;
        Ok(found.into_iter().filter(|l| l.kind == LeftoverKind::Container).map(|l| l.name).collect())
    }

    /// Lists what has a label, `name` or `name=value`: containers, then networks, then volumes.
    pub async fn leftovers(&self, label: &str) -> Result<Vec<Leftover>> {
        let filters: HashMap<&str, Vec<&str>> = [("label", vec![label])].into();
        let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
        let mut found = Vec::new();
        for c in call("containers", self.client.list_containers(Some(options))).await? {
            let name = c.names.unwrap_or_default().into_iter().next().unwrap_or_default();
            found.push(leftover(LeftoverKind::Container, name.trim_start_matches('/'), c.labels));
        }
        let options = ListNetworksOptionsBuilder::new().filters(&filters).build();
        for n in call("networks", self.client.list_networks(Some(options))).await? {
            found.push(leftover(LeftoverKind::Network, &n.name.unwrap_or_default(), n.labels));
        }
        let options = ListVolumesOptionsBuilder::new().filters(&filters).build();
        let volumes = call("volumes", self.client.list_volumes(Some(options))).await?;
        for v in volumes.volumes.unwrap_or_default() {
            found.push(leftover(LeftoverKind::Volume, &v.name, Some(v.labels)));
        }
        found.sort();
        Ok(found)
    }

    /// Removes all that has a label, `name` or `name=value`, and returns what it removed.
    ///
    /// Goes on after a failure, so that one stuck container keeps nothing else alive, then fails with the first.
    pub async fn sweep(&self, label: &str) -> Result<Vec<Leftover>> {
        let found = self.leftovers(label).await?;
        self.remove_all(found).await
    }

    /// Removes what runs that died left behind: all with `lifeboat.expires` before `now` that no other Lifeboat made.
    pub async fn sweep_expired(&self, owner: &str, now: Timestamp) -> Result<Vec<Leftover>> {
        let mut found = self.leftovers(EXPIRES).await?;
        // Another's clock may be another, and its drill under way.
        found.retain(|l| l.owner.as_ref().is_none_or(|o| o == owner) && l.expires.is_some_and(|at| at < now));
        self.remove_all(found).await
    }

    async fn remove_all(&self, found: Vec<Leftover>) -> Result<Vec<Leftover>> {
        let mut removed = Vec::new();
        let mut first: Option<Error> = None;
        for leftover in found {
            let outcome = match leftover.kind {
                LeftoverKind::Container => self.remove_with_volumes(&leftover.name).await,
                LeftoverKind::Network => self.remove_network(&leftover.name).await,
                LeftoverKind::Volume => self.remove_volume(&leftover.name).await,
            };
            match outcome {
                Ok(()) => removed.push(leftover),
                Err(e) => first = first.or(Some(e)),
            }
        }
        first.map_or(Ok(removed), Err)
    }
}

fn leftover(kind: LeftoverKind, name: &str, labels: Option<HashMap<String, String>>) -> Leftover {
    let mut labels = labels.unwrap_or_default();
    let expires = labels.get(EXPIRES).and_then(|at| at.parse().ok());
    Leftover { kind, name: name.to_owned(), expires, owner: labels.remove(OWNER) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_for_a_run_says_whose_it_is_and_until_when() {
        let labels = RunLabels {
            run: "20261123t020000z-1a2b3c4d".into(),
            kind: "drill".into(),
            owner: Some("/var/lib/lifeboat".into()),
            expires: "2026-11-23T04:00:00Z".parse().unwrap(),
        };
        assert_eq!(labels.labels()["lifeboat.expires"], "2026-11-23T04:00:00Z");
        assert_eq!(labels.filter(), "lifeboat.run=20261123t020000z-1a2b3c4d");
        let made = leftover(LeftoverKind::Volume, "v", Some(labels.labels().into_iter().collect()));
        assert_eq!((made.expires, made.owner), (Some(labels.expires), labels.owner));
    }
}
