//! From the configured store to an open one, and back to what a recovery kit says of it.

use std::net::IpAddr;
use std::num::NonZeroU64;
use std::sync::Arc;

use crate::config::{Machine, Policy, Rate, StoreAddress as Configured, StoreConfig};
use crate::error::Result;
use crate::ops::probe;
use crate::ops::state::State;
use crate::store::{Credentials, Limits, Lines, SharedStore, StoreAddress, StoreOptions};

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
pub async fn open(machine: &Machine, lines: &Lines) -> Result<SharedStore> {
    let address = of(machine)?.address.to_string();
    let probed = probe::last(&State::open(&machine.state_dir)?, &address);
    let look_first = probed.is_some_and(|p| !p.creates_only());
    open_as_configured(&machine.store, false, look_first, lines).await
}

/// Opens the configured store with the credential that prune has for itself, where there is one.
pub async fn open_to_prune(machine: &Machine, lines: &Lines) -> Result<SharedStore> {
    let mut machine = machine.clone();
    if let (Some(own), Configured::S3 { credentials, .. }) =
        (machine.prune.credentials.take(), &mut machine.store.address)
    {
        *credentials = Some(own);
    }
    open(&machine, lines).await
}

/// Opens the configured second store; `create` makes the folder of a `file://` store that is missing.
pub async fn open_copy(copy: &StoreConfig, create: bool, lines: &Lines) -> Result<SharedStore> {
    open_as_configured(copy, create, false, lines).await
}

/// Opens the configured store whatever is known of it, as fast as it is; `create` makes the folder of a `file://` store
/// that is missing.
pub async fn open_untried(machine: &Machine, create: bool) -> Result<SharedStore> {
    let untold = StoreConfig { upload_limit: None, download_limit: None, ..machine.store.clone() };
    open_as_configured(&untold, create, false, &Lines::default()).await
}

/// Returns the store for runs of a policy: what they send together stays within the policy's limit too, so that the
/// tighter of both counts.
pub fn within_policy(store: &SharedStore, policy: &Policy, lines: &Lines) -> SharedStore {
    let limits = Limits { upload_bytes_per_second: rate(policy.upload_limit), ..Limits::default() };
    lines.limit(&format!("policy {}", policy.name), Arc::clone(store), limits)
}

fn rate(of: Option<Rate>) -> Option<NonZeroU64> {
    of.and_then(|rate| NonZeroU64::new(rate.0))
}

async fn open_as_configured(
    store: &StoreConfig,
    create: bool,
    look_first: bool,
    lines: &Lines,
) -> Result<SharedStore> {
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
    let limits = Limits {
        upload_bytes_per_second: rate(store.upload_limit),
        download_bytes_per_second: rate(store.download_limit),
        concurrent_calls: None,
    };
    // Outside of the retries: what waits for its turn must not use up their time.
    let opened = open_place(&place, credentials, create, look_first).await?;
    Ok(lines.limit(&place.address.to_string(), opened, limits))
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
    use crate::store::PutMode;

    /// Opens what a configuration says, with limits so low that nobody lives to see a second object through.
    async fn opened(folder: &std::path::Path, host: &str, copy: &str, policy: &str) -> [SharedStore; 3] {
        use crate::config::{Config, SourceFile, Surroundings};
        let dir = |name: &str| folder.join(name).display().to_string();
        std::fs::create_dir_all(dir("store")).unwrap();
        let host = format!(
            "host = \"h1\"\nstate_dir = {:?}\n[store]\nurl = \"file://{}\"\n{host}\n[copy]\nurl = \"file://{}\"\n{copy}\n",
            dir("state"),
            dir("store"),
            dir("copy"),
        );
        let files = [
            SourceFile::new("lifeboat.toml", host),
            SourceFile::new("policies/slow.toml", format!("[limits]\n{policy}\n")),
            SourceFile::new("tenants/t.toml", "policy = \"slow\"\nsite = \"t.example\"\n"),
        ];
        let around = Surroundings { hostname: "h1".into(), zone: jiff::tz::TimeZone::UTC };
        let config = Config::from_files(folder, &files, &around).unwrap();
        let (machine, lines) = (&config.machine, Lines::default());
        let store = open(machine, &lines).await.unwrap();
        let copy = open_copy(&machine.copy.as_ref().unwrap().store, true, &lines).await.unwrap();
        let policy = &config.tenant(&"t".parse().unwrap()).unwrap().policy;
        let night = within_policy(&store, policy, &lines);
        [store, copy, night]
    }

    async fn put(store: &SharedStore, name: &str) {
        store.put(&name.parse().unwrap(), vec![7; 1 << 20].into(), PutMode::Replace).await.unwrap();
    }

    async fn get(store: &SharedStore) {
        store.get(&"a".parse().unwrap(), None).await.unwrap().bytes(2 << 20).await.unwrap();
    }

    /// Tells whether `work` still waits when a store without limits has taken ten objects.
    async fn waits(work: impl Future) -> bool {
        let folder = tempfile::tempdir().unwrap();
        let [free, ..] = opened(folder.path(), "", "", "").await;
        let others = async {
            for _ in 0..10 {
                put(&free, "x").await;
            }
        };
        tokio::select! {
            biased;
            _ = work => false,
            () = others => true,
        }
    }

    #[tokio::test]
    async fn the_limits_of_the_host_file_and_of_a_policy_hold_for_what_is_opened() {
        let (up, down) = ("upload_limit = \"1 B/s\"", "download_limit = \"1 B/s\"");
        let folder = tempfile::tempdir().unwrap();
        let [store, copy, night] = opened(folder.path(), up, down, "").await;
        put(&store, "a").await;
        get(&store).await;
        assert!(waits(put(&store, "b")).await, "[store] upload_limit");
        assert!(waits(put(&night, "b")).await, "a policy without a limit takes the store's away");
        put(&copy, "a").await;
        put(&copy, "b").await;
        assert!(waits(get(&copy)).await, "[copy] download_limit");

        let folder = tempfile::tempdir().unwrap();
        let [store, copy, night] = opened(folder.path(), down, up, "upload = \"1 B/s\"").await;
        put(&night, "a").await;
        assert!(waits(put(&night, "b")).await, "limits.upload of the policy");
        put(&store, "b").await;
        assert!(waits(get(&night)).await, "[store] download_limit");
        put(&copy, "a").await;
        assert!(waits(put(&copy, "b")).await, "[copy] upload_limit");
    }

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
