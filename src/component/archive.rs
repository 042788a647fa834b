//! The deterministic tar that `files`, `config` and `certs` are stored as (`docs/format.md`, Streams).
//!
//! Owns headers, order and ends of a tar stream, and small archives as a whole. Promises that the same members give
//! the same bytes, and that a stream that is cut, unsorted or of another dialect is refused. Does not keep user
//! names, hard links, devices or extended attributes.

use std::collections::BTreeMap;
use std::fmt;

use bytes::{Bytes, BytesMut};
use futures::FutureExt;
use tokio::sync::mpsc;

use super::{Completion, Dump, Grain, PIECE_BYTES, Piece, QUEUE_PIECES, Source};
use crate::error::{Context, Error, Kind, Result};

mod entry;
mod reader;

pub use entry::{BLOCK, END_BYTES, Entry, EntryKind, NAME_LIMIT, check_path, padding};
pub use reader::{Reader, read_error};

/// The most that an archive held in memory may add up to, in bytes.
pub const ARCHIVE_BYTES: usize = 64 * 1024 * 1024;

/// A file of a small archive, whole in memory.
#[derive(Clone, PartialEq, Eq)]
pub struct Member {
    /// The permission bits.
    pub mode: u32,
    /// The numeric owner.
    pub uid: u32,
    /// The numeric group.
    pub gid: u32,
    /// The time of the last change, in seconds since 1970; 0 for what was generated.
    pub mtime: i64,
    /// The content; it may hold secrets, so it is never printed.
    pub content: Bytes,
}

impl Member {
    /// Makes a member that was generated: owned by root, mode 0600, no time.
    pub fn generated(content: impl Into<Bytes>) -> Self {
        Member { mode: 0o600, uid: 0, gid: 0, mtime: 0, content: content.into() }
    }
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Member({:o}, {} bytes)", self.mode, self.content.len())
    }
}

/// A few files in memory under unique names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Archive {
    members: BTreeMap<String, Member>,
    size_bytes: usize,
}

impl Archive {
    /// Adds a member; a name twice, or one that is no path below a root, is a [`Kind::Conflict`] or
    /// [`Kind::Damaged`], too much in all [`Kind::Full`].
    pub fn insert(&mut self, name: impl Into<String>, member: Member) -> Result<()> {
        let name = name.into();
        check_path(name.as_bytes())?;
        self.size_bytes += member.content.len();
        if self.size_bytes > ARCHIVE_BYTES {
            return Err(Error::new(
                Kind::Full,
                format!("{name:?} makes the archive larger than {ARCHIVE_BYTES} bytes"),
            ));
        }
        if self.members.contains_key(&name) {
            return Err(Error::new(Kind::Conflict, format!("{name:?} stands twice in the archive")));
        }
        self.members.insert(name, member);
        Ok(())
    }

    /// Returns a member.
    pub fn get(&self, name: &str) -> Option<&Member> {
        self.members.get(name)
    }

    /// Gives a member that is there another content, which is as new as its writing; its mode and owner stay.
    pub fn replace(&mut self, name: &str, content: impl Into<Bytes>) {
        if let Some(member) = self.members.get_mut(name) {
            let content = content.into();
            self.size_bytes = self.size_bytes + content.len() - member.content.len();
            *member = Member { content, mtime: 0, ..member.clone() };
        }
    }

    /// Returns all members by name, sorted.
    pub fn members(&self) -> impl Iterator<Item = (&str, &Member)> {
        self.members.iter().map(|(name, member)| (name.as_str(), member))
    }

    /// Returns the number of members.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Tells whether it has no member.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Returns the tar stream; folders of the members stand before them, with mode 0700.
    pub fn to_tar(&self) -> Result<Bytes> {
        let mut out = BytesMut::new();
        for (path, member) in self.with_folders() {
            let (kind, member) = match member {
                Some(m) => (EntryKind::File { size_bytes: m.content.len() as u64 }, m.clone()),
                None => (EntryKind::Folder, Member { mode: 0o700, ..Member::generated(Bytes::new()) }),
            };
            let Member { mode, uid, gid, mtime, content } = member;
            let entry = Entry { path: path.as_bytes().to_vec(), kind, mode, uid, gid, mtime };
            out.extend_from_slice(&entry.head()?);
            out.extend_from_slice(&content);
            out.resize(out.len() + padding(content.len() as u64), 0);
        }
        out.resize(out.len() + END_BYTES, 0);
        Ok(out.freeze())
    }

    fn with_folders(&self) -> BTreeMap<&str, Option<&Member>> {
        let mut all = BTreeMap::new();
        for (name, member) in &self.members {
            for (at, _) in name.match_indices('/') {
                all.entry(&name[..at]).or_insert(None);
            }
            all.insert(name, Some(member));
        }
        all
    }

