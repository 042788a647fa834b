//! A part of a tenant that is staged, takes its place, gives it back, or is made final.
//!
//! Owns what each of these means for each kind of part. Every step may be repeated: a kill may have come at any moment of
//! it. A part finds all it needs in its own fields, which stand in the journal: neither snapshot nor identity.

use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::component::certs::WaitingEntries;
use crate::component::config::Waiting;
use crate::component::dns;
use crate::component::files::{self, Parked};
use crate::component::mariadb::{self, Account, Credentials, Server};
use crate::component::redis::{self, Placed};
use crate::error::{Context, Kind, Result};
use crate::host::Docker;

use super::database::undated;
use super::journal::Kept;

/// A part of a tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "part")]
pub enum Part {
    /// The database.
    Database(DatabasePart),
    /// The site's folder.
    Folder {
        /// Where it belongs.
        place: PathBuf,
        /// Names what is staged.
        stamp: String,
        /// Where it waits, once it is whole.
        parked: Option<Parked>,
    },
    /// The site's configuration alone, which names the new database.
    SiteConfig {
        /// Where it waits.
        waiting: PathBuf,
        /// The same once it is whole.
        parked: Option<Parked>,
    },
    /// The job queue.
    Queue {
        /// Its container.
        container: String,
        /// Its data folder on this host.
        folder: PathBuf,
        /// What waits in it, once it is whole.
        placed: Option<Placed>,
    },
    /// Files of the host.
    Settings {
        /// Which: `config` or `certs`, and the same with `-gone` for files that are not there.
        component: String,
        /// Whether they take their places at once: nothing is there, and containers need them.
        at_once: bool,
        /// The files.
        files: Vec<Waiting>,
        /// The tenant's entries of `acme.json`.
        entries: Option<WaitingEntries>,
    },
}

/// A database that is loaded beside the old one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabasePart {
    /// The server's container.
    pub container: String,
    /// The database that the site used until now, if it has tables.
    pub old: Option<String>,
    /// The database that is loaded.
    pub new: String,
    /// Where the tables change places instead of the site's configuration: the name that the old ones move to.
    pub renamed: Option<String>,
    /// Whether the old one is known to be the tenant's own, so that a commit may drop it.
    pub own: bool,
    /// Accounts made for the time of the load.
    pub lent: Vec<Account>,
}

impl DatabasePart {
    /// Returns the server.
    pub fn server(&self, docker: &Docker) -> Server {
        Server {
            docker: docker.clone(),
            container: self.container.clone(),
            credentials: Credentials::Container,
        }
    }

    /// Drops the old database, and the account of its name that an earlier restore made for Frappe 15.
    async fn drop_old(&self, docker: &Docker, old: &str) -> Result<()> {
        let server = self.server(docker);
        mariadb::remove_database(&server, old).await?;
        if undated(old) != old && mariadb::rights_of(&server, old).await? == mariadb::Rights::default() {
            return mariadb::drop_accounts(&server, &[Account::from_anywhere(old)]).await;
        }
        Ok(())
    }

    /// Returns the database that holds the old tables after the switch.
    fn kept(&self) -> Option<&String> {
        self.renamed.as_ref().or(self.old.as_ref())
    }
}

impl Part {
    /// Returns what tells it from the others of the same restore.
    pub fn key(&self) -> &str {
        match self {
            Part::Database(_) => "database",
            Part::Folder { .. } => "folder",
            Part::SiteConfig { .. } => "site-config",
            Part::Queue { .. } => "queue",
            Part::Settings { component, .. } => component,
        }
    }

    /// Tells whether it takes its place before the switch.
    pub fn at_once(&self) -> bool {
        matches!(self, Part::Settings { at_once: true, .. })
    }

    /// Returns the container that must not run while it changes places.
    pub fn stops(&self) -> Option<&str> {
        match self {
            Part::Queue { container, .. } => Some(container),
            _ => None,
        }
    }

    /// Lets it take its place.
    pub async fn take_place(&self, docker: &Docker) -> Result<()> {
        if let Part::Database(part @ DatabasePart { old: Some(old), new, renamed: Some(aside), .. }) = self {
            let server = part.server(docker);
            // Loaded, it holds tables; moved, it is gone.
            if mariadb::has_tables(&server, new).await? {
                mariadb::swap(&server, old, new, aside).await?;
            }
            return Ok(());
        }
        self.on_disk(|part| match part {
            Part::Folder { parked: Some(p), .. } | Part::SiteConfig { parked: Some(p), .. } => p.take_place(),
            Part::Queue { placed: Some(p), .. } => p.take_place().map(drop),
            Part::Settings { files, entries, .. } => {
                files.iter().try_for_each(Waiting::take_place)?;
                entries.iter().try_for_each(WaitingEntries::take_place)
            }
            _ => Ok(()),
        })
        .await
    }

