//! Where the contents of extracted files come from: all in one pass, or each by itself.
//!
//! Owns the way through the stream `tar` and what it proves. Knows nothing of folders.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, sink};

use crate::component::files::{Content, Extraction, Placed};
use crate::error::{Error, Kind, Result};
use crate::id::{ComponentName, Sha256};
use crate::ops::restore::Opened;
use crate::repo::extent::StreamRecord;
use crate::repo::reader::{StreamReader, error_of};

/// The contents of files, asked for in the order of the list.
pub(super) struct Contents<'a> {
    opened: &'a Opened,
    /// The whole stream, and how far it was read; none where single contents are fetched.
    pass: Option<(StreamReader, u64)>,
    /// Segments by their first byte: the reader proves their hashes.
    segments: HashMap<u64, (u64, Sha256)>,
}

impl<'a> Contents<'a> {
    /// Reads all of them in one pass, or only those that are asked for.
    pub fn of(opened: &'a Opened, all: bool) -> Result<Self> {
        let record = opened.reader.record(ComponentName::Files, "tar")?;
        let pass = if all {
            let list = opened.reader.record(ComponentName::Files, "list")?;
            opened.reader.expect(&[Arc::clone(list), Arc::clone(record)]);
            Some((opened.reader.stream(ComponentName::Files, "tar")?, 0))
        } else {
            None
        };
        Ok(Contents { opened, pass, segments: segments_of(record) })
    }

    /// Writes a file with its content.
    pub async fn write(&mut self, placed: &Placed, hash: Sha256, to: &mut Extraction) -> Result<()> {
        let Placed { line, offset } = placed;
        let size_bytes = line.entry.size_bytes();
        let is_proven = self.segments.get(offset) == Some(&(size_bytes, hash));
        let content = |source| {
            if is_proven { Content::Proven(source, hash) } else { Content::Unproven(source) }
        };
        if let Some((stream, at)) = &mut self.pass {
            let gap = offset.checked_sub(*at).ok_or_else(|| {
                Error::new(Kind::Damaged, format!("{} lies before its predecessor", line.entry.path_text()))
            })?;
            skip(stream, Some(gap)).await?;
            *at = offset.saturating_add(size_bytes);
            return to.entry(line, Some(content(stream))).await;
        }
        let mut part = self.opened.reader.range(ComponentName::Files, "tar", *offset, size_bytes)?;
        to.entry(line, Some(content(&mut part))).await?;
        skip(&mut part, None).await
    }

    /// Reads to the stream's end, where it is known that all was right.
    pub async fn finish(self) -> Result<()> {
        match self.pass {
            Some((mut stream, _)) => skip(&mut stream, None).await,
            None => Ok(()),
        }
    }
}

/// Reads so many bytes, or to the verified end, and forgets them.
async fn skip(stream: &mut StreamReader, size_bytes: Option<u64>) -> Result<()> {
    let mut part = stream.take(size_bytes.unwrap_or(u64::MAX));
    let skipped = tokio::io::copy(&mut part, &mut sink()).await.map_err(error_of)?;
    if size_bytes.is_some_and(|wanted| skipped < wanted) {
        return Err(Error::new(Kind::Damaged, "files/tar ends before the list of files does"));
    }
    Ok(())
}

fn segments_of(record: &StreamRecord) -> HashMap<u64, (u64, Sha256)> {
    let mut at = 0_u64;
    let place = |segment: &crate::repo::extent::Segment| {
        let start = at;
        at = at.saturating_add(segment.size_bytes);
        (start, (segment.size_bytes, segment.sha256))
    };
    record.segments.iter().map(place).collect()
}
