//! Identities: the secrets that open what is sealed, as identity files hold them.
//!
//! Owns reading such files, those that a passphrase protects too, and finding the programs of plugins. Never prints and
//! never asks by itself: [`super::Asked`] does.

use std::collections::BTreeSet;
use std::fmt;
use std::io::Read;
use std::sync::Arc;

use age::Decryptor;
use age::armor::ArmoredReader;
use age::plugin::{self, IdentityPluginV1};
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use super::Recipient;
use super::ask::{Asking, Nobody, SharedAsked};
use super::limited::{Limited, OPEN_LIMIT};
use crate::error::{Context, Error, Kind, Result};

/// The secret keys of one identity file; wiped when dropped.
///
/// A line is an X25519 identity (`AGE-SECRET-KEY-1…`), or one of a plugin (`AGE-PLUGIN-<NAME>-1…`), which the program
/// `age-plugin-<name>` opens; whatever that asks is put to whoever was given at reading.
#[derive(Clone)]
pub struct Identities {
    keys: Vec<age::x25519::Identity>,
    plugins: Vec<Arc<dyn age::Identity + Send + Sync>>,
}

/// The greatest length of an identity file, in bytes.
const IDENTITY_FILE_LIMIT: u64 = 1024 * 1024;

/// The greatest scrypt work factor (2^n) of a passphrase that is tried; each step takes twice the time and memory.
const WORK_LIMIT: u8 = 22;

impl Identities {
    /// Reads an age identity file, one protected by a passphrase too; `name` stands in errors and questions.
    pub fn read(name: &str, from: impl Read, ask: &SharedAsked) -> Result<Identities> {
        let mut bytes = Zeroizing::new(Vec::new());
        from.take(IDENTITY_FILE_LIMIT)
            .read_to_end(&mut bytes)
            .context(Kind::Io, format!("cannot read identity file {name}"))?;
        if bytes.starts_with(b"age-encryption.org/") || bytes.starts_with(b"-----BEGIN AGE") {
            bytes = unlock(name, &bytes, ask)?;
        }
        let text = std::str::from_utf8(&bytes)
            .map_err(|_| Error::new(Kind::WrongKey, format!("identity file {name} is not text")))?;
        Identities::parse_asking(name, text, ask)
    }

    /// Reads the identity file at a path, or, of `-`, standard input.
    pub fn open(path: &str, ask: &SharedAsked) -> Result<Identities> {
        if path == "-" {
            return Identities::read("standard input", std::io::stdin().lock(), ask);
        }
        let file =
            std::fs::File::open(path).context(Kind::Io, format!("cannot open identity file {path}"))?;
        Identities::read(path, file, ask)
    }

    /// Parses the text of an age identity file; nobody is asked anything.
    pub fn parse(name: &str, text: &str) -> Result<Identities> {
        Identities::parse_asking(name, text, &(Arc::new(Nobody) as SharedAsked))
    }

    fn parse_asking(name: &str, text: &str, ask: &SharedAsked) -> Result<Identities> {
        let (mut keys, mut hardware) = (Vec::new(), Vec::new());
        for (n, line) in text.lines().enumerate() {
            let line = line.trim_end();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Ok(key) = line.parse::<age::x25519::Identity>() {
                keys.push(key);
            } else if let Ok(one) = line.parse::<plugin::Identity>() {
                hardware.push(one);
            } else {
                // The line is a secret or mistaken for one: only its number is told.
                return Err(Error::new(
                    Kind::WrongKey,
                    format!("line {} of identity file {name} is not an age identity", n + 1),
                )
                .hint("such a line begins with AGE-SECRET-KEY-1 or AGE-PLUGIN-"));
            }
        }
        if keys.is_empty() && hardware.is_empty() {
            return Err(Error::new(Kind::WrongKey, format!("identity file {name} holds no identity")));
        }
        Ok(Identities { keys, plugins: load(name, &hardware, ask)? })
    }

    /// Returns how many there are, never 0.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.keys.len() + self.plugins.len()
    }

    /// Returns the public halves; that of a plugin's identity only the plugin knows.
    pub fn recipients(&self) -> Vec<Recipient> {
        self.keys.iter().map(|i| Recipient::of(i.to_public())).collect()
    }

    /// Makes them of one identity's secret text.
    pub fn of_secret(secret: &SecretString) -> Result<Identities> {
        Identities::parse("(in memory)", secret.expose_secret())
    }

    /// Takes them apart: each alone, with its recipient and secret text.
    ///
    /// Those of plugins have no secret text and are left out.
    pub(in crate::repo) fn split(self) -> Vec<(Identities, Recipient, SecretString)> {
        let alone = |i: age::x25519::Identity| {
            let (recipient, text) = (Recipient::of(i.to_public()), i.to_string());
            (Identities { keys: vec![i], plugins: Vec::new() }, recipient, text)
        };
        self.keys.into_iter().map(alone).collect()
    }

    /// Adds those of another file.
    pub fn extend(&mut self, other: Identities) {
        self.keys.extend(other.keys);
        self.plugins.extend(other.plugins);
    }

    /// Returns them as the age crate takes them; those that need nobody's hand come first.
    pub(super) fn to_age(&self) -> impl Iterator<Item = &dyn age::Identity> {
        let keys = self.keys.iter().map(|i| i as &dyn age::Identity);
        keys.chain(self.plugins.iter().map(|p| &**p as &dyn age::Identity))
    }

    /// Returns the first of the keys.
    pub(in crate::repo) fn first(&self) -> Option<&age::x25519::Identity> {
        self.keys.first()
    }
}

