//! An S3 bucket as a store, through aws-sdk-s3: AWS or any endpoint.
//!
//! Owns how the contract maps to requests. What a store lacks (checksums, conditions, versions) is found out by its
//! answers, never by its name. The SDK's own retries are off: the retry wrapper knows what is safe to repeat.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use jiff::Timestamp;

use super::{Body, Download, Entry, Kept, Key, Lock, PutMode, Store, StoreOptions, Tag, Trials};
use crate::error::{Context, Error, Kind, Result};

mod bucket;
mod client;
mod errors;
mod list;
mod lock;
mod multipart;
mod put;
mod trial;
mod wire;

use bucket::Bucket;

/// A store in a bucket, below a prefix.
#[derive(Debug, Clone)]
pub struct S3Store {
    bucket: Arc<Bucket>,
    trial: trial::Trial,
}

impl S3Store {
    /// Prepares the store; the first call connects.
    ///
    /// # Errors
    /// [`Kind::Config`] without credentials or with an endpoint that is not one.
    pub fn new(bucket: &str, prefix: &str, options: &StoreOptions) -> Result<Self> {
        let clock = wire::Clock::default();
        let client = client::client(bucket, options, clock.clone())?;
        let bucket = Arc::new(Bucket::new(client, clock, bucket, prefix, options));
        Ok(S3Store { trial: trial::Trial(Arc::clone(&bucket)), bucket })
    }

    async fn put_as(&self, key: &Key, body: Body, mode: PutMode, lock: Option<Lock>) -> Result<Entry> {
        if body.size_bytes() > put::SINGLE_PUT_BYTES {
            multipart::put(&self.bucket, key, body, mode, lock).await
        } else {
            put::put(&self.bucket, key, body, mode, lock).await
        }
    }
}

#[async_trait]
impl Store for S3Store {
    fn address(&self) -> String {
        self.bucket.address()
    }

    async fn put(&self, key: &Key, body: Body, mode: PutMode) -> Result<Entry> {
        self.put_as(key, body, mode, None).await
    }

    async fn get(&self, key: &Key, version: Option<&str>) -> Result<Download> {
        let bucket = &self.bucket;
        let what = format!("get {key} from {}", bucket.address());
        let request = bucket
            .client
            .get_object()
            .bucket(&bucket.name)
            .key(bucket.full_key(key))
            .set_version_id(version.map(str::to_owned));
        let answer = bucket.timed(&what, 0, request.send()).await?;
        let announced = answer.content_length().and_then(|n| u64::try_from(n).ok());
        let size_bytes =
            announced.ok_or_else(|| Error::new(Kind::Store, format!("{what}: no length was announced")))?;
        let named = what.clone();
        let pieces = futures::stream::unfold(answer.body, |mut body| async move {
            let piece = body.next().await?;
            Some((piece, body))
        })
        .map(move |piece| piece.context(Kind::Store, &named));
        Ok(Download::checked(what, size_bytes, bucket.timeouts.silence, pieces.boxed()))
    }

    async fn head(&self, key: &Key) -> Result<Option<Entry>> {
        self.bucket.head(key).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Entry>> {
        list::list(&self.bucket, prefix).await
    }

    async fn versions(&self, prefix: &str) -> Result<Vec<Entry>> {
        Ok(list::kept(&self.bucket, prefix).await?.versions)
    }

    async fn delete(&self, key: &Key, version: Option<&str>) -> Result<()> {
        let bucket = &self.bucket;
        let what = format!("delete {key} from {}", bucket.address());
        let request = bucket
            .client
            .delete_object()
            .bucket(&bucket.name)
            .key(bucket.full_key(key))
            .set_version_id(version.map(str::to_owned));
        match bucket.timed(&what, 0, request.send()).await {
            Err(error) if error.kind() == Kind::NotFound => Ok(()),
            outcome => outcome.map(drop),
        }
    }

    async fn sweep(&self, older_than: Duration) -> Result<u64> {
        multipart::sweep(&self.bucket, older_than).await
    }

    async fn now(&self) -> Result<Timestamp> {
        self.bucket.now().await
    }

    async fn put_locked(&self, key: &Key, body: Body, mode: PutMode, lock: Lock) -> Result<Entry> {
        self.put_as(key, body, mode, Some(lock)).await
    }

    async fn lock_until(&self, key: &Key, version: &str, lock: Lock) -> Result<()> {
        lock::lock_until(&self.bucket, key, version, lock).await
    }

    async fn lock_of(&self, key: &Key, version: &str) -> Result<Option<Lock>> {
        lock::lock_of(&self.bucket, key, version).await
    }

    async fn kept(&self, prefix: &str) -> Result<Kept> {
        list::kept(&self.bucket, prefix).await
    }

    async fn tag(&self, key: &Key) -> Result<Option<Tag>> {
        lock::tag(&self.bucket, key).await
    }

    async fn swap(&self, key: &Key, body: Body, tag: &Tag) -> Result<Tag> {
        lock::swap(&self.bucket, key, body, tag).await
    }

    fn trials(&self) -> Option<&dyn Trials> {
        Some(&self.trial)
    }
}
