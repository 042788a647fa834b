//! The component `certs`: certificate files, and a tenant's entries of Traefik's `acme.json`.
//!
//! Promises that modes are kept (keys are 0600), that of a shared `acme.json` only certificates whose domains are all the
//! tenant's leave it, and that putting them back changes nothing else in it. Does not check validity or expiry: an expired
//! certificate comes back expired, and is renewed by whoever renews.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::acme;
use super::archive::{Archive, Member};
use super::config::collect::{Collected, collect};
use super::config::{Item, Staged, stage};
use super::files::OWN_PREFIX;
use super::{Dump, Source};
use crate::error::{Context, Error, Kind, Result};

/// What an operator must be told when an `acme.json` was changed.
pub const TRAEFIK_READS_ONCE: &str =
    "traefik reads acme.json only when it starts, and writes over it: stop it before, or restart it at once";

/// An `acme.json` shared by tenants, and the domains of the tenant in question.
#[derive(Debug, Clone)]
pub struct Acme {
    /// The member's name, such as `acme/traefik.json`.
    pub name: String,
    /// Where the file lies on this host.
    pub path: PathBuf,
    /// The tenant's domains.
    pub domains: Vec<String>,
}

/// Gathers certificate files and entries, and returns them as a dump. To be called within a Tokio runtime.
pub async fn dump(items: Vec<Item>, acmes: Vec<Acme>) -> Result<Dump> {
    let gathering = tokio::task::spawn_blocking(move || {
        let mut collected = collect(items)?;
        for acme in &acmes {
            take(&mut collected, acme)?;
        }
        Ok::<_, Error>(collected)
    });
    let Collected { archive, completion, .. } = gathering.await.context(Kind::Bug, "certs task")??;
    Ok(archive.into_dump(completion))
}

fn take(collected: &mut Collected, acme: &Acme) -> Result<()> {
    let Acme { name, path, domains } = acme;
    // The whole file never enters the archive: it holds other tenants' keys.
    let whole = collect(vec![Item::file(name, path)])?;
    let completion = &mut collected.completion;
    completion.warnings.extend(whole.completion.warnings);
    let entries = match whole.archive.get(name) {
        Some(member) if whole.completion.lacks.is_empty() => acme::entries_of(&member.content, domains),
        _ => {
            completion.lacks.push(name.clone());
            return Ok(());
        }
    }?;
    for domain in &entries.shared {
        completion
            .warnings
            .push(format!("{domain} has a certificate together with others' domains; it is not taken"));
    }
    if entries.count == 0 {
        completion.warnings.push(format!("{} holds no certificate of this tenant", path.display()));
        return Ok(());
    }
    completion.record["places"][name.as_str()] = path.to_string_lossy().into();
    let json = serde_json::to_vec_pretty(&entries.json).context(Kind::Bug, "acme.json")?;
    collected.archive.insert(name, Member::generated(json))
}

/// Reads the members back; files go to their places by [`stage`], entries by [`stage_acme`].
pub async fn load(tar: Source) -> Result<Archive> {
    Archive::read(tar).await
}

/// Writes an `acme.json` with the tenant's entries put in beside the one there, mode 0600 and its owner kept.
///
/// [`Staged::swap`] puts it in its place in one step. See [`TRAEFIK_READS_ONCE`]. From a blocking thread.
pub fn stage_acme(archive: &Archive, acme: &Acme) -> Result<Staged> {
    let Acme { name, path, domains } = acme;
    let entries = archive
        .get(name)
        .ok_or_else(|| Error::new(Kind::NotFound, format!("the backup holds no {name:?}")))?;
    let (there, owner) = read_acme(path)?;
    let content = acme::merge(&there, &entries.content, domains)?;
    let (uid, gid) = owner.unwrap_or((0, 0));
    let mut merged = Archive::default();
    merged.insert(name, Member { uid, gid, ..Member::generated(content) })?;
    stage(&merged, &BTreeMap::from([(name.clone(), path.clone())]))
}

/// A tenant's entries that wait beside an `acme.json`; its fields are to be written down, since they find them again.
///
/// The file is merged only when they take their place, for its owner renews other tenants' certificates meanwhile. Each
/// step may be repeated after a kill. All of it is for a blocking thread.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitingEntries {
    path: PathBuf,
    domains: Vec<String>,
    staged: PathBuf,
    /// Where the entries that are replaced are kept.
    copy: PathBuf,
}

impl WaitingEntries {
    /// Names where entries will wait and what they replace will be kept, below `aside`.
    pub fn of(acme: &Acme, aside: &Path, mark: &str) -> WaitingEntries {
        WaitingEntries {
            path: acme.path.clone(),
            domains: acme.domains.clone(),
            staged: acme.path.with_file_name(format!("{OWN_PREFIX}{mark}-acme")),
            copy: aside.join(&acme.name),
        }
    }

    /// Writes the entries beside the file.
    pub fn write(&self, archive: &Archive, name: &str) -> Result<()> {
        let entries = archive
            .get(name)
            .ok_or_else(|| Error::new(Kind::NotFound, format!("the backup holds no {name:?}")))?;
        put_whole(&self.staged, entries.content.to_vec(), None)
    }

    /// Puts the entries into the file, once those that it has of the tenant are kept.
    pub fn take_place(&self) -> Result<()> {
        let Some(entries) = read_if_there(&self.staged)? else { return Ok(()) };
        let (there, owner) = read_acme(&self.path)?;
        if read_if_there(&self.copy)?.is_none() {
            let old = match there.is_empty() {
                true => b"{}".to_vec(),
                false => serde_json::to_vec(&acme::entries_of(&there, &self.domains)?.json)
                    .context(Kind::Bug, "acme.json")?,
            };
            put_whole(&self.copy, old, None)?;
        }
        put_whole(&self.path, acme::merge(&there, &entries, &self.domains)?, owner)?;
        self.remove_staged()
    }

