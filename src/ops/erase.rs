//! `erase`: a tenant that must be forgotten, and the signed statement about what is left of it and who reads that.
//!
//! Owns what must be so before anything goes, and this host's own memory of the tenant. Promises nothing about what is
//! locked, copied or live: it says so instead.

use jiff::Timestamp;
use serde::Serialize;

use crate::error::{Context, Error, Kind, Result};
use crate::id::{HostName, TenantName};
use crate::ops::appliance::Appliance;
use crate::ops::keys::{hand_over, vaults};
use crate::ops::pin;
use crate::ops::state;
use crate::repo::certificate::{Role, Trust};
use crate::repo::erasure::{self, Amount, Known, Statement};
use crate::repo::sign::SigningKey;
use crate::repo::vault::Wrap;

/// What would go.
#[derive(Debug, Serialize)]
pub struct ErasePlan {
    /// Whose.
    pub tenant: TenantName,
    /// Everything of the tenant in this store.
    pub stored: Amount,
    /// The hosts that may write it, and no more then.
    pub writers: Vec<HostName>,
    /// The recipients of its wraps, as far as this host knows.
    pub readers: Vec<String>,
    /// How many wraps are sealed to somebody this host does not know.
    pub unknown_wraps: u64,
}

/// What was done.
#[derive(Debug, Serialize)]
pub struct Erased {
    /// The statement as signed.
    pub statement: Statement,
    /// Why some objects are left, a few of the reasons.
    pub failures: Vec<String>,
}

/// Says what erasing a tenant would remove.
///
/// [`Kind::Conflict`] where the tenant is configured here, or a snapshot of it is pinned.
pub async fn plan(appliance: &Appliance, tenant: &TenantName) -> Result<ErasePlan> {
    refuse(appliance, tenant).await?;
    let stored = erasure::amount(&appliance.repo, tenant).await?;
    let writers: Vec<HostName> = appliance.trust.writing(tenant).into_iter().cloned().collect();
    // What this host still remembers, a run that was cut off did not forget, nor perhaps sign for.
    let remembered = appliance.state.dedup_key(tenant).exists();
    if stored.objects == 0 && writers.is_empty() && !remembered {
        return Err(Error::new(Kind::NotFound, format!("nothing of a tenant {tenant} is in this store")));
    }
    let (readers, unknown_wraps) = readers(appliance, tenant).await?;
    Ok(ErasePlan { tenant: tenant.clone(), stored, writers, readers, unknown_wraps })
}

/// Erases a tenant: nobody may write it, every object goes, this host forgets it, and the root signs what is left.
///
/// Run again when the last lock has ended, it removes the rest and signs the next statement.
pub async fn apply(appliance: &Appliance, root: &SigningKey, plan: &ErasePlan) -> Result<Erased> {
    let tenant = &plan.tenant;
    refuse(appliance, tenant).await?;
    let _lock = appliance.state.lock(tenant)?;
    let trust = Trust::load(&appliance.repo).await?;
    let wrote = |c: &&crate::repo::certificate::Certificate| c.grants(Role::Backup) && c.names(tenant);
    let mut hosts: Vec<HostName> = trust.certificates().filter(wrote).map(|c| c.host.clone()).collect();
    hosts.dedup();
    hand_over::take_away(appliance, &trust, root, tenant, None, false).await?;
    appliance.around.monitor.step(&format!("erase {tenant}"));
    let (removed, remaining, failed) = erasure::remove(&appliance.repo, tenant).await?;
    let known = Known {
        host: appliance.config.machine.host.clone(),
        time: appliance.around.now(),
        readers: plan.readers.clone(),
        unknown_wraps: plan.unknown_wraps,
        hosts,
    };
    let statement = erasure::state(&appliance.repo, root, tenant, known, removed, remaining).await?;
    forget_here(appliance, tenant)?;
    let failures = failed.iter().take(5).map(ToString::to_string).collect();
    Ok(Erased { statement, failures })
}

/// Refuses what is likely a mistake, or what somebody asked to be kept.
async fn refuse(appliance: &Appliance, tenant: &TenantName) -> Result<()> {
    if appliance.config.tenant(tenant).is_ok() {
        return Err(Error::new(Kind::Conflict, format!("tenant {tenant} is configured here"))
            .hint(format!("take tenants/{tenant}.toml away first, on every host")));
    }
    let now = appliance.around.now();
    let pinned = |until: &Timestamp| *until > now;
    let history = vaults::history(&appliance.repo, &appliance.trust, tenant).await?;
    let at_backup = history.snapshots.iter().filter_map(|c| c.receipt.pinned_until);
    let here = pin::pins(appliance, tenant)?.into_values().map(|p| p.until);
    match at_backup.chain(here).filter(pinned).max() {
        None => Ok(()),
        Some(until) => Err(Error::new(
            Kind::Conflict,
            format!(
                "a snapshot of tenant {tenant} is pinned until {until}: somebody asked for it to be kept"
            ),
        )
        .hint("release it with `lifeboat pin --release`; one pinned by its backup ends by itself")),
    }
}

async fn readers(appliance: &Appliance, tenant: &TenantName) -> Result<(Vec<String>, u64)> {
    let sealed = vaults::Sealed::load(&appliance.state)?;
    let (mut known, mut unknown) = (std::collections::BTreeSet::new(), 0);
    for found in vaults::find(appliance, tenant).await? {
        for wrap in found.stored.iter().chain(&found.embedded).map(Wrap::hash) {
            match sealed.of(wrap) {
                Some(to) => known.extend(to.iter().cloned()),
                None => unknown += 1,
            }
        }
    }
    Ok((known.into_iter().collect(), unknown))
}

/// Takes away what this host remembers of a tenant: dedup key, cache, vault, history.
pub fn forget_here(appliance: &Appliance, tenant: &TenantName) -> Result<()> {
    let folder = appliance.state.tenant(tenant)?;
    std::fs::remove_dir_all(&folder).context(Kind::Io, folder.display())?;
    // Last: as long as the key is there, a run that was cut off is taken up again.
    state::remove(&appliance.state.dedup_key(tenant))
}
