//! Lines of the list whose file's hash is not there yet: the repository takes it while it cuts the content.
//!
//! Owns their order, which is the walk's. How many wait is bounded by how far the walk may run ahead of the repository.

use std::collections::VecDeque;

use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;

use super::index::Stamp;
use super::list::{Keeping, Kept, Line};
use super::pieces::gone;
use crate::error::{Error, Kind, Result};
use crate::id::Sha256;

/// A content on its way through the repository.
pub(super) struct Hashing {
    /// Its line, without a hash.
    pub line: Line,
    /// What it was when it was read, where that is worth remembering.
    pub stamp: Option<Stamp>,
    /// Told once.
    pub hash: oneshot::Receiver<Sha256>,
}

enum Due {
    Line(Line),
    Content(Hashing),
}

/// The list, and what does not stand in it yet.
pub(super) struct Later {
    list: Keeping,
    due: VecDeque<Due>,
}

/// A content that went through the repository.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reading {
    pub path: Vec<u8>,
    /// As in [`Hashing`].
    pub stamp: Option<Stamp>,
    pub sha256: Sha256,
}

impl Later {
    /// Starts an empty list.
    pub fn new() -> Result<Self> {
        Ok(Later { list: Keeping::new()?, due: VecDeque::new() })
    }

    /// Adds a line that is whole.
    pub fn line(&mut self, line: Line) -> Result<()> {
        if self.due.is_empty() {
            return self.list.push(&line);
        }
        self.due.push_back(Due::Line(line));
        Ok(())
    }

    /// Adds a line that waits for its hash.
    pub fn content(&mut self, content: Hashing) {
        self.due.push_back(Due::Content(content));
    }

    /// Takes up the hashes that have come, without waiting for others.
    pub fn settle(&mut self) -> Result<Vec<Reading>> {
        self.take_up(false)
    }

    /// Waits for all hashes.
    pub fn wait(&mut self) -> Result<Vec<Reading>> {
        self.take_up(true)
    }

    /// Ends the list, in which no line may wait any more.
    pub fn finish(self) -> Result<Kept> {
        if !self.due.is_empty() {
            return Err(Error::new(Kind::Bug, "the list of files ends before its hashes have come"));
        }
        self.list.finish()
    }

    fn take_up(&mut self, wait: bool) -> Result<Vec<Reading>> {
        let mut read = Vec::new();
        while let Some(next) = self.due.pop_front() {
            let Hashing { mut line, stamp, mut hash } = match next {
                Due::Line(line) => {
                    self.list.push(&line)?;
                    continue;
                }
                Due::Content(content) => content,
            };
            let sha256 = if wait {
                hash.blocking_recv().map_err(|_| gone())?
            } else {
                match hash.try_recv() {
                    Ok(sha256) => sha256,
                    Err(TryRecvError::Closed) => return Err(gone()),
                    Err(TryRecvError::Empty) => {
                        self.due.push_front(Due::Content(Hashing { line, stamp, hash }));
                        break;
                    }
                }
            };
            line.sha256 = Some(sha256);
            self.list.push(&line)?;
            read.push(Reading { path: line.entry.path, stamp, sha256 });
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::component::archive::{Entry, EntryKind};

    fn line(path: &[u8]) -> Line {
        let kind = EntryKind::File { size_bytes: 1 };
        let entry = Entry { path: path.to_vec(), kind, mode: 0o644, uid: 0, gid: 0, mtime: 0 };
        Line { entry, sha256: Some(Sha256::of(path)), head_bytes: 512 }
    }

    fn content(path: &[u8], stamp: Option<Stamp>) -> (oneshot::Sender<Sha256>, Hashing) {
        let (hashed, hash) = oneshot::channel();
        (hashed, Hashing { line: Line { sha256: None, ..line(path) }, stamp, hash })
    }

    const STAMP: Stamp = Stamp { size_bytes: 1, mtime_ns: 2, ctime_ns: 3, inode: 4 };

    #[test]
    fn lines_stand_in_the_order_of_the_walk_whenever_their_hashes_come() {
        let mut later = Later::new().unwrap();
        let (first, waits) = content(b"a", Some(STAMP));
        let (second, waits_too) = content(b"c", None);
        later.content(waits);
        later.line(line(b"b")).unwrap();
        later.content(waits_too);
        later.line(line(b"d")).unwrap();
        second.send(Sha256::of(b"c")).unwrap();
        assert!(later.settle().unwrap().is_empty(), "the first has not come");
        first.send(Sha256::of(b"a")).unwrap();
        let reading = |path: &[u8], stamp| Reading { path: path.to_vec(), stamp, sha256: Sha256::of(path) };
        assert_eq!(later.settle().unwrap(), [reading(b"a", Some(STAMP)), reading(b"c", None)]);
        assert!(later.wait().unwrap().is_empty());
        let kept = later.finish().unwrap();
        let mut lines = kept.lines().unwrap();
        for path in [b"a", b"b", b"c", b"d"] {
            assert_eq!(lines.next_line().unwrap(), Some(line(path)));
        }
        assert_eq!(lines.next_line().unwrap(), None);
    }

    #[test]
    fn a_hash_that_never_comes_ends_the_dump() {
        for wait in [false, true] {
            let mut later = Later::new().unwrap();
            let (hashed, waits) = content(b"a", Some(STAMP));
            later.content(waits);
            drop(hashed);
            let failed = if wait { later.wait() } else { later.settle() };
            assert_eq!(failed.unwrap_err().kind(), Kind::Interrupted);
        }
    }
}