    /// Puts back what was there before; `taken` says that it had taken its place for certain.
    pub async fn give_back(&self, docker: &Docker, taken: bool, now: Timestamp) -> Result<()> {
        if let Part::Database(part @ DatabasePart { old: Some(old), new, renamed: Some(aside), .. }) = self {
            let server = part.server(docker);
            if mariadb::has_tables(&server, aside).await? {
                mariadb::swap(&server, old, aside, new).await?;
            }
            return Ok(());
        }
        self.on_disk(move |part| match part {
            Part::Folder { parked: Some(p), .. } | Part::SiteConfig { parked: Some(p), .. } => {
                p.give_back(taken)
            }
            Part::Queue { placed: Some(p), .. } => p.give_back(),
            Part::Settings { files, entries, .. } => {
                files.iter().try_for_each(|w| give_file_back(w, now))?;
                entries.iter().try_for_each(WaitingEntries::give_back)
            }
            _ => Ok(()),
        })
        .await
    }

    /// Removes what was staged: for a part that has not taken its place, or has given it back.
    pub async fn clear(&self, docker: &Docker) -> Result<()> {
        if let Part::Database(part) = self {
            let server = part.server(docker);
            match part.old {
                Some(_) => mariadb::remove_database(&server, &part.new).await?,
                // Rights on it were there before it was.
                None => mariadb::empty_out(&server, &part.new).await?,
            }
            return mariadb::drop_accounts(&server, &part.lent).await;
        }
        self.on_disk(|part| match part {
            Part::Folder { place, stamp, parked } => {
                parked.iter().try_for_each(Parked::remove)?;
                files::sweep(place, stamp)
            }
            Part::SiteConfig { waiting, parked } => {
                parked.iter().try_for_each(Parked::remove)?;
                crate::ops::state::remove(waiting)
            }
            Part::Queue { folder, .. } => redis::sweep(folder),
            Part::Settings { files, entries, .. } => {
                files.iter().try_for_each(|w| w.remove_staged().and_then(|()| w.remove_copy()))?;
                entries.iter().try_for_each(|w| w.remove_staged().and_then(|()| w.remove_copy()))
            }
            Part::Database(_) => Ok(()),
        })
        .await
    }

    /// Drops what it replaced.
    pub async fn make_final(&self, docker: &Docker) -> Result<()> {
        if let Part::Database(part) = self {
            return match part.kept().filter(|_| part.own) {
                Some(old) => part.drop_old(docker, old).await,
                None => Ok(()),
            };
        }
        self.on_disk(|part| match part {
            Part::Folder { parked: Some(p), .. } | Part::SiteConfig { parked: Some(p), .. } => p.remove(),
            Part::Queue { placed: Some(p), .. } => p.remove_old(),
            Part::Settings { files, entries, .. } => {
                files.iter().try_for_each(Waiting::remove_copy)?;
                entries.iter().try_for_each(WaitingEntries::remove_copy)
            }
            _ => Ok(()),
        })
        .await
    }

    /// Returns what it has replaced and is kept.
    pub async fn keeps(&self, docker: &Docker) -> Result<Vec<Kept>> {
        if let Part::Database(part) = self {
            let Some(name) = part.kept().filter(|_| part.old.is_some()) else { return Ok(Vec::new()) };
            let bytes = mariadb::database_bytes(&part.server(docker), name).await.ok();
            return Ok(vec![Kept { what: format!("database {name} in {}", part.container), bytes }]);
        }
        let part = self.clone();
        let keeping = tokio::task::spawn_blocking(move || match &part {
            Part::Folder { parked: Some(p), .. } if p.replaces => {
                vec![Kept {
                    what: format!("site folder {}", p.waiting.display()),
                    bytes: Some(p.waiting_bytes()),
                }]
            }
            Part::SiteConfig { parked: Some(p), .. } => {
                vec![Kept {
                    what: format!("configuration {}", p.waiting.display()),
                    bytes: Some(p.waiting_bytes()),
                }]
            }
            Part::Queue { placed: Some(p), container, .. } if p.replaced() => {
                vec![Kept { what: format!("the queue's old files in {container}"), bytes: None }]
            }
            Part::Settings { files, .. } => {
                let replaced = files.iter().filter(|w| w.replaced());
                replaced
                    .map(|w| Kept { what: format!("the old {}", w.place.display()), bytes: None })
                    .collect()
            }
            _ => Vec::new(),
        });
        keeping.await.context(Kind::Bug, "looking at what is kept")
    }

    async fn on_disk(&self, work: impl FnOnce(&Part) -> Result<()> + Send + 'static) -> Result<()> {
        let part = self.clone();
        tokio::task::spawn_blocking(move || work(&part)).await.context(Kind::Bug, "files of a restore")?
    }
}

/// Puts a file back; a zone gets a serial above the one that was served meanwhile, for with a lower one no server reads it.
fn give_file_back(waiting: &Waiting, now: Timestamp) -> Result<()> {
    let zone = waiting.name.starts_with("dns/");
    let served = zone.then(|| std::fs::read_to_string(&waiting.place).ok()).flatten();
    waiting.give_back()?;
    let (Some(served), Ok(old)) = (served, std::fs::read_to_string(&waiting.place)) else { return Ok(()) };
    if served == old {
        return Ok(());
    }
    let today = now.to_zoned(jiff::tz::TimeZone::UTC).date();
    let text = dns::put_back(&old, Some(&served), today)?;
    super::files::rewrite(&waiting.place, &waiting.place, text.as_bytes())
}
