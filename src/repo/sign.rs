//! Signatures of the clear objects: minisign, bound to the key under which the object lies.
//!
//! Owns key pairs in minisign's text forms and the trusted comment. Knows nothing of what is signed or who may
//! sign what. Format: <https://jedisct1.github.io/minisign/>; only prehashed signatures (`ED`) are made and accepted.

use std::fmt;
use std::io::Cursor;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use minisign::{KeyPair, SecretKeyBox, SignatureBox};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use crate::error::{Context, Error, Kind, Result};
use crate::store::Key;

/// The greatest length of a signature's text that is read, in bytes; a real one has below 1,000.
pub const SIGNATURE_LIMIT: u64 = 4096;

/// Lengths of what a signature's second and fourth lines decode to: algorithm, key number and Ed25519; Ed25519.
const SIGNATURE_BYTES: usize = 2 + 8 + 64;
const GLOBAL_BYTES: usize = 64;

/// The number that minisign gives a key, by chance; it is no secret and proves nothing.
pub type KeyNumber = [u8; 8];

/// A minisign public key; its text is minisign's own base64, 56 characters.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublicKey(minisign::PublicKey);

/// A minisign key pair that can sign; never printed, not even by `Debug`.
pub struct SigningKey {
    secret: minisign::SecretKey,
    public: PublicKey,
}

/// Returns the trusted comment that binds a signature to the key of the signed object.
pub fn trusted_comment(key: &Key) -> String {
    format!("lifeboat/1 {key}")
}

impl SigningKey {
    /// Makes a key pair from the operating system's generator; returns it with its text form.
    ///
    /// With a passphrase the text is encrypted (scrypt, as `minisign -G` does), without one it is as of
    /// `minisign -G -W`. `comment` is for people and not secret.
    pub fn generate(comment: &str, passphrase: Option<&SecretString>) -> Result<(SigningKey, SecretString)> {
        let made = match passphrase {
            Some(p) => KeyPair::generate_encrypted_keypair(Some(p.expose_secret().to_owned())),
            None => KeyPair::generate_unencrypted_keypair(),
        };
        let pair = made.context(Kind::Bug, "cannot make a signing key")?;
        let text = pair.sk.to_box(Some(comment)).context(Kind::Bug, "cannot spell a signing key")?;
        let text = SecretString::from(text.into_string());
        let key = SigningKey::parse(&text, passphrase)?;
        Ok((key, text))
    }

    /// Reads the text form; [`Kind::WrongKey`] where the passphrase is missing or wrong.
    pub fn parse(text: &SecretString, passphrase: Option<&SecretString>) -> Result<SigningKey> {
        let boxed = SecretKeyBox::from(text.expose_secret().to_owned());
        // The crate would ask on the terminal where no passphrase is given; it is never called that way.
        let secret = match passphrase {
            Some(p) => minisign::SecretKey::from_box(boxed, Some(p.expose_secret().to_owned()))
                .context(Kind::WrongKey, "signing key does not open with this passphrase")?,
            None => minisign::SecretKey::from_unencrypted_box(boxed)
                .context(Kind::WrongKey, "not an unencrypted minisign secret key")?,
        };
        let public = minisign::PublicKey::from_secret_key(&secret)
            .context(Kind::Damaged, "signing key holds no public key")?;
        Ok(SigningKey { secret, public: PublicKey(public) })
    }

    /// Returns the public half.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Signs the bytes that are to lie under `key`; returns the text of the `.minisig` object.
    pub fn sign(&self, key: &Key, bytes: &[u8]) -> Result<String> {
        let made = minisign::sign(
            Some(&self.public.0),
            &self.secret,
            Cursor::new(bytes),
            Some(&trusted_comment(key)),
            Some("lifeboat signature"),
        );
        Ok(made.context(Kind::Bug, format!("cannot sign {key}"))?.into_string())
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.public)
    }
}

impl PublicKey {
    /// Returns its number, which signatures made with it name.
    pub fn number(&self) -> Option<KeyNumber> {
        STANDARD.decode(self.0.to_base64()).ok()?.get(2..10)?.try_into().ok()
    }

    /// Checks that `signature` is one of these bytes, by this key, made for `key`; else [`Kind::Forged`].
    pub fn verify(&self, key: &Key, bytes: &[u8], signature: &[u8]) -> Result<()> {
        let boxed = parse_signature(signature).map_err(|e| e.in_context(format!("signature of {key}")))?;
        minisign::verify(&self.0, &boxed, Cursor::new(bytes), true, false, false)
            .context(Kind::Forged, format!("signature of {key} does not verify"))?;
        let comment = boxed.trusted_comment().context(Kind::Forged, format!("signature of {key}"))?;
        if comment != trusted_comment(key) {
            return Err(Error::new(
                Kind::Forged,
                format!("signature of {key} was made for another object ({comment:?})"),
            ));
        }
        Ok(())
    }
}

/// Returns the trusted comment of a signature, unverified; none where these bytes are no signature.
pub fn comment(signature: &[u8]) -> Option<String> {
    parse_signature(signature).ok()?.trusted_comment().ok()
}

/// Returns the number of the key that a signature says it was made with; none where these bytes are no signature.
pub fn signer_number(signature: &[u8]) -> Option<KeyNumber> {
    parse_signature(signature).ok()?;
    let line = std::str::from_utf8(signature).ok()?.lines().nth(1)?;
    STANDARD.decode(line.trim()).ok()?.get(2..10)?.try_into().ok()
}

