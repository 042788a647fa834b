//! What the manifest keeps of a component besides its streams: the component's own record, and where it lived.

use serde::{Deserialize, Serialize};

use crate::error::{Context, Error, Kind, Result};
use crate::host::ContainerSpec;
use crate::id::ComponentName;

/// Where a component lived, with what its dump said of itself.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Envelope {
    /// The site's folder name.
    pub site: String,
    /// The container it lived in, as it can be made again.
    pub container: Option<ContainerSpec>,
    /// The path in that container, or on the host where there is none.
    pub path: Option<String>,
    /// Other containers of the tenant: those of its application. Only in `config`.
    pub apps: Vec<ContainerSpec>,
    /// The tenant's domains. Only in `certs`.
    pub domains: Vec<String>,
    /// The component's own record.
    pub own: serde_json::Value,
}

impl Envelope {
    /// Adds the component's own record and returns the JSON for the manifest.
    pub fn with(mut self, own: serde_json::Value) -> serde_json::Value {
        self.own = own;
        // Strings, numbers and maps with string keys always have a JSON form.
        serde_json::to_value(&self).unwrap_or(serde_json::Value::Null)
    }

    /// Reads the component's own record.
    pub fn own<T: serde::de::DeserializeOwned>(&self) -> Result<T> {
        T::deserialize(&self.own).context(Kind::Damaged, "record of a component in the manifest")
    }

    /// Returns the container it lived in.
    pub fn container_of(&self, component: ComponentName) -> Result<&ContainerSpec> {
        self.container.as_ref().ok_or_else(|| {
            let what = format!("the manifest does not say which container held {component}");
            Error::new(Kind::Damaged, what)
        })
    }

    /// Reads it back from a manifest.
    pub fn parse(record: &serde_json::Value) -> Result<Envelope> {
        Envelope::deserialize(record).context(Kind::Damaged, "record of a component in the manifest")
    }
}
