//! Files of the host that belong to a tenant: configuration and certificates, back at their recorded places.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::component::archive::Archive;
use crate::component::certs::{self, Acme, WaitingEntries};
use crate::component::config::Waiting;
use crate::component::{config, dns};
use crate::error::Result;
use crate::id::ComponentName;
use crate::ops::record::Envelope;

use super::apply::{Work, begin_part};
use super::journal::Event;
use super::part::Part;

/// Writes the files of `config` or `certs` that are gone or differ beside their places; what is gone takes its place at once.
///
/// The site's own files are the business of `files`, the containers' descriptions that of the containers.
pub(super) async fn stage(
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
    let acme = config::places(&envelope.own)?.into_iter().find(|(name, _)| name.starts_with("acme/"));
    let aside = aside_folder(work)?;
    let entries = acme.map(|(name, path)| {
        let acme = Acme { name: name.clone(), path, domains: envelope.domains.clone() };
        (WaitingEntries::of(&acme, &aside, &work.stamp), name)
    });
    if entries.is_some() {
        work.notes.push(certs::TRAEFIK_READS_ONCE.to_owned());
    }
    let n = places.len();
    let (there, gone): (BTreeMap<_, _>, BTreeMap<_, _>) =
        places.into_iter().partition(|(_, place)| std::fs::symlink_metadata(place).is_ok());
    let word = component.to_string();
    let all = |places, mark: &str| Waiting::all(places, &aside, &format!("{}-{word}{mark}", work.stamp));
    let (there, gone) = (all(&there, ""), all(&gone, "-gone"));
    stage_part(work, &format!("{word}-gone"), true, gone, None, &archive).await?;
    stage_part(work, &word, false, there, entries, &archive).await?;
    if component == ComponentName::Config {
        work.settings = Some(archive);
    }
    Ok(format!("{n} files put back, the others are as recorded"))
}

/// Writes files beside their places, unless an earlier try has.
pub(super) async fn stage_part(
    work: &Work<'_>,
    component: &str,
    at_once: bool,
    files: Vec<Waiting>,
    entries: Option<(WaitingEntries, String)>,
    archive: &Archive,
) -> Result<()> {
    if (files.is_empty() && entries.is_none()) || work.story()?.whole(component).is_some() {
        return Ok(());
    }
    let (entries, name) = entries.unzip();
    let part = Part::Settings { component: component.to_owned(), at_once, files, entries };
    begin_part(&work.run, part.clone()).await?;
    let Part::Settings { files, entries, .. } = &part else { return Ok(()) };
    files.iter().try_for_each(|w| w.write(archive))?;
    if let (Some(entries), Some(name)) = (entries, &name) {
        entries.write(archive, name)?;
    }
    if at_once {
        part.take_place(&work.run.docker).await?;
    }
    work.run.write(Event::Staged(part))
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

/// Returns where files are copied that are replaced.
pub(super) fn aside_folder(work: &Work<'_>) -> Result<PathBuf> {
    Ok(work.appliance.state.tenant(work.request.target())?.join(format!("before-{}", work.stamp)))
}
