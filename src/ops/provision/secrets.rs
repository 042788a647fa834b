//! The step `secrets`: the passwords of a new tenant, and the tenant's file that says where they are.
//!
//! Each password is 192 random bits in a file of its own, 0600, in a folder that only root may enter. Containers get
//! single files, read-only. The tenant's file comes first of all, so that a run that is cut off is a configured tenant.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use async_trait::async_trait;
use secrecy::{ExposeSecret, SecretString};

use super::job::{Job, Order};
use super::journal::Thing;
use super::step::{Standing, Step, StepName};
use crate::config::SecretRef;
use crate::error::{Context, Error, Kind, Result};
use crate::ops::state::{make_private_dir, remove, write_private};

/// A secret of a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secret {
    /// Of the database's `root`.
    DbRoot,
    /// Of the database account by which a replica follows.
    DbReplica,
    /// Of the Redis that caches.
    RedisCache,
    /// Of the Redis that holds jobs.
    RedisQueue,
    /// Of the site's Administrator.
    Administrator,
    /// Of the site's first user.
    FirstUser,
}

impl Secret {
    /// All of them.
    pub const ALL: [Secret; 6] = [
        Secret::DbRoot,
        Secret::DbReplica,
        Secret::RedisCache,
        Secret::RedisQueue,
        Secret::Administrator,
        Secret::FirstUser,
    ];

    /// Returns the name of its file.
    pub fn file(self) -> &'static str {
        match self {
            Secret::DbRoot => "db-root-password",
            Secret::DbReplica => "db-replica-password",
            Secret::RedisCache => "redis-cache-password",
            Secret::RedisQueue => "redis-queue-password",
            Secret::Administrator => "administrator-password",
            Secret::FirstUser => "first-user-password",
        }
    }
}

impl Order {
    /// Reads a secret.
    pub fn secret(&self, secret: Secret) -> Result<SecretString> {
        SecretRef::File(self.secret_path(secret)).resolve()
    }

    fn secret_path(&self, secret: Secret) -> PathBuf {
        self.folder.secrets().join(secret.file())
    }
}

const FILE: &str = "file";
const FOLDER: &str = "folder";
const TENANT_FILE: &str = "tenant-file";

/// What the journal says of the verified snapshot behind which a tenant is being removed.
pub const LAST_SNAPSHOT: &str = "last-snapshot";

/// The step.
#[derive(Debug)]
pub struct Secrets;

#[async_trait]
impl Step for Secrets {
    fn name(&self) -> StepName {
        StepName::Secrets
    }

    fn sentence(&self, order: &Order) -> String {
        let file = if order.file_text.is_some() {
            format!(", and tenants/{}.toml", order.tenant.name)
        } else {
            String::new()
        };
        format!("{} passwords in {}{file}", Secret::ALL.len(), order.folder.secrets().display())
    }

    async fn check(&self, job: &Job) -> Result<Standing> {
        if job.order.file_text.is_some() && !is_written(job)? {
            return Ok(Standing::missing(format!("tenants/{}.toml", job.order.tenant.name)));
        }
        for secret in Secret::ALL {
            let path = job.order.secret_path(secret);
            let about = match fs::metadata(&path) {
                Ok(about) => about,
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                    return Ok(Standing::missing(secret.file()));
                }
                Err(e) => return Err(e).context(Kind::Io, path.display()),
            };
            if about.permissions().mode() & 0o077 != 0 {
                return Ok(Standing::differs(format!("{} may be read by others", path.display())));
            }
        }
        Ok(Standing::Done)
    }

    async fn apply(&self, job: &Job) -> Result<()> {
        write_tenant_file(job).await?;
        for folder in [job.order.folder.root().to_owned(), job.order.folder.secrets()] {
            if !folder.exists() {
                let thing = Thing::new(FOLDER, folder.display().to_string());
                job.make(StepName::Secrets, thing, async { make_private_dir(&folder) }).await?;
            }
        }
        for secret in Secret::ALL {
            let path = job.order.secret_path(secret);
            if path.exists() {
                let only_root = fs::Permissions::from_mode(0o600);
                fs::set_permissions(&path, only_root).context(Kind::Io, path.display())?;
                continue;
            }
            let thing = Thing::new(FILE, path.display().to_string());
            let text = SecretString::from(hex::encode(rand::random::<[u8; 24]>()));
            let write = async { write_private(&path, text.expose_secret().as_bytes()) };
            job.make(StepName::Secrets, thing, write).await?;
        }
        Ok(())
    }

    async fn undo(&self, job: &Job) -> Result<()> {
        let take_back = |thing: Thing| async move {
            let path = PathBuf::from(&thing.name);
            match (thing.kind.as_str(), &thing.was) {
                (FOLDER, _) => remove_empty(&path),
                (LAST_SNAPSHOT, _) => Ok(()),
                (TENANT_FILE, Some(was)) => write_private(&path, was.as_bytes()),
                _ => remove(&path),
            }
        };
        job.unmake(StepName::Secrets, take_back).await
    }
}

fn is_written(job: &Job) -> Result<bool> {
    let path = job.config.tenant_file(&job.order.tenant.name);
    let there = crate::ops::state::read_if_there(&path)?;
    Ok(there.as_deref() == job.order.file_text.as_deref().map(str::as_bytes))
}

async fn write_tenant_file(job: &Job) -> Result<()> {
    let Some(text) = &job.order.file_text else { return Ok(()) };
    if is_written(job)? {
        return Ok(());
    }
    let path = job.config.tenant_file(&job.order.tenant.name);
    let mut thing = Thing::new(TENANT_FILE, path.display().to_string());
    if let Some(was) = crate::ops::state::read_if_there(&path)? {
        thing = thing.instead_of(String::from_utf8_lossy(&was));
    }
    let folder = path.parent().map(ToOwned::to_owned).unwrap_or_default();
    job.make(StepName::Secrets, thing, async {
        fs::create_dir_all(&folder).context(Kind::Io, folder.display())?;
        write_private(&path, text.as_bytes())
    })
    .await
}

/// Removes a folder of ours; what somebody else put there keeps it.
fn remove_empty(path: &std::path::Path) -> Result<()> {
    crate::ops::state::sweep_unfinished(path)?;
    match fs::remove_dir(path) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(e) if e.kind() == std::io::ErrorKind::DirectoryNotEmpty => Err(Error::new(
            Kind::Conflict,
            format!("{} holds files that provisioning did not make", path.display()),
        )
        .hint("take them away, then run it again")),
        Err(e) => Err(e).context(Kind::Io, path.display()),
    }
}
