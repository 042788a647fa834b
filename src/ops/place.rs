//! From the configured store to an open one, and back to what a recovery kit says of it.

use crate::config::{Machine, StoreAddress as Configured};
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
    Ok(match &machine.store.address {
        Configured::Local { path } => {
            Place { address: StoreAddress::File { folder: path.clone() }, endpoint: None, region: None }
        }
        Configured::S3 { bucket, prefix, endpoint, region, .. } => Place {
            address: StoreAddress::S3 { bucket: bucket.clone(), prefix: prefix.clone() },
            endpoint: endpoint.clone(),
            region: Some(region.clone()),
        },
    })
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

/// Opens the configured store whatever is known of it; `create` makes the folder of a `file://` store that is missing.
pub async fn open_untried(machine: &Machine, create: bool) -> Result<SharedStore> {
    open_configured(machine, create, false).await
}

async fn open_configured(machine: &Machine, create: bool, look_first: bool) -> Result<SharedStore> {
    let place = of(machine)?;
    let credentials = match &machine.store.address {
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
