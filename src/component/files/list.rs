//! The list of a site's files: one JSON line for each entry of the tar, in its order (`docs/format.md`, Streams).
//!
//! Owns the lines, where each content lies in the tar, and a list kept compressed while the tar is on its way.
//! Knows nothing of file systems.

use std::io::{BufRead, BufReader, Read, Write};

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt};

use crate::component::Source;
use crate::component::archive::{Entry, EntryKind, check_path, padding, read_error};
use crate::error::{Context, Error, Kind, Result};
use crate::id::Sha256;

/// The longest line: two names at their limit, each byte of them spelled with six.
const LINE_LIMIT: u64 = 256 * 1024;

/// One line of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The entry as the tar has it.
    pub entry: Entry,
    /// The SHA-256 of the content; of files only.
    pub sha256: Option<Sha256>,
    /// How many header bytes stand before the content.
    pub head_bytes: u32,
}

/// A line, and where its content starts in the tar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// The line.
    pub line: Line,
    /// The first byte of the content, counted from the start of the `tar` stream; its length is the entry's.
    pub offset: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Type {
    File,
    Folder,
    Link,
}

/// A line as it is spelled; the order of the fields is the order in the text.
#[derive(Serialize, Deserialize)]
struct Spelled {
    path: String,
    #[serde(rename = "type")]
    kind: Type,
    mode: u32,
    uid: u32,
    gid: u32,
    mtime: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sha256: Option<Sha256>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    head: u32,
}

impl Line {
    /// Returns the line with its line feed.
    pub fn to_json(&self) -> Vec<u8> {
        let Entry { path, kind, mode, uid, gid, mtime } = &self.entry;
        let (kind, size, target) = match kind {
            EntryKind::File { size_bytes } => (Type::File, Some(*size_bytes), None),
            EntryKind::Folder => (Type::Folder, None, None),
            EntryKind::Link { target } => (Type::Link, None, Some(spell(target))),
        };
        let (mode, uid, gid, mtime) = (*mode, *uid, *gid, *mtime);
        let (path, sha256, head) = (spell(path), self.sha256, self.head_bytes);
        let spelled = Spelled { path, kind, mode, uid, gid, mtime, size, sha256, target, head };
        let mut json = serde_json::to_vec(&spelled).expect("strings and numbers always have a JSON form");
        json.push(b'\n');
        json
    }

    /// Reads a line, with or without its line feed.
    pub fn parse(json: &[u8]) -> Result<Line> {
        let s: Spelled = serde_json::from_slice(json).context(Kind::Damaged, "line of the list of files")?;
        let wrong = |what: &str| Error::new(Kind::Damaged, format!("list of files, {:?}: {what}", s.path));
        let path = unspell(&s.path).ok_or_else(|| wrong("path is misspelled"))?;
        check_path(&path)?;
        let kind = match (s.kind, s.size, &s.target) {
            (Type::File, Some(size_bytes), None) if s.sha256.is_some() => EntryKind::File { size_bytes },
            (Type::Folder, None, None) => EntryKind::Folder,
            (Type::Link, None, Some(t)) => {
                EntryKind::Link { target: unspell(t).ok_or_else(|| wrong("target is misspelled"))? }
            }
            _ => return Err(wrong("fields do not fit its type")),
        };
        let entry = Entry { path, kind, mode: s.mode, uid: s.uid, gid: s.gid, mtime: s.mtime };
        Ok(Line { entry, sha256: s.sha256, head_bytes: s.head })
    }
}

/// Writes bytes that are not UTF-8 as `%XX`, and `%` as `%25`.
pub fn spell(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        out.push_str(&chunk.valid().replace('%', "%25"));
        for b in chunk.invalid() {
            out.push_str(&format!("%{b:02X}"));
        }
    }
    out
}

/// Writes a path for people and programs: as [`spell`], and control characters as `%XX` too, so that [`unspell`] gives back
/// what was meant from what a terminal shows.
pub fn spell_shown(bytes: &[u8]) -> String {
    let spelled = spell(bytes);
    let mut out = String::with_capacity(spelled.len());
    for c in spelled.chars() {
        match c.is_control() {
            true => c.to_string().bytes().for_each(|b| out.push_str(&format!("%{b:02X}"))),
            false => out.push(c),
        }
    }
    out
}

/// Reads what [`spell`] wrote; `None` where a `%` is not followed by two hex digits.
pub fn unspell(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        if *first == b'%' {
            let mut byte = [0];
            hex::decode_to_slice(tail.get(..2)?, &mut byte).ok()?;
            out.push(byte[0]);
            rest = &tail[2..];
        } else {
            out.push(*first);
            rest = tail;
        }
    }
    Some(out)
}

