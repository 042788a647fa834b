//! `keys rotate-host` and `keys end-host`: which key signs for a host, and where it ends.
//!
//! Owns the order of certificates, local keys and their end, each step such that a crash is mended by running the same
//! again. Knows nothing of who reads backups.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use secrecy::ExposeSecret;
use serde::Serialize;

use super::vaults;
use crate::error::{Error, Kind, Result};
use crate::id::{HostName, TenantName};
use crate::ops::appliance::{self, Appliance};
use crate::ops::state::{self, TenantLock};
use crate::repo::certificate::{self, Certificate, Ended, Grant, LastAccepted, Role, Trust};
use crate::repo::history::History;
use crate::repo::receipt::Committed;
use crate::repo::repository::{Repository, whole_seconds};
use crate::repo::sign::{PublicKey, SigningKey};

/// The last receipts accepted, by tenant.
pub type Last = BTreeMap<TenantName, LastAccepted>;

/// What a new host key did.
#[derive(Debug, Serialize)]
pub struct Rotated {
    /// The host.
    pub host: HostName,
    /// The key that signs no more; none where the host had none.
    pub ended: Option<String>,
    /// The last receipts accepted from it, by tenant.
    pub last: Last,
    /// The certificate of the new key; none where nothing was changed.
    pub certificate: Option<u32>,
    /// The tenants it may write for.
    pub tenants: Vec<TenantName>,
}

/// Gives this host a new signing key and ends the old one; receipts that it signs from now on are not accepted.
///
/// With `distrust_since`, neither are those that were stored after that time, by the store's clock.
pub async fn rotate(
    appliance: &Appliance,
    root: &SigningKey,
    distrust_since: Option<Timestamp>,
    dry_run: bool,
) -> Result<Rotated> {
    let host = appliance.config.machine.host.clone();
    let _locks = lock_all(appliance)?;
    let trust = Trust::load(&appliance.repo).await?;
    let old = appliance::load_host_key(&appliance.state)?;
    let newest = newest_certificate(&trust, &host).ok_or_else(|| {
        Error::new(Kind::Denied, format!("host {host} has no certificate whose key could be replaced"))
            .hint("issue one with the root key: `lifeboat keys certify --kit FILE`")
    })?;
    // Tenants that went to another host while this one was ended stay there.
    let stays = |t: &&TenantName| trust.writing(t).into_iter().all(|h| *h == host);
    let tenants: Vec<TenantName> = newest.tenants.iter().filter(stays).cloned().collect();
    let mut rotated = Rotated {
        host: host.clone(),
        ended: None,
        last: Last::new(),
        certificate: None,
        tenants: tenants.clone(),
    };
    let next = if dry_run { None } else { Some(next_key(appliance)?) };
    // A run that died behind the new certificate left only the file of the key to put in its place.
    if let Some(next) = &next
        && newest.signing_key == *next.public()
        && newest.ended.is_none()
    {
        rotated.certificate = Some(newest.number);
        take_next_key(appliance)?;
        return Ok(rotated);
    }
    // A lost key is ended too: whoever has it would sign on.
    let ending = old.as_ref().map_or_else(|| newest.signing_key.clone(), |k| k.public().clone());
    rotated.ended = Some(ending.to_string());
    rotated.last = match ended_with(&trust, &ending) {
        Some(ended) => ended.last.clone(),
        None => last_of(&appliance.repo, &trust, &ending, distrust_since).await?,
    };
    let Some(next) = next else { return Ok(rotated) };
    let grant = |signing_key: &PublicKey, ended| Grant {
        host: host.clone(),
        signing_key: signing_key.clone(),
        roles: roles_of(newest),
        tenants: tenants.clone(),
        ended,
        handed_over: Last::new(),
    };
    let now = appliance.around.now();
    if ended_with(&trust, &ending).is_none() {
        let ended = Ended { at: whole_seconds(now), last: rotated.last.clone() };
        certificate::issue(&appliance.repo, root, grant(&ending, Some(ended)), now).await?;
    }
    let made = certificate::issue(&appliance.repo, root, grant(next.public(), None), now).await?;
    rotated.certificate = Some(made.number);
    take_next_key(appliance)?;
    Ok(rotated)
}

/// Returns the key that is to follow, made and kept before any certificate names it.
fn next_key(appliance: &Appliance) -> Result<SigningKey> {
    let path = appliance.state.next_host_key();
    if let Some(key) = appliance::load_key(&path)? {
        return Ok(key);
    }
    let (key, text) = SigningKey::generate("lifeboat host key", None)?;
    state::write_private(&path, text.expose_secret().as_bytes())?;
    Ok(key)
}

fn take_next_key(appliance: &Appliance) -> Result<()> {
    state::rename(&appliance.state.next_host_key(), &appliance.state.host_key())
}

/// Returns the certificate with the highest number, ended or not.
pub fn newest_certificate<'a>(trust: &'a Trust, host: &HostName) -> Option<&'a Certificate> {
    trust.certificates().filter(|c| c.host == *host).max_by_key(|c| c.number)
}

