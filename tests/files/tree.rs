//! Folders to try: what stands in one, and dumps of it taken apart.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use lifeboat::component::archive::{END_BYTES, Entry, EntryKind, padding};
use lifeboat::component::files::{self, FileIndex, Line, Loaded, Options, Record, Root, Target, Totals};
use lifeboat::component::{Completion, Dump, Piece, SegmentId, Source};
use lifeboat::error::Result;
use lifeboat::id::Sha256;
use lifeboat::monitor::{Recorder, Silent};

/// One entry as the file system shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub kind: &'static str,
    pub mode: u32,
    pub owner: (u32, u32),
    pub mtime: i64,
    /// Content or link target.
    pub body: Sha256,
}

/// Reads a whole folder, the root's own attributes under the empty name.
pub fn see(root: &Path) -> BTreeMap<Vec<u8>, Seen> {
    let mut out = BTreeMap::new();
    let mut todo = vec![PathBuf::new()];
    while let Some(below) = todo.pop() {
        let path = root.join(&below);
        let meta = std::fs::symlink_metadata(&path).unwrap();
        let (kind, body) = if meta.is_dir() {
            todo.extend(std::fs::read_dir(&path).unwrap().map(|e| below.join(e.unwrap().file_name())));
            ("folder", Sha256::of(b""))
        } else if meta.is_symlink() {
            ("link", Sha256::of(std::fs::read_link(&path).unwrap().as_os_str().as_bytes()))
        } else {
            ("file", Sha256::of(&std::fs::read(&path).unwrap()))
        };
        // Linux has no modes for links.
        let mode = if kind == "link" { 0 } else { meta.mode() & 0o7777 };
        let seen = Seen { kind, mode, owner: (meta.uid(), meta.gid()), mtime: meta.mtime(), body };
        out.insert(below.as_os_str().as_bytes().to_vec(), seen);
    }
    out
}

pub fn path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

pub fn source(bytes: &[u8]) -> Source {
    Box::pin(std::io::Cursor::new(bytes.to_vec()))
}

/// Loads what was taken, or made up.
pub async fn load(target: Target, record: Record, list: &[u8], tar: &[u8]) -> Result<Loaded> {
    files::load(target, record, source(list), source(tar), Arc::new(Silent)).await
}

/// An entry with its content, to make tars and lists by hand.
pub fn entry(path: &[u8], kind: EntryKind) -> Entry {
    Entry { path: path.to_vec(), kind, mode: 0o644, uid: 0, gid: 0, mtime: 1_700_000_000 }
}

pub fn file(path: &[u8], content: &'static [u8]) -> (Entry, &'static [u8]) {
    (entry(path, EntryKind::File { size_bytes: content.len() as u64 }), content)
}

pub fn link(path: &[u8], target: &[u8]) -> (Entry, &'static [u8]) {
    (entry(path, EntryKind::Link { target: target.to_vec() }), b"")
}

pub fn folder(path: &[u8]) -> (Entry, &'static [u8]) {
    (Entry { mode: 0o755, ..entry(path, EntryKind::Folder) }, b"")
}