/// Adds up where contents lie; feed it each line in order.
#[derive(Debug, Clone, Copy, Default)]
pub struct Offsets {
    at: u64,
}

impl Offsets {
    /// Returns where this line's content starts, and goes on to the next line.
    pub fn place(&mut self, line: &Line) -> Result<u64> {
        let size = line.entry.size_bytes();
        let start = self.at.checked_add(u64::from(line.head_bytes));
        let end = start.and_then(|s| s.checked_add(size)).and_then(|s| s.checked_add(padding(size) as u64));
        self.at = end.ok_or_else(|| Error::new(Kind::Damaged, "list of files adds up to too much"))?;
        Ok(start.expect("the end is not less than the start"))
    }
}

/// The lines of a `list` stream as they come from the repository, each with its place in the tar.
pub struct Listing {
    source: tokio::io::BufReader<Source>,
    offsets: Offsets,
    last_path: Vec<u8>,
}

impl Listing {
    /// Reads the stream `list` from its first byte.
    pub fn new(source: Source) -> Self {
        let source = tokio::io::BufReader::with_capacity(64 * 1024, source);
        Listing { source, offsets: Offsets::default(), last_path: Vec::new() }
    }

    /// Returns the next line, or `None` at the stream's checked end.
    pub async fn next(&mut self) -> Result<Option<Placed>> {
        let mut json = Vec::new();
        let mut bounded = (&mut self.source).take(LINE_LIMIT);
        let n = bounded.read_until(b'\n', &mut json).await.map_err(|e| read_error(e, "list of files"))?;
        if n == 0 {
            return Ok(None);
        }
        let line = finished(&json)?;
        if line.entry.path <= self.last_path {
            let what = format!("list of files is out of order at {:?}", line.entry.path_text());
            return Err(Error::new(Kind::Damaged, what));
        }
        self.last_path.clone_from(&line.entry.path);
        let offset = self.offsets.place(&line)?;
        Ok(Some(Placed { line, offset }))
    }
}

/// Finds one path in a `list` stream; reads to its end, so that its digest is checked.
pub async fn locate(list: Source, path: &[u8]) -> Result<Option<Placed>> {
    let mut listing = Listing::new(list);
    let mut found = None;
    while let Some(placed) = listing.next().await? {
        if placed.line.entry.path == path {
            found = Some(placed);
        }
    }
    Ok(found)
}

fn finished(json: &[u8]) -> Result<Line> {
    if json.last() != Some(&b'\n') {
        return Err(Error::new(Kind::Damaged, "list of files ends inside a line, or a line is too long"));
    }
    Line::parse(json)
}

/// A list on its way into memory, compressed: about forty bytes a file, most of them its hash.
pub(super) struct Keeping {
    encoder: zstd::stream::write::Encoder<'static, Vec<u8>>,
}

impl Keeping {
    /// Starts an empty list.
    pub fn new() -> Result<Self> {
        let encoder =
            zstd::stream::write::Encoder::new(Vec::new(), 3).context(Kind::Bug, "zstd for the list")?;
        Ok(Keeping { encoder })
    }

    /// Adds a line.
    pub fn push(&mut self, line: &Line) -> Result<()> {
        self.encoder.write_all(&line.to_json()).context(Kind::Bug, "zstd for the list")
    }

    /// Reads a whole `list` stream from a blocking thread, checking each line.
    pub fn read(source: impl Read) -> Result<Kept> {
        let mut keeping = Keeping::new()?;
        let mut lines = Lines { source: BufReader::with_capacity(64 * 1024, source) };
        while let Some(line) = lines.next_line()? {
            keeping.push(&line)?;
        }
        keeping.finish()
    }

    /// Ends the list.
    pub fn finish(self) -> Result<Kept> {
        Ok(Kept { compressed: self.encoder.finish().context(Kind::Bug, "zstd for the list")? })
    }
}

/// A whole list in memory, compressed.
pub(super) struct Kept {
    compressed: Vec<u8>,
}

impl Kept {
    /// Returns its text from the start.
    pub fn text(&self) -> Result<impl Read + '_> {
        zstd::stream::read::Decoder::new(self.compressed.as_slice()).context(Kind::Bug, "zstd for the list")
    }

    /// Returns its lines from the first.
    pub fn lines(&self) -> Result<Lines<impl BufRead + '_>> {
        Ok(Lines { source: BufReader::with_capacity(64 * 1024, self.text()?) })
    }
}

/// Lines one after the other, on a blocking thread.
pub(super) struct Lines<R> {
    source: R,
}

