//! Manifest to bytes, line by line.

use std::io::Write;

use serde::Serialize;
use serde_json::json;

use crate::error::{Context, Error, Kind, Result};
use crate::repo::age_file::{self, Recipient};
use crate::repo::extent::{Digest, Extent, Segment, StreamRecord};
use crate::repo::object::FORMAT;

use super::{EXTENTS_A_LINE, LINE_LIMIT, Manifest, OBJECT_LIMIT, is_stream_name};

/// zstd's level for manifests: small text, written once.
const LEVEL: i32 = 9;

#[derive(Serialize)]
struct Line<'a, T: Serialize> {
    line: &'a str,
    #[serde(flatten)]
    content: T,
}

struct Lines<W> {
    to: W,
    count: u64,
}

impl<W: Write> Lines<W> {
    fn put(&mut self, line: &str, content: impl Serialize) -> Result<()> {
        let mut bytes =
            serde_json::to_vec(&Line { line, content }).context(Kind::Bug, "cannot spell a manifest line")?;
        bytes.push(b'\n');
        if bytes.len() as u64 > LINE_LIMIT {
            return Err(Error::new(
                Kind::Bug,
                format!("manifest line {line:?} of {} bytes is too long", bytes.len()),
            ));
        }
        self.count += 1;
        self.to.write_all(&bytes).context(Kind::Io, "cannot write manifest")
    }
}

/// Encodes a manifest to the vault's recipient; the result is the object, at most [`OBJECT_LIMIT`] long.
pub fn encode(manifest: &Manifest, vault: &Recipient) -> Result<Vec<u8>> {
    let mut object = Vec::new();
    let mut sealed = age_file::sealer(std::slice::from_ref(vault), &mut object)?;
    let mut compressed =
        zstd::stream::write::Encoder::new(&mut sealed, LEVEL).context(Kind::Bug, "cannot start zstd")?;
    compressed.include_checksum(true).context(Kind::Bug, "cannot start zstd")?;
    put_lines(manifest, &mut compressed)?;
    compressed.finish().context(Kind::Bug, "cannot end zstd")?;
    sealed.finish().context(Kind::Bug, "cannot end age")?;
    if object.len() as u64 > OBJECT_LIMIT {
        return Err(Error::new(
            Kind::Full,
            format!("manifest of {} bytes is above the format's limit", object.len()),
        ));
    }
    Ok(object)
}

fn put_lines(manifest: &Manifest, to: impl Write) -> Result<()> {
    #[derive(Serialize)]
    struct First<'a> {
        format: u64,
        #[serde(flatten)]
        header: &'a super::Header,
    }
    let mut lines = Lines { to, count: 0 };
    lines.put("manifest", First { format: FORMAT, header: &manifest.header })?;
    for component in &manifest.components {
        lines.put("component", component)?;
    }
    for stream in &manifest.streams {
        put_stream(&mut lines, stream)?;
    }
    let before = lines.count;
    lines.put("end", json!({ "lines": before }))
}

fn put_stream(lines: &mut Lines<impl Write>, stream: &StreamRecord) -> Result<()> {
    if !is_stream_name(&stream.stream) {
        return Err(Error::new(Kind::Bug, format!("{:?} is not a stream name", stream.stream)));
    }
    let digest = match &stream.digest {
        Digest::Whole(h) => format!("sha256:{h}"),
        Digest::Segments(h) => format!("segments:{h}"),
    };
    lines.put(
        "stream",
        json!({
            "component": stream.component,
            "stream": stream.stream,
            "cutter": stream.cutter,
            "size": stream.size_bytes,
            "digest": digest,
            "segments": stream.segments.len(),
        }),
    )?;
    stream.segments.iter().try_for_each(|segment| put_segment(lines, segment))
}

fn put_segment(lines: &mut Lines<impl Write>, segment: &Segment) -> Result<()> {
    #[derive(Serialize)]
    struct SegmentLine<'a> {
        size: u64,
        sha256: &'a crate::id::Sha256,
    }
    #[derive(Serialize)]
    struct ExtentsLine {
        extents: Vec<(u32, u32, u32)>,
    }
    lines.put("segment", SegmentLine { size: segment.size_bytes, sha256: &segment.sha256 })?;
    for some in segment.extents.chunks(EXTENTS_A_LINE) {
        let triple = |e: &Extent| (e.pack, e.offset, e.length);
        lines.put("extents", ExtentsLine { extents: some.iter().map(triple).collect() })?;
    }
    Ok(())
}
