//! What the tests of this layer start from: a repository with a root, a host and operators.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;

use crate::error::{Error, Kind, Result};
use crate::id::{ComponentName, HostName, Sha256, SnapshotId, TenantName};
use crate::store::{Body, Download, Entry, Kept, Key, Lock, Marker, PutMode, SharedStore, Store, Tag};

use super::age_file::{Identities, Recipient, generate_identity};
use super::certificate::{Certificate, Grant, Role, Trust, issue};
use super::manifest::State;
use super::receipt::{ComponentState, ObjectRef, PacksRef, Receipt, Trigger};
use super::repository::Repository;
use super::sign::{PublicKey, SigningKey};
use super::vault::Vault;
use super::{keys, object};

/// A version's name and bytes; none for a delete marker.
type Version = (String, Option<Bytes>);

/// A store in memory that keeps all versions, as a bucket with versioning does, and counts requests.
#[derive(Debug, Default)]
pub(crate) struct Versioned {
    objects: Mutex<BTreeMap<Key, Vec<Version>>>,
    /// The locks of versions, where there are any; nothing enforces them.
    pub locks: Mutex<BTreeMap<(Key, String), Lock>>,
    /// How many calls were made.
    pub requests: AtomicU64,
}

impl Versioned {
    fn entry(key: &Key, (version, bytes): &Version) -> Option<Entry> {
        Some(Entry {
            key: key.clone(),
            size_bytes: bytes.as_ref()?.len() as u64,
            modified: Timestamp::UNIX_EPOCH,
            version: Some(version.clone()),
        })
    }

    fn listed(&self, prefix: &str, newest: bool) -> Vec<Entry> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let objects = self.objects.lock().unwrap();
        let under = objects.iter().filter(|(key, _)| key.as_str().starts_with(prefix));
        let all = under.flat_map(|(key, versions)| {
            let skip = if newest { versions.len() - 1 } else { 0 };
            versions[skip..].iter().filter_map(|v| Versioned::entry(key, v))
        });
        all.collect()
    }
}

#[async_trait]
impl Store for Versioned {
    fn address(&self) -> String {
        "memory".into()
    }

    async fn put(&self, key: &Key, body: Body, mode: PutMode) -> Result<Entry> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let bytes = match body {
            Body::Bytes(bytes) => bytes,
            Body::File { path, .. } => std::fs::read(path).unwrap().into(),
        };
        let mut objects = self.objects.lock().unwrap();
        let versions = objects.entry(key.clone()).or_default();
        if mode == PutMode::Create && matches!(versions.last(), Some((_, Some(_)))) {
            return Err(Error::new(Kind::Conflict, format!("{key} is there")));
        }
        versions.push((format!("v{}", versions.len()), Some(bytes)));
        Ok(Versioned::entry(key, versions.last().unwrap()).unwrap())
    }

    async fn get(&self, key: &Key, version: Option<&str>) -> Result<Download> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let objects = self.objects.lock().unwrap();
        let versions = objects.get(key).map_or(&[][..], |v| v);
        let found = match version {
            Some(name) => versions.iter().find(|v| v.0 == name),
            None => versions.last(),
        };
        match found {
            Some((_, Some(bytes))) => Ok(Download::of(bytes.clone())),
            _ => Err(Error::new(Kind::NotFound, format!("{key} is not there"))),
        }
    }

    async fn head(&self, key: &Key) -> Result<Option<Entry>> {
        Ok(self.listed(key.as_str(), true).into_iter().find(|e| e.key == *key))
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Entry>> {
        Ok(self.listed(prefix, true))
    }

    async fn versions(&self, prefix: &str) -> Result<Vec<Entry>> {
        Ok(self.listed(prefix, false))
    }

    async fn delete(&self, key: &Key, version: Option<&str>) -> Result<()> {
        let mut objects = self.objects.lock().unwrap();
        if let Some(versions) = objects.get_mut(key) {
            match version {
                Some(name) => versions.retain(|v| v.0 != name),
                None => versions.push((format!("v{}", versions.len()), None)),
            }
            if versions.is_empty() {
                objects.remove(key);
            }
        }
        Ok(())
    }

    async fn sweep(&self, _older_than: std::time::Duration) -> Result<u64> {
        Ok(0)
    }

    async fn now(&self) -> Result<Timestamp> {
        Ok(now())
    }

    async fn put_locked(&self, key: &Key, body: Body, mode: PutMode, lock: Lock) -> Result<Entry> {
        let entry = self.put(key, body, mode).await?;
        self.lock_until(key, entry.version.as_deref().unwrap(), lock).await?;
        Ok(entry)
    }

    async fn tag(&self, key: &Key) -> Result<Option<Tag>> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let objects = self.objects.lock().unwrap();
        let newest = objects.get(key).and_then(|v| v.last()).filter(|(_, bytes)| bytes.is_some());
        Ok(newest.map(|(name, _)| Tag::named(name)))
    }

    async fn swap(&self, key: &Key, body: Body, tag: &Tag) -> Result<Tag> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let Body::Bytes(bytes) = body else { panic!("a lease is no file") };
        let mut objects = self.objects.lock().unwrap();
        let versions = objects.get_mut(key).filter(|v| Tag::named(&v[v.len() - 1].0) == *tag);
        let versions = versions.ok_or_else(|| Error::new(Kind::Conflict, format!("{key} is another")))?;
        let name = format!("v{}", versions.len());
        versions.push((name.clone(), Some(bytes)));
        Ok(Tag::named(&name))
    }

    async fn lock_until(&self, key: &Key, version: &str, lock: Lock) -> Result<()> {
        self.locks.lock().unwrap().insert((key.clone(), version.to_owned()), lock);
        Ok(())
    }

    async fn kept(&self, prefix: &str) -> Result<Kept> {
        let versions = self.listed(prefix, false);
        let objects = self.objects.lock().unwrap();
        let mut markers = Vec::new();
        for (key, all) in objects.iter().filter(|(key, _)| key.as_str().starts_with(prefix)) {
            for (n, (version, _)) in all.iter().enumerate().filter(|(_, (_, bytes))| bytes.is_none()) {
                let latest = n + 1 == all.len();
                let (key, version) = (key.clone(), Some(version.clone()));
                markers.push(Marker { key, version, made: Timestamp::UNIX_EPOCH, latest });
            }
        }
        Ok(Kept { versions, markers })
    }
}