impl<R: BufRead> Lines<R> {
    /// Returns the next line, or `None` at the end.
    pub fn next_line(&mut self) -> Result<Option<Line>> {
        let mut json = Vec::new();
        let mut bounded = (&mut self.source).take(LINE_LIMIT);
        match bounded.read_until(b'\n', &mut json).map_err(|e| read_error(e, "list of files"))? {
            0 => Ok(None),
            _ => finished(&json).map(Some),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(path: &[u8], kind: EntryKind) -> Line {
        let sha256 = matches!(kind, EntryKind::File { .. }).then(|| Sha256::of(path));
        let entry = Entry { path: path.to_vec(), kind, mode: 0o644, uid: 1000, gid: 1000, mtime: -1 };
        let head_bytes = u32::try_from(entry.head().unwrap().len()).unwrap();
        Line { entry, sha256, head_bytes }
    }

    #[test]
    fn a_line_reads_as_the_format_says() {
        let folder = line(b"public/50%", EntryKind::Folder);
        let expected = r#"{"path":"public/50%25","type":"folder","mode":420,"uid":1000,"gid":1000,"mtime":-1,"head":512}"#;
        assert_eq!(folder.to_json(), format!("{expected}\n").into_bytes());
    }

    #[test]
    fn every_byte_of_a_name_survives() {
        let all: Vec<u8> = (1..=255).filter(|b| *b != b'/').collect();
        assert_eq!(unspell(&spell(&all)).unwrap(), all);
        for kind in [EntryKind::Link { target: all.clone() }, EntryKind::File { size_bytes: u64::MAX }] {
            let line = line(&all, kind);
            assert_eq!(Line::parse(&line.to_json()).unwrap(), line);
        }
        assert_eq!(unspell("%4"), None);
        assert_eq!(unspell("%zz"), None);
    }

    #[test]
    fn a_line_whose_fields_do_not_fit_is_damaged() {
        for bad in [
            r#"{"path":"../x","type":"folder","mode":1,"uid":0,"gid":0,"mtime":0,"head":512}"#,
            r#"{"path":"x","type":"file","mode":1,"uid":0,"gid":0,"mtime":0,"size":3,"head":512}"#,
            r#"{"path":"x","type":"link","mode":1,"uid":0,"gid":0,"mtime":0,"head":512}"#,
            r#"{"path":"x","type":"device","mode":1,"uid":0,"gid":0,"mtime":0,"head":512}"#,
        ] {
            assert_eq!(Line::parse(bad.as_bytes()).unwrap_err().kind(), Kind::Damaged, "{bad}");
        }
    }

    #[tokio::test]
    async fn a_content_is_found_by_adding_up() {
        let lines = [
            line(b"a", EntryKind::Folder),
            line(b"a/b", EntryKind::File { size_bytes: 513 }),
            line(&[b'c'; 101], EntryKind::File { size_bytes: 512 }),
            line(b"d", EntryKind::File { size_bytes: 9 }),
        ];
        let text: Vec<u8> = lines.iter().flat_map(Line::to_json).collect();
        let at = async |path: &[u8]| {
            let list: Source = Box::pin(std::io::Cursor::new(text.clone()));
            locate(list, path).await.unwrap().map(|p| p.offset)
        };
        assert_eq!(at(b"a/b").await, Some(1024));
        assert_eq!(at(&[b'c'; 101]).await, Some(1024 + 1024 + 3 * 512));
        assert_eq!(at(b"d").await, Some(1024 + 1024 + 3 * 512 + 512 + 512));
        assert_eq!(at(b"e").await, None);
    }

    #[tokio::test]
    async fn a_list_that_is_cut_or_unsorted_is_damaged() {
        let (a, b) = (line(b"a", EntryKind::Folder).to_json(), line(b"b", EntryKind::Folder).to_json());
        for bad in [[b.as_slice(), &a].concat(), a[..a.len() - 1].to_vec(), [a.as_slice(), &a].concat()] {
            let list: Source = Box::pin(std::io::Cursor::new(bad));
            assert_eq!(locate(list, b"a").await.unwrap_err().kind(), Kind::Damaged);
        }
    }

    #[test]
    fn a_kept_list_gives_its_lines_back_and_takes_little() {
        let mut keeping = Keeping::new().unwrap();
        let lines: Vec<Line> = (0..5000)
            .map(|n| {
                line(
                    format!("private/files/invoice-{n:06}.pdf").as_bytes(),
                    EntryKind::File { size_bytes: n },
                )
            })
            .collect();
        lines.iter().for_each(|l| keeping.push(l).unwrap());
        let kept = keeping.finish().unwrap();
        assert!(kept.compressed.len() < 60 * lines.len(), "{} bytes", kept.compressed.len());
        let mut back = kept.lines().unwrap();
        for line in lines {
            assert_eq!(back.next_line().unwrap(), Some(line));
        }
        assert_eq!(back.next_line().unwrap(), None);
    }
}
