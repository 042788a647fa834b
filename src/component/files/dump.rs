//! From a folder to the streams `tar` and `list`, in one walk.
//!
//! Owns the order of the walk, and what becomes of each entry but a file's content.

use std::io::Read;
use std::os::fd::OwnedFd;

use rustix::io::Errno;

use super::beneath::{self, Found, Look, Step};
use super::census::Census;
use super::index::FileIndex;
use super::later::{Later, Reading};
use super::list::{Kept, Line};
use super::pieces::Pieces;
use super::{Options, Record, Root, Totals, swap};
use crate::component::archive::{END_BYTES, EntryKind, NAME_LIMIT};
use crate::component::{Completion, Grain, PIECE_BYTES, SegmentId};
use crate::error::{Context, Error, Kind, Result};
use crate::id::Sha256;
use crate::monitor::SharedMonitor;

/// How deep folders may lie in each other; each level holds a file descriptor.
const DEPTH_LIMIT: usize = 200;

/// How many names are kept in each list of what lacks or surprises; the rest is counted.
const NAMES_LIMIT: usize = 10_000;

pub(super) const ZEROES: [u8; END_BYTES] = [0; END_BYTES];

/// One walk through a folder.
pub(super) struct Walk<K> {
    pub pieces: Pieces,
    pub options: Options,
    pub index: FileIndex,
    pub knows: K,
    pub monitor: SharedMonitor,
    pub list: Later,
    pub next: FileIndex,
    pub census: Census,
    pub totals: Totals,
    lacks: Names,
    warnings: Names,
}

/// Names up to a bound, then a count.
#[derive(Default)]
struct Names {
    names: Vec<String>,
    more: usize,
}

impl Names {
    fn push(&mut self, name: String) {
        if self.names.len() < NAMES_LIMIT {
            self.names.push(name);
        } else {
            self.more += 1;
        }
    }

    fn finish(mut self) -> Vec<String> {
        if self.more > 0 {
            self.names.push(format!("and {} more", self.more));
        }
        self.names
    }
}

impl<K: Fn(&SegmentId) -> bool> Walk<K> {
    pub fn new(
        pieces: Pieces,
        options: Options,
        index: FileIndex,
        knows: K,
        monitor: SharedMonitor,
    ) -> Result<Self> {
        let (next, lacks, warnings) = (FileIndex::default(), Names::default(), Names::default());
        let (list, totals) = (Later::new()?, Totals::default());
        let census = Census::default();
        Ok(Walk { pieces, options, index, knows, monitor, list, next, census, lacks, warnings, totals })
    }

    /// Walks the whole folder and sends both streams.
    pub fn run(mut self, root: &std::path::Path) -> Result<(Completion, (FileIndex, Census))> {
        let what = || format!("folder {}", root.display());
        if swap::is_unfinished(root) {
            return Err(Error::new(
                Kind::Source,
                format!("{}: a restore was cut off while it took its place", what()),
            )
            .hint("restore it again: that first puts the old content back"));
        }
        let folder = beneath::open_root(root).context(Kind::Source, what())?;
        let look = beneath::look_at_open(&folder).context(Kind::Source, what())?;
        let steps = beneath::steps(&folder).context(Kind::Source, what())?;
        self.pieces.begin("tar", Grain::Files)?;
        self.folder(&folder, steps, &mut Vec::new(), 0)?;
        self.pieces.bytes(&ZEROES)?;
        self.pieces.end()?;
        let read = self.list.wait()?;
        self.remember(read);
        let kept = self.list.finish()?;
        send_list(&mut self.pieces, &kept)?;
        let root = Root { mode: look.mode, uid: look.uid, gid: look.gid, mtime: look.mtime };
        let record =
            serde_json::to_value(Record { root, totals: self.totals }).context(Kind::Bug, "record")?;
        let (lacks, warnings) = (self.lacks.finish(), self.warnings.finish());
        Ok((Completion { lacks, record, warnings }, (self.next, self.census)))
    }

    fn folder(&mut self, folder: &OwnedFd, steps: Vec<Step>, path: &mut Vec<u8>, depth: usize) -> Result<()> {
        let above = path.len();
        // Folders that were taken and not yet gone into; seldom more than one.
        let mut taken: Vec<Vec<u8>> = Vec::new();
        for Step { name } in steps {
            path.truncate(above);
            let (name, into) = name.strip_suffix(b"/").map_or((name.as_slice(), false), |n| (n, true));
            if above > 0 {
                path.push(b'/');
            }
            path.extend_from_slice(name);
            if self.options.excludes.covers(path) {
                continue;
            }
            if !into {
                if self.take(folder, name, path)? == Some(Found::Folder) {
                    taken.push(name.to_vec());
                }
            } else if let Some(at) = taken.iter().position(|t| t == name) {
                taken.swap_remove(at);
                self.descend(folder, name, path, depth)?;
            }
        }
        path.truncate(above);
        for name in taken {
            // Listed as something else, a folder by the time it was taken: its content was not seen.
            self.lack(&[path.as_slice(), b"/", &name].concat(), "became a folder while it was read");
        }
        Ok(())
    }

