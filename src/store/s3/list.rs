//! Listings, page by page.
//!
//! Owns the order: some stores list by folder instead of by key, so what comes is sorted here.

use super::bucket::{Bucket, entry, timestamp};
use super::errors;
use crate::error::{Error, Kind, Result};
use crate::store::{Entry, Kept, Marker};

/// Lists the newest version of each object below `prefix`.
pub(super) async fn list(bucket: &Bucket, prefix: &str) -> Result<Vec<Entry>> {
    let what = format!("list {prefix}* in {}", bucket.address());
    let full = format!("{}{prefix}", bucket.prefix);
    let mut found = Vec::new();
    let mut token: Option<String> = None;
    loop {
        let request = bucket
            .client
            .list_objects_v2()
            .bucket(&bucket.name)
            .prefix(&full)
            .set_continuation_token(token.clone());
        let page = bucket.timed(&what, 0, request.send()).await?;
        for object in page.contents() {
            if let Some(key) = object.key().and_then(|k| bucket.own_key(k)) {
                found.push(entry(&what, key, object.size(), object.last_modified().copied(), None)?);
            }
        }
        if page.is_truncated() != Some(true) {
            break;
        }
        let next = page.next_continuation_token().map(str::to_owned);
        if next.is_none() || next == token {
            return Err(endless(&what));
        }
        token = next;
    }
    found.sort_by(|a, b| a.key.cmp(&b.key));
    // A key that moves between pages while they are read may come twice.
    found.dedup_by(|b, a| a.key == b.key);
    Ok(found)
}

/// Lists all versions and delete markers below `prefix`, by key, versions oldest first.
pub(super) async fn kept(bucket: &Bucket, prefix: &str) -> Result<Kept> {
    match list_versions(bucket, prefix).await {
        Err(error) if errors::is_not_implemented(&error) => {
            Ok(Kept { versions: list(bucket, prefix).await?, markers: Vec::new() })
        }
        outcome => outcome,
    }
}

async fn list_versions(bucket: &Bucket, prefix: &str) -> Result<Kept> {
    let what = format!("list versions of {prefix}* in {}", bucket.address());
    let full = format!("{}{prefix}", bucket.prefix);
    let (mut found, mut markers) = (Vec::new(), Vec::new());
    let mut marker: (Option<String>, Option<String>) = (None, None);
    loop {
        let request = bucket
            .client
            .list_object_versions()
            .bucket(&bucket.name)
            .prefix(&full)
            .set_key_marker(marker.0.clone())
            .set_version_id_marker(marker.1.clone());
        let page = bucket.timed(&what, 0, request.send()).await?;
        for object in page.versions() {
            if let Some(key) = object.key().and_then(|k| bucket.own_key(k)) {
                let version = object.version_id().map(str::to_owned);
                found.push(entry(&what, key, object.size(), object.last_modified().copied(), version)?);
            }
        }
        for mark in page.delete_markers() {
            let (Some(key), Some(made)) = (mark.key().and_then(|k| bucket.own_key(k)), mark.last_modified())
            else {
                continue;
            };
            let version = mark.version_id().map(str::to_owned);
            let (made, latest) = (timestamp(made)?, mark.is_latest() == Some(true));
            markers.push(Marker { key, version, made, latest });
        }
        if page.is_truncated() != Some(true) {
            break;
        }
        let next =
            (page.next_key_marker().map(str::to_owned), page.next_version_id_marker().map(str::to_owned));
        if next.0.is_none() || next == marker {
            return Err(endless(&what));
        }
        marker = next;
    }
    markers.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(Kept { versions: oldest_first(found), markers })
}

/// Orders versions as they came, newest first within each key
/// (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectVersions.html>), the other way round. Their times are no
/// better witness: several may lie within one second.
fn oldest_first(mut found: Vec<Entry>) -> Vec<Entry> {
    found.reverse();
    found.sort_by(|a, b| a.key.cmp(&b.key));
    found.dedup_by(|b, a| a.key == b.key && a.version == b.version);
    found
}

fn endless(what: &str) -> Error {
    Error::new(Kind::Store, format!("{what}: the store says that there is more, but not from where on"))
}
