//! The vaults of a tenant: which one a host writes to, which ones its snapshots need, and who opens their wraps.
//!
//! Owns what this host remembers of whom a wrap is sealed to. Knows nothing of operators coming and going.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, Result};
use crate::id::{Sha256, TenantName, VaultId};
use crate::ops::appliance::Appliance;
use crate::ops::state::{self, State};
use crate::repo::age_file::{Identities, Recipient};
use crate::repo::certificate::Trust;
use crate::repo::history::{Fault, History};
use crate::repo::receipt::Receipt;
use crate::repo::repository::Repository;
use crate::repo::vault::{self, Vault, VaultKey, Wrap};
use crate::repo::wraps;

/// Returns the vault that the tenant's next snapshot is sealed to: as remembered, as its newest receipt has it, or new.
///
/// `others_wrote` says that another host may have written since: its vault is taken over, so that whoever it knows
/// opens the next snapshots too. A vault that may open for an operator who was removed here is replaced, so that a
/// removal that died half-way is finished by the next night. Wraps are written through `repo`, which may lock them.
pub async fn in_force(
    appliance: &Appliance,
    repo: &Repository,
    tenant: &TenantName,
    others_wrote: bool,
) -> Result<Vault> {
    let remembered = appliance.vault(tenant)?;
    let vault = match (remembered, others_wrote) {
        (Some(vault), false) => vault,
        (remembered, _) => match newest(appliance, tenant).await? {
            Some(newest) => Vault::of_receipt(&newest)?,
            None => match remembered {
                Some(vault) => vault,
                None => return renew(appliance, repo, tenant, None).await,
            },
        },
    };
    if opens_for_removed(appliance, &vault)? {
        return renew(appliance, repo, tenant, None).await;
    }
    let known = appliance.vault(tenant)?;
    match known.filter(|k| k.id() == vault.id()) {
        // This host may know more wraps of it than the receipt.
        Some(known) => Ok(known),
        None => {
            appliance.remember_vault(tenant, &vault)?;
            Ok(vault)
        }
    }
}

async fn newest(appliance: &Appliance, tenant: &TenantName) -> Result<Option<Receipt>> {
    let mut history = History::load(&appliance.repo, &appliance.trust, tenant, None).await?;
    Ok(history.snapshots.pop().map(|c| c.receipt))
}

/// Tells whether a vault may open for somebody who was removed: a wrap that this host did not see made is doubted.
fn opens_for_removed(appliance: &Appliance, vault: &Vault) -> Result<bool> {
    let removed = appliance.state.membership()?.map(|m| m.removed).unwrap_or_default();
    if removed.is_empty() {
        return Ok(false);
    }
    let sealed = Sealed::load(&appliance.state)?;
    let doubted = |wrap: &Wrap| match sealed.of(wrap.hash()) {
        None => true,
        Some(to) => to.iter().any(|r| removed.contains(r)),
    };
    Ok(vault.wraps().iter().any(doubted))
}

/// Makes a new vault for a tenant, sealed to the operators as they are now, and remembers it.
///
/// With identities, it is taken only when they open it: [`Kind::WrongKey`] leaves the vault that was.
pub async fn renew(
    appliance: &Appliance,
    repo: &Repository,
    tenant: &TenantName,
    proof: Option<&Identities>,
) -> Result<Vault> {
    let operators = appliance.operators()?;
    let vault = Vault::create(repo, tenant, &operators).await?;
    if let Some(identities) = proof {
        VaultKey::open(vault.id(), vault.wraps(), identities)?;
    }
    let mut sealed = Sealed::load(&appliance.state)?;
    sealed.learn(vault.wraps().iter().map(Wrap::hash), &operators);
    sealed.save(&appliance.state)?;
    appliance.remember_vault(tenant, &vault)?;
    Ok(vault)
}

/// To whom wraps are sealed, as far as this host made them or saw them opened.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Sealed(BTreeMap<Sha256, Vec<String>>);

impl Sealed {
    /// Reads what is remembered.
    pub fn load(state: &State) -> Result<Sealed> {
        Ok(state::read_json(&state.wraps())?.unwrap_or_default())
    }

    /// Keeps it.
    pub fn save(&self, state: &State) -> Result<()> {
        state::write_json(&state.wraps(), self)
    }

