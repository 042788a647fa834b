//! Bytes to manifest: every bound and every sum is checked before anything is believed.

use std::io::{BufRead, BufReader, Read};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::error::{Context, Error, Kind, Result};
use crate::id::{ComponentName, Sha256};
use crate::repo::age_file::{self, Identities};
use crate::repo::extent::{Cutter, Digest, Extent, Segment, StreamRecord};
use crate::repo::object::FORMAT;

use super::{
    ComponentRecord, EXTENTS_A_LINE, EXTENTS_LIMIT, Header, LINE_LIMIT, Manifest, PACK_LIMIT, SEGMENTS_LIMIT,
    State, TEXT_LIMIT, is_stream_name,
};

#[derive(Deserialize)]
struct Tag {
    line: String,
}

#[derive(Deserialize)]
struct Versioned {
    format: u64,
}

/// A component or stream line's owner, before it is known whether this program knows it.
#[derive(Deserialize)]
struct Owner {
    component: String,
}

#[derive(Deserialize)]
struct StreamLine {
    component: ComponentName,
    stream: String,
    cutter: Cutter,
    size: u64,
    digest: String,
    segments: usize,
}

#[derive(Deserialize)]
struct SegmentLine {
    size: u64,
    sha256: Sha256,
}

#[derive(Deserialize)]
struct ExtentsLine {
    extents: Vec<(u32, u32, u32)>,
}

#[derive(Deserialize)]
struct EndLine {
    lines: u64,
}

/// Decodes a manifest object with the vault's identity.
///
/// [`Kind::WrongKey`] where the identity does not open it, [`Kind::TooNew`] where its format is above 1, else
/// [`Kind::Damaged`]. Components that this program does not know are left out, with their streams.
pub fn decode(object: &[u8], vault: &Identities) -> Result<Manifest> {
    let opened = age_file::opener("manifest", object, vault)?;
    let text = zstd::stream::read::Decoder::new(opened).context(Kind::Damaged, "manifest is not zstd")?;
    decode_lines(BufReader::new(text.take(TEXT_LIMIT)))
}

fn damaged(what: impl Into<String>) -> Error {
    Error::new(Kind::Damaged, what.into()).in_context("manifest")
}

fn parse<T: DeserializeOwned>(line: &[u8]) -> Result<T> {
    serde_json::from_slice(line).context(Kind::Damaged, "manifest line is not readable")
}

/// Collects the lines of a manifest's text, opened and decompressed; [`decode`] bounds how long that is.
pub fn decode_lines(mut from: impl BufRead) -> Result<Manifest> {
    let mut line = Vec::new();
    if !next_line(&mut from, &mut line)? {
        return Err(damaged("it is empty"));
    }
    let mut building = Building::new(first_line(&line)?);
    let mut count = 1;
    loop {
        if !next_line(&mut from, &mut line)? {
            return Err(damaged("it has no end line"));
        }
        let tag: Tag = parse(&line)?;
        match tag.line.as_str() {
            "component" => building.component(&line)?,
            "stream" => building.stream(&line)?,
            "segment" => building.segment(&parse(&line)?)?,
            "extents" => building.extents(parse(&line)?)?,
            "end" => {
                let end: EndLine = parse(&line)?;
                if end.lines != count {
                    return Err(damaged(format!("{count} lines where {} were written", end.lines)));
                }
                break;
            }
            _ => {}
        }
        count += 1;
    }
    if next_line(&mut from, &mut line)? {
        return Err(damaged("something follows its end line"));
    }
    building.finish()
}

/// Reads one line, without its line feed; false at the end.
fn next_line(from: &mut impl BufRead, line: &mut Vec<u8>) -> Result<bool> {
    line.clear();
    let read = from.by_ref().take(LINE_LIMIT + 1).read_until(b'\n', line);
    read.context(Kind::Damaged, "manifest does not read to its end")?;
    if line.is_empty() {
        return Ok(false);
    }
    if line.pop() != Some(b'\n') {
        return Err(damaged("a line is too long or ends early"));
    }
    Ok(true)
}

fn first_line(line: &[u8]) -> Result<Header> {
    if parse::<Tag>(line)?.line != "manifest" {
        return Err(damaged("its first line is another"));
    }
    let format = parse::<Versioned>(line)?.format;
    if format > FORMAT {
        return Err(
            Error::new(Kind::TooNew, format!("manifest has format {format}")).hint("use a newer lifeboat")
        );
    }
    parse(line)
}

struct Building {
    header: Header,
    components: Vec<ComponentRecord>,
    unknown: Vec<String>,
    streams: Vec<StreamRecord>,
    /// The stream that is being read; `None` inside one that belongs to an unknown component.
    open: Option<Open>,
    skipping: bool,
    segments: usize,
    extents: usize,
}

struct Open {
    record: StreamRecord,
    wanted: usize,
}