/// The tar of these entries, in the order given.
pub fn tar_of(entries: &[(Entry, &'static [u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (entry, content) in entries {
        out.extend(entry.head().unwrap());
        out.extend_from_slice(content);
        out.resize(out.len() + padding(content.len() as u64), 0);
    }
    out.resize(out.len() + END_BYTES, 0);
    out
}

/// The list that belongs to it.
pub fn list_of(entries: &[(Entry, &'static [u8])]) -> Vec<u8> {
    let line = |(entry, content): &(Entry, &'static [u8])| {
        let sha256 = matches!(entry.kind, EntryKind::File { .. }).then(|| Sha256::of(content));
        let head_bytes = u32::try_from(entry.head().unwrap().len()).unwrap();
        Line { entry: entry.clone(), sha256, head_bytes }.to_json()
    };
    entries.iter().flat_map(line).collect()
}

/// The record that belongs to it.
pub fn record_of(entries: &[(Entry, &'static [u8])]) -> Record {
    let mut totals = Totals::default();
    for (entry, content) in entries {
        match entry.kind {
            EntryKind::File { .. } => totals.files += 1,
            EntryKind::Folder => totals.folders += 1,
            EntryKind::Link { .. } => totals.links += 1,
        }
        totals.bytes += content.len() as u64;
    }
    Record { root: Root { mode: 0o750, uid: 0, gid: 0, mtime: 5 }, totals }
}

/// A time far enough after any file made here for readings to be believed.
pub fn night(n: i64) -> Timestamp {
    Timestamp::from_second(4_000_000_000 + n * 86_400).unwrap()
}

/// What stands in for the repository: segments by content.
#[derive(Clone, Default)]
pub struct Shelf(Arc<Mutex<BTreeMap<Sha256, Vec<u8>>>>);

/// One dump, taken apart.
#[derive(Debug, Default)]
pub struct Taken {
    /// The stream `tar`, known segments put back in.
    pub tar: Vec<u8>,
    pub list: Vec<u8>,
    /// The lengths of the segments of `tar`.
    pub segments: Vec<usize>,
    /// Contents that were passed over.
    pub known: HashSet<Sha256>,
    pub completion: Completion,
    pub next: FileIndex,
    pub problems: Vec<String>,
}

impl Taken {
    pub fn record(&self) -> Record {
        Record::parse(&self.completion.record).unwrap()
    }

    pub fn list_text(&self) -> String {
        String::from_utf8(self.list.clone()).unwrap()
    }
}

impl Shelf {
    fn keep(&self, segment: &[u8]) {
        self.0.lock().unwrap().insert(Sha256::of(segment), segment.to_vec());
    }

    fn knows(&self, segment: &SegmentId) -> bool {
        self.0.lock().unwrap().contains_key(&segment.sha256)
    }

    fn fetch(&self, segment: &SegmentId) -> Vec<u8> {
        let bytes = self.0.lock().unwrap()[&segment.sha256].clone();
        assert_eq!(bytes.len() as u64, segment.size_bytes);
        bytes
    }

    /// Dumps a folder and checks the order of the pieces.
    pub async fn take(&self, root: &Path, options: Options, index: &FileIndex) -> Taken {
        let monitor = Arc::new(Recorder::default());
        let shelf = self.clone();
        let knows = move |s: &SegmentId| shelf.knows(s);
        let (dump, next) = files::dump(root.to_owned(), options, index.clone(), knows, monitor.clone());
        let mut taken = self.assemble(Vec::new(), dump).await;
        taken.next = next.get().unwrap().clone();
        taken.problems = monitor.problems();
        taken
    }

    /// Puts the streams together, `first` being pieces that were already taken.
    pub async fn assemble(&self, first: Vec<Piece>, mut dump: Dump) -> Taken {
        let mut first = first.into_iter();
        let mut taken = Taken::default();
        let mut stream = None;
        let (mut segment, mut after_known) = (Vec::new(), false);
        while let Some(piece) = next(&mut first, &mut dump).await {
            assert!(!after_known || matches!(piece, Piece::Cut), "a known segment stands between cuts");
            after_known = false;
            match piece {
                Piece::Begin { stream: name, .. } => stream = Some(name),
                Piece::Bytes(b) => segment.extend_from_slice(&b),
                Piece::Known(id) => {
                    assert!(segment.is_empty(), "a known segment stands between cuts");
                    segment = self.fetch(&id);
                    taken.known.insert(id.sha256);
                    after_known = true;
                }
                Piece::Cut | Piece::Open { .. } | Piece::Close { .. } | Piece::End => {
                    if let Piece::Close { size_bytes, hashed } = piece {
                        assert_eq!(size_bytes, segment.len() as u64);
                        hashed.send(Sha256::of(&segment)).unwrap();
                    }
                    self.keep(&segment);
                    if stream == Some("tar") {
                        taken.segments.push(segment.len());
                        taken.tar.append(&mut segment);
                    } else {
                        taken.list.append(&mut segment);
                    }
                }
            }
        }
        assert_eq!(stream, Some("list"));
        taken.completion = dump.completion.await.unwrap();
        taken
    }
}

async fn next(first: &mut impl Iterator<Item = Piece>, dump: &mut Dump) -> Option<Piece> {
    match first.next() {
        Some(piece) => Some(piece),
        None => dump.pieces.recv().await,
    }
}
