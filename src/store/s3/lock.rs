//! Locks of versions and puts that depend on what is there.
//!
//! Owns which of the store's answers mean that it has no locks at all; codes as for [`super::errors`].

use aws_sdk_s3::primitives::DateTime;
use aws_sdk_s3::types::{ObjectLockMode, ObjectLockRetention, ObjectLockRetentionMode};
use jiff::Timestamp;

use super::bucket::{Bucket, timestamp};
use super::errors;
use super::put;
use super::wire::Wire;
use crate::error::{Error, Kind, Result};
use crate::store::lock::Tag;
use crate::store::{Body, Key, Lock, LockMode};

/// Returns the mode as a put names it.
pub(super) fn object_mode(mode: LockMode) -> ObjectLockMode {
    match mode {
        LockMode::Governance => ObjectLockMode::Governance,
        LockMode::Compliance => ObjectLockMode::Compliance,
    }
}

/// Returns a time as the SDK takes it, in whole seconds.
pub(super) fn date(until: Timestamp) -> DateTime {
    DateTime::from_secs(until.as_second())
}

/// Tells whether an answer says that a bucket has no locks, which stores say in several ways.
fn says_none(error: &Error) -> bool {
    let codes = ["InvalidRequest", "InvalidBucketState", "ObjectLockConfigurationNotFoundError"];
    errors::answer(error).is_some_and(|a| matches!(a.status, 405 | 501) || codes.contains(&a.code.as_str()))
}

/// Tells whether an answer says that a version has no lock; some stores say it of the bucket.
fn has_no_lock(error: &Error) -> bool {
    let says = errors::answer(error).is_some_and(|a| a.code == "NoSuchObjectLockConfiguration");
    says || says_none(error)
}

/// Finds out what an answer to a call with a lock means.
pub(super) fn refused(bucket: &Bucket, error: Error) -> Error {
    if !says_none(&error) {
        return error;
    }
    Error::new(Kind::Unsupported, format!("{} does not lock objects", bucket.address()))
        .hint("object lock is switched on when a bucket is made; this one may have none")
        .caused_by(error)
}

/// Locks a version, or locks it for longer.
pub(super) async fn lock_until(bucket: &Bucket, key: &Key, version: &str, lock: Lock) -> Result<()> {
    let what = format!("lock {key} version {version} in {}", bucket.address());
    let mode = match lock.mode {
        LockMode::Governance => ObjectLockRetentionMode::Governance,
        LockMode::Compliance => ObjectLockRetentionMode::Compliance,
    };
    let retention = ObjectLockRetention::builder().mode(mode).retain_until_date(date(lock.until)).build();
    let request = bucket
        .client
        .put_object_retention()
        .bucket(&bucket.name)
        .key(bucket.full_key(key))
        .version_id(version)
        .retention(retention);
    bucket.timed(&what, 0, request.send()).await.map(drop).map_err(|e| refused(bucket, e))
}

/// Returns the lock of a version.
pub(super) async fn lock_of(bucket: &Bucket, key: &Key, version: &str) -> Result<Option<Lock>> {
    let what = format!("lock of {key} version {version} in {}", bucket.address());
    let request = bucket
        .client
        .get_object_retention()
        .bucket(&bucket.name)
        .key(bucket.full_key(key))
        .version_id(version);
    let answer = match bucket.timed(&what, 0, request.send()).await {
        Ok(answer) => answer,
        Err(e) if has_no_lock(&e) => return Ok(None),
        Err(e) => return Err(e),
    };
    let Some(retention) = answer.retention else { return Ok(None) };
    let mode = match retention.mode {
        Some(ObjectLockRetentionMode::Compliance) => LockMode::Compliance,
        Some(ObjectLockRetentionMode::Governance) => LockMode::Governance,
        _ => return Ok(None),
    };
    let until = retention.retain_until_date.as_ref().map(timestamp).transpose()?;
    Ok(until.map(|until| Lock { mode, until }))
}

/// Returns the tag of what is there.
pub(super) async fn tag(bucket: &Bucket, key: &Key) -> Result<Option<Tag>> {
    let what = format!("tag of {key} in {}", bucket.address());
    let request = bucket.client.head_object().bucket(&bucket.name).key(bucket.full_key(key));
    match bucket.timed(&what, 0, request.send()).await {
        Ok(answer) => answer.e_tag().map(|t| Some(Tag(t.to_owned()))).ok_or_else(|| no_tag(&what)),
        Err(e) if errors::answer(&e).is_some_and(|a| a.status == 404) => {
            bucket.check_exists().await?;
            Ok(None)
        }
        Err(e) => Err(e),
    }
}

/// Replaces what has this tag.
pub(super) async fn swap(bucket: &Bucket, key: &Key, body: Body, tag: &Tag) -> Result<Tag> {
    let what = format!("replace {key} in {}", bucket.address());
    if body.size_bytes() > put::SINGLE_PUT_BYTES {
        return Err(Error::new(Kind::Bug, format!("{what}: only small objects are replaced")));
    }
    let hash = body.sha256().await?;
    let request = bucket
        .client
        .put_object()
        .bucket(&bucket.name)
        .key(bucket.full_key(key))
        .if_match(&tag.0)
        .set_checksum_sha256(put::checksum(bucket, hash))
        .body(put::stream(&body).await?)
        .customize()
        .interceptor(Wire::signing(hash));
    match bucket.timed(&what, body.size_bytes(), request.send()).await {
        Ok(answer) => answer.e_tag().map(|t| Tag(t.to_owned())).ok_or_else(|| no_tag(&what)),
        // What was to be replaced is gone.
        Err(e) if e.kind() == Kind::NotFound => Err(Error::new(Kind::Conflict, what).caused_by(e)),
        Err(e) if errors::is_not_implemented(&e) => {
            Err(Error::new(Kind::Unsupported, format!("{what}: conditional puts are unknown to it"))
                .caused_by(e))
        }
        Err(e) => Err(e),
    }
}

fn no_tag(what: &str) -> Error {
    Error::new(Kind::Store, format!("{what}: the answer has no tag"))
}
