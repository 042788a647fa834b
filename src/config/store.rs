//! `[store]` and `[copy]` of the host file: where snapshots go and what it takes to get there.
//!
//! Owns the spelling of store addresses. Knows no driver.

use std::path::PathBuf;

use super::check::{Checker, absolute, http_url, not_empty};
use super::places::own_folder;
use super::raw;
use super::secret::SecretRef;
use super::units::{Rate, rate};
use crate::error::{Error, Kind, Result};

/// The store and how fast it may be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreConfig {
    /// Which store.
    pub address: StoreAddress,
    /// The most that is sent.
    pub upload_limit: Option<Rate>,
    /// The most that is fetched.
    pub download_limit: Option<Rate>,
}

/// A store's address and what it takes to reach it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreAddress {
    /// A folder on this host.
    Local {
        /// Its absolute path.
        path: PathBuf,
    },
    /// A bucket.
    S3 {
        /// Its name.
        bucket: String,
        /// What stands before each key, without slashes at its ends; may be empty.
        prefix: String,
        /// The server's address; none for AWS.
        endpoint: Option<String>,
        /// Its region.
        region: String,
        /// Whether the bucket stands in the path and not in the host name.
        path_style: bool,
        /// The keys; none for what the environment or the machine's role gives.
        credentials: Option<Credentials>,
    },
}

/// Where a bucket's keys are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The access key id.
    pub access_key: SecretRef,
    /// The secret access key.
    pub secret_key: SecretRef,
}

/// Checks `[store]`; none where no address can be made of it.
pub(super) fn check(raw: &raw::Store, c: &mut Checker<'_>) -> Option<StoreConfig> {
    if let Some(after_backup) = &raw.after_backup {
        let error = Error::new(Kind::Config, "unknown key").hint("it belongs to [copy] or [prune]");
        c.fault(Some(&after_backup.span()), "store.after_backup", &error);
    }
    check_as("store", raw, c)
}

/// Checks `[copy]`, which may not be the store itself; returns it and whether the service copies after each backup.
pub(super) fn check_copy(
    raw: &raw::Store,
    first: Option<&StoreConfig>,
    c: &mut Checker<'_>,
) -> Option<(StoreConfig, bool)> {
    let copy = check_as("copy", raw, c)?;
    if first.is_some_and(|first| is_same(&first.address, &copy.address)) {
        let span = raw.url.as_ref().map(serde_spanned::Spanned::span);
        let error = Error::new(Kind::Config, "the same place as [store], or within it: no second copy")
            .hint("write another bucket or folder, best on another machine");
        c.fault(span.as_ref(), "copy.url", &error);
    }
    Some((copy, raw.after_backup.as_ref().is_none_or(|b| *b.get_ref())))
}

/// Tells whether two addresses are one place, or one lies within the other.
fn is_same(a: &StoreAddress, b: &StoreAddress) -> bool {
    match (a, b) {
        (StoreAddress::Local { path: a }, StoreAddress::Local { path: b }) => {
            a.starts_with(b) || b.starts_with(a)
        }
        (
            StoreAddress::S3 { bucket: a, prefix: p, endpoint: e, .. },
            StoreAddress::S3 { bucket: b, prefix: q, endpoint: f, .. },
        ) => {
            let below = |p: &str, q: &str| p.is_empty() || q == p || q.starts_with(&format!("{p}/"));
            (a, e) == (b, f) && (below(p, q) || below(q, p))
        }
        _ => false,
    }
}

fn check_as(table: &str, raw: &raw::Store, c: &mut Checker<'_>) -> Option<StoreConfig> {
    let hint = "write url = \"s3://bucket/prefix\" or url = \"file:///srv/backup\"";
    let key = |name: &str| format!("{table}.{name}");
    let url = c.require(&key("url"), &raw.url, hint, store_url);
    // Read whatever the address is, so that all faults are seen at once.
    let endpoint = c.parse(&key("endpoint"), &raw.endpoint, endpoint);
    let region = c.parse(&key("region"), &raw.region, not_empty).unwrap_or_else(|| "us-east-1".to_owned());
    let written = [&raw.access_key, &raw.access_key_file, &raw.secret_key, &raw.secret_key_file];
    let credentials = credentials(table, written, c);
    let upload_limit = c.parse(&key("upload_limit"), &raw.upload_limit, rate);
    let download_limit = c.parse(&key("download_limit"), &raw.download_limit, rate);
    let address = match url? {
        StoreUrl::Local(path) => {
            refuse_s3_keys(table, raw, c);
            StoreAddress::Local { path }
        }
        StoreUrl::S3(bucket, prefix) => {
            let path_style = raw.path_style.as_ref().map_or(endpoint.is_some(), |p| *p.get_ref());
            StoreAddress::S3 { bucket, prefix, endpoint, region, path_style, credentials }
        }
    };
    Some(StoreConfig { address, upload_limit, download_limit })
}

