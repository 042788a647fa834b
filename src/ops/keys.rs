//! `keys`: who may write, who can read, and wrapping vaults again when operators change.

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
use crate::repo::vault;

/// All keys of a repository, without any secret.
#[derive(Debug, Serialize)]
pub struct KeysOverview {
    /// The repository.
    pub repository: RepositoryId,
    /// The operators' root public key.
    pub root: String,
    /// Certified hosts.
    pub hosts: Vec<CertifiedHost>,
    /// The vaults this host writes to.
    pub vaults: Vec<VaultLine>,
    /// The recipients to whom new vaults are wrapped.
    pub operators: Vec<String>,
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

/// A tenant's vault.
#[derive(Debug, Serialize)]
pub struct VaultLine {
    /// The tenant.
    pub tenant: TenantName,
    /// The vault.
    pub vault: VaultId,
    /// How many wraps are in force.
    pub wraps: usize,
}

/// What rewrapping did.
#[derive(Debug, Serialize)]
pub struct Rewrapped {
    /// Whose vaults.
    pub tenants: Vec<TenantName>,
    /// To how many recipients.
    pub operators: usize,
}

/// Lists all keys.
pub async fn list(appliance: &Appliance) -> Result<KeysOverview> {
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
    let mut vaults = Vec::new();
    for tenant in appliance.config.tenants() {
        if let Some(v) = appliance.vault(&tenant.name)? {
            vaults.push(VaultLine {
                tenant: tenant.name.clone(),
                vault: v.id().clone(),
                wraps: v.wraps().len(),
            });
        }
    }
    let membership = appliance.state.membership()?;
    Ok(KeysOverview {
        repository: appliance.repo.id().clone(),
        root: appliance.repo.root().to_string(),
        hosts,
        vaults,
        operators: appliance.operators()?.into_iter().map(String::from).collect(),
        host_can_read: membership.is_some_and(|m| m.drill.is_some()),
        faults: appliance
            .trust
            .faults()
            .iter()
            .map(|(host, n, _, what)| format!("{host}.{n}: {what}"))
            .collect(),
    })
}

/// Opens the repository a kit describes and makes this host remember it, if it does not yet.
pub async fn join(config: &Config, state: &State, kit: &Kit) -> Result<Repository> {
    let repo = Repository::open(place::open(&config.machine).await?, Some(kit.pin)).await?;
    match state.membership()? {
        Some(m) if m.pin != kit.pin => Err(Error::new(
            Kind::Conflict,
            format!("this host belongs to repository {}, the kit to {}", m.repository, kit.repository),
        )),
        Some(_) => Ok(repo),
        None => {
            let operators = kit.identities()?.recipients().into_iter().map(String::from).collect();
            let membership =
                Membership { repository: repo.id().clone(), pin: kit.pin, operators, drill: None };
            state.join(&membership)?;
            Ok(repo)
        }
    }
}

/// Wraps every configured tenant's vault to the operators as they are now.
pub async fn rewrap(appliance: &Appliance, identities: &Identities) -> Result<Rewrapped> {
    let operators = appliance.operators()?;
    let mut tenants = Vec::new();
    for tenant in appliance.config.tenants() {
        let Some(mut held) = appliance.vault(&tenant.name)? else { continue };
        let wraps = vault::load_wraps(&appliance.repo, &tenant.name, held.id()).await?;
        let all: Vec<_> = held.wraps().iter().cloned().chain(wraps).collect();
        let key = vault::VaultKey::open(held.id(), &all, identities)?;
        held.rewrap(&appliance.repo, &tenant.name, &key, &operators).await?;
        appliance.remember_vault(&tenant.name, &held)?;
        tenants.push(tenant.name.clone());
    }
    Ok(Rewrapped { tenants, operators: operators.len() })
}
