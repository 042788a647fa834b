//! `keys add-operator`, `remove-operator` and `rewrap`: who can open the backups.
//!
//! Owns the order in which wraps and vaults come to be: who is removed is forgotten first, so that a run that died is
//! finished by the next night. No wrap is ever removed: what somebody could read, he may have copied, and nothing takes
//! that back.

use std::collections::BTreeSet;

use serde::Serialize;

use super::vaults::{self, Found, Sealed};
use crate::error::{Error, Kind, Result};
use crate::id::{HostName, TenantName, VaultId};
use crate::ops::appliance::{self, Appliance};
use crate::ops::state::{Membership, TenantLock};
use crate::repo::age_file::{self, Identities, Recipient};
use crate::repo::certificate::Role;
use crate::repo::vault::Wrap;

/// What became of one tenant's vaults.
#[derive(Debug, Serialize)]
pub struct TenantKeys {
    /// Whose.
    pub tenant: TenantName,
    /// The vaults that have a new wrap.
    pub wrapped: Vec<VaultId>,
    /// How many vaults had one already.
    pub already: usize,
    /// The vaults that the identity given does not open; nothing about them changed.
    pub unopened: Vec<VaultId>,
    /// Whether a new vault replaces the one before, from the next backup on.
    pub renewed: bool,
    /// How many older vaults the removed operator still opens.
    pub still_open: usize,
    /// Other hosts that write for the tenant and keep a list of operators of their own.
    pub elsewhere: Vec<HostName>,
}

/// What a change of operators did.
#[derive(Debug, Serialize)]
pub struct Changed {
    /// Who came or went, where it was one.
    pub operator: Option<String>,
    /// Whether nothing was changed.
    pub planned: bool,
    /// Who opens new vaults from now on; this host's drill identity among them.
    pub operators: Vec<String>,
    /// What became of each tenant's vaults.
    pub tenants: Vec<TenantKeys>,
}

impl Changed {
    /// Tells whether a vault stayed as it was because the identity given does not open it.
    pub fn is_partial(&self) -> bool {
        self.tenants.iter().any(|t| !t.unopened.is_empty())
    }
}

/// Whether a change is carried out or only looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Says what would change.
    Plan,
    /// Changes it.
    Apply,
}

/// Adds an operator: every vault of every tenant is wrapped to all operators, so that he opens old snapshots too.
///
/// `identities` must open the vaults. What is done already is not done again; a vault that does not open is named.
pub async fn add(
    appliance: &Appliance,
    newcomer: &Recipient,
    identities: &Identities,
    mode: Mode,
) -> Result<Changed> {
    let mut members = membership(appliance)?;
    let text = newcomer.to_string();
    if !members.operators.contains(&text) && !appliance.config.machine.operators.contains(&text) {
        members.operators.push(text.clone());
    }
    members.removed.retain(|r| *r != text);
    if mode == Mode::Apply {
        appliance.state.join(&members)?;
    }
    Work::begin(appliance, identities, members, mode)?.wrap_all(Some(text)).await
}

/// Wraps every vault of every tenant to the operators as they are now, where no wrap is known that does.
pub async fn rewrap(appliance: &Appliance, identities: &Identities, mode: Mode) -> Result<Changed> {
    Work::begin(appliance, identities, membership(appliance)?, mode)?.wrap_all(None).await
}

/// Removes an operator: each tenant that this host writes gets a new vault, which the others open; older snapshots he
/// opens as before.
///
/// `identities` are those of an operator who stays, and must open each new vault, so that nobody is locked out by
/// mistake. [`Kind::Conflict`] where the configuration still names him or nobody would be left.
pub async fn remove(
    appliance: &Appliance,
    leaver: &Recipient,
    identities: &Identities,
    mode: Mode,
) -> Result<Changed> {
    let leaver = leaver.to_string();
    let members = without(appliance, &leaver)?;
    let mut work = Work::begin(appliance, identities, members, mode)?;
    prove(&work.operators_alone()?, identities)?;
    if mode == Mode::Apply {
        appliance.state.join(&work.members)?;
    }
    let mut tenants = Vec::new();
    for tenant in all_tenants(appliance) {
        let _lock = work.lock(&tenant)?;
        let mut done = work.tenant(&tenant);
        let all = vaults::find(appliance, &tenant).await?;
        all.iter().for_each(|found| found.learn(&mut work.sealed, identities));
        done.still_open = all.iter().filter(|found| work.may_open(found, &leaver)).count();
        work.renew(&tenant, &all, &leaver, &mut done).await?;
        tenants.push(done);
    }
    Ok(work.changed(Some(leaver), tenants))
}

