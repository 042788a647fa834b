//! The repository object `lifeboat.json`: making it, opening it, pinning it.
//!
//! Owns the repository's identity and root key. Knows nothing of hosts and tenants.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, Result};
use crate::id::{RepositoryId, Sha256};
use crate::store::{LockedStore, SharedStore};

use super::recall::Recall;
use super::sign::PublicKey;
use super::{keys, object};

pub(super) const LIMIT_BYTES: u64 = 64 * 1024;

#[derive(Serialize, Deserialize)]
struct Shape {
    format: u64,
    kind: String,
    repository: RepositoryId,
    root: PublicKey,
    created: Timestamp,
}

/// A repository that is not written yet.
pub struct Draft {
    shape: Shape,
    bytes: Vec<u8>,
}

impl Draft {
    /// Returns its identity.
    pub fn id(&self) -> &RepositoryId {
        &self.shape.repository
    }

    /// Returns the hash of its `lifeboat.json`.
    pub fn hash(&self) -> Sha256 {
        Sha256::of(&self.bytes)
    }

    /// Writes it into a store that has none; [`Kind::Conflict`] where one is there.
    pub async fn create(self, store: SharedStore) -> Result<Repository> {
        let hash = self.hash();
        object::put_once(&*store, &keys::repository(), self.bytes.into()).await.map_err(|e| match e.kind() {
            Kind::Conflict => {
                Error::new(Kind::Conflict, format!("{} holds a repository already", store.address()))
                    .hint(
                        "`lifeboat keys certify --kit KIT` with its recovery kit lets this host write to it, also where an init was cut \
                         off; a new one needs another bucket or prefix",
                    )
            }
            _ => e,
        })?;
        Ok(Repository::of(store, self.shape, hash))
    }
}

/// An open repository: a store and the root of trust that its `lifeboat.json` names.
#[derive(Debug, Clone)]
pub struct Repository {
    store: SharedStore,
    locks: Option<Arc<LockedStore>>,
    recall: Option<Arc<Recall>>,
    id: RepositoryId,
    root: PublicKey,
    created: Timestamp,
    hash: Sha256,
}

impl Repository {
    /// Writes `lifeboat.json`, with an identity of 16 `random` bytes, into a store that has none; [`Kind::Conflict`] where one is there.
    pub async fn create(
        store: SharedStore,
        root: &PublicKey,
        now: Timestamp,
        random: [u8; 16],
    ) -> Result<Repository> {
        Repository::draft(root, now, random)?.create(store).await
    }

    /// Prepares a repository's `lifeboat.json`: its identity and hash are known before anything is written.
    pub fn draft(root: &PublicKey, now: Timestamp, random: [u8; 16]) -> Result<Draft> {
        let shape = Shape {
            format: object::FORMAT,
            kind: "repository".to_owned(),
            repository: RepositoryId::new(random),
            root: root.clone(),
            created: whole_seconds(now),
        };
        let bytes = object::encode(&shape)?;
        Ok(Draft { shape, bytes })
    }

    /// Opens the repository; with `pin`, only the one whose `lifeboat.json` has this hash.
    ///
    /// [`Kind::NoRepository`] where there is none, [`Kind::Forged`] where it is not the pinned one,
    /// [`Kind::TooNew`] where its format is above 1. Without a pin the oldest version is taken.
    pub async fn open(store: SharedStore, pin: Option<Sha256>) -> Result<Repository> {
        let key = keys::repository();
        let none = || {
            Error::new(Kind::NoRepository, format!("{} holds no repository", store.address()))
                .hint("check the address, or make one with `lifeboat init`")
        };
        let bytes = match pin {
            Some(hash) => object::get_hashed(&*store, &key, &hash, LIMIT_BYTES).await.map_err(|e| match e
                .kind()
            {
                Kind::NotFound => none(),
                Kind::Damaged => Error::new(
                    Kind::Forged,
                    format!("{} in {} is not the pinned one ({})", key, store.address(), hash.short()),
                )
                .hint(
                    "another repository lies there, or somebody replaced it; compare with the recovery kit",
                ),
                _ => e,
            })?,
            None => {
                let versions = object::versions_of(&*store, &key).await?;
                let oldest = versions.first().ok_or_else(none)?;
                object::get(&*store, &key, oldest.version.as_deref(), LIMIT_BYTES).await?
            }
        };
        let shape = object::decode(&key, "repository", &bytes)?;
        Ok(Repository::of(store, shape, Sha256::of(&bytes)))
    }

