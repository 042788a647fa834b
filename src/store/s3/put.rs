//! One object in one request.

use std::sync::atomic::Ordering;

use aws_sdk_s3::primitives::{ByteStream, Length};
use base64::Engine;

use super::bucket::Bucket;
use super::wire::Wire;
use super::{errors, lock};
use crate::error::{Context, Error, Kind, Result};
use crate::id::Sha256;
use crate::store::body::READ_BYTES;
use crate::store::{Body, Entry, Key, Lock, PutMode};

/// The largest object that goes in one request, in bytes: as much as the format's largest pack.
pub(super) const SINGLE_PUT_BYTES: u64 = 64 * 1024 * 1024;

/// Stores an object in one request.
pub(super) async fn put(
    bucket: &Bucket,
    key: &Key,
    body: Body,
    mode: PutMode,
    locked: Option<Lock>,
) -> Result<Entry> {
    let hash = body.sha256().await?;
    // Each round ends or gives up one of the two things that a store may not know.
    loop {
        match attempt(bucket, key, &body, hash, mode, locked).await {
            Err(error) if errors::is_not_implemented(&error) && give_up_something(bucket, mode) => {}
            outcome => return outcome,
        }
    }
}

async fn attempt(
    bucket: &Bucket,
    key: &Key,
    body: &Body,
    hash: Sha256,
    mode: PutMode,
    locked: Option<Lock>,
) -> Result<Entry> {
    let size_bytes = body.size_bytes();
    let what = format!("put {key} to {}", bucket.address());
    let conditional = conditional(bucket, key, mode).await?;
    let wire = Wire::signing(hash);
    let request = bucket
        .client
        .put_object()
        .bucket(&bucket.name)
        .key(bucket.full_key(key))
        .content_length(i64::try_from(size_bytes).context(Kind::Bug, "size of an object")?)
        .set_checksum_sha256(checksum(bucket, hash))
        .set_if_none_match(conditional.then(|| "*".to_owned()))
        .set_object_lock_mode(locked.map(|l| lock::object_mode(l.mode)))
        .set_object_lock_retain_until_date(locked.map(|l| lock::date(l.until)))
        .body(stream(body).await?);
    let answer = bucket.timed(&what, size_bytes, request.customize().interceptor(wire.clone()).send()).await;
    let answer = match answer {
        Err(error) if error.kind() == Kind::Conflict => {
            return Err(resolve_conflict(bucket, key, error).await);
        }
        Err(error) if locked.is_some() => return Err(lock::refused(bucket, error)),
        answer => answer?,
    };
    match wire.date() {
        Some(modified) => {
            let version = answer.version_id().map(str::to_owned);
            Ok(Entry { key: key.clone(), size_bytes, modified, version })
        }
        None => stored(bucket, key, size_bytes).await,
    }
}

/// Returns whether the request carries the condition "only if there is none".
///
/// For a store that knows no conditions, or ignores them, this looks first, which is as far as that store can tell.
pub(super) async fn conditional(bucket: &Bucket, key: &Key, mode: PutMode) -> Result<bool> {
    let known = bucket.conditions.load(Ordering::Relaxed);
    if mode == PutMode::Replace || (known && !bucket.look_first) {
        return Ok(mode == PutMode::Create);
    }
    match bucket.head(key).await? {
        None => Ok(known),
        Some(_) => Err(Error::new(Kind::Conflict, format!("put {key}: already there"))),
    }
}

/// Returns the checksum header, where the store is not known to lack it.
pub(super) fn checksum(bucket: &Bucket, hash: Sha256) -> Option<String> {
    let wanted = bucket.checksums.load(Ordering::Relaxed);
    wanted.then(|| encoded(hash))
}

/// Spells a hash as the checksum header does.
pub(super) fn encoded(hash: Sha256) -> String {
    base64::engine::general_purpose::STANDARD.encode(hash.0)
}

/// Stops asking for what this store may lack, and returns whether there was such a thing.
pub(super) fn give_up_something(bucket: &Bucket, mode: PutMode) -> bool {
    let lost = if bucket.checksums.swap(false, Ordering::Relaxed) {
        "checksums"
    } else if mode == PutMode::Create && bucket.conditions.swap(false, Ordering::Relaxed) {
        "create-only puts"
    } else {
        return false;
    };
    tracing::warn!(store = bucket.address(), "the store does not know {lost}; going on without");
    true
}

/// Finds out what "conflict" means: S3 says 409 also when another conditional put of the key was under way, which may
/// have failed since (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html>).
pub(super) async fn resolve_conflict(bucket: &Bucket, key: &Key, conflict: Error) -> Error {
    match bucket.head(key).await {
        Ok(None) => {
            let what = format!("put {key} to {}: another put of this key was under way", bucket.address());
            Error::new(Kind::Store, what).caused_by(conflict)
        }
        Ok(Some(_)) | Err(_) => conflict,
    }
}

/// Looks at an object that was just stored, and fails if it is not what was sent.
pub(super) async fn stored(bucket: &Bucket, key: &Key, size_bytes: u64) -> Result<Entry> {
    let wrong = |is: &str| {
        Err(Error::new(Kind::Store, format!("put {key} to {}: stored, it {is}", bucket.address())))
    };
    match bucket.head(key).await? {
        Some(entry) if entry.size_bytes == size_bytes => Ok(entry),
        Some(entry) => wrong(&format!("is {} bytes long and not {size_bytes}", entry.size_bytes)),
        None => wrong("is not there"),
    }
}

pub(super) async fn stream(body: &Body) -> Result<ByteStream> {
    match body {
        Body::Bytes(bytes) => Ok(ByteStream::from(bytes.clone())),
        Body::File { path, size_bytes, .. } => {
            let whole = Length::Exact(*size_bytes);
            let stream =
                ByteStream::read_from().path(path).length(whole).buffer_size(READ_BYTES).build().await;
            stream.context(Kind::Io, path.display())
        }
    }
}