/// Finds the programs of plugins, one for all identities of a name.
fn load(
    file: &str,
    all: &[plugin::Identity],
    ask: &SharedAsked,
) -> Result<Vec<Arc<dyn age::Identity + Send + Sync>>> {
    let names: BTreeSet<&str> = all.iter().map(plugin::Identity::plugin).collect();
    let mut loaded: Vec<Arc<dyn age::Identity + Send + Sync>> = Vec::new();
    for name in names {
        match IdentityPluginV1::new(name, all, Asking(Arc::clone(ask))) {
            Ok(plugin) => loaded.push(Arc::new(Limited::new(plugin, name, OPEN_LIMIT))),
            Err(e) => {
                return Err(Error::new(Kind::WrongKey, format!("identity file {file}: {e}"))
                    .hint(format!("install age-plugin-{name} in the PATH, or give another identity")));
            }
        }
    }
    Ok(loaded)
}

/// Opens an identity file that is itself an age file, sealed to a passphrase.
fn unlock(name: &str, bytes: &[u8], ask: &SharedAsked) -> Result<Zeroizing<Vec<u8>>> {
    let damaged = || format!("identity file {name} is not an age file");
    let decryptor = Decryptor::new_buffered(ArmoredReader::new(bytes)).context(Kind::WrongKey, damaged())?;
    if !decryptor.is_scrypt() {
        return Err(Error::new(Kind::WrongKey, format!("identity file {name} is itself sealed to a key"))
            .hint(format!("open it on the way: `age -d -i KEY {name} | lifeboat ... --identity -`")));
    }
    let passphrase = ask.passphrase(&format!("Passphrase of {name}")).ok_or_else(|| {
        Error::new(Kind::WrongKey, format!("identity file {name} is protected by a passphrase"))
            .hint("run this in a terminal, or name a file that holds it in LIFEBOAT_PASSPHRASE_FILE")
    })?;
    let mut identity = age::scrypt::Identity::new(passphrase);
    identity.set_max_work_factor(WORK_LIMIT);
    let wrong = |_| Error::new(Kind::WrongKey, format!("the passphrase of identity file {name} is wrong"));
    let mut text = Zeroizing::new(Vec::new());
    decryptor
        .decrypt(std::iter::once(&identity as &dyn age::Identity))
        .map_err(wrong)?
        .take(IDENTITY_FILE_LIMIT)
        .read_to_end(&mut text)
        .context(Kind::WrongKey, damaged())?;
    Ok(text)
}

impl fmt::Debug for Identities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identities({})", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repo::age_file::{Asked, generate_identity, seal};

    /// Says the same to everybody who asks.
    struct Says(&'static str);

    impl Asked for Says {
        fn passphrase(&self, _: &str) -> Option<SecretString> {
            Some(SecretString::from(self.0))
        }
    }

    fn nobody() -> SharedAsked {
        Arc::new(Nobody)
    }

    #[test]
    fn identity_files_are_read_as_age_keygen_writes_them() {
        let (secret, recipient) = generate_identity();
        let text = format!("# created: today\n# public key: {recipient}\r\n\n{}\n", secret.expose_secret());
        let ids = Identities::parse("k", &text).unwrap();
        assert_eq!(ids.recipients(), [recipient]);
    }

    #[test]
    fn a_bad_identity_file_is_refused_without_telling_its_content() {
        let e = Identities::parse("k.txt", "# c\nAGE-SECRET-KEY-1BROKENSECRET\n").unwrap_err();
        assert_eq!(e.kind(), Kind::WrongKey);
        assert!(e.to_string().contains("line 2") && !e.to_string().contains("BROKEN"), "{e}");
        assert_eq!(Identities::parse("k", "# only comments\n").unwrap_err().kind(), Kind::WrongKey);
    }

    #[test]
    fn an_encrypted_identity_file_says_how_to_use_it() {
        let sealed = seal(&[generate_identity().1], b"x").unwrap();
        let e = Identities::read("k.age", &sealed[..], &nobody()).unwrap_err();
        assert!(e.hint_text().unwrap().contains("age -d -i KEY k.age"), "{e}");
    }

    #[test]
    fn a_file_protected_by_a_passphrase_opens_with_it_alone() {
        let (secret, recipient) = generate_identity();
        let mut passphrase = age::scrypt::Recipient::new("correct horse".into());
        passphrase.set_work_factor(2);
        let text = super::super::identity_file("k", &secret);
        let sealed = age::encrypt(&passphrase, text.as_bytes()).unwrap();
        let armored = age::encrypt_and_armor(&passphrase, text.as_bytes()).unwrap();
        let right: SharedAsked = Arc::new(Says("correct horse"));
        for file in [&sealed[..], armored.as_bytes()] {
            assert_eq!(Identities::read("k", file, &right).unwrap().recipients(), vec![recipient.clone()]);
        }
        let wrong: SharedAsked = Arc::new(Says("battery"));
        let e = Identities::read("k", &sealed[..], &wrong).unwrap_err();
        assert!(e.kind() == Kind::WrongKey && e.to_string().contains("is wrong"), "{e}");
        let e = Identities::read("k", &sealed[..], &nobody()).unwrap_err();
        assert!(e.hint_text().unwrap().contains("LIFEBOAT_PASSPHRASE_FILE"), "{e}");
    }
}
