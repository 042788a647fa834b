//! The site of a drill: files unpacked into a volume of its own and compared, configuration read, secrets proven.

use std::time::Instant;

use crate::component::fernet::FernetProof;
use crate::component::files::{self, Record, Target};
use crate::component::mariadb::{self, DatabaseRecord, Server};
use crate::component::site::SiteConfig;
use crate::component::{Source, certs, config};
use crate::error::{Error, Kind, Result, counted};
use crate::id::ComponentName;
use crate::ops::appliance::Appliance;
use crate::ops::restore::Opened;

use super::bench::Bench;
use super::checks::Findings;

/// Unpacks the site folder and reads configuration and certificates.
pub(super) async fn drill(
    appliance: &Appliance,
    opened: &Opened,
    bench: &Bench,
    findings: &mut Findings,
) -> Result<()> {
    if let Some(envelope) = opened.envelope(ComponentName::Files)? {
        appliance.around.monitor.step("drill: unpack files");
        let record: Record = envelope.own()?;
        let clock = Instant::now();
        let loaded = unpack(appliance, opened, bench, record).await;
        findings.phase_since("unpack files", clock);
        if let Some(totals) = findings.step("files", loaded) {
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
    Ok(())
}

async fn unpack(
    appliance: &Appliance,
    opened: &Opened,
    bench: &Bench,
    record: Record,
) -> Result<files::Totals> {
    let folder = bench.volume("files").await?.join("site");
    let list = source(opened, ComponentName::Files, "list")?;
    let tar = source(opened, ComponentName::Files, "tar")?;
    let monitor = std::sync::Arc::clone(&appliance.around.monitor);
    let loaded = files::load(Target::Folder(folder), record, list, tar, monitor).await?;
    Ok(loaded.totals)
}

async fn read(opened: &Opened, component: ComponentName) -> Result<usize> {
    let tar = source(opened, component, "tar")?;
    let archive = match component {
        ComponentName::Certs => certs::load(tar).await?,
        _ => config::load(tar).await?,
    };
    Ok(archive.len())
}

fn source(opened: &Opened, component: ComponentName, stream: &str) -> Result<Source> {
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
        other => findings.failed("encryption_key", format!("{other:?}")),
    }
    Ok(())
}

/// Reads the site's configuration from the snapshot: of `config`, or else of `files`.
async fn site_config(opened: &Opened) -> Result<SiteConfig> {
    let archive = config::load(source(opened, ComponentName::Config, "tar")?).await?;
    let member = archive
        .get("site/site_config.json")
        .ok_or_else(|| Error::new(Kind::NotFound, "site_config.json is not in the component config"))?;
    SiteConfig::parse(&member.content)
}
