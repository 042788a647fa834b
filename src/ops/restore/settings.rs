//! Files of the host that belong to a tenant: configuration and certificates, back at their recorded places.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::component::archive::Archive;
use crate::component::certs::{self, Acme};
use crate::component::{config, dns};
use crate::error::{Context, Kind, Result};
use crate::id::ComponentName;
use crate::ops::record::Envelope;

use super::apply::Work;

/// Puts back the files of `config` or `certs` that are gone or differ; what differs is copied aside first.
///
/// The site's own files are the business of `files`, the containers' descriptions that of the containers.
pub(super) async fn restore(
    work: &mut Work<'_>,
    component: ComponentName,
    envelope: &Envelope,
) -> Result<String> {
    let mut archive = config::load(work.stream(component, "tar")?).await?;
    let mut places: BTreeMap<String, PathBuf> = config::places(&envelope.own)?
        .into_iter()
        .filter(|(name, _)| !name.starts_with("site/") && !name.starts_with("acme/"))
        .collect();
    places.retain(|name, place| differs(&archive, name, place));
    raise_serials(&mut archive, &places, work.appliance.around.now())?;
    let _unbroken = work.unbroken().await;
    let acme = config::places(&envelope.own)?.into_iter().find(|(name, _)| name.starts_with("acme/"));
    if let Some((name, path)) = acme {
        let acme = Acme { name, path, domains: envelope.domains.clone() };
        put_acme(work, &archive, acme).await?;
    }
    if component == ComponentName::Config {
        super::sso::put_back(work, &archive).await;
    }
    let n = put(work, archive, places).await?;
    Ok(format!("{n} files put back, the others are as recorded"))
}

/// Gives zones that are put back a serial above the live one: with a lower one no server would read them.
fn raise_serials(
    archive: &mut Archive,
    places: &BTreeMap<String, PathBuf>,
    now: jiff::Timestamp,
) -> Result<()> {
    let today = now.to_zoned(jiff::tz::TimeZone::UTC).date();
    for (name, place) in places.iter().filter(|(name, _)| name.starts_with("dns/")) {
        let Some(member) = archive.get(name) else { continue };
        let Ok(coming) = std::str::from_utf8(&member.content) else { continue };
        let there = std::fs::read_to_string(place).ok();
        let text = dns::put_back(coming, there.as_deref(), today)?;
        archive.replace(name, text);
    }
    Ok(())
}

fn differs(archive: &Archive, name: &str, place: &std::path::Path) -> bool {
    archive.get(name).is_some_and(|m| std::fs::read(place).map_or(true, |there| there != m.content))
}

/// Stages and swaps members into their places; returns how many.
pub(super) async fn put(
    work: &mut Work<'_>,
    archive: Archive,
    places: BTreeMap<String, PathBuf>,
) -> Result<usize> {
    let n = places.len();
    if n == 0 {
        return Ok(0);
    }
    let aside = aside_folder(work)?;
    let copies = tokio::task::spawn_blocking(move || config::stage(&archive, &places)?.swap(&aside))
        .await
        .context(Kind::Bug, "swap of configuration")??;
    work.aside.extend(copies.iter().map(|p| format!("copy {}", p.display())));
    Ok(n)
}

async fn put_acme(work: &mut Work<'_>, archive: &Archive, acme: Acme) -> Result<()> {
    let aside = aside_folder(work)?;
    let staged = certs::stage_acme(archive, &acme)?;
    let copies = tokio::task::spawn_blocking(move || staged.swap(&aside))
        .await
        .context(Kind::Bug, "swap of acme.json")??;
    work.aside.extend(copies.iter().map(|p| format!("copy {}", p.display())));
    work.notes.push(certs::TRAEFIK_READS_ONCE.to_owned());
    Ok(())
}

fn aside_folder(work: &Work<'_>) -> Result<PathBuf> {
    Ok(work.appliance.state.tenant(work.request.target())?.join(format!("before-{}", work.stamp)))
}