enum StoreUrl {
    Local(PathBuf),
    S3(String, String),
}

fn store_url(text: &str) -> Result<StoreUrl> {
    let fault = || {
        // The address is not repeated: somebody may have put credentials into it.
        Error::new(Kind::Config, "not a store's address")
            .hint("write s3://bucket/prefix or file:///absolute/folder")
    };
    if let Some(path) = text.strip_prefix("file://") {
        absolute(path).map_err(|_| fault())?;
        return own_folder(path).map(StoreUrl::Local);
    }
    let rest = text.strip_prefix("s3://").ok_or_else(fault)?;
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let good_part = |p: &str| {
        !p.is_empty()
            && p != "."
            && p != ".."
            && p.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
    };
    let prefix = prefix.trim_end_matches('/');
    if !good_part(bucket) || bucket.len() < 3 || (!prefix.is_empty() && !prefix.split('/').all(good_part)) {
        return Err(fault());
    }
    Ok(StoreUrl::S3(bucket.to_owned(), prefix.to_owned()))
}

fn endpoint(text: &str) -> Result<String> {
    let url = http_url(text)?;
    if url.contains('@') {
        return Err(Error::new(Kind::Config, "an address with credentials in it")
            .hint("give them by access_key_file and secret_key_file; treat these as known"));
    }
    Ok(url.trim_end_matches('/').to_owned())
}

/// Reads `access_key`, `access_key_file`, `secret_key` and `secret_key_file` of a table.
pub(super) fn credentials(
    table: &str,
    [access, access_file, secret, secret_file]: [&raw::Text; 4],
    c: &mut Checker<'_>,
) -> Option<Credentials> {
    let access_key = c.secret(&format!("{table}.access_key"), access, access_file);
    let secret_key = c.secret(&format!("{table}.secret_key"), secret, secret_file);
    let access_given = access.is_some() || access_file.is_some();
    let secret_given = secret.is_some() || secret_file.is_some();
    if access_given != secret_given {
        let lacks = if access_given { "secret_key" } else { "access_key" };
        let error = Error::new(Kind::Config, "missing: access key and secret key belong together");
        c.fault(
            None,
            &format!("{table}.{lacks}"),
            &error.hint("leave both out to use those of the environment"),
        );
    }
    Some(Credentials { access_key: access_key?, secret_key: secret_key? })
}

fn refuse_s3_keys(table: &str, raw: &raw::Store, c: &mut Checker<'_>) {
    let keys = [
        ("endpoint", &raw.endpoint),
        ("region", &raw.region),
        ("access_key", &raw.access_key),
        ("access_key_file", &raw.access_key_file),
        ("secret_key", &raw.secret_key),
        ("secret_key_file", &raw.secret_key_file),
    ];
    for (key, text) in keys {
        if let Some(text) = text {
            let error = Error::new(Kind::Config, "means nothing for a file:// store");
            c.fault(Some(&text.span()), &format!("{table}.{key}"), &error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_within_the_store_is_none() {
        let local = |path: &str| StoreAddress::Local { path: path.into() };
        let s3 = |bucket: &str, prefix: &str, endpoint: Option<&str>| StoreAddress::S3 {
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
            endpoint: endpoint.map(str::to_owned),
            region: "us-east-1".to_owned(),
            path_style: false,
            credentials: None,
        };
        assert!(is_same(&local("/srv/a"), &local("/srv/a/b")));
        assert!(!is_same(&local("/srv/a"), &local("/srv/ab")));
        assert!(is_same(&s3("one", "", None), &s3("one", "x", None)));
        assert!(is_same(&s3("one", "x/y", None), &s3("one", "x", None)));
        assert!(!is_same(&s3("one", "x", None), &s3("one", "xy", None)));
        assert!(!is_same(&s3("one", "x", None), &s3("one", "x", Some("https://s3.example"))));
        assert!(!is_same(&s3("one", "x", None), &local("/one/x")));
    }

    #[test]
    fn a_store_is_a_bucket_or_an_absolute_folder() {
        assert!(
            matches!(store_url("s3://bucket/a/b/"), Ok(StoreUrl::S3(b, p)) if b == "bucket" && p == "a/b")
        );
        assert!(matches!(store_url("s3://bucket"), Ok(StoreUrl::S3(_, p)) if p.is_empty()));
        assert!(matches!(store_url("file:///srv/x"), Ok(StoreUrl::Local(_))));
        for bad in [
            "",
            "s3://",
            "s3://b",
            "s3://bucket//x",
            "s3://bucket/../x",
            "file://srv",
            "http://x",
            "s3://u:p@b",
        ] {
            assert!(store_url(bad).is_err(), "{bad:?}");
        }
    }
}
