//! Where the host keeps its state, and who works on a tenant now.
//!
//! Owns the layout of the state folder. Nothing in it opens a backup, unless drills run here; all of it but the keys
//! can be lost at the cost of one full upload.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::{Context, Error, Kind, Result};
use crate::id::{HostName, RepositoryId, Sha256, TenantName};

/// The state folder.
#[derive(Debug, Clone)]
pub struct State {
    root: PathBuf,
    /// What is remembered of the store that is worked on lies below this: the root, or `copy/` for the second store.
    memory: PathBuf,
}

/// What a host remembers of the repository it belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Membership {
    /// Which repository.
    pub repository: RepositoryId,
    /// The hash of its `lifeboat.json`.
    pub pin: Sha256,
    /// The recipients of operators that `init` made or was given, besides the configured ones.
    pub operators: Vec<String>,
    /// The recipient of the drill identity, where drills run here.
    pub drill: Option<String>,
    /// The recipients of operators who were removed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<String>,
    /// Whether `init` was told that drills run on another machine.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub drills_elsewhere: bool,
    /// When somebody showed, to this host, that the recovery kit can be read and opens what is sealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kit_confirmed: Option<Timestamp>,
}

/// A pause of a tenant's backups.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hold {
    /// Until when.
    pub until: Timestamp,
    /// Why.
    pub reason: String,
    /// Since when.
    pub since: Timestamp,
}

/// Says that this process works on the tenant, until dropped or the process ends.
#[derive(Debug)]
pub struct TenantLock {
    _file: fs::File,
}

impl State {
    /// Opens the folder, making it (private) when missing.
    pub fn open(root: &Path) -> Result<State> {
        let state = State { root: root.to_owned(), memory: root.to_owned() };
        for dir in [root.to_owned(), state.keys()] {
            make_private_dir(&dir)?;
        }
        Ok(state)
    }

    /// Names the folder without making anything: for whoever only reads in it.
    pub fn peek(root: &Path) -> State {
        State { root: root.to_owned(), memory: root.to_owned() }
    }

    /// Returns the same state, with what is remembered of the second store instead of the first.
    #[must_use]
    pub fn of_copy(&self) -> State {
        State { root: self.root.clone(), memory: self.root.join("copy") }
    }

    /// Tells whether it is the second store that is worked on.
    pub fn is_of_copy(&self) -> bool {
        self.memory != self.root
    }

    /// Returns the folder of what is remembered of the second store, making it when missing.
    pub fn copy_folder(&self) -> Result<PathBuf> {
        let dir = self.root.join("copy");
        make_private_dir(&dir)?;
        Ok(dir)
    }

    /// Returns the folder of keys.
    pub fn keys(&self) -> PathBuf {
        self.root.join("keys")
    }

    /// Returns the path of the host's signing key.
    pub fn host_key(&self) -> PathBuf {
        self.keys().join("host.key")
    }

    /// Returns the path of the signing key that is about to replace the host's.
    pub fn next_host_key(&self) -> PathBuf {
        self.keys().join("host.key.next")
    }

    /// Returns the path of what a new epoch has still to replace.
    pub fn pending_epoch(&self) -> PathBuf {
        self.root.join("epoch.json")
    }

    /// Returns the path of a tenant's dedup key.
    pub fn dedup_key(&self, tenant: &TenantName) -> PathBuf {
        self.keys().join(format!("dedup-{tenant}.key"))
    }

    /// Returns the path of the drill identity made by `init --drills here`.
    pub fn drill_identity(&self) -> PathBuf {
        self.keys().join("drill.age")
    }

    /// Returns the path of what this host knows of who opens which wrap.
    pub fn wraps(&self) -> PathBuf {
        self.root.join("wraps.json")
    }

    /// Returns the path of what the last probe of the store found out.
    pub fn probe(&self) -> PathBuf {
        self.root.join("probe.json")
    }

    /// Returns the path of the hosts' certificates as they were read last.
    pub fn signed_certificates(&self) -> PathBuf {
        self.memory.join("certificates.zst")
    }

    /// Returns a tenant's folder, making it when missing.
    pub fn tenant(&self, tenant: &TenantName) -> Result<PathBuf> {
        State::tenant_in(&self.memory, tenant)
    }

    /// Returns where a tenant's folder is, or would be: for whoever only reads in it.
    pub fn tenant_if_there(&self, tenant: &TenantName) -> PathBuf {
        self.memory.join("tenants").join(tenant.as_str())
    }

    /// Returns where what concerns the tenant itself lies or would lie, whichever store is worked on.
    pub fn root_of(&self, tenant: &TenantName) -> PathBuf {
        self.root.join("tenants").join(tenant.as_str())
    }

    fn tenant_in(folder: &Path, tenant: &TenantName) -> Result<PathBuf> {
        let dir = folder.join("tenants").join(tenant.as_str());
        make_private_dir(&dir)?;
        Ok(dir)
    }

    /// Returns the highest certificate number that was ever seen of each host.
    pub fn certificates(&self) -> Result<BTreeMap<HostName, u32>> {
        Ok(read_json(&self.memory.join("certificates.json"))?.unwrap_or_default())
    }

    /// Remembers the highest certificate number of each host.
    pub fn remember_certificates(&self, highest: &BTreeMap<HostName, u32>) -> Result<()> {
        make_private_dir(&self.memory)?;
        write_json(&self.memory.join("certificates.json"), highest)
    }

    /// Returns the repository this host belongs to, once `init` has run.
    pub fn membership(&self) -> Result<Option<Membership>> {
        read_json(&self.root.join("repository.json"))
    }

    /// Remembers the repository.
    pub fn join(&self, membership: &Membership) -> Result<()> {
        write_json(&self.root.join("repository.json"), membership)
    }

