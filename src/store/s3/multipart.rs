//! Large objects in parts, and what is left of them when something ends them early.
//!
//! Owns that every upload that was begun is completed or aborted, unless the process is killed; then `sweep` finds it.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_s3::operation::create_multipart_upload::CreateMultipartUploadOutput;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart};
use futures::{StreamExt, TryStreamExt};
use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

use super::bucket::{Bucket, timestamp};
use super::wire::Wire;
use super::{errors, lock, put};
use crate::error::{Context, Error, Kind, Result};
use crate::store::{Body, Entry, Key, Lock, PutMode};

const MIB: u64 = 1024 * 1024;

/// Parts are at least this long, in bytes.
const LEAST_PART_BYTES: u64 = 16 * MIB;

/// And at most this long, since each is in memory while it is sent.
const GREATEST_PART_BYTES: u64 = 64 * MIB;

/// How many parts S3 allows.
const GREATEST_PARTS: u64 = 10_000;

/// How many parts are on their way at once.
const PARTS_AT_ONCE: usize = 2;

/// How often an abort is tried.
const ABORT_ATTEMPTS: u32 = 3;

/// Stores an object in parts.
///
/// The work is a task of its own: when the caller stops waiting, it learns so, aborts the upload and ends. That also
/// holds while the answer which names the upload is still on its way.
pub(super) async fn put(
    bucket: &Arc<Bucket>,
    key: &Key,
    body: Body,
    mode: PutMode,
    locked: Option<Lock>,
) -> Result<Entry> {
    body.check_length().await?;
    if mode == PutMode::Create && bucket.head(key).await?.is_some() {
        // Spares the sending; the condition on the completion decides.
        return Err(Error::new(Kind::Conflict, format!("put {key} to {}: already there", bucket.address())));
    }
    let abandoned = CancellationToken::new();
    let _waiting = abandoned.clone().drop_guard();
    let upload = Upload { bucket: Arc::clone(bucket), key: key.clone(), body, mode, locked };
    tokio::spawn(upload.run(abandoned)).await.context(Kind::Bug, "multipart upload")?
}

struct Upload {
    bucket: Arc<Bucket>,
    key: Key,
    body: Body,
    mode: PutMode,
    locked: Option<Lock>,
}

impl Upload {
    async fn run(self, abandoned: CancellationToken) -> Result<Entry> {
        let id = self.begin().await?;
        let outcome = tokio::select! {
            outcome = self.send(&id) => outcome,
            () = abandoned.cancelled() => Err(Error::new(Kind::Interrupted, "the call was given up")),
        };
        if outcome.is_err() {
            abort(&self.bucket, &self.bucket.full_key(&self.key), &id).await;
        }
        outcome
    }

    fn what(&self) -> String {
        format!("put {} in parts to {}", self.key, self.bucket.address())
    }

    async fn begin(&self) -> Result<String> {
        loop {
            match self.create().await {
                Err(e)
                    if errors::is_not_implemented(&e) && put::give_up_something(&self.bucket, self.mode) => {}
                Err(error) => return Err(error),
                Ok(answer) => {
                    let id = answer.upload_id().map(str::to_owned);
                    return id.ok_or_else(|| {
                        Error::new(Kind::Store, format!("{}: the upload has no id", self.what()))
                    });
                }
            }
        }
    }

    async fn create(&self) -> Result<CreateMultipartUploadOutput> {
        let bucket = &self.bucket;
        let checksums = bucket.checksums.load(std::sync::atomic::Ordering::Relaxed);
        let request = bucket
            .client
            .create_multipart_upload()
            .bucket(&bucket.name)
            .key(bucket.full_key(&self.key))
            .set_checksum_algorithm(checksums.then_some(ChecksumAlgorithm::Sha256))
            .set_object_lock_mode(self.locked.map(|l| lock::object_mode(l.mode)))
            .set_object_lock_retain_until_date(self.locked.map(|l| lock::date(l.until)));
        let answer = bucket.timed(&self.what(), 0, request.send()).await;
        answer.map_err(|e| if self.locked.is_some() { lock::refused(bucket, e) } else { e })
    }

    async fn send(&self, id: &str) -> Result<Entry> {
        let parts = parts(self.body.size_bytes())?;
        let parts: Vec<CompletedPart> = futures::stream::iter(parts)
            .map(|part| self.send_part(id, part))
            .buffered(PARTS_AT_ONCE)
            .try_collect()
            .await?;
        self.complete(id, parts).await?;
        put::stored(&self.bucket, &self.key, self.body.size_bytes()).await
    }

    async fn send_part(&self, id: &str, part: Part) -> Result<CompletedPart> {
        let bucket = &self.bucket;
        let bytes = self.body.section(part.offset_bytes, part.length_bytes).await?;
        let hash = Body::Bytes(bytes.clone()).sha256().await?;
        let checksum = put::checksum(bucket, hash);
        let length_bytes = bytes.len() as u64;
        let request = bucket
            .client
            .upload_part()
            .bucket(&bucket.name)
            .key(bucket.full_key(&self.key))
            .upload_id(id)
            .part_number(part.number)
            .set_checksum_sha256(checksum.clone())
            .body(ByteStream::from(bytes))
            .customize()
            .interceptor(Wire::signing(hash));
        let answer = bucket.timed(&self.what(), length_bytes, request.send()).await?;
        let tag = answer.e_tag().map(str::to_owned);
        Ok(CompletedPart::builder()
            .part_number(part.number)
            .set_e_tag(tag)
            .set_checksum_sha256(checksum)
            .build())
    }

