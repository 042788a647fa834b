//! `keys`: who may write and who can read; the changes of either stand in files of their own.

pub mod confirm;
pub mod epoch;
pub mod hand_over;
pub mod host;
pub mod operators;
pub mod vaults;

use std::collections::BTreeSet;

use serde::Serialize;

use crate::config::Config;
use crate::error::{Error, Kind, Result};
use crate::id::{HostName, RepositoryId, TenantName, VaultId};
use crate::ops::appliance::Appliance;
use crate::ops::kit::Kit;
use crate::ops::place;
use crate::ops::state::{Membership, State};
use crate::repo::age_file::Identities;
use crate::repo::repository::Repository;
use crate::repo::vault::Wrap;
use crate::store::Lines;

/// All keys of a repository, without any secret.
#[derive(Debug, Serialize)]
pub struct KeysOverview {
    /// The repository.
    pub repository: RepositoryId,
    /// The operators' root public key.
    pub root: String,
    /// Certified hosts.
    pub hosts: Vec<CertifiedHost>,
    /// Every vault of every tenant.
    pub vaults: Vec<VaultLine>,
    /// The recipients to whom new vaults are wrapped.
    pub operators: Vec<String>,
    /// The recipients of operators who were removed; what they could read before they may have copied.
    pub removed: Vec<String>,
    /// When the recovery kit was last shown to open what is sealed.
    pub kit_confirmed: Option<jiff::Timestamp>,
    /// The recipient of this host's drill identity.
    pub drill: Option<String>,
    /// Whether a drill identity lies on this host.
    pub host_can_read: bool,
    /// Certificates that do not verify.
    pub faults: Vec<String>,
}

/// A host and what it may.
#[derive(Debug, Serialize)]
pub struct CertifiedHost {
    /// The host.
    pub host: HostName,
    /// The number of its certificate in force.
    pub certificate: u32,
    /// Its roles.
    pub roles: Vec<String>,
    /// Its tenants.
    pub tenants: Vec<String>,
}

/// A vault of a tenant, and who opens it.
#[derive(Debug, Serialize)]
pub struct VaultLine {
    /// The tenant.
    pub tenant: TenantName,
    /// The vault.
    pub vault: VaultId,
    /// Whether this host's next snapshot is sealed to it.
    pub in_force: bool,
    /// How many snapshots are sealed to it.
    pub snapshots: usize,
    /// How many wraps are in the store.
    pub wraps: usize,
    /// The recipients of its wraps, as far as this host knows them.
    pub opens_for: Vec<String>,
    /// How many wraps are sealed to somebody this host does not know.
    pub unknown: usize,
}

/// Lists all keys; with identities it also learns to whom wraps are sealed that they open.
pub async fn list(appliance: &Appliance, identities: Option<&Identities>) -> Result<KeysOverview> {
    let mut hosts = Vec::new();
    for host in appliance.trust.hosts() {
        if let Ok(c) = appliance.trust.in_force(host) {
            hosts.push(CertifiedHost {
                host: host.clone(),
                certificate: c.number,
                roles: c.roles.clone(),
                tenants: c.tenants.iter().map(ToString::to_string).collect(),
            });
        }
    }
    let membership = appliance.state.membership()?;
    // A host that was never certified knows no operator, and may look all the same.
    let known = membership.is_some() || !appliance.config.machine.operators.is_empty();
    let operators = if known { appliance.operators()? } else { Vec::new() };
    Ok(KeysOverview {
        repository: appliance.repo.id().clone(),
        root: appliance.repo.root().to_string(),
        hosts,
        vaults: vault_lines(appliance, identities).await?,
        operators: operators.into_iter().map(String::from).collect(),
        removed: membership.as_ref().map(|m| m.removed.clone()).unwrap_or_default(),
        kit_confirmed: membership.as_ref().and_then(|m| m.kit_confirmed),
        drill: membership.as_ref().and_then(|m| m.drill.clone()),
        host_can_read: membership.is_some_and(|m| m.drill.is_some()),
        faults: appliance
            .trust
            .faults()
            .iter()
            .map(|(host, n, _, what)| format!("{host}.{n}: {what}"))
            .collect(),
    })
}

async fn vault_lines(appliance: &Appliance, identities: Option<&Identities>) -> Result<Vec<VaultLine>> {
    let mut sealed = vaults::Sealed::load(&appliance.state)?;
    let mut lines = Vec::new();
    for tenant in operators::all_tenants(appliance) {
        let held = appliance.vault(&tenant)?;
        for found in vaults::find(appliance, &tenant).await? {
            if let Some(identities) = identities {
                found.learn(&mut sealed, identities);
            }
            let wraps = || found.stored.iter().chain(&found.embedded).map(Wrap::hash);
            let known: BTreeSet<&String> = wraps().filter_map(|w| sealed.of(w)).flatten().collect();
            lines.push(VaultLine {
                in_force: held.as_ref().is_some_and(|v| *v.id() == found.vault),
                snapshots: found.snapshots,
                wraps: found.stored.len(),
                opens_for: known.into_iter().cloned().collect(),
                unknown: wraps().filter(|w| sealed.of(w).is_none()).count(),
                tenant: tenant.clone(),
                vault: found.vault,
            });
        }
    }
    if identities.is_some() {
        sealed.save(&appliance.state)?;
    }
    Ok(lines)
}

/// Opens the repository a kit describes and makes this host remember it, if it does not yet.
pub async fn join(config: &Config, state: &State, kit: &Kit) -> Result<Repository> {
    let repo =
        Repository::open(place::open(&config.machine, &Lines::default()).await?, Some(kit.pin)).await?;
    match state.membership()? {
        Some(m) if m.pin != kit.pin => Err(Error::new(
            Kind::Conflict,
            format!("this host belongs to repository {}, the kit to {}", m.repository, kit.repository),
        )),
        Some(_) => Ok(repo),
        None => {
            // Without an identity on the sheet the operators are those of the configuration.
            let operators = match kit.identities.is_empty() {
                true => Vec::new(),
                false => kit.identities()?.recipients().into_iter().map(String::from).collect(),
            };
            let membership = Membership {
                repository: repo.id().clone(),
                pin: kit.pin,
                operators,
                drill: None,
                removed: Vec::new(),
                drills_elsewhere: false,
                kit_confirmed: None,
            };
            state.join(&membership)?;
            Ok(repo)
        }
    }
}
