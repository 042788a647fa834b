//! The lease of a tenant: who backs it up now, so that two hosts do not do the same work.
//!
//! Owns the object `lease.json` and how it passes from hand to hand, by puts that replace only what was read before. Time
//! is the store's. Nothing relies on a lease: what two hosts write at once stays whole, since no other object is rewritten
//! and certificates say whose receipts count.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{keys, object};
use crate::error::{Error, Kind, Result};
use crate::id::{HostName, TenantName};
use crate::store::{Body, Key, PutMode, SharedStore, Tag};

/// How long a lease holds unless it is renewed: longer than a store that is out of reach is waited for.
pub const LIFE: Duration = Duration::from_secs(15 * 60);

/// After how long it is renewed.
pub const RENEW_AFTER: Duration = Duration::from_secs(5 * 60);

const LIMIT_BYTES: u64 = 4096;

/// How often what others do in between is looked at anew.
const ATTEMPTS: usize = 4;

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Shape {
    format: u64,
    kind: String,
    host: HostName,
    token: String,
    until: Timestamp,
}

/// A tenant's lease in this process's hands. Dropped without [`Lease::release`], it runs out.
#[derive(Debug)]
pub struct Lease {
    store: SharedStore,
    key: Key,
    shape: Shape,
    tag: Tag,
}

impl Lease {
    /// Takes the lease where nobody has it, where its time is over, or where this host had it.
    ///
    /// The caller sees to it that one process of the host asks at a time; `token` is new for each. `remembered` is what
    /// [`Lease::release`] gave back: with it and nobody in between, one request is enough.
    /// [`Kind::Locked`] where another host has it, with that host's name.
    pub async fn take(
        store: SharedStore,
        tenant: &TenantName,
        host: &HostName,
        token: [u8; 8],
        remembered: Option<Tag>,
    ) -> Result<Lease> {
        let until = until(&store).await?;
        let kind = "lease".to_owned();
        let shape =
            Shape { format: object::FORMAT, kind, host: host.clone(), token: hex::encode(token), until };
        let key = keys::lease(tenant);
        if let Some(tag) = remembered
            && let Some(tag) = swapped(store.swap(&key, body(&shape)?, &tag).await)?
        {
            return Ok(Lease { store, key, shape, tag });
        }
        for _ in 0..ATTEMPTS {
            let Some(tag) = store.tag(&key).await? else {
                match store.put(&key, body(&shape)?, PutMode::Create).await {
                    Err(e) if e.kind() != Kind::Conflict => return Err(e),
                    // What is there now is ours or another's: both are looked at in the same way.
                    _ => continue,
                }
            };
            let there = read(&store, &key).await?;
            if there.as_ref().is_some_and(|t| t.token == shape.token) {
                return Ok(Lease { store, key, shape, tag });
            }
            if let Some(other) = there.filter(|t| t.host != *host && t.until > store_now(until)) {
                return Err(taken(tenant, &other));
            }
            if let Some(tag) = swapped(store.swap(&key, body(&shape)?, &tag).await)? {
                return Ok(Lease { store, key, shape, tag });
            }
        }
        Err(Error::new(Kind::Locked, format!("lease of {tenant}: others take it again and again")))
    }

    /// Prolongs the lease; [`Kind::Locked`] where another host has taken it meanwhile.
    pub async fn renew(&mut self) -> Result<()> {
        self.shape.until = until(&self.store).await?;
        self.replace().await
    }

    /// Gives the lease back, and returns what makes the next [`Lease::take`] cheap.
    pub async fn release(mut self) -> Result<Tag> {
        self.shape.until = store_now(until(&self.store).await?);
        self.replace().await?;
        Ok(self.tag)
    }

    async fn replace(&mut self) -> Result<()> {
        for _ in 0..ATTEMPTS {
            if let Some(tag) = swapped(self.store.swap(&self.key, body(&self.shape)?, &self.tag).await)? {
                self.tag = tag;
                return Ok(());
            }
            // Perhaps an earlier swap of ours whose answer was lost.
            let Some(tag) = self.store.tag(&self.key).await? else { break };
            if read(&self.store, &self.key).await?.is_none_or(|there| there.token != self.shape.token) {
                break;
            }
            self.tag = tag;
        }
        Err(Error::new(Kind::Locked, format!("{} was taken by another host meanwhile", self.key))
            .hint("two hosts back this tenant up: nothing is lost, but one should not; see `lifeboat keys`"))
    }
}

fn taken(tenant: &TenantName, other: &Shape) -> Error {
    let until = other.until.strftime("%Y-%m-%d %H:%M:%S");
    Error::new(
        Kind::Locked,
        format!("{tenant} is being backed up by host {} (lease until {until} UTC)", other.host),
    )
    .hint("wait for it to end; a lease of a host that died ends by itself")
}

