//! Where a store is, as an operator writes it.
//!
//! Owns the two spellings `s3://bucket/prefix` and `file:///folder`. Knows nothing of endpoints and credentials, so that
//! an address may stand in logs, receipts of jobs and error messages.

use std::fmt;
use std::path::{Component, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::is_key_part;
use crate::error::{Error, Kind, Result};

/// The address of a store; parsing one is validating it.
///
/// Text is taken as it stands, without percent-decoding.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[non_exhaustive]
pub enum StoreAddress {
    /// `s3://bucket` or `s3://bucket/prefix`.
    S3 {
        /// The bucket's name.
        bucket: String,
        /// What stands before every key, without slashes at the ends; may be empty.
        prefix: String,
    },
    /// `file:///folder`.
    File {
        /// An absolute path without `..`.
        folder: PathBuf,
    },
}

// The text itself may hold a password (`s3://key:secret@host`), so it is never repeated.
fn refusal(why: &str) -> Error {
    Error::new(Kind::Usage, format!("not a store address: {why}")).hint(
        "write s3://bucket/prefix (endpoint and credentials are settings of their own) or file:///folder",
    )
}

fn parse_s3(rest: &str) -> Result<StoreAddress> {
    if rest.contains(['@', '?', '#']) {
        return Err(refusal("it holds credentials or parameters"));
    }
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let prefix = prefix.trim_end_matches('/');
    if bucket.len() < 3 || bucket.len() > 255 || !is_key_part(bucket) {
        return Err(refusal("the bucket's name is not one"));
    }
    // Together with a key of 512 bytes it has to stay within the 1,024 that S3 allows.
    if prefix.len() > 500 || !(prefix.is_empty() || prefix.split('/').all(is_key_part)) {
        return Err(refusal("the prefix has parts other than of A-Z, a-z, 0-9, ., _ and -"));
    }
    Ok(StoreAddress::S3 { bucket: bucket.to_owned(), prefix: prefix.to_owned() })
}

fn parse_file(path: &str) -> Result<StoreAddress> {
    let folder = PathBuf::from(path);
    if !folder.is_absolute() || path.contains('\0') {
        return Err(refusal("file:// needs an absolute path, so three slashes"));
    }
    if folder.components().any(|c| c == Component::ParentDir) {
        return Err(refusal("its path holds `..`"));
    }
    // Collected anew, a trailing or double slash and `.` are gone, and equal folders are equal addresses.
    Ok(StoreAddress::File { folder: folder.components().collect() })
}

impl FromStr for StoreAddress {
    type Err = Error;
    fn from_str(s: &str) -> Result<Self> {
        if let Some(rest) = s.strip_prefix("s3://") {
            parse_s3(rest)
        } else if let Some(path) = s.strip_prefix("file://") {
            parse_file(path)
        } else {
            Err(refusal("it begins with neither s3:// nor file://"))
        }
    }
}

impl TryFrom<String> for StoreAddress {
    type Error = Error;
    fn try_from(s: String) -> Result<Self> {
        s.parse()
    }
}

impl From<StoreAddress> for String {
    fn from(address: StoreAddress) -> String {
        address.to_string()
    }
}

impl fmt::Display for StoreAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreAddress::S3 { bucket, prefix } if prefix.is_empty() => write!(f, "s3://{bucket}"),
            StoreAddress::S3 { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
            StoreAddress::File { folder } => write!(f, "file://{}", folder.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_round_trip_in_one_spelling() {
        let table = [
            ("s3://bucket", "s3://bucket"),
            ("s3://bucket/", "s3://bucket"),
            ("s3://my.bucket/a/b-1/", "s3://my.bucket/a/b-1"),
            ("file:///srv/store", "file:///srv/store"),
            ("file:///srv//store/./", "file:///srv/store"),
            ("file:///mnt/disk one", "file:///mnt/disk one"),
        ];
        for (written, shown) in table {
            let address: StoreAddress = written.parse().unwrap();
            assert_eq!(address.to_string(), shown);
            assert_eq!(shown.parse::<StoreAddress>().unwrap(), address);
            let json = serde_json::to_string(&address).unwrap();
            assert_eq!(serde_json::from_str::<StoreAddress>(&json).unwrap(), address);
        }
    }

    #[test]
    fn a_refused_address_never_repeats_what_may_be_a_password() {
        let bad = [
            "s3://key:hunter2@bucket/x",
            "s3://hunter2?x",
            "http://hunter2/",
            "file://hunter2/x",
            "file:///a/../hunter2",
            "s3:///hunter2",
            "s3://bucket/a//hunter2",
            "hunter2",
        ];
        for text in bad {
            let error = text.parse::<StoreAddress>().unwrap_err();
            assert_eq!(error.kind(), Kind::Usage, "{text}");
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
        }
    }
}