    async fn complete(&self, id: &str, parts: Vec<CompletedPart>) -> Result<()> {
        let bucket = &self.bucket;
        let conditional = put::conditional(bucket, &self.key, self.mode).await?;
        let request = bucket
            .client
            .complete_multipart_upload()
            .bucket(&bucket.name)
            .key(bucket.full_key(&self.key))
            .upload_id(id)
            .set_if_none_match(conditional.then(|| "*".to_owned()))
            .multipart_upload(CompletedMultipartUpload::builder().set_parts(Some(parts)).build());
        // The store may copy all parts before it answers.
        let answer = bucket.timed(&self.what(), self.body.size_bytes(), request.send()).await;
        match answer {
            Err(error) if error.kind() == Kind::Conflict => {
                Err(put::resolve_conflict(bucket, &self.key, error).await)
            }
            answer => answer.map(drop),
        }
    }
}

/// Ends an upload; what cannot be ended now is left to `sweep`, and said.
pub(super) async fn abort(bucket: &Bucket, full_key: &str, id: &str) -> bool {
    let what = format!("abort upload of {full_key} in {}", bucket.address());
    for attempt in 1..=ABORT_ATTEMPTS {
        let request = bucket.client.abort_multipart_upload().bucket(&bucket.name).key(full_key).upload_id(id);
        match bucket.timed(&what, 0, request.send()).await {
            Ok(_) => return true,
            // Completed or aborted already.
            Err(error) if errors::answer(&error).is_some_and(|a| a.code == "NoSuchUpload") => return true,
            Err(error) if attempt == ABORT_ATTEMPTS => {
                tracing::warn!(%error, "an unfinished upload is left in the store");
            }
            Err(_) => tokio::time::sleep(Duration::from_secs(1)).await,
        }
    }
    false
}

/// Where one part lies in the object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Part {
    /// From 1.
    number: i32,
    offset_bytes: u64,
    length_bytes: usize,
}

/// Divides an object into equal parts, the last one shorter; some stores want them equal.
fn parts(size_bytes: u64) -> Result<Vec<Part>> {
    let part_bytes = size_bytes.div_ceil(GREATEST_PARTS).next_multiple_of(MIB).max(LEAST_PART_BYTES);
    if part_bytes > GREATEST_PART_BYTES {
        return Err(Error::new(Kind::Full, format!("object of {size_bytes} bytes is too large for S3")));
    }
    (0..size_bytes.div_ceil(part_bytes))
        .map(|i| {
            let offset_bytes = i * part_bytes;
            let length = part_bytes.min(size_bytes - offset_bytes);
            Ok(Part {
                number: i32::try_from(i + 1).context(Kind::Bug, "part number")?,
                offset_bytes,
                length_bytes: usize::try_from(length).context(Kind::Bug, "part length")?,
            })
        })
        .collect()
}

/// Aborts the uploads below the store's prefix that began more than `older_than` ago, by the store's clock.
pub(super) async fn sweep(bucket: &Bucket, older_than: Duration) -> Result<u64> {
    let what = format!("list unfinished uploads in {}", bucket.address());
    let age = SignedDuration::try_from(older_than).context(Kind::Bug, "age of uploads")?;
    let mut removed = 0;
    let (mut key_marker, mut id_marker) = (None::<String>, None::<String>);
    loop {
        let wire = Wire::default();
        let request = bucket
            .client
            .list_multipart_uploads()
            .bucket(&bucket.name)
            .prefix(&bucket.prefix)
            .set_key_marker(key_marker.clone())
            .set_upload_id_marker(id_marker.clone())
            .customize()
            .interceptor(wire.clone());
        let page = match bucket.timed(&what, 0, request.send()).await {
            Err(error) if errors::is_not_implemented(&error) => return Ok(removed),
            page => page?,
        };
        let now = wire.date().ok_or_else(|| Error::new(Kind::Store, format!("{what}: no date")))?;
        for upload in page.uploads() {
            let (Some(key), Some(id)) = (upload.key(), upload.upload_id()) else { continue };
            let old = upload.initiated().map(timestamp).transpose()?.is_some_and(|at| is_old(at, now, age));
            if old && bucket.own_key(key).is_some() && abort(bucket, key, id).await {
                removed += 1;
            }
        }
        let next =
            (page.next_key_marker().map(str::to_owned), page.next_upload_id_marker().map(str::to_owned));
        if page.is_truncated() != Some(true) || next.0.is_none() || next == (key_marker, id_marker) {
            return Ok(removed);
        }
        (key_marker, id_marker) = next;
    }
}

fn is_old(began: Timestamp, now: Timestamp, age: SignedDuration) -> bool {
    now.duration_since(began) >= age
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_the_object_and_stay_within_what_s3_allows() {
        let gib = 1024 * MIB;
        for size in [1, 64 * MIB + 1, 70 * MIB, 16 * MIB * 10_000, 16 * MIB * 10_000 + 1, 600 * gib] {
            let parts = parts(size).unwrap();
            assert!(parts.len() as u64 <= GREATEST_PARTS, "{size}");
            let mut end = 0;
            for (i, part) in parts.iter().enumerate() {
                assert_eq!(part.number as usize, i + 1);
                assert_eq!(part.offset_bytes, end);
                assert!(part.length_bytes as u64 <= GREATEST_PART_BYTES);
                assert!(i + 1 == parts.len() || part.length_bytes == parts[0].length_bytes);
                end += part.length_bytes as u64;
            }
            assert_eq!(end, size);
        }
        assert_eq!(parts(64 * MIB * 10_000 + 1).unwrap_err().kind(), Kind::Full);
    }
}
