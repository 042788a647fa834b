//! Listing: a walk over the tree below a prefix.
//!
//! Owns which files are objects. Follows no link.

use std::path::{Path, PathBuf};

use super::{Abandoned, Root, entry, io_error, is_absent};
use crate::error::Result;
use crate::store::{Entry, Key, is_key_part};

/// Lists the objects whose key starts with `prefix`, sorted by key.
pub(super) fn list(root: &Root, prefix: &str, abandoned: &Abandoned) -> Result<Vec<Entry>> {
    let (above, name) = match prefix.rsplit_once('/') {
        // A prefix that no key can have matches nothing, and `..` never reaches the disk.
        Some((above, _)) if !above.split('/').all(is_key_part) => return Ok(Vec::new()),
        Some(split) => split,
        None => ("", prefix),
    };
    let mut found = Vec::new();
    let mut folders: Vec<(PathBuf, String)> = Vec::new();
    // Only the first folder is filtered by name: all that lies deeper has the prefix already.
    let first = if above.is_empty() { String::new() } else { format!("{above}/") };
    let start = root.path.join(above);
    if is_folder(&start)? {
        root.contains(&start)?;
        read_folder(&start, &first, name, &mut folders, &mut found)?;
    }
    while let Some((folder, keys)) = folders.pop() {
        abandoned.check()?;
        read_folder(&folder, &keys, "", &mut folders, &mut found)?;
    }
    found.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(found)
}

fn is_folder(path: &Path) -> Result<bool> {
    match path.metadata() {
        Ok(meta) => Ok(meta.is_dir()),
        Err(e) if is_absent(&e) => Ok(false),
        Err(e) => Err(io_error(e, path.display())),
    }
}

/// Adds the folder's objects to `found` and its folders to `folders`; `keys` is what stands before their names.
fn read_folder(
    folder: &Path,
    keys: &str,
    name_prefix: &str,
    folders: &mut Vec<(PathBuf, String)>,
    found: &mut Vec<Entry>,
) -> Result<()> {
    let items = match std::fs::read_dir(folder) {
        Ok(items) => items,
        // Removed since its parent was read.
        Err(e) if is_absent(&e) => return Ok(()),
        Err(e) => return Err(io_error(e, folder.display())),
    };
    for item in items {
        let item = item.map_err(|e| io_error(e, folder.display()))?;
        let name = item.file_name();
        let Some(name) = name.to_str().filter(|n| is_key_part(n) && n.starts_with(name_prefix)) else {
            continue;
        };
        // Of the item itself, so a link is neither file nor folder here.
        let meta = match item.metadata() {
            Ok(meta) => meta,
            Err(e) if is_absent(&e) => continue,
            Err(e) => return Err(io_error(e, item.path().display())),
        };
        if meta.is_dir() {
            folders.push((item.path(), format!("{keys}{name}/")));
        } else if meta.is_file()
            && let Ok(key) = format!("{keys}{name}").parse::<Key>()
        {
            found.push(entry(key, &meta)?);
        }
    }
    Ok(())
}