/// A repository with host `h1`, certified for tenant `byrne`, and one operator.
pub(crate) struct House {
    pub store: Arc<Versioned>,
    pub repo: Repository,
    pub root: SigningKey,
    pub host: SigningKey,
    pub operator: Identities,
    pub recipient: Recipient,
}

pub(crate) fn now() -> Timestamp {
    "2026-11-23T02:00:00Z".parse().unwrap()
}

pub(crate) fn tenant() -> TenantName {
    "byrne".parse().unwrap()
}

pub(crate) fn host() -> HostName {
    "h1".parse().unwrap()
}

impl House {
    pub async fn build() -> House {
        let store = Arc::new(Versioned::default());
        let (root, _) = SigningKey::generate("root", None).unwrap();
        let (host, _) = SigningKey::generate("h1", None).unwrap();
        let repo =
            Repository::create(store.clone() as SharedStore, root.public(), now(), [1; 16]).await.unwrap();
        let (secret, recipient) = generate_identity();
        let operator = Identities::of_secret(&secret).unwrap();
        let house = House { store, repo, root, host, operator, recipient };
        house.certify(house.grant(house.host.public())).await;
        house
    }

    pub fn grant(&self, key: &PublicKey) -> Grant {
        Grant {
            host: host(),
            signing_key: key.clone(),
            roles: vec![Role::Backup],
            tenants: vec![tenant()],
            ended: None,
            handed_over: BTreeMap::new(),
        }
    }

    pub async fn certify(&self, grant: Grant) -> Certificate {
        issue(&self.repo, &self.root, grant, now()).await.unwrap()
    }

    pub async fn trust(&self) -> Trust {
        Trust::load(&self.repo).await.unwrap()
    }

    /// Makes a vault for the tenant, wrapped to the operator.
    pub async fn vault(&self) -> Vault {
        Vault::create(&self.repo, &tenant(), std::slice::from_ref(&self.recipient)).await.unwrap()
    }

    /// Makes the next receipt of a tenant with one whole component and no packs.
    pub fn receipt(&self, vault: &Vault, previous: Option<(&Receipt, Sha256)>) -> Receipt {
        let sequence = previous.map_or(1, |(r, _)| r.sequence + 1);
        let started = now() + jiff::SignedDuration::from_hours(24 * i64::try_from(sequence).unwrap());
        Receipt {
            format: 1,
            kind: "receipt".into(),
            repository: self.repo.id().clone(),
            tenant: tenant(),
            snapshot: SnapshotId::new(started, [0, 0, 0, u8::try_from(sequence).unwrap()]),
            host: host(),
            certificate: 1,
            sequence,
            previous: previous.map(|(_, hash)| hash),
            started,
            finished: started,
            trigger: Trigger::Scheduled,
            pinned_until: None,
            vault: vault.id().clone(),
            recipient: vault.recipient().clone(),
            wraps: vault.wraps().to_vec(),
            manifest: ObjectRef { hash: Sha256::of(b"m"), size: 1 },
            packs: PacksRef { hash: Sha256::of(b""), size: 0, sizes: vec![] },
            void_seen: 0,
            added_bytes: 1,
            components: vec![ComponentState {
                component: ComponentName::Database,
                state: State::Whole,
                reason: None,
                anomalies: Vec::new(),
            }],
        }
    }

    /// Stores a receipt signed by `signer`, and returns its hash.
    pub async fn commit(&self, receipt: &Receipt, signer: &SigningKey) -> Sha256 {
        let keys = keys::receipt(&receipt.tenant, &receipt.snapshot);
        let json = object::encode(receipt).unwrap();
        self.overwrite(&keys.minisig, signer.sign(&keys.json, &json).unwrap()).await;
        self.overwrite(&keys.json, json.clone()).await;
        Sha256::of(&json)
    }

    /// Commits `n` receipts one after the other.
    pub async fn commit_chain(&self, vault: &Vault, n: usize) -> Vec<(Receipt, Sha256)> {
        let mut chain: Vec<(Receipt, Sha256)> = Vec::new();
        for _ in 0..n {
            let receipt = self.receipt(vault, chain.last().map(|(r, h)| (r, *h)));
            let hash = self.commit(&receipt, &self.host).await;
            chain.push((receipt, hash));
        }
        chain
    }

    /// Puts an object over whatever is there, as an intruder would.
    pub async fn overwrite(&self, key: &Key, bytes: impl Into<Vec<u8>>) {
        self.store.put(key, Body::from(bytes.into()), PutMode::Replace).await.unwrap();
    }
}
