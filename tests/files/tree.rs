//! Folders to try: what stands in one, and dumps of it taken apart.

use std::collections::{BTreeMap, HashSet};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use lifeboat::component::files::{self, FileIndex, Options};
use lifeboat::component::{Completion, Dump, Piece, SegmentId};
use lifeboat::id::Sha256;
use lifeboat::monitor::Recorder;

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
        let mut taken = self.assemble(dump).await;
        taken.next = next.get().unwrap().clone();
        taken.problems = monitor.problems();
        taken
    }

    async fn assemble(&self, mut dump: Dump) -> Taken {
        let mut taken = Taken::default();
        let mut stream = None;
        let (mut segment, mut after_known) = (Vec::new(), false);
        while let Some(piece) = dump.pieces.recv().await {
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
                Piece::Cut | Piece::End => {
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
