//! Whether each stream of a snapshot comes back whole (L2): it decrypts, decompresses, has its digest, and ends as it must.

use bytes::Bytes;

use super::open_reader_within;
use crate::error::{Error, Kind, Result};
use crate::ops::appliance::Appliance;
use crate::repo::age_file::Identities;
use crate::repo::check::{self, Finding};
use crate::repo::extent::StreamRecord;
use crate::repo::keys::{self, SnapshotPart};
use crate::repo::receipt::Committed;
use crate::repo::snapshot;
use crate::spare::Spare;

/// Reads all streams of a snapshot and returns what is wrong.
pub(super) async fn read_all(
    appliance: &Appliance,
    committed: &Committed,
    identities: &Identities,
    frames: &Spare,
) -> Result<Vec<Finding>> {
    let receipt = &committed.receipt;
    let vault = snapshot::open_vault(&appliance.repo, receipt, identities).await?;
    let reader = match open_reader_within(appliance, committed, &vault, frames.clone()).await {
        Ok(reader) => reader,
        Err(e) => {
            let manifest = keys::snapshot(&receipt.tenant, &receipt.snapshot, SnapshotPart::Manifest);
            return Ok(vec![Finding::of(manifest, &e).needed_by([receipt.snapshot.clone()])]);
        }
    };
    let mut ends = Ends::default();
    let found = check::readable(&reader, &mut |record, bytes| ends.look(record, bytes)).await;
    Ok(found.into_iter().map(|f| f.needed_by([receipt.snapshot.clone()])).collect())
}

/// Watches that each stream ends as its kind must: a dump with its trailer, a tar with its two empty blocks.
#[derive(Debug, Default)]
struct Ends {
    tail: Vec<u8>,
}

impl Ends {
    const TAIL_BYTES: usize = 1024;

    fn look(&mut self, record: &StreamRecord, bytes: Option<&Bytes>) -> Result<()> {
        if let Some(bytes) = bytes {
            self.tail.extend_from_slice(bytes);
            let surplus = self.tail.len().saturating_sub(Self::TAIL_BYTES);
            self.tail.drain(..surplus);
            return Ok(());
        }
        let tail = std::mem::take(&mut self.tail);
        let (good, what) = match record.stream.as_str() {
            "sql" => {
                let last = tail.trim_ascii_end().rsplit(|b| *b == b'\n').next().unwrap_or_default();
                (last.starts_with(b"-- Dump completed"), "does not end with the trailer of a dump")
            }
            "tar" | "aof" => {
                let empty = tail.len() == Self::TAIL_BYTES && tail.iter().all(|b| *b == 0);
                (empty, "does not end as a tar does")
            }
            _ => (true, ""),
        };
        if good {
            return Ok(());
        }
        Err(Error::new(Kind::Damaged, format!("{}/{} {what}", record.component, record.stream)))
    }
}