    /// Makes the dump of a component that is this archive: one stream `tar` of one segment.
    pub fn into_dump(self, completion: Completion) -> Dump {
        let (sender, pieces) = mpsc::channel(QUEUE_PIECES);
        let sending = tokio::spawn(async move {
            let mut tar = self.to_tar()?;
            let gone = |_| Error::new(Kind::Interrupted, "nobody takes the archive any more");
            sender.send(Piece::Begin { stream: "tar", grain: Grain::Files }).await.map_err(gone)?;
            while !tar.is_empty() {
                let piece = tar.split_to(tar.len().min(PIECE_BYTES));
                sender.send(Piece::Bytes(piece)).await.map_err(gone)?;
            }
            sender.send(Piece::End).await.map_err(gone)
        });
        let completion = async move {
            sending.await.context(Kind::Bug, "archive task")??;
            Ok(completion)
        };
        Dump { pieces, completion: completion.boxed() }
    }

    /// Reads a whole archive; a symbolic link in it, or one larger than [`ARCHIVE_BYTES`], is refused.
    pub async fn read(mut source: Source) -> Result<Archive> {
        use tokio::io::AsyncReadExt;
        let mut tar = Vec::new();
        // Headers and paddings come on top of the contents; twice is more than they ever take.
        let limit = 2 * ARCHIVE_BYTES as u64;
        (&mut source).take(limit).read_to_end(&mut tar).await.map_err(|e| read_error(e, "archive"))?;
        let mut reader = Reader::new(tar.as_slice());
        let mut archive = Archive::default();
        while let Some((entry, _)) = reader.next_entry()? {
            let size_bytes = match &entry.kind {
                EntryKind::Folder => continue,
                EntryKind::File { size_bytes } => usize::try_from(*size_bytes).unwrap_or(usize::MAX),
                EntryKind::Link { .. } => {
                    return Err(Error::new(
                        Kind::Damaged,
                        format!("{:?} is a link in an archive", entry.path_text()),
                    ));
                }
            };
            let mut content = Vec::with_capacity(size_bytes.min(tar.len()));
            let mut buffer = [0; BLOCK];
            while let n @ 1.. = reader.content(&mut buffer)? {
                content.extend_from_slice(&buffer[..n]);
            }
            let Entry { path, mode, uid, gid, mtime, .. } = entry;
            let name = String::from_utf8(path).context(Kind::Damaged, "archive member's name")?;
            archive.insert(name, Member { mode, uid, gid, mtime, content: content.into() })?;
        }
        Ok(archive)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Archive {
        let mut archive = Archive::default();
        archive.insert("site/site_config.json", Member::generated("{}")).unwrap();
        archive
            .insert("containers/db.json", Member { uid: 7, ..Member::generated(vec![7; 700_000]) })
            .unwrap();
        archive
    }

    #[tokio::test]
    async fn a_dumped_archive_is_read_back_equal() {
        let archive = sample();
        let mut dump = archive.clone().into_dump(Completion::default());
        let mut tar = Vec::new();
        let mut ends = 0;
        while let Some(piece) = dump.pieces.recv().await {
            match piece {
                Piece::Bytes(b) => {
                    assert!(b.len() <= PIECE_BYTES);
                    tar.extend_from_slice(&b);
                }
                Piece::End => ends += 1,
                _ => {}
            }
        }
        dump.completion.await.unwrap();
        assert_eq!(ends, 1);
        assert_eq!(tar, archive.to_tar().unwrap());
        assert_eq!(Archive::read(Box::pin(std::io::Cursor::new(tar))).await.unwrap(), archive);
    }

    #[test]
    fn the_order_of_insertion_does_not_show() {
        let mut other = Archive::default();
        for (name, member) in sample().members().collect::<Vec<_>>().into_iter().rev() {
            other.insert(name, member.clone()).unwrap();
        }
        assert_eq!(other.to_tar().unwrap(), sample().to_tar().unwrap());
    }

    #[test]
    fn a_name_is_taken_once_and_stays_below_the_root() {
        let mut archive = sample();
        assert_eq!(
            archive.insert("containers/db.json", Member::generated("")).unwrap_err().kind(),
            Kind::Conflict
        );
        assert!(archive.insert("../x", Member::generated("")).is_err());
    }

    #[test]
    fn contents_do_not_show_in_debug_output() {
        let mut archive = Archive::default();
        archive.insert("a", Member::generated("hunter2")).unwrap();
        assert!(!format!("{archive:?}").contains("hunter2"));
    }
}