/// What is there; nothing where it is gone again, or is no lease: then it binds nobody.
async fn read(store: &SharedStore, key: &Key) -> Result<Option<Shape>> {
    match object::get(&**store, key, None, LIMIT_BYTES).await {
        Ok(bytes) => Ok(object::decode(key, "lease", &bytes).ok()),
        Err(e) if matches!(e.kind(), Kind::NotFound | Kind::Damaged) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Tells a swap that came too late from one that failed.
fn swapped(result: Result<Tag>) -> Result<Option<Tag>> {
    match result {
        Ok(tag) => Ok(Some(tag)),
        Err(e) if matches!(e.kind(), Kind::Conflict | Kind::NotFound) => Ok(None),
        Err(e) => Err(e),
    }
}

fn body(shape: &Shape) -> Result<Body> {
    Ok(Body::from(object::encode(shape)?))
}

/// The time until which a lease holds that is taken now.
async fn until(store: &SharedStore) -> Result<Timestamp> {
    let now = store.now().await?;
    now.checked_add(LIFE).map_err(|e| Error::new(Kind::Store, format!("clock of {}: {e}", store.address())))
}

fn store_now(until: Timestamp) -> Timestamp {
    until.saturating_sub(LIFE).expect("a span of minutes is one that times can be moved by")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::repo::testing::{Versioned, tenant};
    use crate::store::Store;

    async fn take(store: &Arc<Versioned>, host: &str, token: u8, tag: Option<Tag>) -> Result<Lease> {
        Lease::take(store.clone(), &tenant(), &host.parse().unwrap(), [token; 8], tag).await
    }

    async fn leave(store: &Arc<Versioned>, content: impl Into<Vec<u8>>) {
        store.put(&keys::lease(&tenant()), content.into().into(), PutMode::Replace).await.unwrap();
    }

    #[tokio::test]
    async fn a_lease_keeps_others_out_until_it_is_given_back_and_says_whose_it_is() {
        let store = Arc::default();
        let mut lease = take(&store, "north", 1, None).await.unwrap();
        let refused = take(&store, "south", 2, None).await.unwrap_err();
        assert_eq!(refused.kind(), Kind::Locked);
        assert!(refused.to_string().contains("byrne is being backed up by host north"), "{refused}");
        lease.renew().await.unwrap();
        assert!(take(&store, "south", 2, None).await.is_err());
        lease.release().await.unwrap();
        take(&store, "south", 2, None).await.unwrap();
    }

    #[tokio::test]
    async fn a_lease_whose_time_is_over_is_taken_and_its_holder_learns_of_it() {
        let store = Arc::default();
        let mut lease = take(&store, "north", 1, None).await.unwrap();
        let mut old = lease.shape.clone();
        old.until = store.now().await.unwrap() - Duration::from_secs(1);
        lease.tag = store.swap(&lease.key, body(&old).unwrap(), &lease.tag).await.unwrap();
        take(&store, "south", 2, None).await.unwrap();
        assert_eq!(lease.renew().await.unwrap_err().kind(), Kind::Locked);
    }

    #[tokio::test]
    async fn neither_what_this_host_left_when_it_died_nor_rubbish_hinders() {
        let store = Arc::default();
        drop(take(&store, "north", 1, None).await.unwrap());
        drop(take(&store, "north", 2, None).await.unwrap());
        leave(&store, "rubbish").await;
        take(&store, "south", 3, None).await.unwrap();
    }

    #[tokio::test]
    async fn of_many_hosts_that_race_for_a_free_lease_one_wins() {
        let store = Arc::default();
        take(&store, "old", 1, None).await.unwrap().release().await.unwrap();
        let hosts: Vec<String> = (0..12).map(|n| format!("host{n}")).collect();
        let takes = hosts.iter().zip(10..).map(|(host, token)| take(&store, host, token, None));
        let taken = futures::future::join_all(takes).await;
        assert_eq!(taken.iter().filter(|t| t.is_ok()).count(), 1);
        assert!(taken.iter().filter_map(|t| t.as_ref().err()).all(|e| e.kind() == Kind::Locked));
    }

    #[tokio::test]
    async fn a_renewal_whose_answer_was_lost_is_known_again_by_its_token() {
        let store = Arc::default();
        let mut lease = take(&store, "north", 1, None).await.unwrap();
        store.swap(&lease.key, body(&lease.shape).unwrap(), &lease.tag).await.unwrap();
        lease.renew().await.unwrap();
        lease.release().await.unwrap();
    }

    #[tokio::test]
    async fn a_night_after_a_quiet_one_costs_two_requests() {
        let store = Arc::default();
        let tag = take(&store, "north", 1, None).await.unwrap().release().await.unwrap();
        let before = store.requests.load(Ordering::Relaxed);
        take(&store, "north", 2, Some(tag)).await.unwrap().release().await.unwrap();
        assert_eq!(store.requests.load(Ordering::Relaxed) - before, 2);
    }
}
