//! Networks of one name. Docker makes a second one where two makers ask at the same moment, and then finds neither by it.
//!
//! A maker that was killed counts: what it asked for is made a moment later, beside that of whoever came after it.

use std::collections::HashMap;

use bollard::query_parameters::{InspectNetworkOptions, ListNetworksOptionsBuilder};

use super::{Docker, call, fault};
use crate::error::Result;

/// A network by its id.
struct Named {
    id: String,
    created: String,
    labels: HashMap<String, String>,
}

impl Docker {
    /// Tells whether more than one network bears a name.
    pub async fn is_network_doubled(&self, name: &str) -> Result<bool> {
        Ok(self.networks_named(name).await?.len() > 1)
    }

    /// Removes the networks of a name that bear a label with this value, but for the oldest of them.
    ///
    /// One that a container uses stays, and is an error.
    pub async fn keep_one_network(&self, name: &str, label: (&str, &str)) -> Result<()> {
        for network in self.networks_with(name, label).await?.iter().skip(1) {
            self.remove_network(&network.id).await?;
        }
        Ok(())
    }

    /// Removes all networks of a name that bear a label with this value.
    pub async fn remove_networks(&self, name: &str, label: (&str, &str)) -> Result<()> {
        for network in self.networks_with(name, label).await? {
            self.remove_network(&network.id).await?;
        }
        Ok(())
    }

    /// Returns by what a network is asked for: its name, or the id of the oldest where several bear it.
    pub(super) async fn network_key(&self, name: &str) -> Result<String> {
        let mut named = self.networks_named(name).await?;
        Ok(if named.len() > 1 { named.swap_remove(0).id } else { name.to_owned() })
    }

    async fn networks_with(&self, name: &str, (label, value): (&str, &str)) -> Result<Vec<Named>> {
        let mut found = self.networks_named(name).await?;
        found.retain(|n| n.labels.get(label).is_some_and(|v| v == value));
        Ok(found)
    }

    /// Returns the networks of a name, oldest first.
    async fn networks_named(&self, name: &str) -> Result<Vec<Named>> {
        // The filter takes a part of a name too.
        let filters = HashMap::from([("name", vec![name])]);
        let options = ListNetworksOptionsBuilder::new().filters(&filters).build();
        let all = call("networks", self.client.list_networks(Some(options))).await?;
        let mut found: Vec<Named> = all
            .into_iter()
            .filter(|n| n.name.as_deref() == Some(name))
            .filter_map(|n| {
                Some(Named {
                    id: n.id?,
                    created: n.created.map(|at| at.to_string()).unwrap_or_default(),
                    labels: n.labels.unwrap_or_default(),
                })
            })
            .collect();
        found.sort_by(|a, b| (&a.created, &a.id).cmp(&(&b.created, &b.id)));
        Ok(found)
    }

    /// Asks for a network by its name; where several bear it, for the oldest.
    pub(super) async fn ask_network(&self, name: &str) -> Result<Option<bollard::models::NetworkInspect>> {
        let ask = |key: String| async move {
            self.client.inspect_network(&key, None::<InspectNetworkOptions>).await
        };
        let answer = match ask(name.to_owned()).await {
            Err(e) if fault::is_ambiguous(&e) => ask(self.network_key(name).await?).await,
            answer => answer,
        };
        match answer {
            Ok(found) => Ok(Some(found)),
            Err(e) if fault::is_missing(&e) => Ok(None),
            Err(e) => Err(fault::of(e, format_args!("network {name}"))),
        }
    }
}