fn ended_with<'a>(trust: &'a Trust, key: &PublicKey) -> Option<&'a Ended> {
    trust.certificates().filter(|c| c.signing_key == *key).find_map(|c| c.ended.as_ref())
}

pub(super) fn roles_of(certificate: &Certificate) -> Vec<Role> {
    [Role::Backup, Role::Drill, Role::Prune].into_iter().filter(|r| certificate.grants(*r)).collect()
}

/// Finds the last receipt by a signing key of each tenant that a certificate of it names.
async fn last_of(
    repo: &Repository,
    trust: &Trust,
    key: &PublicKey,
    distrust_since: Option<Timestamp>,
) -> Result<Last> {
    let named: BTreeSet<&TenantName> =
        trust.certificates().filter(|c| c.signing_key == *key).flat_map(|c| &c.tenants).collect();
    let mut last = Last::new();
    for tenant in named {
        let history = vaults::history(repo, trust, tenant).await?;
        if let Some(found) = last_in(&history, trust, key, distrust_since) {
            last.insert(tenant.clone(), found);
        }
    }
    Ok(last)
}

pub(super) fn last_in(
    history: &History,
    trust: &Trust,
    key: &PublicKey,
    distrust_since: Option<Timestamp>,
) -> Option<LastAccepted> {
    // What stands behind the first distrusted receipt follows an untrusted one, whatever its time.
    let trusted = |c: &&Committed| distrust_since.is_none_or(|since| c.stored < since);
    let by_it = |c: &&Committed| {
        let signer = trust.named(&c.receipt.host, c.receipt.certificate, Role::Backup, &c.receipt.tenant);
        signer.is_ok_and(|s| s.signing_key == *key)
    };
    let last = history.snapshots.iter().filter(by_it).take_while(trusted).last()?;
    Some(LastAccepted { sequence: last.receipt.sequence, receipt: last.hash })
}

/// Takes every tenant of this host, so that no backup signs meanwhile.
fn lock_all(appliance: &Appliance) -> Result<Vec<TenantLock>> {
    appliance.config.tenants().map(|t| appliance.state.lock(&t.name)).collect()
}

/// Ends the key that a host had before and does not have any more, so that whoever found it signs nothing.
pub async fn end_lost(
    repo: &Repository,
    trust: &Trust,
    root: &SigningKey,
    host: &HostName,
    has: &PublicKey,
    now: Timestamp,
) -> Result<()> {
    match newest_certificate(trust, host) {
        Some(c) if c.ended.is_none() && c.signing_key != *has => {
            let last = last_of(repo, trust, &c.signing_key, None).await?;
            certificate::issue(repo, root, ending(c, last, now), now).await.map(drop)
        }
        _ => Ok(()),
    }
}

fn ending(certificate: &Certificate, last: Last, now: Timestamp) -> Grant {
    Grant {
        host: certificate.host.clone(),
        signing_key: certificate.signing_key.clone(),
        roles: roles_of(certificate),
        tenants: certificate.tenants.clone(),
        ended: Some(Ended { at: whole_seconds(now), last }),
        handed_over: Last::new(),
    }
}

/// What ending a host's key did.
#[derive(Debug, Serialize)]
pub struct EndedHost {
    /// The host.
    pub host: HostName,
    /// The last receipts accepted from it, by tenant; of other tenants none is.
    pub last: Last,
    /// The tenants that nobody writes for from now on.
    pub orphaned: Vec<TenantName>,
    /// Whether nothing was changed.
    pub planned: bool,
}

/// Ends the key of a host that is lost, stolen or retired, from any host.
///
/// With `distrust_since`, receipts that were stored after that time, by the store's clock, are not accepted.
pub async fn end(
    appliance: &Appliance,
    root: &SigningKey,
    host: &HostName,
    distrust_since: Option<Timestamp>,
    dry_run: bool,
) -> Result<EndedHost> {
    let trust = Trust::load(&appliance.repo).await?;
    let newest = newest_certificate(&trust, host).ok_or_else(|| {
        Error::new(Kind::NotFound, format!("host {host} has no certificate"))
            .hint("`lifeboat keys list` shows the hosts")
    })?;
    if let Some(ended) = &newest.ended {
        return Err(Error::new(Kind::Conflict, format!("host {host} was ended on {}", ended.at)));
    }
    let last = last_of(&appliance.repo, &trust, &newest.signing_key, distrust_since).await?;
    let alone = |t: &&TenantName| trust.writing(t).into_iter().all(|h| h == host);
    let orphaned = newest.tenants.iter().filter(alone).cloned().collect();
    if !dry_run {
        let now = appliance.around.now();
        certificate::issue(&appliance.repo, root, ending(newest, last.clone(), now), now).await?;
    }
    Ok(EndedHost { host: host.clone(), last, orphaned, planned: dry_run })
}
