//! The bucket as all requests see it: names, time limits, what the store was found to lack.

use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_sdk_s3::Client;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::DateTime;
use jiff::Timestamp;

use super::errors;
use super::wire::Clock;
use crate::error::{Context, Error, Kind, Result};
use crate::store::{Entry, Key, StoreOptions, Timeouts};

/// A bucket and a prefix in it.
pub(super) struct Bucket {
    pub(super) client: Client,
    pub(super) name: String,
    /// Empty, or ends in a slash.
    pub(super) prefix: String,
    pub(super) timeouts: Timeouts,
    /// Whether puts carry a checksum header; cleared by the first store that answers "not implemented".
    pub(super) checksums: AtomicBool,
    /// Whether create-only puts carry a condition; cleared likewise.
    pub(super) conditions: AtomicBool,
    /// Whether create-only puts look first.
    pub(super) look_first: bool,
    /// The store's clock.
    pub(super) clock: Clock,
    /// Whether the bucket is known to exist, which a HEAD of an object cannot tell.
    exists: AtomicBool,
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bucket").field("address", &self.address()).finish_non_exhaustive()
    }
}

impl Bucket {
    pub(super) fn new(
        client: Client,
        clock: Clock,
        name: &str,
        prefix: &str,
        options: &StoreOptions,
    ) -> Self {
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        Bucket {
            client,
            clock,
            name: name.to_owned(),
            prefix,
            timeouts: options.timeouts,
            look_first: options.look_first,
            checksums: AtomicBool::new(true),
            conditions: AtomicBool::new(true),
            exists: AtomicBool::new(false),
        }
    }

    pub(super) fn address(&self) -> String {
        format!("s3://{}/{}", self.name, self.prefix).trim_end_matches('/').to_owned()
    }

    pub(super) fn full_key(&self, key: &Key) -> String {
        format!("{}{key}", self.prefix)
    }

    /// Returns the key behind a name in the bucket; other people's names are none.
    pub(super) fn own_key(&self, full: &str) -> Option<Key> {
        full.strip_prefix(&self.prefix)?.parse().ok()
    }

    /// Waits for the answer to a request that carries `size_bytes`, as long as that may take.
    pub(super) async fn timed<T, E>(
        &self,
        what: &str,
        size_bytes: u64,
        request: impl Future<Output = Result<T, SdkError<E>>>,
    ) -> Result<T>
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        let limit = self.timeouts.for_bytes(size_bytes);
        match tokio::time::timeout(limit, request).await {
            Ok(answer) => answer.map_err(|e| errors::of(what, e)),
            Err(_) => {
                Err(Error::new(Kind::Timeout, format!("{what}: no answer within {} s", limit.as_secs())))
            }
        }
    }

    /// Tells whether an object is there.
    pub(super) async fn head(&self, key: &Key) -> Result<Option<Entry>> {
        let what = format!("head {key} in {}", self.address());
        let request = self.client.head_object().bucket(&self.name).key(self.full_key(key));
        let answer = match self.timed(&what, 0, request.send()).await {
            Ok(answer) => answer,
            Err(error) if is_404(&error) => {
                self.check_exists().await?;
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let modified = answer.last_modified().copied();
        let version = answer.version_id().map(str::to_owned);
        entry(&what, key.clone(), answer.content_length(), modified, version).map(Some)
    }

    /// Returns the store's time; asks for it where no answer came yet.
    pub(super) async fn now(&self) -> Result<Timestamp> {
        if let Some(now) = self.clock.now() {
            return Ok(now);
        }
        let what = format!("time of {}", self.address());
        let asked = self.timed(&what, 0, self.client.head_bucket().bucket(&self.name).send()).await;
        match self.clock.now() {
            // A refusal has a date, too.
            Some(now) => Ok(now),
            None => Err(asked.err().unwrap_or_else(|| Error::new(Kind::Store, format!("{what}: no date")))),
        }
    }

    /// Fails when the bucket does not exist; asks once.
    pub(super) async fn check_exists(&self) -> Result<()> {
        if self.exists.load(Ordering::Relaxed) {
            return Ok(());
        }
        let what = format!("bucket {}", self.name);
        match self.timed(&what, 0, self.client.head_bucket().bucket(&self.name).send()).await {
            Ok(_) => {
                self.exists.store(true, Ordering::Relaxed);
                Ok(())
            }
            Err(error) if is_404(&error) => Err(errors::no_bucket(&what)),
            // Allowed to read objects, not to look at the bucket: then the answer for the object stands.
            Err(error) if error.kind() == Kind::Denied => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// The answer to a HEAD has no document, so the status alone must do.
fn is_404(error: &Error) -> bool {
    errors::answer(error).is_some_and(|a| a.status == 404)
}

/// Makes an entry of what an answer says; what lacks is a fault of the store.
pub(super) fn entry(
    what: &str,
    key: Key,
    size: Option<i64>,
    modified: Option<DateTime>,
    version: Option<String>,
) -> Result<Entry> {
    let lacking =
        |field: &str| Error::new(Kind::Store, format!("{what}: the answer for {key} has no {field}"));
    let size_bytes = size.and_then(|n| u64::try_from(n).ok()).ok_or_else(|| lacking("size"))?;
    let modified = modified.ok_or_else(|| lacking("time"))?;
    let modified = timestamp(&modified).map_err(|e| e.in_context(what))?;
    Ok(Entry { key, size_bytes, modified, version })
}

/// Turns the SDK's time into ours.
pub(super) fn timestamp(time: &DateTime) -> Result<Timestamp> {
    // Below 10^9, so it fits.
    let nanos = i32::try_from(time.subsec_nanos()).unwrap_or(0);
    Timestamp::new(time.secs(), nanos).context(Kind::Store, "a time of the store")
}
