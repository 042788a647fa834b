//! Erasing a tenant: every object of it, and the operators' statement about what is gone and what is left until when.
//!
//! Owns the order of removal and the statement's text. Knows nothing of hosts' own folders and of other stores.

use std::collections::BTreeSet;

use futures::StreamExt;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, Result};
use crate::id::{HostName, RepositoryId, TenantName};
use crate::store::{Entry, Key, Store};

use super::repository::{Repository, whole_seconds};
use super::sign::SigningKey;
use super::survey::{self, Removed};
use super::{keys, object};

const LIMIT_BYTES: u64 = 1024 * 1024;

/// How many locks are asked for at a time.
const PARALLEL: usize = 8;

/// A number of objects, versions counted singly, and their bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amount {
    /// How many.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What is left of a tenant.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remaining {
    /// Objects that the store did not let go.
    #[serde(flatten)]
    pub amount: Amount,
    /// When the last lock on any of them ends; none where nothing is locked, or locks cannot be asked for.
    pub locked_until: Option<Timestamp>,
}

/// The operators' statement, as `erased/<tenant>.<n>.json` holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statement {
    format: u64,
    kind: String,
    /// The repository.
    pub repository: RepositoryId,
    /// Who was erased.
    pub tenant: TenantName,
    /// Its number, from 1: a later one says what a later run removed.
    pub number: u32,
    /// When, by the clock of the host that erased.
    pub time: Timestamp,
    /// The host that erased.
    pub host: HostName,
    /// What this run removed.
    pub removed: Amount,
    /// What is left in this store.
    pub remaining: Remaining,
    /// The recipients to whom its wraps were sealed, as far as that host knew them: they read copies, and what is left.
    pub readers: Vec<String>,
    /// How many of its wraps were sealed to somebody unknown to that host.
    pub unknown_wraps: u64,
    /// The hosts that wrote it; each holds a dedup key and a cache of chunk ids until they are removed there.
    pub hosts: Vec<HostName>,
}

/// What a statement is to say besides what the removal found.
#[derive(Debug, Clone)]
pub struct Known {
    /// The host that erases.
    pub host: HostName,
    /// The time, by its clock.
    pub time: Timestamp,
    /// The recipients of wraps.
    pub readers: Vec<String>,
    /// How many wraps are sealed to somebody unknown.
    pub unknown_wraps: u64,
    /// The hosts that wrote the tenant.
    pub hosts: Vec<HostName>,
}

/// Counts all versions of all objects of a tenant.
pub async fn amount(repo: &Repository, tenant: &TenantName) -> Result<Amount> {
    Ok(counted(&object::kept(&**repo.store(), &keys::tenant(tenant)).await?.versions))
}

fn counted(entries: &[Entry]) -> Amount {
    Amount { objects: entries.len() as u64, bytes: entries.iter().map(|e| e.size_bytes).sum() }
}

/// Removes every version of every object of a tenant, the keys first; returns what went, what is left and why.
///
/// Receipts and wraps hold the vaults' keys: once they are gone, what is left opens only for who kept a copy of one.
pub async fn remove(repo: &Repository, tenant: &TenantName) -> Result<(Amount, Remaining, Vec<Error>)> {
    let store = &**repo.store();
    let prefix = keys::tenant(tenant);
    let kept = object::kept(store, &prefix).await?;
    let wraps = keys::vaults(tenant);
    let holds_keys = |e: &Entry| e.key.as_str().starts_with(&wraps) || e.key.as_str().ends_with(".json");
    let (first, rest): (Vec<Entry>, Vec<Entry>) = kept.versions.into_iter().partition(holds_keys);
    let mut removed: Removed = survey::remove(store, first).await;
    removed.add(survey::remove(store, rest).await);
    // Marks last: one that goes before what it hides would bring that back.
    for mark in object::kept(store, &prefix).await?.markers {
        if let Err(e) = store.delete(&mark.key, mark.version.as_deref()).await {
            removed.failed.push(e);
        }
    }
    let left = object::kept(store, &prefix).await?.versions;
    let locked_until = last_lock(store, &left).await?;
    let gone = Amount { objects: removed.objects, bytes: removed.bytes };
    Ok((gone, Remaining { amount: counted(&left), locked_until }, removed.failed))
}