/// Sees whether identities open what is sealed to some recipients: an age file made for that alone.
pub(super) fn prove(to: &[Recipient], identities: &Identities) -> Result<()> {
    let nonce: [u8; 32] = rand::random();
    let opened = age_file::open("the challenge", &age_file::seal(to, &nonce)?, identities, 64);
    match opened {
        Ok(back) if *back == nonce => Ok(()),
        Ok(_) => Err(Error::new(Kind::Bug, "the challenge came back changed")),
        Err(e) if e.kind() == Kind::WrongKey => {
            let all: Vec<String> = to.iter().map(ToString::to_string).collect();
            Err(Error::new(Kind::WrongKey, "the identity given is not that of an operator")
                .hint(format!("backups are sealed to {}", all.join(", "))))
        }
        Err(e) => Err(e),
    }
}

/// Returns the members without somebody to whom nothing is to be sealed any more.
fn without(appliance: &Appliance, leaver: &str) -> Result<Membership> {
    let mut members = membership(appliance)?;
    let configured = &appliance.config.machine.operators;
    if configured.iter().any(|r| r == leaver) {
        return Err(Error::new(Kind::Conflict, format!("{leaver} stands in [operators] of lifeboat.toml"))
            .hint("take it out there, then run this again"));
    }
    if members.drill.as_deref() == Some(leaver) {
        return Err(Error::new(
            Kind::Conflict,
            format!("{leaver} is this host's drill identity, no operator"),
        )
        .hint("`lifeboat keys new-epoch` replaces it with all keys of the host"));
    }
    let known = members.operators.iter().chain(&members.removed).any(|r| r == leaver)
        || Sealed::load(&appliance.state)?.recipients().any(|r| r == leaver);
    if !known {
        return Err(Error::new(Kind::NotFound, format!("{leaver} is not an operator that this host knows"))
            .hint("`lifeboat keys list` shows who opens what"));
    }
    members.operators.retain(|r| r != leaver);
    if members.operators.is_empty() && configured.is_empty() {
        return Err(Error::new(Kind::Conflict, "nobody would be left who opens backups")
            .hint("add another operator first: `lifeboat keys add-operator AGE1…`"));
    }
    if !members.removed.iter().any(|r| r == leaver) {
        members.removed.push(leaver.to_owned());
    }
    Ok(members)
}

fn membership(appliance: &Appliance) -> Result<Membership> {
    appliance.state.membership()?.ok_or_else(|| {
        Error::new(Kind::NotFound, "this host does not remember a repository")
            .hint("`lifeboat keys certify --kit FILE` makes it a member again")
    })
}

/// Returns every tenant that is configured here or stands in any certificate.
pub fn all_tenants(appliance: &Appliance) -> BTreeSet<TenantName> {
    appliance.known_tenants()
}

/// One change of operators under way.
struct Work<'a> {
    appliance: &'a Appliance,
    identities: &'a Identities,
    sealed: Sealed,
    members: Membership,
    /// To whom vaults of this host's tenants are sealed from now on.
    to: Vec<Recipient>,
    mode: Mode,
}

