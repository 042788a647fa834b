//! What `probe` tries of a bucket and a credential.

use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{
    BucketVersioningStatus, ExpirationStatus, LifecycleRule, LifecycleRuleFilter, ObjectLockEnabled,
    VersioningConfiguration,
};
use bytes::Bytes;

use super::bucket::Bucket;
use super::errors;
use super::multipart;
use super::put;
use super::wire::Wire;
use crate::error::{Context, Error, Kind, Result};
use crate::id::Sha256;
use crate::store::Key;
use crate::store::trial::{Setting, Settings, Trials};

/// A bucket that is tried.
#[derive(Debug, Clone)]
pub(super) struct Trial(pub(super) Arc<Bucket>);

const CONTENT: &[u8] = b"lifeboat tries this store\n";

#[async_trait]
impl Trials for Trial {
    async fn settings(&self) -> Result<Settings> {
        let (locks, default_lock) = self.locks().await;
        Ok(Settings {
            versioning: self.versioning().await,
            locks,
            default_lock,
            expiring: self.lifecycle().await.map(|rules| self.expiring(&rules)),
        })
    }

    async fn range(&self, key: &Key, offset: u64, length: u64) -> Result<Bytes> {
        let bucket = &self.0;
        let what = format!("get a part of {key} from {}", bucket.address());
        let last = (offset + length).saturating_sub(1);
        let request = bucket.client.get_object().bucket(&bucket.name).key(bucket.full_key(key));
        let answer =
            bucket.timed(&what, length, request.range(format!("bytes={offset}-{last}")).send()).await?;
        let limit = bucket.timeouts.for_bytes(length);
        let body = tokio::time::timeout(limit, answer.body.collect()).await.context(Kind::Timeout, &what)?;
        Ok(body.context(Kind::Store, &what)?.into_bytes())
    }

    async fn put_with_wrong_checksum(&self, key: &Key) -> Result<()> {
        let bucket = &self.0;
        let what = format!("put {key} under a wrong checksum to {}", bucket.address());
        let request = bucket
            .client
            .put_object()
            .bucket(&bucket.name)
            .key(bucket.full_key(key))
            .checksum_sha256(put::encoded(Sha256::of(b"other bytes")))
            .body(ByteStream::from_static(CONTENT))
            .customize()
            .interceptor(Wire::signing(Sha256::of(CONTENT)));
        bucket.timed(&what, 0, request.send()).await.map(drop)
    }

    async fn abandon_upload(&self, key: &Key) -> Result<u64> {
        let bucket = &self.0;
        let full_key = bucket.full_key(key);
        let what = format!("begin {key} in parts in {}", bucket.address());
        let request = bucket.client.create_multipart_upload().bucket(&bucket.name).key(&full_key);
        let begun = bucket.timed(&what, 0, request.send()).await?;
        let id = begun.upload_id().ok_or_else(|| Error::new(Kind::Store, format!("{what}: no id")))?;
        let part =
            bucket.client.upload_part().bucket(&bucket.name).key(&full_key).upload_id(id).part_number(1);
        let part = part.body(ByteStream::from_static(CONTENT)).customize();
        let sent = bucket.timed(&what, 0, part.interceptor(Wire::signing(Sha256::of(CONTENT))).send()).await;
        multipart::abort(bucket, &full_key, id).await;
        sent?;
        let what = format!("list unfinished uploads in {}", bucket.address());
        let request = bucket.client.list_multipart_uploads().bucket(&bucket.name).prefix(&full_key);
        let left = bucket.timed(&what, 0, request.send()).await?;
        Ok(left.uploads().len() as u64)
    }

    async fn set_as_it_is(&self, setting: Setting) -> Result<()> {
        match setting {
            Setting::Versioning => self.set_versioning().await,
            Setting::Lifecycle => self.set_lifecycle().await,
        }
    }

    async fn delete_past_governance(&self, key: &Key, version: &str) -> Result<()> {
        let bucket = &self.0;
        let what = format!("delete locked {key} from {}", bucket.address());
        let request = bucket.client.delete_object().bucket(&bucket.name).key(bucket.full_key(key));
        let request = request.version_id(version).bypass_governance_retention(true);
        bucket.timed(&what, 0, request.send()).await.map(drop)
    }
}