async fn last_lock(store: &dyn Store, left: &[Entry]) -> Result<Option<Timestamp>> {
    let asked = futures::stream::iter(left.iter().filter_map(|e| Some((e, e.version.as_deref()?))))
        .map(|(e, version)| store.lock_of(&e.key, version))
        .buffer_unordered(PARALLEL);
    let answers: Vec<_> = asked.collect().await;
    let mut last = None;
    for answer in answers {
        match answer {
            Ok(lock) => last = last.max(lock.map(|l| l.until)),
            // Whoever may not ask, or cannot, knows no date: the statement then names none.
            Err(e) if matches!(e.kind(), Kind::Unsupported | Kind::Denied | Kind::NotFound) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(last)
}

/// Signs the statement with the root and stores it under the next number.
pub async fn state(
    repo: &Repository,
    root: &SigningKey,
    tenant: &TenantName,
    known: Known,
    removed: Amount,
    remaining: Remaining,
) -> Result<Statement> {
    let store = &**repo.store();
    let listed = object::versions(store, keys::ERASED).await?;
    let taken = listed.iter().filter_map(|e| keys::parse_erasure(tenant, &e.key)).max();
    let statement = Statement {
        format: object::FORMAT,
        kind: "erasure".to_owned(),
        repository: repo.id().clone(),
        tenant: tenant.clone(),
        number: taken.unwrap_or(0) + 1,
        time: whole_seconds(known.time),
        host: known.host,
        removed,
        remaining,
        readers: known.readers,
        unknown_wraps: known.unknown_wraps,
        hosts: known.hosts,
    };
    let keys = keys::erasure(tenant, statement.number);
    let json = object::encode(&statement)?;
    let signature = root.sign(&keys.json, &json)?;
    object::put_once(store, &keys.minisig, signature.into_bytes().into()).await?;
    object::put_once(store, &keys.json, json.into()).await?;
    Ok(statement)
}

/// Loads the statements about a tenant that the root signed, by number.
pub async fn load(repo: &Repository, tenant: &TenantName) -> Result<Vec<Statement>> {
    let store = &**repo.store();
    let listed = object::versions(store, keys::ERASED).await?;
    let numbers: BTreeSet<u32> = listed.iter().filter_map(|e| keys::parse_erasure(tenant, &e.key)).collect();
    let mut all = Vec::new();
    for number in numbers {
        let keys = keys::erasure(tenant, number);
        let check = |json: &[u8], signature: &[u8]| {
            repo.root().verify(&keys.json, json, signature)?;
            decode(&keys.json, json)
        };
        match object::get_signed(store, &keys, &listed, LIMIT_BYTES, check).await {
            Ok(signed) => all.push(signed.value),
            // One that nobody signed says nothing.
            Err(e) if matches!(e.kind(), Kind::Forged | Kind::Damaged | Kind::NotFound) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(all)
}

fn decode(key: &Key, json: &[u8]) -> Result<Statement> {
    object::decode(key, "erasure", json)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repo::testing::{House, now, tenant};

    #[tokio::test]
    async fn what_is_erased_is_gone_and_the_statement_says_so_through_the_root() {
        let house = House::build().await;
        let vault = house.vault().await;
        let all = amount(&house.repo, &tenant()).await.unwrap();
        assert!(all.objects > 0);
        let (removed, remaining, failed) = remove(&house.repo, &tenant()).await.unwrap();
        assert_eq!((removed, failed.len()), (all, 0));
        assert_eq!(remaining, Remaining::default());
        assert_eq!(amount(&house.repo, &tenant()).await.unwrap(), Amount::default());
        let known = Known {
            host: "h1".parse().unwrap(),
            time: now(),
            readers: vec![vault.recipient().to_string()],
            unknown_wraps: 0,
            hosts: Vec::new(),
        };
        let tenant_name = tenant();
        let said = state(&house.repo, &house.root, &tenant_name, known.clone(), removed, remaining.clone());
        let first = said.await.unwrap();
        let said = state(&house.repo, &house.root, &tenant_name, known, Amount::default(), remaining);
        let second = said.await.unwrap();
        assert_eq!((first.number, second.number), (1, 2));
        assert_eq!(load(&house.repo, &tenant()).await.unwrap(), [first, second.clone()]);
        // A statement that somebody else wrote says nothing.
        house.overwrite(&keys::erasure(&tenant(), 1).json, "{}").await;
        assert!(load(&house.repo, &tenant()).await.unwrap().contains(&second));
    }
}