    fn descend(&mut self, parent: &OwnedFd, name: &[u8], path: &mut Vec<u8>, depth: usize) -> Result<()> {
        if depth == DEPTH_LIMIT {
            self.lack(path, "folders lie too deep in each other");
            return Ok(());
        }
        let opened = beneath::open_folder(parent, name).and_then(|f| Ok((beneath::steps(&f)?, f)));
        match opened {
            Ok((steps, folder)) => self.folder(&folder, steps, path, depth + 1)?,
            // Without its folder nothing of it is there any more.
            Err(Errno::NOENT) => {}
            Err(e) => self.lack(path, &format!("its content could not be read: {e}")),
        }
        Ok(())
    }

    /// Takes one entry; tells what it was, or `None` where it lacks or is not kept.
    fn take(&mut self, parent: &OwnedFd, name: &[u8], path: &[u8]) -> Result<Option<Found>> {
        if path.len() > NAME_LIMIT {
            self.lack(&path[..200], "a path that starts so is too long");
            return Ok(None);
        }
        let look = match beneath::look_at(parent, name) {
            Ok(look) => look,
            Err(e) => {
                self.lack_unless_gone(path, &e);
                return Ok(None);
            }
        };
        match look.found {
            Found::File => self.file(parent, name, path, &look)?,
            Found::Folder => {
                self.totals.folders += 1;
                self.head(&look, path, EntryKind::Folder, None)?;
            }
            Found::Link => match beneath::link_target(parent, name) {
                Ok(target) => {
                    self.totals.links += 1;
                    self.head(&look, path, EntryKind::Link { target }, None)?;
                }
                Err(e) => self.lack_unless_gone(path, &e),
            },
            Found::Other => {
                let text =
                    format!("{} is a socket, FIFO or device and is not kept", String::from_utf8_lossy(path));
                self.monitor.note(&text);
                self.warnings.push(text);
                return Ok(None);
            }
        }
        Ok(Some(look.found))
    }

    pub fn head(&mut self, look: &Look, path: &[u8], kind: EntryKind, sha256: Option<Sha256>) -> Result<()> {
        let entry = look.entry(path, kind);
        let head = entry.head()?;
        self.pieces.bytes(&head)?;
        if let Some(content) = &sha256 {
            self.census.saw(path, content);
        }
        self.list.line(Line { entry, sha256, head_bytes: length(&head) })
    }

    /// Takes up what the repository has hashed meanwhile.
    pub fn settle(&mut self) -> Result<()> {
        let read = self.list.settle()?;
        self.remember(read);
        Ok(())
    }

    fn remember(&mut self, read: Vec<Reading>) {
        for Reading { path, stamp, sha256 } in read {
            self.census.saw(&path, &sha256);
            if let Some(stamp) = stamp {
                self.next.read_in_full(&path, stamp, sha256, self.options.now);
            }
        }
    }

    /// Names what could not be read. What was removed since its folder was listed does not lack: it is a site at work, and
    /// the snapshot is of no single instant.
    pub fn lack_unless_gone(&mut self, path: &[u8], e: &Errno) {
        match *e {
            Errno::NOENT => {
                let name = String::from_utf8_lossy(path);
                self.warnings.push(format!("{name} was removed while its folder was read"));
            }
            _ => self.lack(path, &e.to_string()),
        }
    }

    pub fn lack(&mut self, path: &[u8], why: &str) {
        let name = String::from_utf8_lossy(path).into_owned();
        self.monitor.problem(&Error::new(Kind::Source, format!("file {name:?}: {why}")));
        self.lacks.push(name);
    }
}

pub(super) fn length(head: &[u8]) -> u32 {
    u32::try_from(head.len()).expect("names are bounded, so headers are")
}

fn send_list(pieces: &mut Pieces, kept: &Kept) -> Result<()> {
    pieces.begin("list", Grain::Rows)?;
    let mut text = kept.text()?;
    let mut buffer = vec![0; PIECE_BYTES];
    while let n @ 1.. = text.read(&mut buffer).context(Kind::Bug, "zstd for the list")? {
        pieces.bytes(&buffer[..n])?;
    }
    pieces.end()
}