impl<'a> Work<'a> {
    fn begin(
        appliance: &'a Appliance,
        identities: &'a Identities,
        members: Membership,
        mode: Mode,
    ) -> Result<Work<'a>> {
        let to = appliance::recipients_with(&appliance.config.machine, Some(&members))?;
        let sealed = Sealed::load(&appliance.state)?;
        Ok(Work { appliance, identities, sealed, members, to, mode })
    }

    async fn wrap_all(mut self, operator: Option<String>) -> Result<Changed> {
        let mut tenants = Vec::new();
        for tenant in all_tenants(self.appliance) {
            let _lock = self.lock(&tenant)?;
            let mut done = self.tenant(&tenant);
            let to = self.operators(&tenant);
            for found in vaults::find(self.appliance, &tenant).await? {
                found.learn(&mut self.sealed, self.identities);
                self.ensure(&tenant, &found, &to, &mut done).await?;
            }
            tenants.push(done);
        }
        Ok(self.changed(operator, tenants))
    }

    fn changed(self, operator: Option<String>, tenants: Vec<TenantKeys>) -> Changed {
        let operators = self.to.iter().map(ToString::to_string).collect();
        Changed { operator, operators, planned: self.mode == Mode::Plan, tenants }
    }

    /// Takes a tenant of this host, whose backups remember the vault in force.
    fn lock(&self, tenant: &TenantName) -> Result<Option<TenantLock>> {
        self.is_ours(tenant).then(|| self.appliance.state.lock(tenant)).transpose()
    }

    fn is_ours(&self, tenant: &TenantName) -> bool {
        self.appliance.config.tenant(tenant).is_ok()
    }

    fn tenant(&self, tenant: &TenantName) -> TenantKeys {
        let here = &self.appliance.config.machine.host;
        let elsewhere = self.appliance.trust.writing(tenant).into_iter().filter(|h| *h != here);
        TenantKeys {
            tenant: tenant.clone(),
            wrapped: Vec::new(),
            already: 0,
            unopened: Vec::new(),
            renewed: false,
            still_open: 0,
            elsewhere: elsewhere.cloned().collect(),
        }
    }

    /// Returns to whom a tenant's vaults are sealed: the drill identity of this host opens its own tenants only.
    fn operators(&self, tenant: &TenantName) -> Vec<Recipient> {
        let mut all = self.to.clone();
        if !self.is_ours(tenant) {
            all.retain(|r| self.members.drill.as_deref() != Some(&r.to_string()));
        }
        all
    }

    /// Sees to it that a wrap is in the store that all of `to` open.
    async fn ensure(
        &mut self,
        tenant: &TenantName,
        found: &Found,
        to: &[Recipient],
        done: &mut TenantKeys,
    ) -> Result<bool> {
        let all_open = |w: &Wrap| to.iter().all(|r| self.sealed.names(w.hash(), &r.to_string()));
        let wrap = match found.stored.iter().find(|w| all_open(w)) {
            Some(there) => {
                done.already += 1;
                there.clone()
            }
            None => {
                let key = match found.open(self.identities) {
                    Ok(key) => key,
                    Err(e) if e.kind() == Kind::WrongKey => {
                        done.unopened.push(found.vault.clone());
                        return Ok(false);
                    }
                    Err(e) => return Err(e),
                };
                done.wrapped.push(found.vault.clone());
                if self.mode == Mode::Plan {
                    return Ok(true);
                }
                key.put_wrap(&self.appliance.repo, tenant, to).await?
            }
        };
        if self.mode == Mode::Plan {
            return Ok(true);
        }
        if self.sealed.of(wrap.hash()).is_none() {
            self.sealed.learn(std::iter::once(wrap.hash()), to);
        }
        self.sealed.save(&self.appliance.state)?;
        self.embed(tenant, &found.vault, wrap)?;
        Ok(true)
    }

    /// Makes a wrap part of the receipts to come, in place of those whose recipients it covers.
    fn embed(&self, tenant: &TenantName, vault: &VaultId, wrap: Wrap) -> Result<()> {
        let Some(mut held) = self.appliance.vault(tenant)?.filter(|v| v.id() == vault) else { return Ok(()) };
        let covers = |old: &Wrap| {
            let known = self.sealed.of(old.hash());
            known.is_some_and(|all| all.iter().all(|r| self.sealed.names(wrap.hash(), r)))
        };
        let before = held.clone();
        held.retain_wraps(|old| old == &wrap || !covers(old));
        held.add_wrap(wrap.clone());
        held.retain_wraps(|old| old == &wrap || !covers(old));
        if held == before { Ok(()) } else { self.appliance.remember_vault(tenant, &held) }
    }

    /// Tells whether somebody may open a vault: a wrap of which nothing is known is doubted.
    fn may_open(&self, found: &Found, who: &str) -> bool {
        let mut wraps = found.stored.iter().chain(&found.embedded);
        wraps.any(|w| self.sealed.of(w.hash()).is_none() || self.sealed.names(w.hash(), who))
    }

    /// Replaces the vault that this host writes to, unless every wrap of it is known to shut the leaver out.
    async fn renew(
        &mut self,
        tenant: &TenantName,
        all: &[Found],
        leaver: &str,
        done: &mut TenantKeys,
    ) -> Result<()> {
        let host = &self.appliance.config.machine.host;
        let Some(held) = self.appliance.vault(tenant)? else { return Ok(()) };
        if !self.is_ours(tenant) || self.appliance.trust.may_write(host, Role::Backup, tenant).is_err() {
            return Ok(());
        }
        if all.iter().find(|f| f.vault == *held.id()).is_some_and(|f| !self.may_open(f, leaver)) {
            return Ok(());
        }
        done.renewed = true;
        if self.mode == Mode::Apply {
            self.sealed.save(&self.appliance.state)?;
            let repo = &self.appliance.repo;
            vaults::renew(self.appliance, repo, tenant, Some(self.identities)).await?;
            self.sealed = Sealed::load(&self.appliance.state)?;
        }
        Ok(())
    }

    /// Returns the operators that remain, without this host's drill identity.
    fn operators_alone(&self) -> Result<Vec<Recipient>> {
        appliance::operators_alone(&self.appliance.config.machine, Some(&self.members))
    }
}
