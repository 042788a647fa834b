//! Reading and writing whole small objects: JSON object files, and the oldest right version of any object.
//!
//! Owns the shape shared by all clear objects and the rule for stores that keep versions. Knows nothing of what
//! makes a version right: the caller says so.

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::{Context, Error, Kind, Result};
use crate::id::Sha256;
use crate::store::{Body, Entry, Kept, Key, PutMode, Store};

use super::keys::Signed;
use super::sign::SIGNATURE_LIMIT;

/// The version of the format that this program writes, and the highest it reads.
pub const FORMAT: u64 = 1;

/// The highest number of a receipt: every reader of JSON knows integers up to 2^53, and one more is always a number.
pub const MOST_RECEIPTS: u64 = 1 << 53;

/// How many versions of one key are tried; more are only there to keep a reader busy.
pub(super) const VERSIONS_TRIED: usize = 32;

#[derive(Deserialize)]
struct Head {
    format: u64,
    kind: String,
}

/// Spells a clear object: one JSON object and a newline.
pub fn encode<T: Serialize>(object: &T) -> Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec(object).context(Kind::Bug, "cannot spell an object as JSON")?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Reads a clear object of `kind`; unknown fields are ignored.
///
/// [`Kind::TooNew`] where its format is above [`FORMAT`], [`Kind::Damaged`] where it is not such an object.
pub fn decode<T: DeserializeOwned>(key: &Key, kind: &str, bytes: &[u8]) -> Result<T> {
    let head: Head =
        serde_json::from_slice(bytes).context(Kind::Damaged, format!("{key} is not readable"))?;
    if head.format > FORMAT {
        return Err(Error::new(
            Kind::TooNew,
            format!("{key} has format {}, this reads up to {FORMAT}", head.format),
        )
        .hint("use a newer lifeboat"));
    }
    if head.format != FORMAT || head.kind != kind {
        return Err(Error::new(Kind::Damaged, format!("{key} is no {kind} object ({})", head.kind)));
    }
    serde_json::from_slice(bytes).context(Kind::Damaged, format!("{key} is not a readable {kind} object"))
}

/// Stores an object create-only; that exactly these bytes are there already is success.
pub async fn put_once(store: &dyn Store, key: &Key, bytes: Bytes) -> Result<Entry> {
    let refused = match store.put(key, Body::Bytes(bytes.clone()), PutMode::Create).await {
        Err(e) if e.kind() == Kind::Conflict => e,
        other => return other,
    };
    match get(store, key, None, bytes.len() as u64).await {
        Ok(there) if there == bytes => store.head(key).await?.ok_or(refused),
        _ => Err(refused),
    }
}

/// Fetches one version of an object of at most `limit_bytes`.
pub async fn get(store: &dyn Store, key: &Key, version: Option<&str>, limit_bytes: u64) -> Result<Bytes> {
    let download = store.get(key, version).await?;
    download.bytes(limit_bytes).await.map_err(|e| e.in_context(key))
}

/// Makes an attempt to fetch something, and one more where the transfer broke off on its way.
pub(super) async fn once_more<T, F>(attempt: impl Fn() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    match attempt().await {
        Err(error) if matches!(error.kind(), Kind::Store | Kind::Timeout) => {
            tracing::warn!(%error, "fetching an object again");
            attempt().await
        }
        other => other,
    }
}

/// Lists versions below `prefix`, or, where the store hides them from these credentials, what is there now.
pub async fn versions(store: &dyn Store, prefix: &str) -> Result<Vec<Entry>> {
    match store.versions(prefix).await {
        Err(e) if e.kind() == Kind::Denied => store.list(prefix).await,
        other => other,
    }
}

/// Lists versions and delete markers below `prefix`, or, where the store hides them from these credentials, what is
/// there now.
pub async fn kept(store: &dyn Store, prefix: &str) -> Result<Kept> {
    match store.kept(prefix).await {
        Err(e) if e.kind() == Kind::Denied => {
            Ok(Kept { versions: store.list(prefix).await?, markers: Vec::new() })
        }
        other => other,
    }
}

/// Fetches the object whose SHA-256 is `hash`: the newest version, or else the oldest that is right.
///
/// [`Kind::NotFound`] where the key has no version, [`Kind::Damaged`] where none has this hash.
pub async fn get_hashed(store: &dyn Store, key: &Key, hash: &Sha256, limit_bytes: u64) -> Result<Bytes> {
    match get(store, key, None, limit_bytes).await {
        Ok(bytes) if Sha256::of(&bytes) == *hash => return Ok(bytes),
        Ok(_) => {}
        Err(e) if matches!(e.kind(), Kind::NotFound | Kind::Damaged) => {}
        Err(e) => return Err(e),
    }
    let versions = versions_of(store, key).await?;
    if versions.is_empty() {
        return Err(Error::new(Kind::NotFound, format!("{key} is not in the store")));
    }
    for entry in versions.iter().take(VERSIONS_TRIED) {
        match get(store, key, entry.version.as_deref(), limit_bytes).await {
            Ok(bytes) if Sha256::of(&bytes) == *hash => return Ok(bytes),
            Ok(_) => {}
            Err(e) if matches!(e.kind(), Kind::NotFound | Kind::Damaged) => {}
            Err(e) => return Err(e),
        }
    }
    Err(Error::new(Kind::Damaged, format!("{key} does not have the SHA-256 {}", hash.short())))
}

