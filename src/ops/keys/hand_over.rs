//! `keys hand-over`: one host writes for a tenant; another does so only after an operator said so.
//!
//! Owns the rule that binds a tenant to one host, and the order of the two certificates.

use std::collections::BTreeMap;

use serde::Serialize;

use super::host::{last_in, newest_certificate, roles_of};
use super::vaults;
use crate::error::{Error, Kind, Result};
use crate::id::{HostName, TenantName};
use crate::ops::appliance::Appliance;
use crate::repo::certificate::{self, Certificate, Grant, LastAccepted, Role, Trust};
use crate::repo::sign::{PublicKey, SigningKey};

/// What handing a tenant over did.
#[derive(Debug, Serialize)]
pub struct HandedOver {
    /// The tenant.
    pub tenant: TenantName,
    /// Who wrote for it, and the last receipt accepted of each.
    pub from: BTreeMap<HostName, Option<LastAccepted>>,
    /// Who writes from now on.
    pub to: HostName,
    /// Whether nothing was changed.
    pub planned: bool,
}

/// Lets another host write for a tenant, and nobody else any more.
///
/// [`Kind::NotFound`] where that host has no certificate; [`Kind::Conflict`] where its key was ended for the tenant.
pub async fn hand_over(
    appliance: &Appliance,
    root: &SigningKey,
    tenant: &TenantName,
    to: &HostName,
    dry_run: bool,
) -> Result<HandedOver> {
    let trust = Trust::load(&appliance.repo).await?;
    let receiver = trust.in_force(to).map_err(|e| {
        Error::new(Kind::NotFound, e.to_string())
            .hint(format!("first certify it there, with the kit: `lifeboat keys certify` on {to}"))
    })?;
    if !receiver.grants(Role::Backup) {
        return Err(Error::new(Kind::Conflict, format!("host {to} is not certified to back up")).hint(
            format!("on {to}: `lifeboat keys certify --kit FILE --role backup`, with its other roles"),
        ));
    }
    refuse_ended(&trust, &receiver.signing_key, tenant, to)?;
    let mut done =
        HandedOver { tenant: tenant.clone(), from: BTreeMap::new(), to: to.clone(), planned: dry_run };
    let now = appliance.around.now();
    // Before the receiver may write, the giver may not: a crash between leaves a tenant that nobody backs up, not two.
    done.from = take_away(appliance, &trust, root, tenant, Some(to), dry_run).await?;
    if !dry_run && trust.may_write(to, Role::Backup, tenant).is_err() {
        let mut tenants = receiver.tenants.clone();
        tenants.push(tenant.clone());
        tenants.sort();
        tenants.dedup();
        let grant = Grant {
            host: to.clone(),
            signing_key: receiver.signing_key.clone(),
            roles: roles_of(receiver),
            tenants,
            ended: None,
            handed_over: receiver.handed_over.clone(),
        };
        certificate::issue(&appliance.repo, root, grant, now).await?;
    }
    Ok(done)
}

/// Takes a tenant from every host that may write it, but `to`; returns of each the last receipt accepted.
pub async fn take_away(
    appliance: &Appliance,
    trust: &Trust,
    root: &SigningKey,
    tenant: &TenantName,
    to: Option<&HostName>,
    dry_run: bool,
) -> Result<BTreeMap<HostName, Option<LastAccepted>>> {
    let history = vaults::history(&appliance.repo, trust, tenant).await?;
    let mut from = BTreeMap::new();
    for host in givers(trust, tenant, to) {
        let Some(newest) = newest_certificate(trust, &host) else { continue };
        let last = last_in(&history, trust, &newest.signing_key, None);
        if !dry_run {
            let grant = without_tenant(trust, newest, tenant, last.as_ref());
            certificate::issue(&appliance.repo, root, grant, appliance.around.now()).await?;
        }
        from.insert(host, last);
    }
    Ok(from)
}

/// Returns the hosts whose key in force signs for the tenant under any certificate and has no end for it yet.
fn givers(trust: &Trust, tenant: &TenantName, to: Option<&HostName>) -> Vec<HostName> {
    let signs = |host: &&HostName| {
        newest_certificate(trust, host).is_some_and(|newest| {
            // Who only drills or prunes the tenant goes on doing so.
            newest.ended.is_none()
                && trust.limit(&newest.signing_key, tenant).is_none()
                && trust
                    .certificates()
                    .any(|c| c.signing_key == newest.signing_key && c.grants(Role::Backup) && c.names(tenant))
        })
    };
    trust.hosts().filter(|h| Some(*h) != to).filter(signs).cloned().collect()
}

fn without_tenant(
    trust: &Trust,
    newest: &Certificate,
    tenant: &TenantName,
    last: Option<&LastAccepted>,
) -> Grant {
    let mut handed_over = newest.handed_over.clone();
    // Of a tenant that it never wrote for, its key may sign none: number 0 comes before all receipts.
    let none = || LastAccepted { sequence: 0, receipt: crate::id::Sha256([0; 32]) };
    handed_over.insert(tenant.clone(), last.cloned().unwrap_or_else(none));
    debug_assert!(trust.limit(&newest.signing_key, tenant).is_none());
    Grant {
        host: newest.host.clone(),
        signing_key: newest.signing_key.clone(),
        roles: roles_of(newest),
        tenants: newest.tenants.iter().filter(|t| *t != tenant).cloned().collect(),
        ended: None,
        handed_over,
    }
}

/// Tells why a certificate may not name a tenant: its receipts by that key are not accepted, or another host writes it.
///
/// Only who backs up is bound to one host: several may drill or prune a tenant.
pub fn may_name(
    trust: &Trust,
    host: &HostName,
    key: &PublicKey,
    roles: &[Role],
    tenant: &TenantName,
) -> Result<()> {
    if !roles.contains(&Role::Backup) {
        return Ok(());
    }
    refuse_ended(trust, key, tenant, host)?;
    match trust.writing(tenant).into_iter().find(|h| *h != host) {
        None => Ok(()),
        Some(other) => Err(Error::new(Kind::Conflict, format!("host {other} writes for tenant {tenant}"))
            .hint(format!("`lifeboat keys hand-over {tenant} --to {host} --kit FILE` lets this host do so"))),
    }
}

fn refuse_ended(trust: &Trust, key: &PublicKey, tenant: &TenantName, host: &HostName) -> Result<()> {
    match trust.limit(key, tenant) {
        None => Ok(()),
        Some(_) => Err(Error::new(
            Kind::Conflict,
            format!("tenant {tenant} went from host {host} to another under the key that {host} has now"),
        )
        .hint(format!("give it a new one first: `lifeboat keys rotate-host --kit FILE` on {host}"))),
    }
}
