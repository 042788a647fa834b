//! A file's content on its way into the tar: read, or passed over because the repository knows it.
//!
//! Owns what happens when a file changes under the reader: the tar stays whole, and the file is named as lacking.

use std::fs::File;
use std::os::fd::OwnedFd;

use rustix::buffer::spare_capacity;
use rustix::io::Errno;

use super::beneath::{self, Look};
use super::dump::{Walk, ZEROES, length};
use super::later::Hashing;
use super::list::Line;
use super::settle::settle;
use crate::component::archive::{EntryKind, padding};
use crate::component::{Grain, PIECE_BYTES, SegmentId};
use crate::error::Result;
use crate::id::Sha256;
use crate::monitor::Counter;

/// From this length on a content is a segment of its own: the format's law.
pub const OWN_SEGMENT_BYTES: u64 = 1024 * 1024;

/// A dump among the files changes as a database does: in single rows.
fn grain_of(path: &[u8]) -> Grain {
    if path.to_ascii_lowercase().ends_with(b".sql") { Grain::Rows } else { Grain::Files }
}

impl<K: Fn(&SegmentId) -> bool> Walk<K> {
    /// Takes a file that was seen under this name.
    pub fn file(&mut self, parent: &OwnedFd, name: &[u8], path: &[u8], look: &Look) -> Result<()> {
        if look.stamp.size_bytes >= OWN_SEGMENT_BYTES
            && let Some(segment) = self.index.unchanged(path, &look.stamp, self.options.now)
            && (self.knows)(&segment)
        {
            return self.known(path, look, segment);
        }
        match beneath::open_file(parent, name) {
            // What counts is the length of what was opened, not of what was seen before.
            Ok((file, look)) if look.stamp.size_bytes >= OWN_SEGMENT_BYTES => self.large(file, path, &look),
            Ok((file, look)) => self.small(file, path, look),
            Err(e) => {
                self.lack_unless_gone(path, &e);
                Ok(())
            }
        }
    }

    fn count(&mut self, size_bytes: u64) {
        self.totals.files += 1;
        self.totals.bytes += size_bytes;
        self.monitor.count(Counter::Files, 1);
    }

    fn known(&mut self, path: &[u8], look: &Look, segment: SegmentId) -> Result<()> {
        let size_bytes = segment.size_bytes;
        self.next.carry(path, &self.index);
        self.count(size_bytes);
        self.totals.unread_bytes += size_bytes;
        self.head(look, path, EntryKind::File { size_bytes }, Some(segment.sha256))?;
        self.pieces.cut()?;
        self.pieces.known(segment)?;
        self.pieces.cut()?;
        self.pieces.bytes(&ZEROES[..padding(size_bytes)])
    }

    /// Reads a file of less than [`OWN_SEGMENT_BYTES`] into memory first, so that it can be read again.
    fn small(&mut self, mut file: File, path: &[u8], look: Look) -> Result<()> {
        let small = match settle(&mut file, look, OWN_SEGMENT_BYTES, self.options.must_be_json(path)) {
            Ok(small) if small.look.stamp.size_bytes >= OWN_SEGMENT_BYTES => {
                return self.large(file, path, &small.look);
            }
            Ok(small) => small,
            Err(e) => {
                self.lack(path, &e.to_string());
                return Ok(());
            }
        };
        if let Some(fault) = small.fault {
            self.lack(path, fault);
        }
        let size_bytes = small.content.len() as u64;
        self.count(size_bytes);
        self.head(&small.look, path, EntryKind::File { size_bytes }, Some(Sha256::of(&small.content)))?;
        self.pieces.bytes(&small.content)?;
        self.pieces.bytes(&ZEROES[..padding(size_bytes)])
    }

    /// Streams a content as a segment of its own, of exactly the announced length.
    fn large(&mut self, file: File, path: &[u8], look: &Look) -> Result<()> {
        let size_bytes = look.stamp.size_bytes;
        let head = look.entry(path, EntryKind::File { size_bytes });
        let head_bytes = head.head()?;
        self.pieces.bytes(&head_bytes)?;
        self.pieces.open(grain_of(path), size_bytes)?;
        let mut fault = self.stream(&file, size_bytes)?;
        match beneath::look_at_open(&file) {
            Ok(after) if after.stamp.size_bytes != size_bytes => {
                fault = Some("changed its length while it was read".into())
            }
            Ok(after) if after.stamp.mtime_ns != look.stamp.mtime_ns => {
                fault = Some("changed while it was read".into())
            }
            Ok(_) => {}
            Err(e) => fault = Some(e.to_string()),
        }
        if let Some(fault) = &fault {
            self.lack(path, fault);
        }
        self.count(size_bytes);
        let line = Line { entry: head, sha256: None, head_bytes: length(&head_bytes) };
        let stamp = fault.is_none().then_some(look.stamp);
        let hash = self.pieces.close(size_bytes)?;
        self.list.content(Hashing { line, stamp, hash });
        self.settle()?;
        self.pieces.bytes(&ZEROES[..padding(size_bytes)])
    }

    /// Sends `size_bytes` of a file; what it does not give is filled with zeros, and told.
    fn stream(&mut self, file: &File, size_bytes: u64) -> Result<Option<String>> {
        let mut sent = 0;
        let mut fault = None;
        while sent < size_bytes {
            let want = usize::try_from(size_bytes - sent).unwrap_or(PIECE_BYTES).min(PIECE_BYTES);
            let mut piece = self.pieces.spare.take();
            while piece.len() < want && fault.is_none() {
                // At its place, since a vector may have room for more than was asked for.
                let at = sent + piece.len() as u64;
                match rustix::io::pread(file, spare_capacity(&mut piece), at) {
                    Ok(0) => fault = Some("became shorter while it was read".to_owned()),
                    Ok(_) | Err(Errno::INTR) => {}
                    Err(e) => fault = Some(e.to_string()),
                }
            }
            // Cuts off the one, and fills up what the file did not give.
            piece.resize(want, 0);
            sent += want as u64;
            let piece = self.pieces.spare.lend(piece);
            self.pieces.piece(piece)?;
        }
        Ok(fault)
    }
}