/// Lists the versions of one key, oldest first.
pub async fn versions_of(store: &dyn Store, key: &Key) -> Result<Vec<Entry>> {
    let mut all = versions(store, key.as_str()).await?;
    all.retain(|e| e.key == *key);
    Ok(all)
}

/// A signed object as it was read: what the check made of it, its bytes and its version's entry.
#[derive(Debug)]
pub struct SignedObject<T> {
    /// What the check returned.
    pub value: T,
    /// The JSON bytes.
    pub bytes: Bytes,
    /// The signature that verified.
    pub signature: Bytes,
    /// The version that was right.
    pub entry: Entry,
    /// Whether it is the oldest version of the signature that verified.
    pub first_signature: bool,
}

/// Fetches the oldest version of a signed object that `check(json, signature)` accepts.
///
/// `listed` holds the versions of both keys, oldest first each. Where none is right, the error is the
/// check's verdict on the oldest pair, for that is the one that was written first.
pub async fn get_signed<T>(
    store: &dyn Store,
    keys: &Signed,
    listed: &[Entry],
    limit_bytes: u64,
    check: impl Fn(&[u8], &[u8]) -> Result<T>,
) -> Result<SignedObject<T>> {
    let mut verdict = None;
    let mut signatures = Vec::new();
    let oldest_first = listed.iter().filter(|e| e.key == keys.minisig);
    for (n, entry) in oldest_first.take(VERSIONS_TRIED).enumerate() {
        match get(store, &keys.minisig, entry.version.as_deref(), SIGNATURE_LIMIT).await {
            Ok(bytes) => signatures.push((n, bytes)),
            Err(e) => verdict = verdict.or(Some(e)),
        }
    }
    for entry in listed.iter().filter(|e| e.key == keys.json).take(VERSIONS_TRIED) {
        let bytes = match get(store, &keys.json, entry.version.as_deref(), limit_bytes).await {
            Ok(bytes) => bytes,
            Err(e) => {
                verdict = verdict.or(Some(e));
                continue;
            }
        };
        for (n, signature) in &signatures {
            match check(&bytes, signature) {
                Ok(value) => {
                    return Ok(SignedObject {
                        value,
                        bytes,
                        signature: signature.clone(),
                        entry: entry.clone(),
                        first_signature: *n == 0,
                    });
                }
                Err(e) => verdict = verdict.or(Some(e)),
            }
        }
    }
    Err(verdict.unwrap_or_else(|| match signatures.is_empty() {
        true => Error::new(Kind::Forged, format!("{} has no signature", keys.json)),
        false => Error::new(Kind::NotFound, format!("{} is not in the store", keys.json)),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Serialize, Deserialize, PartialEq)]
    struct Toy {
        format: u64,
        kind: String,
        n: u32,
    }

    #[test]
    fn a_newer_format_is_named_and_unknown_fields_are_ignored() {
        let key: Key = "x.json".parse().unwrap();
        let read = |text: &str| decode::<Toy>(&key, "toy", text.as_bytes());
        assert_eq!(read(r#"{"format":1,"kind":"toy","n":3,"more":[]}"#).unwrap().n, 3);
        assert_eq!(read(r#"{"format":2,"kind":"toy"}"#).unwrap_err().kind(), Kind::TooNew);
        for damaged in ["", "[]", r#"{"format":1,"kind":"cat","n":3}"#, r#"{"format":0,"kind":"toy","n":3}"#]
        {
            assert_eq!(read(damaged).unwrap_err().kind(), Kind::Damaged, "{damaged}");
        }
    }

    #[test]
    fn objects_end_with_a_newline() {
        let toy = Toy { format: 1, kind: "toy".into(), n: 1 };
        assert_eq!(encode(&toy).unwrap(), b"{\"format\":1,\"kind\":\"toy\",\"n\":1}\n");
    }

    #[tokio::test]
    async fn a_repeated_put_succeeds_with_the_same_bytes_only() {
        let store = crate::repo::testing::Versioned::default();
        let key: Key = "x".parse().unwrap();
        let put =
            async |bytes: &'static [u8]| put_once(&store, &key, bytes.into()).await.map(|e| e.size_bytes);
        assert_eq!(put(b"abc").await.unwrap(), 3);
        assert_eq!(put(b"abc").await.unwrap(), 3);
        for other in [&b"abd"[..], b"abcd", b"ab"] {
            assert_eq!(put(other).await.unwrap_err().kind(), Kind::Conflict);
        }
        assert_eq!(store.versions("x").await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn an_object_is_found_by_its_hash_behind_newer_versions_and_delete_markers() {
        let store = crate::repo::testing::Versioned::default();
        let key: Key = "x".parse().unwrap();
        put_once(&store, &key, Bytes::from_static(b"right")).await.unwrap();
        let hash = Sha256::of(b"right");
        store.put(&key, Body::from(b"wrong and longer".to_vec()), PutMode::Replace).await.unwrap();
        assert_eq!(get_hashed(&store, &key, &hash, 5).await.unwrap(), "right");
        store.delete(&key, None).await.unwrap();
        assert_eq!(get_hashed(&store, &key, &hash, 5).await.unwrap(), "right");
        assert_eq!(get_hashed(&store, &key, &Sha256::of(b"?"), 5).await.unwrap_err().kind(), Kind::Damaged);
        let none: Key = "y".parse().unwrap();
        assert_eq!(get_hashed(&store, &none, &hash, 5).await.unwrap_err().kind(), Kind::NotFound);
    }
}
