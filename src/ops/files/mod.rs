//! `files`: a snapshot's files listed, printed and extracted, without restoring the rest.

mod contents;

use std::path::Path;

use serde::Serialize;

use self::contents::Contents;
use crate::component::Source;
use crate::component::files::{Extraction, Line, Listing, spell};
use crate::error::{Error, Kind, Result};
use crate::id::ComponentName;
use crate::ops::restore::Opened;

/// One entry of a site folder.
#[derive(Debug, Serialize)]
pub struct Listed {
    /// Its path within the site folder.
    pub path: String,
    /// `file`, `folder` or `link`.
    pub kind: &'static str,
    /// Its length in bytes.
    pub size_bytes: u64,
    /// Its permission bits.
    pub mode: u32,
    /// When it was changed last, in seconds since 1970.
    pub mtime: i64,
}

/// Calls `each` for every entry at or below `below`; returns how many there were.
pub async fn list(opened: &Opened, below: &str, mut each: impl FnMut(Listed)) -> Result<u64> {
    let mut n = 0;
    let mut listing = listing(opened)?;
    while let Some(placed) = listing.next().await? {
        let entry = &placed.line.entry;
        if is_below(&entry.path_text(), below) {
            n += 1;
            each(Listed {
                path: entry.path_text(),
                kind: entry.kind.word(),
                size_bytes: entry.size_bytes(),
                mode: entry.mode,
                mtime: entry.mtime,
            });
        }
    }
    none_found(n, below)
}

/// Opens one file's content; its SHA-256 is that of the list, checked by whoever reads it to the end.
pub async fn open(opened: &Opened, path: &str) -> Result<(Line, Source)> {
    let mut listing = listing(opened)?;
    while let Some(placed) = listing.next().await? {
        if placed.line.entry.path_text() == clean(path) {
            let Some(_) = placed.line.sha256 else {
                return Err(
                    Error::new(Kind::Usage, format!("{path} is no file")).hint("`files ls` shows what it is")
                );
            };
            let content = content(opened, &placed.line, placed.offset)?;
            return Ok((placed.line, content));
        }
    }
    Err(missing(path))
}

/// Writes every entry at or below `below` into a folder; returns how many.
pub async fn extract(opened: &Opened, below: &str, to: &Path) -> Result<u64> {
    let mut contents = Contents::of(opened, clean(below).is_empty())?;
    // Made with the first entry: a path that the snapshot lacks must not leave an empty folder.
    let mut extraction = None;
    let mut n = 0;
    let mut listing = listing(opened)?;
    while let Some(placed) = listing.next().await? {
        if !is_below(&placed.line.entry.path_text(), below) {
            continue;
        }
        n += 1;
        let into = match &mut extraction {
            Some(into) => into,
            none => none.insert(Extraction::into(to)?),
        };
        let written = match placed.line.sha256 {
            Some(hash) => contents.write(&placed, hash, into).await,
            None => into.entry(&placed.line, None).await,
        };
        written.map_err(|e| match e.kind() {
            Kind::Conflict => e.hint(format!(
                "nothing in {} is written over: name a new folder, or move what is there away",
                to.display()
            )),
            _ => e,
        })?;
    }
    contents.finish().await?;
    extraction.map_or(Ok(()), Extraction::finish)?;
    none_found(n, below)
}

fn listing(opened: &Opened) -> Result<Listing> {
    Ok(Listing::new(Box::pin(opened.reader.stream(ComponentName::Files, "list")?)))
}

fn content(opened: &Opened, line: &Line, offset: u64) -> Result<Source> {
    Ok(Box::pin(opened.reader.range(ComponentName::Files, "tar", offset, line.entry.size_bytes())?))
}

fn clean(path: &str) -> &str {
    path.trim_start_matches("./").trim_matches('/')
}

fn is_below(path: &str, below: &str) -> bool {
    let below = clean(below);
    below.is_empty() || path.strip_prefix(below).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn none_found(n: u64, below: &str) -> Result<u64> {
    if n == 0 { Err(missing(below)) } else { Ok(n) }
}

fn missing(path: &str) -> Error {
    Error::new(Kind::NotFound, format!("the snapshot has no {:?}", spell(path.as_bytes())))
        .hint("paths are relative to the site folder, as `files ls` prints them")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn below_means_the_path_itself_or_what_lies_in_it() {
        assert!(is_below("private/files/a", "private/files"));
        assert!(is_below("private/files", "/private/files/"));
        assert!(is_below("x", ""));
        assert!(!is_below("private/files2/a", "private/files"));
    }
}
