//! Files and generated texts under stable names, gathered into a small archive.
//!
//! Owns what may be missing and what must not. A file that is written while it is read is read again.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use rustix::fs::OFlags;
use serde::Deserialize;
use serde_json::Value;

use crate::component::Completion;
use crate::component::archive::{Archive, Member};
use crate::component::files::OWN_PREFIX;
use crate::component::files::beneath::{Found, look_at_open};
use crate::component::files::settle::{Settled, settle};
use crate::error::{Context, Kind, Result};

/// The most that one file may hold, in bytes: what is larger is no configuration.
const FILE_LIMIT_BYTES: u64 = 16 * 1024 * 1024;

/// How deep a folder is gone into.
const DEPTH_LIMIT: usize = 16;

/// One thing to take, and its name in the archive.
#[derive(Debug, Clone)]
pub struct Item {
    name: String,
    origin: Origin,
    optional: bool,
    through_links: bool,
}

#[derive(Debug, Clone)]
enum Origin {
    File(PathBuf),
    Folder(PathBuf),
    Generated(Member),
    Missing(String),
}

impl Item {
    fn new(name: impl Into<String>, origin: Origin) -> Self {
        Item { name: name.into(), origin, optional: false, through_links: false }
    }

    /// A file of this host; where its name ends in `.json`, it must parse as an object.
    pub fn file(name: impl Into<String>, path: impl Into<PathBuf>) -> Self {
        Self::new(name, Origin::File(path.into()))
    }

    /// All files below a folder of this host, each as `<name>/<path below it>`.
    pub fn folder(name: impl Into<String>, path: impl Into<PathBuf>) -> Self {
        Self::new(name, Origin::Folder(path.into()))
    }

    /// A JSON value, spelled the same for equal values.
    pub fn json(name: impl Into<String>, value: &Value) -> Self {
        let mut text = format!("{:#}", sorted(value));
        text.push('\n');
        Self::text(name, text)
    }

    /// A text as it is.
    pub fn text(name: impl Into<String>, text: impl Into<Bytes>) -> Self {
        Self::new(name, Origin::Generated(Member::generated(text)))
    }

    /// Something that should be there and could not be had, and why.
    pub fn missing(name: impl Into<String>, why: impl Into<String>) -> Self {
        Self::new(name, Origin::Missing(why.into()))
    }

    /// Its absence is a warning, not a lack.
    #[must_use]
    pub fn optional(mut self) -> Self {
        self.optional = true;
        self
    }

    /// Symbolic links are followed, as in the folders that certbot keeps; not for what a tenant can write to.
    #[must_use]
    pub fn through_links(mut self) -> Self {
        self.through_links = true;
        self
    }
}

/// Objects in the order of their keys, whatever map the value was made from.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            Value::Object(entries.into_iter().map(|(k, v)| (k.clone(), sorted(v))).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(sorted).collect()),
        other => other.clone(),
    }
}

/// What was gathered; its completion's record holds `places`, the host path of each member that had one.
pub(in crate::component) struct Collected {
    pub archive: Archive,
    pub completion: Completion,
    places: serde_json::Map<String, Value>,
}

/// Gathers the items on a blocking thread.
pub(in crate::component) fn collect(items: Vec<Item>) -> Result<Collected> {
    let (archive, completion, places) = Default::default();
    let mut collected = Collected { archive, completion, places };
    for item in items {
        match &item.origin {
            Origin::Generated(member) => collected.archive.insert(&item.name, member.clone())?,
            Origin::File(path) => collected.file(&item, &item.name, path)?,
            Origin::Folder(path) => collected.folder(&item, &item.name, path, 0)?,
            Origin::Missing(why) => {
                collected.lack(&item.name, &format!("{}: {why}", item.name), item.optional)
            }
        }
    }
    let places = Value::Object(std::mem::take(&mut collected.places));
    collected.completion.record = serde_json::json!({"places": places});
    Ok(collected)
}

impl Collected {
    fn file(&mut self, item: &Item, name: &str, path: &Path) -> Result<()> {
        match read(path, item.through_links, name.ends_with(".json")) {
            Ok((member, fault)) => {
                if let Some(fault) = fault {
                    self.completion.warnings.push(format!("{} {fault}", path.display()));
                    self.completion.lacks.push(name.to_owned());
                }
                self.places.insert(name.to_owned(), path.to_string_lossy().into());
                self.archive.insert(name, member)
            }
            Err(e) => {
                self.missing(item, name, path, &e);
                Ok(())
            }
        }
    }

    fn folder(&mut self, item: &Item, name: &str, path: &Path, depth: usize) -> Result<()> {
        let listed = std::fs::read_dir(path).and_then(Iterator::collect::<std::io::Result<Vec<_>>>);
        let mut entries = match listed {
            Ok(entries) if depth < DEPTH_LIMIT => entries,
            Ok(_) => {
                self.missing(item, name, path, &std::io::Error::other("folders lie too deep in each other"));
                return Ok(());
            }
            Err(e) => {
                self.missing(item, name, path, &e);
                return Ok(());
            }
        };
        entries.sort_by_key(std::fs::DirEntry::file_name);
        for entry in entries {
            let Ok(last) = entry.file_name().into_string() else {
                self.completion.lacks.push(format!("{name}/{}", entry.file_name().to_string_lossy()));
                continue;
            };
            if last.starts_with(OWN_PREFIX) {
                continue;
            }
            let (name, path) = (format!("{name}/{last}"), entry.path());
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => self.folder(item, &name, &path, depth + 1)?,
                Ok(kind) if kind.is_file() || (kind.is_symlink() && item.through_links) => {
                    self.file(item, &name, &path)?;
                }
                _ => {
                    self.completion.warnings.push(format!("{} is not a file and is not kept", path.display()))
                }
            }
        }
        Ok(())
    }

    fn missing(&mut self, item: &Item, name: &str, path: &Path, e: &std::io::Error) {
        let absent = e.kind() == std::io::ErrorKind::NotFound;
        let why = format!("{}: {e}", path.display());
        self.lack(name, &why, absent && item.optional);
    }

    fn lack(&mut self, name: &str, why: &str, optional: bool) {
        self.completion.warnings.push(why.to_owned());
        if !optional {
            self.completion.lacks.push(name.to_owned());
        }
    }
}

fn read(path: &Path, through_links: bool, json: bool) -> std::io::Result<(Member, Option<&'static str>)> {
    let links = if through_links { OFlags::empty() } else { OFlags::NOFOLLOW };
    // A FIFO in a file's place must not hold up the night.
    let flags = i32::try_from((OFlags::NONBLOCK | links).bits()).expect("open flags are small");
    let mut file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let look = look_at_open(&file)?;
    if look.found != Found::File {
        return Err(std::io::Error::other("is not a file"));
    }
    let Settled { content, look, fault } = settle(&mut file, look, FILE_LIMIT_BYTES, json)?;
    if look.stamp.size_bytes >= FILE_LIMIT_BYTES {
        return Err(std::io::Error::other("is too large for a configuration file"));
    }
    let (mode, uid, gid, mtime) = (look.mode, look.uid, look.gid, look.mtime);
    Ok((Member { mode, uid, gid, mtime, content: content.into() }, fault))
}

/// Returns where each member lay when it was backed up, from the component's record.
pub fn places(record: &Value) -> Result<BTreeMap<String, PathBuf>> {
    let places = record.get("places").unwrap_or(&Value::Null);
    BTreeMap::deserialize(places).context(Kind::Damaged, "places in the record of a component")
}