    /// Notes to whom wraps are sealed.
    pub fn learn<'a>(&mut self, wraps: impl Iterator<Item = &'a Sha256>, to: &[Recipient]) {
        for wrap in wraps {
            self.0.insert(*wrap, to.iter().map(ToString::to_string).collect());
        }
    }

    /// Returns to whom a wrap is sealed, if it is known.
    pub fn of(&self, wrap: &Sha256) -> Option<&[String]> {
        self.0.get(wrap).map(Vec::as_slice)
    }

    /// Tells whether a wrap is known to be sealed to somebody.
    pub fn names(&self, wrap: &Sha256, who: &str) -> bool {
        self.of(wrap).is_some_and(|all| all.iter().any(|r| r == who))
    }

    /// Returns all recipients of any wrap that is known.
    pub fn recipients(&self) -> impl Iterator<Item = &String> {
        self.0.values().flatten()
    }
}

/// One vault of a tenant, with every wrap that was found.
#[derive(Debug)]
pub struct Found {
    /// The vault.
    pub vault: VaultId,
    /// The wraps in the store.
    pub stored: Vec<Wrap>,
    /// The wraps that receipts and this host hold, in the store or not.
    pub embedded: Vec<Wrap>,
    /// How many snapshots are sealed to it.
    pub snapshots: usize,
}

impl Found {
    /// Opens it; [`Kind::WrongKey`] where no identity does.
    pub fn open(&self, identities: &Identities) -> Result<VaultKey> {
        let all: Vec<Wrap> = self.stored.iter().chain(&self.embedded).cloned().collect();
        VaultKey::open(&self.vault, &all, identities)
    }

    /// Learns from the wraps that open to whom they are sealed.
    pub fn learn(&self, sealed: &mut Sealed, identities: &Identities) {
        for wrap in self.stored.iter().chain(&self.embedded) {
            if sealed.of(wrap.hash()).is_none()
                && let Some(to) = wraps::recipients(&self.vault, wrap, identities)
            {
                sealed.learn(std::iter::once(wrap.hash()), &to);
            }
        }
    }
}

/// Finds all vaults of a tenant: those with wraps in the store, those that snapshots name, and the one in force here.
pub async fn find(appliance: &Appliance, tenant: &TenantName) -> Result<Vec<Found>> {
    let mut all: BTreeMap<VaultId, (Vec<Wrap>, usize)> = BTreeMap::new();
    for vault in wraps::vaults(&appliance.repo, tenant).await? {
        all.entry(vault).or_default();
    }
    for committed in &history(&appliance.repo, &appliance.trust, tenant).await?.snapshots {
        let (wraps, snapshots) = all.entry(committed.receipt.vault.clone()).or_default();
        *snapshots += 1;
        wraps.extend(committed.receipt.wraps.iter().cloned());
    }
    if let Some(vault) = appliance.vault(tenant)? {
        all.entry(vault.id().clone()).or_default().0.extend(vault.wraps().iter().cloned());
    }
    let mut found = Vec::new();
    for (vault, (mut embedded, snapshots)) in all {
        let stored = vault::load_wraps(&appliance.repo, tenant, &vault).await?;
        embedded.sort_by_key(|w| *w.hash());
        embedded.dedup();
        embedded.retain(|w| !stored.contains(w));
        found.push(Found { vault, stored, embedded, snapshots });
    }
    Ok(found)
}

/// Loads a tenant's receipts for a change of keys; refused while one cannot be fetched, for what it names could be left
/// without a key, or its host's last receipt be taken for an older one.
pub async fn history(repo: &Repository, trust: &Trust, tenant: &TenantName) -> Result<History> {
    let history = History::load(repo, trust, tenant, None).await?;
    let unread = history.faults.iter().find_map(|f| match f {
        Fault::Unverifiable { kind: Kind::Forged | Kind::Damaged, .. } => None,
        Fault::Unverifiable { what, .. } | Fault::TooNew { what, .. } => Some(what),
        _ => None,
    });
    match unread {
        None => Ok(history),
        Some(what) => Err(Error::new(Kind::Store, format!("tenant {tenant}: {what}"))
            .hint("keys change only while every receipt can be read; try again")),
    }
}
