//! A tenant's name in the platform's DNS: zone files as CoreDNS reads them, and what is served of them.
//!
//! Owns reading a zone as operators write it, adding and removing exactly one tenant's records, the serial that must rise for
//! a change to be served, and the question whether it is. Knows nothing of steps and tenants' files; what is served is the
//! server's word, what is in the file is ours.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::civil::Date;
use tokio::task::spawn_blocking;

use crate::error::{Context, Kind, Result};

mod entries;
mod file;
mod query;
mod zone;

pub use file::{find, place_of_new};
pub use query::{Served, addresses, await_served, look as look_served, serial as served_serial};
pub use zone::{Host, Standing, Zone, next_serial, put_back};

/// A zone of the platform: where its file lies or will, and who serves it.
#[derive(Debug, Clone)]
pub struct Place {
    /// The zone's name.
    pub zone: String,
    /// The folder of zone files.
    pub folder: PathBuf,
    /// The server that reads them.
    pub server: SocketAddr,
}

/// What a change of a zone did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// The file.
    pub path: PathBuf,
    /// Whether the file was made.
    pub made: bool,
    /// Its serial now.
    pub serial: u32,
}

impl Place {
    fn path(&self) -> Result<(PathBuf, bool)> {
        Ok(match find(&self.folder, &self.zone)? {
            Some(path) => (path, true),
            None => (place_of_new(&self.folder, &self.zone), false),
        })
    }

    /// Says how the zone's file stands to a host, and its serial; none where there is no such file.
    pub fn standing(&self, host: &Host) -> Result<Option<(Standing, u32)>> {
        let (path, there) = self.path()?;
        if !there {
            return Ok(None);
        }
        let zone = self.read(&path)?;
        Ok(Some((zone.standing(host), zone.serial())))
    }

    fn read(&self, path: &Path) -> Result<Zone> {
        Zone::read(&self.zone, file::read(path)?).map_err(|e| e.in_context(path.display()))
    }

    /// Returns the file that an [`Place::add`] would change or make.
    pub fn file(&self) -> Result<PathBuf> {
        self.path().map(|(path, _)| path)
    }

    /// Adds a host's records to the zone's file, making the file where there is none; none where all of it is there.
    ///
    /// The serial becomes greater than the file's and the served one's.
    pub async fn add(&self, host: &Host, today: Date) -> Result<Option<Changed>> {
        let served = self.served().await;
        let (place, host) = (self.clone(), host.clone());
        blocking(move || {
            let (path, _) = place.path()?;
            let mut changed = None;
            file::change(&path, |there| {
                let Some((made, serial, text)) = place.with(&host, there, served, today)? else {
                    return Ok(None);
                };
                changed = Some(Changed { path: path.clone(), made, serial });
                Ok(Some(text))
            })?;
            Ok(changed)
        })
        .await
    }

    /// Returns whether the zone is new, its serial and its text with the host; none where the host is there already.
    fn with(
        &self,
        host: &Host,
        there: Option<&str>,
        served: Option<u32>,
        today: Date,
    ) -> Result<Option<(bool, u32, String)>> {
        let Some(text) = there else {
            let serial = next_serial(0, served, today)?;
            let text = Zone::new(&self.zone, host, serial)?.with(host, serial)?;
            return Ok(Some((true, serial, text)));
        };
        let zone = Zone::read(&self.zone, text)?;
        if zone.standing(host) == Standing::There {
            return Ok(None);
        }
        let serial = next_serial(zone.serial(), served, today)?;
        Ok(Some((false, serial, zone.with(host, serial)?)))
    }

    /// Removes a tenant's records; where `made_by_us`, the whole file if nobody added anything to it. Tells whether it changed.
    pub async fn remove(&self, host: &Host, made_by_us: bool, today: Date) -> Result<bool> {
        let served = self.served().await;
        let (place, host) = (self.clone(), host.clone());
        blocking(move || {
            let (path, there) = place.path()?;
            if !there {
                return Ok(false);
            }
            let as_made = |text: &str| {
                let made =
                    |zone: Zone| Zone::new(&place.zone, &host, zone.serial())?.with(&host, zone.serial());
                Zone::read(&place.zone, text).and_then(made).is_ok_and(|made| made == text)
            };
            if made_by_us && file::remove(&path, as_made)? {
                return Ok(true);
            }
            file::change(&path, |text| {
                let zone = Zone::read(&place.zone, text.unwrap_or_default())?;
                zone.without(&host.tenant, next_serial(zone.serial(), served, today)?)
            })
        })
        .await
    }

    /// Waits until the server answers for a host under at least this serial.
    pub async fn await_served(&self, host: &Host, serial: u32, limit: Duration) -> Result<Duration> {
        await_served(self.server, &self.zone, host, serial, limit).await
    }

    /// A server that does not answer now is asked again after the change; the file's serial counts then.
    async fn served(&self) -> Option<u32> {
        served_serial(self.server, &self.zone).await.ok().flatten()
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    spawn_blocking(work).await.context(Kind::Bug, "work on a zone file")?
}
