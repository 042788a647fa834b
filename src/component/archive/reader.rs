//! Reads a tar stream of ours, strictly: what the format does not allow is damage, not a dialect.
//!
//! Owns order, ends and lengths: entries come sorted, each path once, and nothing follows the end. Knows nothing of
//! where contents go.

use std::io::Read;

use tar::Header;

use super::entry::{BLOCK, END_BYTES, Entry, EntryKind, NAME_LIMIT, padding};
use crate::error::{Error, Kind, Result};

/// A tar stream on its way in; ask for [`Reader::next_entry`], then read the entry's content, then ask again.
pub struct Reader<R> {
    inner: R,
    content_left: u64,
    padding_left: usize,
    last_path: Vec<u8>,
}

/// Turns a read error back into ours where a lower layer put one inside.
pub fn read_error(e: std::io::Error, what: &str) -> Error {
    match e.downcast::<Error>() {
        Ok(ours) => ours.in_context(what),
        Err(foreign) => Error::new(Kind::Io, what).caused_by(foreign),
    }
}

fn damaged(what: impl Into<String>) -> Error {
    Error::new(Kind::Damaged, what)
}

impl<R: Read> Reader<R> {
    /// Reads a tar stream from its first byte.
    pub fn new(inner: R) -> Self {
        Reader { inner, content_left: 0, padding_left: 0, last_path: Vec::new() }
    }

    /// Returns the next entry and the number of its header bytes; `None` behind the stream's proper end.
    ///
    /// The content of the entry before must have been read.
    pub fn next_entry(&mut self) -> Result<Option<(Entry, u32)>> {
        if self.content_left > 0 {
            return Err(Error::new(Kind::Bug, "tar content was not read before the next entry"));
        }
        self.skip_padding()?;
        let (mut long_path, mut long_target) = (None, None);
        let mut head_bytes = 0;
        loop {
            let block = self.block()?;
            if block == [0; BLOCK] {
                if head_bytes > 0 {
                    return Err(damaged("tar ends behind a long name"));
                }
                self.end()?;
                return Ok(None);
            }
            head_bytes += u32::try_from(BLOCK).expect("512 fits");
            let header = Header::from_byte_slice(&block);
            check_sum(header)?;
            let slot = match header.entry_type().as_byte() {
                b'L' => &mut long_path,
                b'K' => &mut long_target,
                _ => {
                    let entry = Entry::parse(header, long_path, long_target)?;
                    self.enter(&entry)?;
                    return Ok(Some((entry, head_bytes)));
                }
            };
            let (name, bytes) = read_long_name(&mut self.inner, header)?;
            if slot.replace(name).is_some() {
                return Err(damaged("tar entry has two long names"));
            }
            head_bytes += bytes;
        }
    }

    /// Reads some of the current entry's content; 0 when all of it was read.
    pub fn content(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let want = usize::try_from(self.content_left).unwrap_or(usize::MAX).min(buffer.len());
        if want == 0 {
            return Ok(0);
        }
        let n = loop {
            match self.inner.read(&mut buffer[..want]) {
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                other => break other.map_err(|e| read_error(e, "tar content"))?,
            }
        };
        if n == 0 {
            return Err(damaged("tar ends inside a content"));
        }
        self.content_left -= n as u64;
        Ok(n)
    }

    /// Sorted order and single names are one rule: each path is greater than the one before.
    fn enter(&mut self, entry: &Entry) -> Result<()> {
        if entry.path <= self.last_path {
            let what = format!("tar entry {:?} comes twice or out of order", entry.path_text());
            return Err(damaged(what));
        }
        self.last_path.clone_from(&entry.path);
        if let EntryKind::File { size_bytes } = entry.kind {
            self.content_left = size_bytes;
            self.padding_left = padding(size_bytes);
        }
        Ok(())
    }

    fn skip_padding(&mut self) -> Result<()> {
        let mut rest = [0; BLOCK];
        let rest = &mut rest[..std::mem::take(&mut self.padding_left)];
        fill(&mut self.inner, rest, "tar ends inside a padding")?;
        if rest.iter().any(|b| *b != 0) {
            return Err(damaged("tar padding is not zero"));
        }
        Ok(())
    }

    fn block(&mut self) -> Result<[u8; BLOCK]> {
        let mut block = [0; BLOCK];
        fill(&mut self.inner, &mut block, "tar ends before its end mark")?;
        Ok(block)
    }

    /// The first of the end's blocks was read; checks the rest, and that the stream ends there.
    fn end(&mut self) -> Result<()> {
        let mut rest = [0; END_BYTES - BLOCK];
        fill(&mut self.inner, &mut rest, "tar ends inside its end mark")?;
        let mut beyond = [0];
        let more = loop {
            match self.inner.read(&mut beyond) {
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                other => break other.map_err(|e| read_error(e, "tar end"))?,
            }
        };
        if rest.iter().any(|b| *b != 0) || more != 0 {
            return Err(damaged("tar goes on behind its end mark"));
        }
        Ok(())
    }
}