impl Building {
    fn new(header: Header) -> Building {
        Building {
            header,
            components: Vec::new(),
            unknown: Vec::new(),
            streams: Vec::new(),
            open: None,
            skipping: false,
            segments: 0,
            extents: 0,
        }
    }

    fn component(&mut self, line: &[u8]) -> Result<()> {
        let owner: Owner = parse(line)?;
        if owner.component.parse::<ComponentName>().is_err() {
            self.unknown.push(owner.component);
            return Ok(());
        }
        let record: ComponentRecord = parse(line)?;
        if self.components.iter().any(|c| c.component == record.component) {
            return Err(damaged(format!("component {} stands twice", record.component)));
        }
        self.components.push(record);
        Ok(())
    }

    fn stream(&mut self, line: &[u8]) -> Result<()> {
        self.close()?;
        let owner: Owner = parse(line)?;
        self.skipping = self.unknown.contains(&owner.component);
        if self.skipping {
            return Ok(());
        }
        let line: StreamLine = parse(line)?;
        let name = format!("{}/{}", line.component, line.stream);
        let state = self.components.iter().find(|c| c.component == line.component).map(|c| c.state);
        if !is_stream_name(&line.stream) || matches!(state, None | Some(State::Failed)) {
            return Err(damaged(format!("stream {name:?} belongs to no component that was read")));
        }
        if self.streams.iter().any(|s| s.component == line.component && s.stream == line.stream) {
            return Err(damaged(format!("stream {name} stands twice")));
        }
        let digest =
            parse_digest(&line.digest).ok_or_else(|| damaged(format!("stream {name} has no digest")))?;
        let record = StreamRecord {
            component: line.component,
            stream: line.stream,
            cutter: line.cutter,
            size_bytes: line.size,
            digest,
            segments: Vec::new(),
        };
        self.open = Some(Open { record, wanted: line.segments });
        Ok(())
    }

    fn segment(&mut self, line: &SegmentLine) -> Result<()> {
        if self.skipping {
            return Ok(());
        }
        self.segments += 1;
        let open = self.open.as_mut().ok_or_else(|| damaged("a segment outside any stream"))?;
        check_segment(open.record.segments.last())?;
        if self.segments > SEGMENTS_LIMIT || open.record.segments.len() == open.wanted {
            return Err(damaged("more segments than announced"));
        }
        open.record.segments.push(Segment {
            size_bytes: line.size,
            sha256: line.sha256,
            extents: Vec::new(),
        });
        Ok(())
    }

    fn extents(&mut self, line: ExtentsLine) -> Result<()> {
        if self.skipping {
            return Ok(());
        }
        self.extents += line.extents.len();
        let packs = self.header.packs;
        let segment = self.open.as_mut().and_then(|o| o.record.segments.last_mut());
        let segment = segment.ok_or_else(|| damaged("extents outside any segment"))?;
        if self.extents > EXTENTS_LIMIT || line.extents.len() > EXTENTS_A_LINE {
            return Err(damaged("more extents than the format allows"));
        }
        for (pack, offset, length) in line.extents {
            if pack >= packs || length == 0 || u64::from(offset) + u64::from(length) > PACK_LIMIT {
                return Err(damaged(format!("extent [{pack},{offset},{length}] lies outside its pack")));
            }
            segment.extents.push(Extent { pack, offset, length });
        }
        Ok(())
    }

    /// Ends the stream that is being read, and checks its sums and its digest's shape.
    fn close(&mut self) -> Result<()> {
        let Some(Open { record, wanted }) = self.open.take() else {
            return Ok(());
        };
        let name = format!("stream {}/{}", record.component, record.stream);
        check_segment(record.segments.last())?;
        let sum = record.segments.iter().try_fold(0u64, |sum, s| sum.checked_add(s.size_bytes));
        if record.segments.len() != wanted || sum != Some(record.size_bytes) {
            return Err(damaged(format!("{name} does not add up")));
        }
        if Digest::of(&record.segments) != record.digest {
            return Err(damaged(format!("{name} has a digest that is not its segments'")));
        }
        self.streams.push(record);
        Ok(())
    }

    fn finish(mut self) -> Result<Manifest> {
        self.close()?;
        Ok(Manifest { header: self.header, components: self.components, streams: self.streams })
    }
}

fn check_segment(segment: Option<&Segment>) -> Result<()> {
    let Some(segment) = segment else { return Ok(()) };
    let sum: u64 = segment.extents.iter().map(|e| u64::from(e.length)).sum();
    if sum == segment.size_bytes {
        Ok(())
    } else {
        Err(damaged("a segment's extents do not add up to its size"))
    }
}

fn parse_digest(text: &str) -> Option<Digest> {
    let (kind, hash) = text.split_once(':')?;
    let hash = hash.parse().ok()?;
    match kind {
        "sha256" => Some(Digest::Whole(hash)),
        "segments" => Some(Digest::Segments(hash)),
        _ => None,
    }
}
