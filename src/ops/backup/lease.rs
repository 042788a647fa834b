//! The lease around one backup: taken where the store's conditional puts were found to work, renewed, given back.
//!
//! What goes wrong with it costs double work at worst, so that it is a warning; another host that works is an error.

use std::future::Future;
use std::path::PathBuf;

use crate::error::{Error, Kind, Result};
use crate::id::TenantName;
use crate::ops::appliance::Appliance;
use crate::ops::probe::{self, Trial};
use crate::ops::state;
use crate::repo::lease::{self, Lease};
use crate::store::Tag;

/// What this host's last lease left, in the tenant's folder; without it the next one costs three requests more.
const LAST: &str = "lease.json";

/// A tenant's lease, or the lack of one.
pub(super) struct Held {
    lease: Option<Lease>,
    last: PathBuf,
    trouble: Option<String>,
}

/// Takes the lease; [`Kind::Locked`] where another host has it.
///
/// Without conditional puts that work nothing is taken: the tenant is bound to its host by certificate and lock alone.
pub(super) async fn take(appliance: &Appliance, tenant: &TenantName) -> Result<Held> {
    let last = appliance.state.tenant(tenant)?.join(LAST);
    let works = probe::last(&appliance.state, &appliance.store().address())
        .is_some_and(|p| p.creates_only() && p.holds(Trial::Swap));
    let mut held = Held { lease: None, last, trouble: None };
    if !works {
        return Ok(held);
    }
    let remembered: Option<Tag> = state::read_json(&held.last).ok().flatten();
    let (store, host) = (appliance.repo.store().clone(), &appliance.config.machine.host);
    match Lease::take(store, tenant, host, rand::random(), remembered).await {
        Ok(lease) => held.lease = Some(lease),
        Err(e) if e.kind() == Kind::Locked => return Err(e),
        Err(e) => held.note(&e),
    }
    Ok(held)
}

impl Held {
    /// Does some work, and renews the lease as long as that takes.
    pub async fn during<T>(&mut self, work: impl Future<Output = T>) -> T {
        tokio::select! {
            done = work => done,
            never = self.renew() => match never {},
        }
    }

    async fn renew(&mut self) -> std::convert::Infallible {
        loop {
            let Some(lease) = &mut self.lease else { return std::future::pending().await };
            tokio::time::sleep(lease::RENEW_AFTER).await;
            if let Err(e) = lease.renew().await {
                if e.kind() == Kind::Locked {
                    self.lease = None;
                }
                self.note(&e);
            }
        }
    }

    /// Gives the lease back, and tells what went wrong with it.
    pub async fn release(mut self) -> Option<String> {
        if let Some(lease) = self.lease.take() {
            let kept = match lease.release().await {
                Ok(tag) => state::write_json(&self.last, &tag),
                Err(e) => Err(e),
            };
            if let Err(e) = kept {
                self.note(&e);
            }
        }
        self.trouble
    }

    fn note(&mut self, e: &Error) {
        self.trouble.get_or_insert_with(|| format!("lease: {e}"));
    }
}
