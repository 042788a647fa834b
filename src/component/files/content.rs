//! A file's content on its way into the tar: read, or passed over because the repository knows it.
//!
//! Owns what happens when a file changes under the reader: the tar stays whole, and the file is named as lacking.

use std::fs::File;
use std::io::{Read, Seek};
use std::os::fd::OwnedFd;

use bytes::BytesMut;
use sha2::{Digest, Sha256 as Hasher};

use super::beneath::{self, Look};
use super::dump::{Walk, ZEROES, length};
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
    fn large(&mut self, mut file: File, path: &[u8], look: &Look) -> Result<()> {
        let size_bytes = look.stamp.size_bytes;
        let head = look.entry(path, EntryKind::File { size_bytes });
        let head_bytes = head.head()?;
        self.pieces.bytes(&head_bytes)?;
        self.pieces.open(grain_of(path), size_bytes)?;
        let (sha256, mut fault) = self.stream(&mut file, size_bytes)?;
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
        match fault {
            Some(fault) => self.lack(path, &fault),
            None => self.next.read_in_full(path, look.stamp, sha256, self.options.now),
        }
        self.count(size_bytes);
        self.listed(path, &Line { entry: head, sha256: Some(sha256), head_bytes: length(&head_bytes) })?;
        self.pieces.close(SegmentId { size_bytes, sha256 })?;
        self.pieces.bytes(&ZEROES[..padding(size_bytes)])
    }

    /// Sends `size_bytes` of a file; what it does not give is filled with zeros, and named.
    fn stream(&mut self, file: &mut File, size_bytes: u64) -> Result<(Sha256, Option<String>)> {
        let mut hasher = Hasher::new();
        let mut left = size_bytes;
        let mut fault = file.rewind().err().map(|e| e.to_string());
        while left > 0 {
            let want = usize::try_from(left).unwrap_or(PIECE_BYTES).min(PIECE_BYTES);
            let mut piece = BytesMut::zeroed(want);
            let mut filled = 0;
            while filled < want && fault.is_none() {
                match file.read(&mut piece[filled..]) {
                    Ok(0) => fault = Some("became shorter while it was read".to_owned()),
                    Ok(n) => filled += n,
                    Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                    Err(e) => fault = Some(e.to_string()),
                }
            }
            // A failed read may leave part of its bytes.
            piece[filled..].fill(0);
            hasher.update(&piece);
            left -= want as u64;
            self.pieces.piece(piece.freeze())?;
        }
        Ok((Sha256(hasher.finalize().into()), fault))
    }
}