/// Parses a signature strictly: the crate's verification panics on a global signature that is too short.
fn parse_signature(bytes: &[u8]) -> Result<SignatureBox> {
    let bad = |what: &str| Error::new(Kind::Forged, format!("not a minisign signature: {what}"));
    let text = std::str::from_utf8(bytes).map_err(|_| bad("not text"))?;
    let lines: Vec<&str> = text.lines().collect();
    let [_, signature, _, global] = lines[..] else {
        return Err(bad("not four lines"));
    };
    let length_is = |line: &str, n| STANDARD.decode(line.trim()).is_ok_and(|b| b.len() == n);
    if !length_is(signature, SIGNATURE_BYTES) || !length_is(global, GLOBAL_BYTES) {
        return Err(bad("wrong length"));
    }
    SignatureBox::from_string(text).context(Kind::Forged, "not a minisign signature")
}

impl FromStr for PublicKey {
    type Err = Error;
    fn from_str(s: &str) -> Result<Self> {
        let bad = || Error::new(Kind::Config, format!("{s:?} is not a minisign public key"));
        let bytes = STANDARD.decode(s).map_err(|_| bad())?;
        if bytes.len() != 42 || !bytes.starts_with(b"Ed") {
            return Err(bad());
        }
        Ok(PublicKey(minisign::PublicKey::from_bytes(&bytes).map_err(|_| bad())?))
    }
}

impl TryFrom<String> for PublicKey {
    type Error = Error;
    fn try_from(s: String) -> Result<Self> {
        s.parse()
    }
}

impl From<PublicKey> for String {
    fn from(k: PublicKey) -> String {
        k.0.to_base64()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_base64())
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(text: &str) -> Key {
        text.parse().unwrap()
    }

    fn pair() -> SigningKey {
        SigningKey::generate("test", None).unwrap().0
    }

    #[test]
    fn a_signature_verifies_only_with_its_bytes_its_key_and_its_place() {
        let (a, b) = (pair(), pair());
        let signature = a.sign(&key("x/1.json"), b"{}\n").unwrap();
        let check = |k: &SigningKey, place, bytes: &[u8]| {
            k.public().verify(&key(place), bytes, signature.as_bytes()).map_err(|e| e.kind())
        };
        assert_eq!(check(&a, "x/1.json", b"{}\n"), Ok(()));
        assert_eq!(check(&b, "x/1.json", b"{}\n"), Err(Kind::Forged));
        assert_eq!(check(&a, "x/2.json", b"{}\n"), Err(Kind::Forged));
        assert_eq!(check(&a, "x/1.json", b"{} \n"), Err(Kind::Forged));
    }

    #[test]
    fn a_key_with_a_passphrase_opens_with_it_alone() {
        let right = SecretString::from("correct horse".to_owned());
        let wrong = SecretString::from("battery".to_owned());
        let (made, text) = SigningKey::generate("root", Some(&right)).unwrap();
        assert_eq!(SigningKey::parse(&text, Some(&right)).unwrap().public(), made.public());
        assert_eq!(SigningKey::parse(&text, Some(&wrong)).unwrap_err().kind(), Kind::WrongKey);
        assert_eq!(SigningKey::parse(&text, None).unwrap_err().kind(), Kind::WrongKey);
    }

    #[test]
    fn debian_minisign_verifies_and_prints_the_trusted_comment() {
        let folder = tempfile::tempdir().unwrap();
        let pair = pair();
        let file = folder.path().join("r.json");
        std::fs::write(&file, b"{}\n").unwrap();
        let signature = pair.sign(&key("a/r.json"), b"{}\n").unwrap();
        std::fs::write(folder.path().join("r.json.minisig"), signature).unwrap();
        let out = std::process::Command::new("minisign")
            .args(["-Q", "-V", "-P", &pair.public().to_string(), "-m"])
            .arg(&file)
            .output()
            .unwrap();
        assert!(out.status.success(), "{out:?}");
        assert_eq!(String::from_utf8(out.stdout).unwrap().trim(), "lifeboat/1 a/r.json");
    }

    #[test]
    fn debug_output_holds_no_secret() {
        let (key, text) = SigningKey::generate("x", None).unwrap();
        let secret = text.expose_secret().lines().nth(1).unwrap().to_owned();
        assert_eq!(format!("{key:?}"), format!("SigningKey({})", key.public()));
        assert!(!format!("{key:?}").contains(&secret));
    }

    #[test]
    fn a_short_global_signature_is_refused_without_panic() {
        let pair = pair();
        let good = pair.sign(&key("a"), b"x").unwrap();
        let mut lines: Vec<&str> = good.lines().collect();
        lines[3] = "AAAA";
        let e = pair.public().verify(&key("a"), b"x", lines.join("\n").as_bytes()).unwrap_err();
        assert_eq!(e.kind(), Kind::Forged);
    }

    proptest! {
        #[test]
        fn hostile_signatures_are_refused_without_panic(junk in proptest::collection::vec(any::<u8>(), 0..400)) {
            let pair = pair();
            prop_assert!(pair.public().verify(&key("a"), b"x", &junk).is_err());
        }

        #[test]
        fn a_signature_with_one_byte_changed_is_refused(at in 0usize..1000, to in any::<u8>()) {
            let pair = pair();
            let good = pair.sign(&key("a"), b"x").unwrap();
            let mut bad = good.clone().into_bytes();
            let at = at % bad.len();
            // The untrusted comment is not signed.
            let first = good.lines().next().unwrap().len();
            prop_assume!(at > first && bad[at] != to && !to.is_ascii_whitespace() && !bad[at].is_ascii_whitespace());
            bad[at] = to;
            prop_assert!(pair.public().verify(&key("a"), b"x", &bad).is_err());
        }
    }
}
