//! From the configured store to an open one, and back to what a recovery kit says of it.

use std::net::IpAddr;

use crate::config::{Machine, StoreAddress as Configured, StoreConfig};
use crate::error::Result;
use crate::ops::probe;
use crate::ops::state::State;
use crate::store::{Credentials, SharedStore, StoreAddress, StoreOptions};

/// A store as a recovery kit describes it: no credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Its address.
    pub address: StoreAddress,
    /// The server, where it is not AWS.
    pub endpoint: Option<String>,
    /// The region.
    pub region: Option<String>,
}

/// Returns the place that is configured.
pub fn of(machine: &Machine) -> Result<Place> {
    Ok(of_store(&machine.store))
}

/// Returns the place of a store.
pub fn of_store(store: &StoreConfig) -> Place {
    match &store.address {
        Configured::Local { path } => {
            Place { address: StoreAddress::File { folder: path.clone() }, endpoint: None, region: None }
        }
        Configured::S3 { bucket, prefix, endpoint, region, .. } => Place {
            address: StoreAddress::S3 { bucket: bucket.clone(), prefix: prefix.clone() },
            endpoint: endpoint.clone(),
            region: Some(region.clone()),
        },
    }
}

impl Place {
    /// Tells whether it is on this host, as far as its address says: a folder, or a server on a loopback address.
    pub fn is_here(&self) -> bool {
        match (&self.address, &self.endpoint) {
            (StoreAddress::File { .. }, _) => true,
            (_, None) => false,
            (_, Some(endpoint)) => {
                let server = server_of(endpoint);
                server == "localhost"
                    || server.ends_with(".localhost")
                    || server.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
            }
        }
    }

    /// Names who keeps it: this host, a server, or AWS in a region.
    pub fn keeper(&self) -> String {
        match &self.endpoint {
            _ if self.is_here() => "this host".to_owned(),
            Some(endpoint) => server_of(endpoint).to_owned(),
            None => format!("AWS {}", self.region.as_deref().unwrap_or_default()),
        }
    }
}

/// Returns the host of an `http://` or `https://` address.
fn server_of(endpoint: &str) -> &str {
    let rest = endpoint.split_once("://").map_or(endpoint, |(_, rest)| rest);
    let authority = rest.split('/').next().unwrap_or_default();
    match authority.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    }
}

/// Opens the configured store as the last probe found it: one that ignores conditions is looked into before a
/// create-only put.
pub async fn open(machine: &Machine) -> Result<SharedStore> {
    let address = of(machine)?.address.to_string();
    let probed = probe::last(&State::open(&machine.state_dir)?, &address);
    open_configured(machine, false, probed.is_some_and(|p| !p.creates_only())).await
}

/// Opens the configured store with the credential that prune has for itself, where there is one.
pub async fn open_to_prune(machine: &Machine) -> Result<SharedStore> {
    let mut machine = machine.clone();
    if let (Some(own), Configured::S3 { credentials, .. }) =
        (machine.prune.credentials.take(), &mut machine.store.address)
    {
        *credentials = Some(own);
    }
    open(&machine).await
}

/// Opens the configured second store; `create` makes the folder of a `file://` store that is missing.
pub async fn open_copy(copy: &StoreConfig, create: bool) -> Result<SharedStore> {
    open_as_configured(copy, create, false).await
}

/// Opens the configured store whatever is known of it; `create` makes the folder of a `file://` store that is missing.
pub async fn open_untried(machine: &Machine, create: bool) -> Result<SharedStore> {
    open_configured(machine, create, false).await
}

async fn open_configured(machine: &Machine, create: bool, look_first: bool) -> Result<SharedStore> {
    open_as_configured(&machine.store, create, look_first).await
}

async fn open_as_configured(store: &StoreConfig, create: bool, look_first: bool) -> Result<SharedStore> {
    let place = of_store(store);
    let credentials = match &store.address {
        Configured::S3 { credentials: Some(c), .. } => Some(Credentials {
            access_key: c.access_key.resolve()?,
            secret_key: c.secret_key.resolve()?,
            session_token: None,
        }),
        Configured::S3 { credentials: None, .. } => from_environment(),
        Configured::Local { .. } => None,
    };
    open_place(&place, credentials, create, look_first).await
}

/// Opens a place with credentials of the environment, as a recovery does.
pub async fn open_from_kit(place: &Place) -> Result<SharedStore> {
    open_place(place, from_environment(), false, false).await
}

async fn open_place(
    place: &Place,
    credentials: Option<Credentials>,
    create: bool,
    look_first: bool,
) -> Result<SharedStore> {
    let options = StoreOptions {
        endpoint: place.endpoint.clone(),
        region: place.region.clone(),
        credentials,
        create,
        look_first,
        ..StoreOptions::default()
    };
    crate::store::open(&place.address, &options).await
}

/// Returns the credentials in `AWS_ACCESS_KEY_ID` and its companions, as every S3 tool reads them.
fn from_environment() -> Option<Credentials> {
    let read =
        |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty()).map(secrecy::SecretString::from);
    Some(Credentials {
        access_key: read("AWS_ACCESS_KEY_ID")?,
        secret_key: read("AWS_SECRET_ACCESS_KEY")?,
        session_token: read("AWS_SESSION_TOKEN"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_here_when_its_address_is() {
        let place = |address: &str, endpoint: Option<&str>| Place {
            address: address.parse().unwrap(),
            endpoint: endpoint.map(str::to_owned),
            region: Some("eu-central-1".to_owned()),
        };
        for (address, endpoint, keeper) in [
            ("file:///srv/x", None, "this host"),
            ("s3://bucket", Some("http://127.0.0.1:8333"), "this host"),
            ("s3://bucket", Some("http://[::1]:8333/x"), "this host"),
            ("s3://bucket", Some("http://localhost"), "this host"),
            ("s3://bucket", Some("https://s3.example.com:9000"), "s3.example.com"),
            ("s3://bucket", Some("https://127.0.0.1.example.com"), "127.0.0.1.example.com"),
            ("s3://bucket", None, "AWS eu-central-1"),
        ] {
            let place = place(address, endpoint);
            assert_eq!(place.keeper(), keeper);
            assert_eq!(place.is_here(), keeper == "this host");
        }
    }
}