    fn of(store: SharedStore, shape: Shape, hash: Sha256) -> Repository {
        Repository {
            store,
            locks: None,
            recall: None,
            id: shape.repository,
            root: shape.root,
            created: shape.created,
            hash,
        }
    }

    /// Returns the store.
    pub fn store(&self) -> &SharedStore {
        &self.store
    }

    /// Returns the same repository, through another way into its store.
    #[must_use]
    pub fn through(&self, store: SharedStore) -> Repository {
        Repository { store, ..self.clone() }
    }

    /// Returns the same repository, through a store that locks what is stored.
    #[must_use]
    pub fn locking(&self, locks: Arc<LockedStore>) -> Repository {
        let store: SharedStore = Arc::clone(&locks) as SharedStore;
        Repository { store, locks: Some(locks), ..self.clone() }
    }

    /// Returns the locks of what is stored, where it is locked.
    pub fn locks(&self) -> Option<&Arc<LockedStore>> {
        self.locks.as_ref()
    }

    /// Returns the same repository, which fetches no signed object again that it recalls.
    ///
    /// For whoever asks often what there is; whoever is to find out whether it is still right reads without.
    #[must_use]
    pub fn recalling(&self, recall: Arc<Recall>) -> Repository {
        Repository { recall: Some(recall), ..self.clone() }
    }

    /// Returns what is recalled, where anything is.
    pub fn recall(&self) -> Option<&Arc<Recall>> {
        self.recall.as_ref()
    }

    /// Returns the repository's identity.
    pub fn id(&self) -> &RepositoryId {
        &self.id
    }

    /// Returns the operators' root key.
    pub fn root(&self) -> &PublicKey {
        &self.root
    }

    /// Returns when it was made, as the maker's clock said.
    pub fn created(&self) -> Timestamp {
        self.created
    }

    /// Returns the hash of `lifeboat.json`, which the recovery kit and every host pin.
    pub fn hash(&self) -> Sha256 {
        self.hash
    }
}

/// Cuts a time to whole seconds, as all times in clear objects are written.
pub fn whole_seconds(t: Timestamp) -> Timestamp {
    Timestamp::from_second(t.as_second()).expect("seconds of a timestamp are a timestamp")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repo::testing::{House, Versioned, now};

    #[tokio::test]
    async fn it_opens_again_with_and_without_its_pin() {
        let house = House::build().await;
        for pin in [None, Some(house.repo.hash())] {
            let again = Repository::open(house.store.clone(), pin).await.unwrap();
            assert_eq!((again.id(), again.root()), (house.repo.id(), house.root.public()));
            assert_eq!(again.created(), now());
        }
    }

    #[tokio::test]
    async fn an_empty_store_has_no_repository() {
        for pin in [None, Some(Sha256::of(b"x"))] {
            let e = Repository::open(Arc::new(Versioned::default()), pin).await.unwrap_err();
            assert_eq!(e.kind(), Kind::NoRepository);
        }
    }

    #[tokio::test]
    async fn a_replaced_repository_object_is_read_past_or_refused() {
        let house = House::build().await;
        house.overwrite(&keys::repository(), "{}").await;
        let pinned = Repository::open(house.store.clone(), Some(house.repo.hash())).await.unwrap();
        assert_eq!(pinned.hash(), house.repo.hash());
        let unpinned = Repository::open(house.store.clone(), None).await.unwrap();
        assert_eq!(unpinned.hash(), house.repo.hash(), "the oldest version is the repository");
        let e = Repository::open(house.store.clone(), Some(Sha256::of(b"x"))).await.unwrap_err();
        assert_eq!(e.kind(), Kind::Forged);
    }

    #[tokio::test]
    async fn a_second_repository_is_not_made_over_the_first() {
        let house = House::build().await;
        let e = Repository::create(house.store.clone(), house.root.public(), now(), [2; 16]).await;
        assert_eq!(e.unwrap_err().kind(), Kind::Conflict);
    }

    #[tokio::test]
    async fn a_newer_format_is_named() {
        let store = Arc::new(Versioned::default());
        let text = br#"{"format":2,"kind":"repository"}"#;
        object::put_once(&*store, &keys::repository(), bytes::Bytes::from_static(text)).await.unwrap();
        assert_eq!(Repository::open(store, None).await.unwrap_err().kind(), Kind::TooNew);
    }
}
