//! One entry of a tar stream: what is kept of it, and its header bytes.
//!
//! Owns the header's encoding and the rule for names. Knows nothing of contents or of file systems.
//! Format: POSIX ustar headers, names of more than 100 bytes in GNU `L` and `K` entries before them, numbers too
//! large for their octal field in GNU base 256 (GNU tar manual, "Basic Tar Format").

use tar::{EntryType, Header};

use crate::error::{Context, Error, Kind, Result};

/// The unit of a tar stream, in bytes: headers fill blocks, contents are padded to them.
pub const BLOCK: usize = 512;

/// How many zero bytes end a tar stream.
pub const END_BYTES: usize = 2 * BLOCK;

/// The longest path or link target, in bytes; four times what Linux resolves in one call.
pub const NAME_LIMIT: usize = 16 * 1024;

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file with a content of this many bytes.
    File {
        /// Its length.
        size_bytes: u64,
    },
    /// A folder.
    Folder,
    /// A symbolic link with this text.
    Link {
        /// The text, kept as it is; nothing is ever written through it.
        target: Vec<u8>,
    },
}

impl EntryKind {
    /// Returns the word for it in lists.
    pub fn word(&self) -> &'static str {
        match self {
            EntryKind::File { .. } => "file",
            EntryKind::Folder => "folder",
            EntryKind::Link { .. } => "link",
        }
    }
}

/// An entry of a tar stream without its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The path below the root: parts joined by `/`, none of them empty, `.` or `..`.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: EntryKind,
    /// The permission bits, at most `0o7777`.
    pub mode: u32,
    /// The numeric owner.
    pub uid: u32,
    /// The numeric group.
    pub gid: u32,
    /// The time of the last change of its content, in seconds since 1970.
    pub mtime: i64,
}

impl Entry {
    /// Returns the length of the content; 0 for all but files.
    pub fn size_bytes(&self) -> u64 {
        match self.kind {
            EntryKind::File { size_bytes } => size_bytes,
            _ => 0,
        }
    }

    /// Returns the path for people, with what is not UTF-8 replaced.
    pub fn path_text(&self) -> String {
        String::from_utf8_lossy(&self.path).into_owned()
    }

    /// Returns the header bytes that stand before the content, a multiple of [`BLOCK`].
    pub fn head(&self) -> Result<Vec<u8>> {
        check_path(&self.path)?;
        let mut out = Vec::with_capacity(BLOCK);
        long_name(&mut out, b'L', &self.path);
        let mut header = Header::new_ustar();
        fill(&mut header.as_old_mut().name, &self.path);
        let kind = match &self.kind {
            EntryKind::File { .. } => EntryType::Regular,
            EntryKind::Folder => EntryType::Directory,
            EntryKind::Link { target } => {
                check_target(&self.path, target)?;
                long_name(&mut out, b'K', target);
                fill(&mut header.as_old_mut().linkname, target);
                EntryType::Symlink
            }
        };
        header.set_entry_type(kind);
        header.set_mode(self.mode & 0o7777);
        header.set_uid(u64::from(self.uid));
        header.set_gid(u64::from(self.gid));
        header.set_size(self.size_bytes());
        set_mtime(&mut header, self.mtime);
        header.set_cksum();
        out.extend_from_slice(header.as_bytes());
        Ok(out)
    }

    /// Reads a header block whose long names, where it had any, were read before it.
    pub(super) fn parse(
        header: &Header,
        long_path: Option<Vec<u8>>,
        long_target: Option<Vec<u8>>,
    ) -> Result<Entry> {
        let path = long_path.unwrap_or_else(|| until_nul(&header.as_old().name).to_vec());
        check_path(&path)?;
        let named = || String::from_utf8_lossy(&path).into_owned();
        let number = |n: std::io::Result<u64>, field: &str| {
            let n = n.context(Kind::Damaged, format!("tar entry {:?}: {field}", named()))?;
            u32::try_from(n).context(Kind::Damaged, format!("tar entry {:?}: {field}", named()))
        };
        let size_bytes =
            header.entry_size().context(Kind::Damaged, format!("tar entry {:?}: size", named()))?;
        let kind = match header.entry_type() {
            EntryType::Regular => EntryKind::File { size_bytes },
            EntryType::Directory => EntryKind::Folder,
            EntryType::Symlink => {
                let target = long_target.unwrap_or_else(|| until_nul(&header.as_old().linkname).to_vec());
                check_target(&path, &target)?;
                EntryKind::Link { target }
            }
            other => {
                let what = format!("tar entry {:?} is of a kind that is never stored: {other:?}", named());
                return Err(Error::new(Kind::Damaged, what));
            }
        };
        if size_bytes != 0 && !matches!(kind, EntryKind::File { .. }) {
            return Err(Error::new(
                Kind::Damaged,
                format!("tar entry {:?} has a content, but is no file", named()),
            ));
        }
        let mode = number(header.mode().map(u64::from), "mode")? & 0o7777;
        let (uid, gid) = (number(header.uid(), "owner")?, number(header.gid(), "group")?);
        let mtime = mtime(header).context(Kind::Damaged, format!("tar entry {:?}: time", named()))?;
        Ok(Entry { path, kind, mode, uid, gid, mtime })
    }
}

