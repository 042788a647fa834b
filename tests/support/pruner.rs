//! A machine that prunes the tenant of a [`Bucket`]: its own key, its own state, no right to back up.

use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use lifeboat::config::{Config, SourceFile, Surroundings as Place};
use lifeboat::id::HostName;
use lifeboat::monitor::Silent;
use lifeboat::ops::appliance::{Appliance, Surroundings};
use lifeboat::ops::state::State;
use lifeboat::repo::certificate::{Grant, Role, Trust};
use lifeboat::repo::repository::Repository;
use lifeboat::repo::sign::SigningKey;
use lifeboat::store::SharedStore;
use secrecy::ExposeSecret;
use tokio_util::sync::CancellationToken;

use super::repository::Bucket;

/// The machine's name.
pub fn pruner() -> HostName {
    "p1".parse().unwrap()
}

/// Makes the machine's state folder with a key that the root certifies for pruning alone.
pub async fn certified(bucket: &Bucket) -> tempfile::TempDir {
    let state = tempfile::tempdir().unwrap();
    let (key, text) = SigningKey::generate("p1", None).unwrap();
    std::fs::create_dir_all(state.path().join("keys")).unwrap();
    std::fs::write(state.path().join("keys/host.key"), text.expose_secret()).unwrap();
    let roles = vec![Role::Prune];
    let grant = Grant { host: pruner(), signing_key: key.public().clone(), roles, ..bucket.grant() };
    bucket.certify(grant).await;
    state
}

/// Opens the repository in `store` on that machine, with a policy's text and the time.
pub async fn appliance(store: SharedStore, state: &Path, policy: &str, now: Timestamp) -> Appliance {
    let host = format!("host = \"p1\"\nstate_dir = {state:?}\n[store]\nurl = \"file:///nowhere\"\n");
    let files = [
        SourceFile::new("lifeboat.toml", host),
        SourceFile::new("policies/tested.toml", policy),
        SourceFile::new("tenants/byrne.toml", "policy = \"tested\"\nsite = \"erp.example.com\"\n"),
    ];
    let place = Place { hostname: "p1".into(), zone: jiff::tz::TimeZone::UTC };
    let config = Config::from_files(state, &files, &place).unwrap();
    let repo = Repository::open(store, None).await.unwrap();
    let trust = Trust::load(&repo).await.unwrap();
    let around = Surroundings {
        clock: Arc::new(move || now),
        monitor: Arc::new(Silent),
        stop: CancellationToken::new(),
        lines: Default::default(),
    };
    Appliance { config, state: State::open(state).unwrap(), repo, trust, around }
}
