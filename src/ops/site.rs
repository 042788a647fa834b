//! Where a tenant's site lies on this host, and what its configuration says.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::component::site::SiteConfig;
use crate::config::{SitesPlace, Tenant};
use crate::error::{Context, Error, Kind, Result};
use crate::host::{ContainerSpec, Docker};
use crate::ops::record::Envelope;

/// The most that a configuration may hold, in bytes.
const CONFIG_BYTES: u64 = 16 * 1024 * 1024;

/// A site's folder, found.
#[derive(Debug)]
pub struct Site {
    /// The bench's `sites` folder on this host.
    pub sites: PathBuf,
    /// The site's own folder on this host.
    pub folder: PathBuf,
    name: String,
    container: Option<ContainerSpec>,
    path: String,
}

impl Site {
    /// Finds a tenant's site through its container's mounts, or on the host.
    pub async fn find(tenant: &Tenant, docker: Option<&Docker>) -> Result<Site> {
        let part = tenant.files.on().ok_or_else(|| {
            Error::new(Kind::Config, format!("tenant {}: it is not known where the site lies", tenant.name))
                .hint("give [files] in the tenant's file")
        })?;
        let (sites, container, path) = match &part.sites {
            SitesPlace::Host { path } => (path.clone(), None, path.to_string_lossy().into_owned()),
            SitesPlace::Container { container, path } => {
                let docker = docker.ok_or_else(|| Error::new(Kind::Host, "Docker cannot be reached"))?;
                let spec = docker.inspect(container).await?;
                (docker.host_path_of(container, path).await?, Some(spec), path.clone())
            }
        };
        let folder = sites.join(&tenant.site);
        let about = || format!("site {} in {}", tenant.site, sites.display());
        let found = std::fs::symlink_metadata(&folder).context(Kind::Source, about())?;
        if !found.is_dir() {
            return Err(Error::new(Kind::Source, format!("{} is no folder", about())));
        }
        Ok(Site { sites, folder, name: tenant.site.clone(), container, path })
    }

    /// Returns the site's configuration over the bench's common one, as Frappe sees it.
    pub fn effective_config(&self) -> Result<SiteConfig> {
        let site = read(&self.folder.join("site_config.json"))?;
        match read(&self.sites.join("common_site_config.json")) {
            Ok(common) => Ok(site.over(&common)),
            Err(_) => Ok(site),
        }
    }

    /// Returns what the manifest keeps of the place.
    pub fn envelope(&self) -> Envelope {
        Envelope {
            site: self.name.clone(),
            container: self.container.clone(),
            path: Some(self.path.clone()),
            ..Envelope::default()
        }
    }
}

/// Reads a configuration file, which Frappe rewrites in place: one that does not parse is read again.
fn read(path: &Path) -> Result<SiteConfig> {
    let mut last = Error::new(Kind::Source, path.display().to_string());
    for _ in 0..3 {
        let bytes = content(path).context(Kind::Source, path.display())?;
        match SiteConfig::parse(&bytes) {
            Ok(config) => return Ok(config),
            Err(e) => last = e,
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    Err(last.in_context(path.display()))
}

/// Reads a file of the site's folder, which the tenant may write: no link is followed, nothing but a file is waited for.
fn content(path: &Path) -> std::io::Result<Vec<u8>> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
    let file = File::options().read(true).custom_flags(flags.cast_signed()).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(std::io::Error::other("is not a file"));
    }
    let mut bytes = Vec::new();
    file.take(CONFIG_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > CONFIG_BYTES {
        return Err(std::io::Error::other("longer than a configuration is"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_that_is_a_link_or_no_file_is_refused_and_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let (mine, other) = (dir.path().join("site_config.json"), dir.path().join("other.json"));
        std::fs::write(&other, r#"{"db_name": "_other"}"#).unwrap();
        std::os::unix::fs::symlink(&other, &mine).unwrap();
        assert!(read(&mine).is_err());
        std::fs::remove_file(&mine).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &mine,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from(0o600),
            0,
        )
        .unwrap();
        assert!(read(&mine).unwrap_err().to_string().contains("is not a file"));
        assert_eq!(read(&other).unwrap().db_name(), Some("_other"));
    }
}
