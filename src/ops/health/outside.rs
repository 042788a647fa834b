//! What others see of a site: the address that its name leads to, and the certificate that vouches for it.

use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};

use crate::component::{acme, dns, tls};
use crate::config::Tenant;
use crate::error::{Error, Kind, Result};

use super::application::domain;
use super::backups::span;
use super::pace::within;
use super::subject::Subject;
use super::{Area, Check, Round, State};

const AREA: Area = Area::Outside;

/// From this on a certificate that is not renewed is urgent.
const URGENT: SignedDuration = SignedDuration::from_hours(7 * 24);

/// The most that is read of a certificate's file, in bytes.
const FILE_BYTES: u64 = 1 << 20;

/// Looks at a tenant's name and certificates.
pub(super) async fn look(round: &Round<'_>, subject: &Subject<'_>) -> Vec<Check> {
    let (name, certificate) = futures::join!(name(round, subject.tenant), certificate(round, subject.tenant));
    name.into_iter().chain(certificate).collect()
}

/// Asks the platform's own name server for the tenant's name.
async fn name(round: &Round<'_>, tenant: &Tenant) -> Option<Check> {
    let dns = round.config.machine.platform.as_ref()?.dns.as_ref()?;
    // Only names that Lifeboat provisioned are to be served here.
    let domain = tenant.domain.as_deref()?;
    let asked = dns::addresses(dns.server, domain);
    let found = within(round.limits.probe, format!("name server {}", dns.server), asked).await;
    let name = "dns";
    Some(match found {
        Err(e) => Check::of_error(AREA, name, State::Failed, &e),
        Ok(found) if found.contains(&dns.address) => {
            Check::new(AREA, name, State::Ok, format!("{domain} leads to {}", dns.address))
        }
        Ok(found) => {
            let leads = match found.as_slice() {
                [] => "leads nowhere".to_owned(),
                all => {
                    format!("leads to {}", all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
                }
            };
            let reason = format!("{domain} {leads} at {}, not to {}", dns.server, dns.address);
            Check::new(AREA, name, State::Failed, reason)
                .advise(format!("correct its zone below {} and raise the serial", dns.zones_dir.display()))
        }
    })
}

/// Looks at the certificate that is kept for the tenant's name.
async fn certificate(round: &Round<'_>, tenant: &Tenant) -> Option<Check> {
    let certs = tenant.certs.on()?;
    let domain = certs.domains.first().map_or_else(|| domain(tenant).to_owned(), Clone::clone);
    let (paths, acme) = (certs.paths.clone(), certs.acme_file.clone());
    let about = domain.clone();
    let reading = async {
        let read = tokio::task::spawn_blocking(move || chains(&paths, acme.as_deref(), &about)).await;
        read.map_err(|e| Error::new(Kind::Bug, "certificates").caused_by(e))?
    };
    let found = within(round.limits.probe, format!("certificates of {domain}"), reading).await;
    Some(match found {
        Ok(chains) => judge(&domain, &chains, round.now()),
        Err(e) => Check::of_error(AREA, "certificate", State::Unknown, &e),
    })
}

/// Reads all certificates below the tenant's paths and its entries of an `acme.json`.
fn chains(paths: &[PathBuf], acme: Option<&Path>, domain: &str) -> Result<Vec<tls::Chain>> {
    let mut found = Vec::new();
    for path in paths {
        collect(path, 3, &mut found);
    }
    if let Some(file) = acme {
        let whole = std::fs::read(file)
            .map_err(|e| Error::new(Kind::Source, format!("acme file {}", file.display())).caused_by(e))?;
        let entries = acme::entries_of(&whole, &[domain.to_owned()])?;
        for certificate in entries.certificates() {
            found.push(tls::Chain::of_pem(&certificate)?);
        }
    }
    Ok(found)
}

fn collect(path: &Path, depth: usize, found: &mut Vec<tls::Chain>) {
    // Links are followed: certbot's live folders hold nothing else.
    let Ok(meta) = std::fs::metadata(path) else { return };
    if meta.is_dir() && depth > 0 {
        let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
        entries.for_each(|e| collect(&e.path(), depth - 1, found));
    } else if meta.is_file()
        && meta.len() <= FILE_BYTES
        && let Ok(bytes) = std::fs::read(path)
        && let Ok(chain) = tls::Chain::of_pem(&bytes)
    {
        found.push(chain);
    }
}

fn judge(domain: &str, chains: &[tls::Chain], now: Timestamp) -> Check {
    let name = "certificate";
    let renew =
        "Traefik renews 30 days ahead: its log says what hinders it; given files are to be replaced by hand";
    let mine = chains.iter().filter(|c| c.covers(domain)).max_by_key(|c| c.leaf.not_after);
    let Some(chain) = mine else {
        let reason = match chains.first() {
            Some(other) => format!(
                "no certificate is for {domain}: the one there is for {}",
                other.leaf.names.join(", ")
            ),
            None => format!("no certificate for {domain} can be read"),
        };
        let state = if chains.is_empty() { State::Unknown } else { State::Failed };
        return Check::new(AREA, name, state, reason)
            .advise("name its files in [certs], or let Traefik get one");
    };
    if let Some(fault) = chain.fault(domain, now) {
        return Check::new(
            AREA,
            name,
            State::Failed,
            format!("the certificate of {domain} does not count: {fault}"),
        )
        .advise(renew);
    }
    let left = chain.leaf.left(now);
    let said = format!("the certificate of {domain} counts for {} more", span(left));
    if chain.leaf.renewal_is_late(now) {
        // Of one that lives for days only, a quarter is all that there is.
        let urgent = URGENT.min(chain.leaf.not_after.duration_since(chain.leaf.not_before) / 8);
        let state = if left < urgent { State::Failed } else { State::Warning };
        return Check::new(AREA, name, state, format!("{said} and is not renewed")).advise(renew);
    }
    Check::new(AREA, name, State::Ok, said)
}