/// Returns how many zero bytes follow a content of this length.
pub fn padding(size_bytes: u64) -> usize {
    let over = usize::try_from(size_bytes % BLOCK as u64).expect("a remainder by 512 fits");
    (BLOCK - over) % BLOCK
}

/// Refuses a path that could leave its root or that the format does not allow.
pub fn check_path(path: &[u8]) -> Result<()> {
    let part_is_good = |p: &[u8]| !matches!(p, b"" | b"." | b"..") && !p.contains(&0);
    if path.len() <= NAME_LIMIT && path.split(|b| *b == b'/').all(part_is_good) {
        return Ok(());
    }
    let shown = String::from_utf8_lossy(&path[..path.len().min(200)]).into_owned();
    Err(Error::new(Kind::Damaged, format!("{shown:?} is not a path below a root")))
}

fn check_target(path: &[u8], target: &[u8]) -> Result<()> {
    if !target.is_empty() && target.len() <= NAME_LIMIT && !target.contains(&0) {
        return Ok(());
    }
    let shown = String::from_utf8_lossy(path).into_owned();
    Err(Error::new(Kind::Damaged, format!("link {shown:?} has no usable target")))
}

/// Puts a GNU entry before the header where `name` does not fit into it; its content is `name` and a NUL.
fn long_name(out: &mut Vec<u8>, kind: u8, name: &[u8]) {
    if name.len() <= 100 {
        return;
    }
    let mut header = Header::new_ustar();
    fill(&mut header.as_old_mut().name, b"././@LongLink");
    header.set_entry_type(EntryType::new(kind));
    header.set_mode(0);
    header.set_uid(0);
    header.set_gid(0);
    let size_bytes = name.len() as u64 + 1;
    header.set_size(size_bytes);
    header.set_mtime(0);
    header.set_cksum();
    out.extend_from_slice(header.as_bytes());
    out.extend_from_slice(name);
    out.resize(out.len() + 1 + padding(size_bytes), 0);
}

fn fill(field: &mut [u8; 100], name: &[u8]) {
    let n = name.len().min(field.len());
    field[..n].copy_from_slice(&name[..n]);
}

pub(super) fn until_nul(field: &[u8]) -> &[u8] {
    &field[..field.iter().position(|b| *b == 0).unwrap_or(field.len())]
}

/// Times before 1970 stand in two's complement, base 256, with the first bit set: as GNU tar writes them.
fn set_mtime(header: &mut Header, mtime: i64) {
    match u64::try_from(mtime) {
        Ok(seconds) => header.set_mtime(seconds),
        Err(_) => {
            let mut field = [0xff; 12];
            field[4..].copy_from_slice(&mtime.to_be_bytes());
            header.as_old_mut().mtime = field;
        }
    }
}

fn mtime(header: &Header) -> Result<i64, Box<dyn std::error::Error + Send + Sync>> {
    let field = header.as_old().mtime;
    if field[..4] == [0xff; 4] {
        let low: [u8; 8] = field[4..].try_into().expect("12 - 4 = 8 bytes");
        return Ok(i64::from_be_bytes(low));
    }
    Ok(i64::try_from(header.mtime()?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &[u8], size_bytes: u64) -> Entry {
        Entry {
            path: path.to_vec(),
            kind: EntryKind::File { size_bytes },
            mode: 0o640,
            uid: 1000,
            gid: 1000,
            mtime: 1_700_000_000,
        }
    }

    #[test]
    fn a_short_name_takes_one_block_and_a_long_one_three() {
        assert_eq!(file(b"a", 3).head().unwrap().len(), BLOCK);
        assert_eq!(file(&[b'a'; 100], 3).head().unwrap().len(), BLOCK);
        assert_eq!(file(&[b'a'; 101], 3).head().unwrap().len(), 3 * BLOCK);
        // 511 bytes and the NUL fill a block, 512 bytes need a second one.
        assert_eq!(file(&[b'a'; 511], 3).head().unwrap().len(), 3 * BLOCK);
        assert_eq!(file(&[b'a'; 512], 3).head().unwrap().len(), 4 * BLOCK);
    }

    #[test]
    fn names_that_could_leave_their_root_are_refused() {
        for bad in [&b""[..], b"/a", b"a/", b"a//b", b".", b"..", b"a/../b", b"a/.", b"a\0b", b"./a"] {
            assert!(file(bad, 0).head().is_err(), "{bad:?}");
        }
        assert!(file(b"a/...", 0).head().is_ok());
    }

    #[test]
    fn no_user_name_and_nothing_of_this_machine_stands_in_a_header() {
        let head = file(b"a", 3).head().unwrap();
        assert_eq!(&head[257..265], b"ustar\x0000");
        assert!(head[265..512].iter().all(|b| *b == 0));
    }
}
