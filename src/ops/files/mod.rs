//! `files`: a snapshot's files listed, printed and extracted, without restoring the rest.

mod contents;

use std::path::Path;

use serde::Serialize;

use self::contents::Contents;
use crate::component::Source;
use crate::component::files::{Extraction, Line, Listing, spell_shown, unspell};
use crate::error::{Error, Kind, Result, counted};
use crate::id::ComponentName;
use crate::ops::restore::Opened;

/// One entry of a site folder.
#[derive(Debug, Serialize)]
pub struct Listed {
    /// Its path within the site folder; what is not UTF-8, control characters and `%` are written `%XX`.
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
    let (mut n, wanted) = (0, meant(below));
    let mut listing = listing(opened)?;
    while let Some(placed) = listing.next().await? {
        let entry = &placed.line.entry;
        if is_below(&entry.path, &wanted) {
            n += 1;
            each(Listed {
                path: spell_shown(&entry.path),
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
    let wanted = meant(path);
    let mut listing = listing(opened)?;
    while let Some(placed) = listing.next().await? {
        if placed.line.entry.path == wanted {
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
    // Made with the first entry: a path that the snapshot lacks must not leave an empty folder.
    let mut extraction = None;
    let mut n = 0;
    if let Err(e) = write_all(opened, &meant(below), to, &mut extraction, &mut n).await {
        let is_conflict = e.kind() == Kind::Conflict;
        return Err(match extraction {
            _ if is_conflict => e.hint(format!(
                "nothing in {} is written over: name a new folder, or move what is there away",
                to.display()
            )),
            Some(into) if into.leaves_parts() => e.hint(format!(
                "{} was there: what was written into it until now is left, {} at most",
                to.display(),
                counted(n, "entry")
            )),
            _ => e.hint(format!("nothing of it is left in {}", to.display())),
        });
    }
    extraction.map_or(Ok(()), Extraction::finish)?;
    none_found(n, below)
}

async fn write_all(
    opened: &Opened,
    wanted: &[u8],
    to: &Path,
    extraction: &mut Option<Extraction>,
    n: &mut u64,
) -> Result<()> {
    let mut contents = Contents::of(opened, wanted.is_empty())?;
    let mut listing = listing(opened)?;
    while let Some(placed) = listing.next().await? {
        if !is_below(&placed.line.entry.path, wanted) {
            continue;
        }
        *n += 1;
        let into = match &mut *extraction {
            Some(into) => into,
            none => none.insert(Extraction::into(to)?),
        };
        match placed.line.sha256 {
            Some(hash) => contents.write(&placed, hash, into).await?,
            None => into.entry(&placed.line, None).await?,
        }
    }
    contents.finish().await
}

pub(super) fn listing(opened: &Opened) -> Result<Listing> {
    Ok(Listing::new(Box::pin(opened.reader.stream(ComponentName::Files, "list")?)))
}

fn content(opened: &Opened, line: &Line, offset: u64) -> Result<Source> {
    Ok(Box::pin(opened.reader.range(ComponentName::Files, "tar", offset, line.entry.size_bytes())?))
}

/// Reads a path as `files ls` prints it; one with a `%` that spells no byte is taken as it is.
pub(super) fn meant(path: &str) -> Vec<u8> {
    let path = path.trim_start_matches("./").trim_matches('/');
    unspell(path).unwrap_or_else(|| path.as_bytes().to_vec())
}

pub(super) fn is_below(path: &[u8], below: &[u8]) -> bool {
    below.is_empty() || path.strip_prefix(below).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

fn none_found(n: u64, below: &str) -> Result<u64> {
    if n == 0 { Err(missing(below)) } else { Ok(n) }
}

fn missing(path: &str) -> Error {
    Error::new(Kind::NotFound, format!("the snapshot has no {:?}", spell_shown(&meant(path)))).hint(
        "paths are relative to the site folder, as `files ls` prints them: %XX stands for a byte, %25 for %",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn below_means_the_path_itself_or_what_lies_in_it() {
        let is_below = |path: &str, below: &str| super::is_below(path.as_bytes(), &meant(below));
        assert!(is_below("private/files/a", "private/files"));
        assert!(is_below("private/files", "/private/files/"));
        assert!(is_below("x", ""));
        assert!(!is_below("private/files2/a", "private/files"));
    }

    #[test]
    fn what_is_listed_can_be_asked_for() {
        for name in [&b"a/caf\xe9.pdf"[..], b"50%.pdf", b"a%41", b"new\nline", b"\xc2\x9bx", "ü".as_bytes()]
        {
            let shown = spell_shown(name);
            assert_eq!(meant(&shown), name, "{shown}");
            assert!(!shown.chars().any(char::is_control));
        }
        assert_eq!(spell_shown(b"caf\xe9 50%\n"), "caf%E9 50%25%0A");
        assert_eq!(meant("50%.pdf"), b"50%.pdf");
    }
}