fn check_sum(header: &Header) -> Result<()> {
    let sum: u32 = header.as_bytes().iter().map(|b| u32::from(*b)).sum();
    let stored: u32 = header.as_old().cksum.iter().map(|b| u32::from(*b)).sum();
    // The sum is taken with the field itself as eight spaces.
    let expected = sum - stored + 8 * u32::from(b' ');
    match header.cksum() {
        Ok(found) if found == expected => Ok(()),
        _ => Err(damaged("tar header has a wrong checksum")),
    }
}

fn read_long_name(inner: &mut impl Read, header: &Header) -> Result<(Vec<u8>, u32)> {
    let size = header.entry_size().ok().and_then(|n| usize::try_from(n).ok()).unwrap_or(usize::MAX);
    if !(2..=NAME_LIMIT + 1).contains(&size) {
        return Err(damaged("tar entry has a long name of unusable length"));
    }
    let mut name = vec![0; size + padding(size as u64)];
    fill(inner, &mut name, "tar ends inside a long name")?;
    let bytes = u32::try_from(name.len()).expect("bounded above");
    if name[size - 1..].iter().any(|b| *b != 0) {
        return Err(damaged("tar entry has a long name without an end"));
    }
    name.truncate(size - 1);
    Ok((name, bytes))
}

fn fill(inner: &mut impl Read, buffer: &mut [u8], early: &str) -> Result<()> {
    inner.read_exact(buffer).map_err(|e| match e.kind() {
        std::io::ErrorKind::UnexpectedEof => damaged(early),
        _ => read_error(e, "tar stream"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tar_of(entries: &[(Entry, &[u8])]) -> Vec<u8> {
        let mut out = Vec::new();
        for (entry, content) in entries {
            out.extend(entry.head().unwrap());
            out.extend_from_slice(content);
            out.resize(out.len() + padding(content.len() as u64), 0);
        }
        out.resize(out.len() + END_BYTES, 0);
        out
    }

    fn entry(path: &[u8], kind: EntryKind, mtime: i64) -> Entry {
        Entry { path: path.to_vec(), kind, mode: 0o4755, uid: 3_000_000, gid: u32::MAX - 1, mtime }
    }

    fn read_all(tar: &[u8]) -> Result<Vec<(Entry, Vec<u8>)>> {
        let mut reader = Reader::new(tar);
        let mut out = Vec::new();
        while let Some((entry, head)) = reader.next_entry()? {
            assert_eq!(entry.head().unwrap().len(), head as usize);
            let mut content = Vec::new();
            let mut buffer = [0; 7];
            loop {
                match reader.content(&mut buffer)? {
                    0 => break,
                    n => content.extend_from_slice(&buffer[..n]),
                }
            }
            out.push((entry, content));
        }
        Ok(out)
    }

    fn sample() -> Vec<(Entry, &'static [u8])> {
        let long = [b'x'; 700];
        vec![
            (entry(b"a", EntryKind::Folder, -5), b""),
            (entry(b"a.txt", EntryKind::File { size_bytes: 3 }, i64::MAX), b"abc"),
            (entry(b"a/\xff", EntryKind::Link { target: long.to_vec() }, 0), b""),
            (entry(&long, EntryKind::File { size_bytes: 0 }, i64::MIN), b""),
        ]
    }

    #[test]
    fn what_was_written_is_read_with_all_its_attributes() {
        let sample = sample();
        let back = read_all(&tar_of(&sample)).unwrap();
        assert_eq!(back.len(), sample.len());
        for ((a, content), (b, read)) in sample.iter().zip(&back) {
            assert_eq!((a, *content), (b, read.as_slice()));
        }
    }

    #[test]
    fn a_stream_cut_anywhere_is_damaged() {
        let whole = tar_of(&sample());
        for cut in (0..whole.len()).step_by(37).chain([whole.len() - 1]) {
            assert_eq!(read_all(&whole[..cut]).unwrap_err().kind(), Kind::Damaged, "cut at {cut}");
        }
    }

    #[test]
    fn a_flipped_bit_in_a_header_is_damaged() {
        let whole = tar_of(&sample()[..1]);
        for at in 0..BLOCK {
            let mut bad = whole.clone();
            bad[at] ^= 0x41;
            assert!(read_all(&bad).is_err(), "byte {at}");
        }
    }

    #[test]
    fn devices_hard_links_duplicates_and_bytes_behind_the_end_are_refused() {
        for kind in *b"1346x7gSV" {
            let mut tar = tar_of(&sample()[1..2]);
            tar[156] = kind;
            let header: &mut [u8; BLOCK] = (&mut tar[..BLOCK]).try_into().unwrap();
            let mut fixed = Header::from_byte_slice(header).clone();
            fixed.set_cksum();
            header.copy_from_slice(fixed.as_bytes());
            assert_eq!(read_all(&tar).unwrap_err().kind(), Kind::Damaged, "{}", kind as char);
        }
        let twice = [sample()[1].clone(), sample()[1].clone()];
        assert!(read_all(&tar_of(&twice)).unwrap_err().to_string().contains("twice"));
        let unsorted = [sample()[1].clone(), sample()[0].clone()];
        assert!(read_all(&tar_of(&unsorted)).is_err());
        let mut longer = tar_of(&sample());
        longer.push(0);
        assert!(read_all(&longer).unwrap_err().to_string().contains("behind"));
    }
}
