//! The site of a drill: files unpacked into a volume of its own and compared, configuration read, secrets proven.

use std::path::PathBuf;
use std::time::Instant;

use crate::component::fernet::FernetProof;
use crate::component::files::{self, Record, Target};
use crate::component::mariadb::{self, DatabaseRecord, Server};
use crate::component::site::SiteConfig;
use crate::component::{Source, certs, config};
use crate::config::BENCH_SITES;
use crate::error::{Context, Error, Kind, Result, counted};
use crate::id::ComponentName;
use crate::ops::appliance::Appliance;
use crate::ops::restore::Opened;

use super::bench::{Bench, SITES};
use super::checks::Findings;

/// A site folder that was unpacked, where the application will look for it.
#[derive(Debug)]
pub(super) struct SiteFolder {
    /// The site's name, which is that of its folder.
    pub site: String,
    /// The bench's folder `sites` on this host.
    pub sites: PathBuf,
    /// Where `sites` lies in the application's containers.
    pub inside: String,
}

impl SiteFolder {
    /// Returns the site's own folder.
    pub fn folder(&self) -> PathBuf {
        self.sites.join(&self.site)
    }
}

/// Unpacks the site folder and reads configuration and certificates; returns the folder where it is whole.
pub(super) async fn drill(
    appliance: &Appliance,
    opened: &Opened,
    bench: &Bench,
    findings: &mut Findings,
) -> Result<Option<SiteFolder>> {
    let mut folder = None;
    if let Some(envelope) = opened.envelope(ComponentName::Files)? {
        appliance.around.monitor.step("drill: unpack files");
        let record: Record = envelope.own()?;
        let clock = Instant::now();
        let place = SiteFolder {
            site: envelope.site.clone(),
            sites: bench.volume(SITES).await?,
            inside: match &envelope.container {
                Some(_) => envelope.path.clone().unwrap_or_else(|| BENCH_SITES.to_owned()),
                None => BENCH_SITES.to_owned(),
            },
        };
        let loaded = unpack(appliance, opened, &place, record).await;
        findings.phase_since("unpack files", clock);
        if let Some(totals) = findings.step("files", loaded) {
            folder = Some(place);
            findings.passed(
                "files",
                format!(
                    "{}, {}, every hash equal",
                    counted(totals.files, "file"),
                    counted(totals.bytes, "byte")
                ),
            );
        }
    }
    for component in [ComponentName::Config, ComponentName::Certs] {
        if opened.envelope(component)?.is_none() {
            continue;
        }
        let clock = Instant::now();
        let members = read(opened, component).await;
        findings.phase_since(&format!("read {component}"), clock);
        if let Some(n) = findings.step(component.as_str(), members) {
            findings.check(component.as_str(), n > 0, format!("{n} files"));
        }
    }
    Ok(folder)
}

async fn unpack(
    appliance: &Appliance,
    opened: &Opened,
    place: &SiteFolder,
    record: Record,
) -> Result<files::Totals> {
    let folder = place.folder();
    let list = source(opened, ComponentName::Files, "list")?;
    let tar = source(opened, ComponentName::Files, "tar")?;
    let monitor = std::sync::Arc::clone(&appliance.around.monitor);
    let loaded = files::load(Target::Folder(folder), record, list, tar, monitor).await?;
    let totals = loaded.totals;
    // Into the drill's own volume, where nothing was before.
    tokio::task::spawn_blocking(move || loaded.swap("drill")).await.context(Kind::Bug, "swap of files")??;
    Ok(totals)
}

async fn read(opened: &Opened, component: ComponentName) -> Result<usize> {
    let tar = source(opened, component, "tar")?;
    let archive = match component {
        ComponentName::Certs => certs::load(tar).await?,
        _ => config::load(tar).await?,
    };
    Ok(archive.len())
}

pub(super) fn source(opened: &Opened, component: ComponentName, stream: &str) -> Result<Source> {
    Ok(Box::pin(opened.reader.stream(component, stream)?))
}

/// Checks on the loaded database that need the site's own configuration.
pub(super) async fn database_checks(
    opened: &Opened,
    server: &Server,
    record: &DatabaseRecord,
    findings: &mut Findings,
) -> Result<()> {
    let config = match site_config(opened).await {
        Ok(config) => config,
        Err(e) => {
            findings.failed("encryption_key", format!("the site's configuration cannot be read: {e}"));
            return Ok(());
        }
    };
    let proof =
        mariadb::prove_encryption_key(server, &record.database, config.encryption_key().as_ref()).await;
    let Some(proof) = findings.step("encryption_key", proof) else { return Ok(()) };
    match proof {
        FernetProof::Proven { rows } => {
            findings.passed("encryption_key", format!("opens all {rows} stored secrets"))
        }
        FernetProof::NothingToProve => findings.skipped("encryption_key", "the site stores no secret"),
        FernetProof::Mismatch { failed, rows } => findings.failed(
            "encryption_key",
            format!("does not open {failed} of {rows} stored secrets: they were written under another key"),
        ),
        FernetProof::KeyMissing { rows } => findings.failed(
            "encryption_key",
            format!("is not in site_config.json, and {} need it", counted(rows, "stored secret")),
        ),
    }
    Ok(())
}

/// Reads the site's configuration from the snapshot: of `config`, or else of `files`.
pub(super) async fn site_config(opened: &Opened) -> Result<SiteConfig> {
    let archive = config::load(source(opened, ComponentName::Config, "tar")?).await?;
    let member = archive
        .get("site/site_config.json")
        .ok_or_else(|| Error::new(Kind::NotFound, "site_config.json is not in the component config"))?;
    SiteConfig::parse(&member.content)
}