impl Trial {
    async fn versioning(&self) -> Option<bool> {
        let bucket = &self.0;
        let request = bucket.client.get_bucket_versioning().bucket(&bucket.name);
        let answer = bucket.timed("versioning of the bucket", 0, request.send()).await.ok()?;
        Some(answer.status() == Some(&BucketVersioningStatus::Enabled))
    }

    async fn locks(&self) -> (Option<bool>, Option<String>) {
        let bucket = &self.0;
        let request = bucket.client.get_object_lock_configuration().bucket(&bucket.name);
        let answer = match bucket.timed("object lock of the bucket", 0, request.send()).await {
            Ok(answer) => answer,
            Err(e) if e.kind() == Kind::Denied => return (None, None),
            Err(e) => return (errors::answer(&e).map(|_| false), None),
        };
        let Some(lock) = answer.object_lock_configuration else { return (Some(false), None) };
        let default = lock.rule.and_then(|r| r.default_retention).map(|d| {
            let mode = d.mode.map_or("unknown".to_owned(), |m| m.as_str().to_lowercase());
            let time = match (d.days, d.years) {
                (Some(days), _) => format!("{days} days"),
                (None, Some(years)) => format!("{years} years"),
                (None, None) => "an unknown time".to_owned(),
            };
            format!("{mode}, {time}")
        });
        (Some(lock.object_lock_enabled == Some(ObjectLockEnabled::Enabled)), default)
    }

    /// Returns the bucket's rules; nothing where it does not tell them.
    async fn lifecycle(&self) -> Option<Vec<LifecycleRule>> {
        let bucket = &self.0;
        let request = bucket.client.get_bucket_lifecycle_configuration().bucket(&bucket.name);
        match bucket.timed("lifecycle of the bucket", 0, request.send()).await {
            Ok(answer) => Some(answer.rules.unwrap_or_default()),
            Err(e) => {
                let code = errors::answer(&e).map(|a| a.code.clone());
                (code.as_deref() == Some("NoSuchLifecycleConfiguration")).then(Vec::new)
            }
        }
    }

    /// Names the rules that are on and would remove objects or versions below our prefix.
    fn expiring(&self, rules: &[LifecycleRule]) -> Vec<String> {
        let ours = &self.0.prefix;
        let concerns = |rule: &&LifecycleRule| {
            let prefix = rule.filter().map_or("", prefix_of);
            // Older configurations name the prefix in the rule itself.
            #[allow(deprecated, reason = "stores still answer with it")]
            let prefix = if prefix.is_empty() { rule.prefix().unwrap_or("") } else { prefix };
            ours.starts_with(prefix) || prefix.starts_with(ours.as_str())
        };
        let removes = |rule: &&LifecycleRule| {
            let plain = rule.expiration().is_some_and(|e| e.days().is_some() || e.date().is_some());
            *rule.status() == ExpirationStatus::Enabled
                && (plain || rule.noncurrent_version_expiration().is_some())
        };
        let named = rules.iter().filter(removes).filter(concerns);
        named.map(|r| r.id().unwrap_or("without a name").to_owned()).collect()
    }

    /// Only where versions are on: elsewhere any answer would change something.
    async fn set_versioning(&self) -> Result<()> {
        let bucket = &self.0;
        if self.versioning().await != Some(true) {
            return Err(Error::new(Kind::Unsupported, "versions are off: there is nothing to guard"));
        }
        let same = VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled).build();
        let request = bucket.client.put_bucket_versioning().bucket(&bucket.name);
        let what = format!("set the versioning of bucket {}", bucket.name);
        bucket.timed(&what, 0, request.versioning_configuration(same).send()).await.map(drop)
    }

    /// Only where there are no rules: then removing them changes nothing.
    async fn set_lifecycle(&self) -> Result<()> {
        let bucket = &self.0;
        if self.lifecycle().await.is_none_or(|rules| !rules.is_empty()) {
            return Err(Error::new(Kind::Unsupported, "the bucket has rules that are not to be touched"));
        }
        let what = format!("set the lifecycle of bucket {}", bucket.name);
        let request = bucket.client.delete_bucket_lifecycle().bucket(&bucket.name);
        bucket.timed(&what, 0, request.send()).await.map(drop)
    }
}

fn prefix_of(filter: &LifecycleRuleFilter) -> &str {
    let of_and = filter.and().and_then(|a| a.prefix());
    filter.prefix().or(of_and).unwrap_or("")
}