    /// Puts the tenant's entries back as they were.
    pub fn give_back(&self) -> Result<()> {
        let Some(old) = read_if_there(&self.copy)? else { return Ok(()) };
        let (there, owner) = read_acme(&self.path)?;
        put_whole(&self.path, acme::put_back(&there, &old, &self.domains)?, owner)
    }

    /// Removes what still waits.
    pub fn remove_staged(&self) -> Result<()> {
        remove_if_there(&self.staged)
    }

    /// Removes what was kept.
    pub fn remove_copy(&self) -> Result<()> {
        remove_if_there(&self.copy)
    }
}

fn put_whole(path: &Path, content: Vec<u8>, owner: Option<Owner>) -> Result<()> {
    let (uid, gid) = owner.unwrap_or((0, 0));
    let mut one = Archive::default();
    one.insert("one", Member { uid, gid, ..Member::generated(content) })?;
    let staged = stage(&one, &BTreeMap::from([("one".to_owned(), path.to_owned())]))?;
    staged.persist()
}

fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e).context(Kind::Io, path.display()),
    }
}

fn remove_if_there(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e).context(Kind::Io, path.display()),
        _ => Ok(()),
    }
}

type Owner = (u32, u32);

fn read_acme(path: &Path) -> Result<(Vec<u8>, Option<Owner>)> {
    let what = || format!("acme file {}", path.display());
    match fs::metadata(path) {
        Ok(meta) => Ok((fs::read(path).context(Kind::Io, what())?, Some((meta.uid(), meta.gid())))),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok((Vec::new(), None)),
        Err(e) => Err(Error::new(Kind::Io, what()).caused_by(e)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::super::{Completion, Piece};
    use super::*;

    const ACME: &str = r#"{"le":{"Account":{"PrivateKey":"ACCOUNT"},"Certificates":[
        {"domain":{"main":"erp.byrne.example"},"certificate":"C1","key":"BYRNE","Store":"default"},
        {"domain":{"main":"erp.dickinson.example"},"certificate":"C2","key":"DICKINSON","Store":"default"}]}}"#;

    async fn taken(mut dump: Dump) -> (Archive, Vec<u8>, Completion) {
        let mut tar = Vec::new();
        while let Some(piece) = dump.pieces.recv().await {
            if let Piece::Bytes(bytes) = piece {
                tar.extend_from_slice(&bytes);
            }
        }
        let completion = dump.completion.await.unwrap();
        (load(Box::pin(std::io::Cursor::new(tar.clone()))).await.unwrap(), tar, completion)
    }

    fn acme(root: &Path) -> Acme {
        let (name, domains) = ("acme/traefik.json".to_owned(), vec!["erp.byrne.example".to_owned()]);
        Acme { name, path: root.join("acme.json"), domains }
    }

    #[tokio::test]
    async fn no_other_tenants_key_and_no_account_key_is_in_the_stream() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("acme.json"), ACME).unwrap();
        let (archive, tar, completion) =
            taken(dump(Vec::new(), vec![acme(root.path())]).await.unwrap()).await;
        let text = String::from_utf8_lossy(&tar);
        assert!(text.contains("BYRNE") && !text.contains("DICKINSON") && !text.contains("ACCOUNT"));
        assert!(completion.lacks.is_empty());
        assert_eq!(archive.get("acme/traefik.json").unwrap().mode, 0o600);
    }

    #[tokio::test]
    async fn entries_come_back_into_the_shared_file_with_mode_0600_and_the_old_file_aside() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("acme.json");
        fs::write(&file, ACME).unwrap();
        let (archive, ..) = taken(dump(Vec::new(), vec![acme(root.path())]).await.unwrap()).await;
        let lost = ACME.replace("\"BYRNE\"", "\"OTHER\"");
        fs::write(&file, &lost).unwrap();
        let copies =
            stage_acme(&archive, &acme(root.path())).unwrap().swap(&root.path().join("aside")).unwrap();
        let back: serde_json::Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        assert_eq!(back, serde_json::from_str::<serde_json::Value>(ACME).unwrap());
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o7777, 0o600);
        assert_eq!(fs::read_to_string(&copies[0]).unwrap(), lost);
    }

    #[tokio::test]
    async fn certbots_links_are_followed_and_keys_keep_their_modes() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("live")).unwrap();
        fs::write(root.path().join("key1.pem"), "KEY").unwrap();
        fs::set_permissions(root.path().join("key1.pem"), fs::Permissions::from_mode(0o600)).unwrap();
        symlink("../key1.pem", root.path().join("live/key.pem")).unwrap();
        let items = vec![Item::folder("live", root.path().join("live")).through_links()];
        let (archive, _, completion) = taken(dump(items, Vec::new()).await.unwrap()).await;
        assert!(completion.lacks.is_empty());
        let key = archive.get("live/key.pem").unwrap();
        assert_eq!((key.mode, &key.content[..]), (0o600, &b"KEY"[..]));
    }

    #[tokio::test]
    async fn an_acme_file_that_is_absent_or_torn_lacks() {
        let root = tempfile::tempdir().unwrap();
        let (archive, _, completion) = taken(dump(Vec::new(), vec![acme(root.path())]).await.unwrap()).await;
        assert_eq!((completion.lacks.len(), archive.len()), (1, 0));
        fs::write(root.path().join("acme.json"), &ACME[..200]).unwrap();
        let (archive, _, completion) = taken(dump(Vec::new(), vec![acme(root.path())]).await.unwrap()).await;
        assert_eq!((completion.lacks.len(), archive.len()), (1, 0), "a torn file could hold anybody's key");
    }
}
