//! `unlock`: what an operator's identity opens for one tenant, and a lost cache made again with it.
//!
//! Owns which snapshot is looked at and whether its cache is made again. Refuses to know where the vault's key goes next.

use std::sync::Arc;

use serde::Serialize;

use crate::error::{Context, Kind, Result};
use crate::id::TenantName;
use crate::ops::appliance::{Appliance, unless_stopped};
use crate::ops::snapshots::{self, Which};
use crate::ops::state;
use crate::repo::age_file::Identities;
use crate::repo::cache::Whose;
use crate::repo::rebuild::{self, RebuildOptions, Rebuilt};
use crate::repo::receipt::Committed;
use crate::repo::snapshot::open_vault;
use crate::repo::vault::VaultKey;

/// What became of a tenant's cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "cache")]
pub enum CacheState {
    /// It was there.
    Kept,
    /// A backup works with it.
    InUse,
    /// It had been lost and was made again.
    MadeAgain {
        /// Packs whose tables were read.
        packs: usize,
        /// Their size in the store.
        fetched_bytes: u64,
        /// Chunks that need not be written again.
        chunks: usize,
    },
    /// It is lost, and nothing in the store is of use to it.
    OfNoUse {
        /// Why.
        why: String,
    },
}

/// A tenant whose vault was opened.
#[derive(Debug)]
pub struct Unlocked {
    /// Whose.
    pub tenant: TenantName,
    /// The vault's key, to be wiped soon.
    pub vault: VaultKey,
    /// What became of its cache.
    pub cache: CacheState,
}

/// Opens the vault of a tenant's newest whole snapshot, and makes its cache again where that was lost.
///
/// [`Kind::WrongKey`] where the identities do not open it.
pub async fn unlock(appliance: &Appliance, tenant: &TenantName, identities: &Identities) -> Result<Unlocked> {
    let committed = snapshots::find(appliance, tenant, &Which::Latest).await?;
    let vault = open_vault(&appliance.repo, &committed.receipt, identities).await?;
    let cache = unless_stopped(&appliance.around.stop, remake(appliance, tenant, &committed, &vault)).await;
    Ok(Unlocked { tenant: tenant.clone(), vault, cache: cache? })
}

async fn remake(
    appliance: &Appliance,
    tenant: &TenantName,
    committed: &Committed,
    vault: &VaultKey,
) -> Result<CacheState> {
    let folder = appliance.state.tenant(tenant)?;
    // A backup that begins meanwhile would work with a cache that is about to be replaced.
    let _lock = match appliance.state.lock(tenant) {
        Err(e) if e.kind() == Kind::Locked => return Ok(CacheState::InUse),
        lock => lock?,
    };
    let in_force = appliance.vault(tenant)?.map(|v| v.id().clone());
    let whose = Whose {
        vault: in_force.unwrap_or_else(|| committed.receipt.vault.clone()),
        epoch: appliance.dedup_key(tenant)?.epoch(),
    };
    let (cache_folder, asked) = (folder.join("cache"), whose.clone());
    let lost = tokio::task::spawn_blocking({
        let cache_folder = cache_folder.clone();
        move || rebuild::is_lost(&cache_folder, &asked)
    });
    if !lost.await.context(Kind::Bug, "looking at a cache")?? {
        return Ok(CacheState::Kept);
    }
    let working = folder.join("on-the-way");
    state::make_private_dir(&working)?;
    let working = tempfile::tempdir_in(&working).context(Kind::Io, working.display())?;
    let options = RebuildOptions {
        whose,
        cache_folder,
        working_folder: working.path().to_owned(),
        monitor: Arc::clone(&appliance.around.monitor),
    };
    match rebuild::rebuild(&appliance.repo, committed, vault, options).await {
        Ok(Rebuilt { packs, fetched_bytes, chunks, of_other_keys }) if of_other_keys < packs => {
            Ok(CacheState::MadeAgain { packs, fetched_bytes, chunks })
        }
        Ok(_) => {
            Ok(CacheState::OfNoUse { why: "the dedup key is new: its ids name other chunks".to_owned() })
        }
        Err(e) if e.kind() == Kind::WrongKey => Ok(CacheState::OfNoUse { why: e.to_string() }),
        Err(e) => Err(e.in_context(format!("cache of {tenant}"))),
    }
}