    /// Returns the tenant's hold, if one is in force `now`.
    pub fn hold(&self, tenant: &TenantName, now: Timestamp) -> Result<Option<Hold>> {
        Ok(read_json::<Hold>(&self.root.join("tenants").join(tenant.as_str()).join("hold.json"))?
            .filter(|h| h.until > now))
    }

    /// Sets or ends the tenant's hold.
    pub fn set_hold(&self, tenant: &TenantName, hold: Option<&Hold>) -> Result<()> {
        let path = State::tenant_in(&self.root, tenant)?.join("hold.json");
        match hold {
            Some(h) => write_json(&path, h),
            None => remove(&path),
        }
    }

    /// Takes the tenant for this process; fails at once when another has it.
    pub fn lock(&self, tenant: &TenantName) -> Result<TenantLock> {
        self.lock_file(tenant, "lock")
    }

    /// Takes the tenant for this process to prune, which hinders no backup; fails at once when another has it.
    pub fn prune_lock(&self, tenant: &TenantName) -> Result<TenantLock> {
        self.lock_file(tenant, "prune.lock")
    }

    /// Takes the tenant for this process to copy or repair; fails at once when another has it.
    pub fn copy_lock(&self, tenant: &TenantName) -> Result<TenantLock> {
        self.lock_file(tenant, "copy.lock")
    }

    fn lock_file(&self, tenant: &TenantName, name: &str) -> Result<TenantLock> {
        let path = State::tenant_in(&self.root, tenant)?.join(name);
        let file = fs::File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .context(Kind::Io, path.display())?;
        if crate::lock::exclusive(&file).context(Kind::Io, path.display())? {
            return Ok(TenantLock { _file: file });
        }
        Err(Error::new(Kind::Locked, format!("tenant {tenant}: another lifeboat works on it"))
            .hint("wait for it to end: `ps -C lifeboat -o pid,lstart,args` shows what runs on this host"))
    }
}

/// Makes a folder and its parents, readable by its owner only.
pub fn make_private_dir(dir: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .context(Kind::Io, format_args!("folder {}", dir.display()))
}

/// Writes a file whole or not at all: temp name, fsync, rename, fsync of the folder; owner only.
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<()> {
    let about = || path.display().to_string();
    let (file, dir) = new_beside(path, bytes)?;
    file.as_file().sync_all().context(Kind::Io, about())?;
    file.persist(path).map_err(|e| e.error).context(Kind::Io, about())?;
    fs::File::open(dir).and_then(|d| d.sync_all()).context(Kind::Io, about())
}

/// Writes a file that other processes see whole or not at all, and that a power cut may take or damage; owner only.
pub fn write_passing(path: &Path, bytes: &[u8]) -> Result<()> {
    let (file, _) = new_beside(path, bytes)?;
    file.persist(path).map_err(|e| e.error).context(Kind::Io, path.display()).map(drop)
}

/// Removes from a folder of ours what a writer that was killed had not given its name yet.
pub fn sweep_unfinished(dir: &Path) -> Result<()> {
    let entries = match fs::read_dir(dir) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries.context(Kind::Io, dir.display())?,
    };
    for entry in entries {
        let entry = entry.context(Kind::Io, dir.display())?;
        if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

/// How the name begins of a file that is being written beside its place.
const UNFINISHED: &str = ".new-";

fn new_beside<'a>(path: &'a Path, bytes: &[u8]) -> Result<(tempfile::NamedTempFile, &'a Path)> {
    use std::io::Write;
    // A bare name has an empty parent.
    let dir = path.parent().filter(|d| !d.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file =
        tempfile::Builder::new().prefix(UNFINISHED).tempfile_in(dir).context(Kind::Io, path.display())?;
    file.write_all(bytes).context(Kind::Io, path.display())?;
    Ok((file, dir))
}

/// Reads a file that may be missing.
pub fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e).context(Kind::Io, path.display()),
    }
}

/// Puts a file in the place of another, for good.
pub fn rename(from: &Path, to: &Path) -> Result<()> {
    let dir = to.parent().unwrap_or(Path::new("."));
    fs::rename(from, to).context(Kind::Io, to.display())?;
    fs::File::open(dir).and_then(|d| d.sync_all()).context(Kind::Io, to.display())
}

/// Removes a file that may be missing.
pub fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e).context(Kind::Io, path.display()),
        _ => Ok(()),
    }
}

/// Reads a small JSON file that may be missing.
pub fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    read_if_there(path)?
        .map(|bytes| {
            serde_json::from_slice(&bytes).context(Kind::Io, format_args!("{} is damaged", path.display()))
        })
        .transpose()
}

/// Writes a small JSON file whole or not at all.
pub fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let mut bytes = serde_json::to_vec(value).context(Kind::Bug, path.display())?;
    bytes.push(b'\n');
    write_private(path, &bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_lock_of_a_tenant_is_refused_until_the_first_ends() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(dir.path()).unwrap();
        let tenant = "byrne".parse().unwrap();
        let first = state.lock(&tenant).unwrap();
        assert_eq!(state.lock(&tenant).unwrap_err().kind(), Kind::Locked);
        drop(first);
        state.lock(&tenant).unwrap();
    }

    #[test]
    fn a_hold_ends_by_itself() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(dir.path()).unwrap();
        let tenant: TenantName = "byrne".parse().unwrap();
        let at = |s: i64| Timestamp::from_second(s).unwrap();
        let hold = Hold { until: at(100), reason: "moving".into(), since: at(0) };
        state.set_hold(&tenant, Some(&hold)).unwrap();
        assert_eq!(state.hold(&tenant, at(99)).unwrap(), Some(hold));
        assert_eq!(state.hold(&tenant, at(100)).unwrap(), None);
    }
}
