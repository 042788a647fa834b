//! The proof that a site's `encryption_key` opens the secrets in its database.
//!
//! Promises: a key that is lost or replaced is noticed when the backup is taken, not when it is needed. Does not
//! decrypt anything: each token carries an HMAC-SHA256 under the first half of the key.
//! Format: the Fernet specification, version 0x80: 8 bytes time, 16 bytes IV, ciphertext in blocks of 16, 32 bytes HMAC.

use base64::Engine;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use hmac::{Hmac, Mac};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

const VERSION: u8 = 0x80;
const HMAC_BYTES: usize = 32;
/// Version, time, IV, one block and HMAC.
const SHORTEST_TOKEN_BYTES: usize = 1 + 8 + 16 + 16 + HMAC_BYTES;

/// What the stored secrets say of the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum FernetProof {
    /// Every secret carries the key's mark.
    Proven {
        /// Secrets.
        rows: u64,
    },
    /// Some secrets were written under another key.
    Mismatch {
        /// Secrets that the key does not open.
        failed: u64,
        /// All secrets.
        rows: u64,
    },
    /// There are secrets and no key, or none that is one.
    KeyMissing {
        /// Secrets that nothing opens.
        rows: u64,
    },
    /// There is no secret.
    NothingToProve,
}

/// Checks the tokens of all encrypted rows against a site's key.
pub fn prove<'a>(key: Option<&SecretString>, tokens: impl IntoIterator<Item = &'a str>) -> FernetProof {
    let signing = key.and_then(signing_half);
    let (mut rows, mut failed) = (0, 0);
    for token in tokens {
        rows += 1;
        if !signing.as_ref().is_some_and(|k| is_signed(k, token)) {
            failed += 1;
        }
    }
    match (rows, failed) {
        (0, _) => FernetProof::NothingToProve,
        (rows, _) if signing.is_none() => FernetProof::KeyMissing { rows },
        (rows, 0) => FernetProof::Proven { rows },
        (rows, failed) => FernetProof::Mismatch { failed, rows },
    }
}

fn signing_half(key: &SecretString) -> Option<zeroize::Zeroizing<Vec<u8>>> {
    let bytes = zeroize::Zeroizing::new(decode(key.expose_secret().trim())?);
    (bytes.len() == 32).then(|| zeroize::Zeroizing::new(bytes[..16].to_vec()))
}

fn is_signed(signing: &[u8], token: &str) -> bool {
    let Some(bytes) = decode(token.trim()) else { return false };
    if bytes.len() < SHORTEST_TOKEN_BYTES || bytes[0] != VERSION {
        return false;
    }
    let (signed, mark) = bytes.split_at(bytes.len() - HMAC_BYTES);
    if !(signed.len() - 25).is_multiple_of(16) {
        return false;
    }
    Hmac::<Sha256>::new_from_slice(signing)
        .is_ok_and(|mac| mac.chain_update(signed).verify_slice(mark).is_ok())
}

fn decode(text: &str) -> Option<Vec<u8>> {
    URL_SAFE.decode(text).or_else(|_| URL_SAFE_NO_PAD.decode(text)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `generate.json` of the specification.
    const KEY: &str = "cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4=";
    const TOKEN: &str = "gAAAAAAdwJ6wAAECAwQFBgcICQoLDA0ODy021cpGVWKZ_eEwCGM4BLLF_5CV9dOPmrhuVUPgJobwOz7JcbmrR64jVmpU4IwqDA==";

    fn key(text: &str) -> SecretString {
        SecretString::from(text)
    }

    #[test]
    fn the_token_of_the_specification_is_proven() {
        assert_eq!(prove(Some(&key(KEY)), [TOKEN, TOKEN]), FernetProof::Proven { rows: 2 });
        assert_eq!(prove(Some(&key(&format!("{KEY}\n"))), [TOKEN]), FernetProof::Proven { rows: 1 });
    }

    #[test]
    fn another_key_is_a_mismatch_and_none_is_missing() {
        let other = key("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");
        assert_eq!(prove(Some(&other), [TOKEN]), FernetProof::Mismatch { failed: 1, rows: 1 });
        assert_eq!(prove(None, [TOKEN]), FernetProof::KeyMissing { rows: 1 });
        assert_eq!(prove(Some(&key("too short")), [TOKEN]), FernetProof::KeyMissing { rows: 1 });
        assert_eq!(prove(None, []), FernetProof::NothingToProve);
    }

    #[test]
    fn every_changed_byte_of_a_token_is_noticed() {
        let bytes = decode(TOKEN).unwrap();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            let token = URL_SAFE.encode(changed);
            assert_eq!(
                prove(Some(&key(KEY)), [token.as_str()]),
                FernetProof::Mismatch { failed: 1, rows: 1 }
            );
        }
        for end in 0..bytes.len() {
            let token = URL_SAFE.encode(&bytes[..end]);
            assert_eq!(
                prove(Some(&key(KEY)), [token.as_str()]),
                FernetProof::Mismatch { failed: 1, rows: 1 }
            );
        }
    }
}
