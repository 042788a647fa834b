//! Small age files: sealing bytes to recipients, opening them with identities.
//!
//! Owns recipients and identities as text and the limits of what is opened in memory. Knows nothing of what is
//! inside. Format: <https://age-encryption.org/v1>, always binary.

use std::fmt;
use std::io::{BufRead, Read, Write};
use std::str::FromStr;
use std::sync::Arc;

use age::{DecryptError, Decryptor, Encryptor};
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use crate::error::{Context, Error, Kind, Result};

/// Whom an age file can be sealed to: X25519 (`age1…`), or a hardware key's tag recipient (`age1tag1…`, `age1tagpq1…`).
#[derive(Clone, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Recipient {
    text: String,
    age: Arc<dyn age::Recipient + Send + Sync>,
}

impl Recipient {
    /// Returns it as the age crate takes it.
    pub fn to_age(&self) -> Arc<dyn age::Recipient + Send + Sync> {
        Arc::clone(&self.age)
    }

    fn of(recipient: impl age::Recipient + fmt::Display + Send + Sync + 'static) -> Recipient {
        Recipient { text: recipient.to_string(), age: Arc::new(recipient) }
    }
}

impl FromStr for Recipient {
    type Err = Error;
    fn from_str(s: &str) -> Result<Self> {
        if let Ok(r) = s.parse::<age::x25519::Recipient>() {
            return Ok(Recipient::of(r));
        }
        if let Ok(r) = s.parse::<age::tag::Recipient>() {
            return Ok(Recipient::of(r));
        }
        if let Ok(r) = s.parse::<age::tagpq::Recipient>() {
            return Ok(Recipient::of(r));
        }
        if s.starts_with("AGE-SECRET-KEY-") {
            // The text itself must not travel further.
            return Err(Error::new(
                Kind::Config,
                "an age identity (secret) stands where a recipient belongs",
            )
            .hint("give its public key, age1...; treat the identity as exposed"));
        }
        Err(Error::new(Kind::Config, format!("{s:?} is not an age recipient"))
            .hint("it looks like age1...; `age-keygen -y FILE` prints it"))
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recipient({self})")
    }
}

impl TryFrom<String> for Recipient {
    type Error = Error;
    fn try_from(s: String) -> Result<Self> {
        s.parse()
    }
}

impl From<Recipient> for String {
    fn from(r: Recipient) -> String {
        r.text
    }
}

impl PartialEq for Recipient {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Recipient {}

/// The secret keys of one identity file; wiped when dropped.
#[derive(Clone)]
pub struct Identities(Vec<age::x25519::Identity>);

/// The greatest length of an identity file, in bytes.
const IDENTITY_FILE_LIMIT: u64 = 1024 * 1024;

impl Identities {
    /// Reads an age identity file; `name` stands in errors.
    pub fn read(name: &str, from: impl Read) -> Result<Identities> {
        let mut text = Zeroizing::new(String::new());
        from.take(IDENTITY_FILE_LIMIT).read_to_string(&mut text).map_err(|e| match e.kind() {
            // An age file is binary.
            std::io::ErrorKind::InvalidData => encrypted(name),
            _ => Error::new(Kind::Io, format!("cannot read identity file {name}")).caused_by(e),
        })?;
        Identities::parse(name, &text)
    }

    /// Reads the identity file at a path, or, of `-`, standard input.
    pub fn open(path: &str) -> Result<Identities> {
        if path == "-" {
            return Identities::read("standard input", std::io::stdin().lock());
        }
        let file =
            std::fs::File::open(path).context(Kind::Io, format!("cannot open identity file {path}"))?;
        Identities::read(path, file)
    }

    /// Parses the text of an age identity file.
    pub fn parse(name: &str, text: &str) -> Result<Identities> {
        if text.starts_with("-----BEGIN AGE") || text.starts_with("age-encryption.org/") {
            return Err(encrypted(name));
        }
        let mut all = Vec::new();
        for (n, line) in text.lines().enumerate() {
            let line = line.trim_end();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            // The line is a secret or mistaken for one: only its number is told.
            let one = line.parse().map_err(|_| {
                Error::new(
                    Kind::WrongKey,
                    format!("line {} of identity file {name} is not an age identity", n + 1),
                )
                .hint("such a line begins with AGE-SECRET-KEY-1")
            })?;
            all.push(one);
        }
        if all.is_empty() {
            return Err(Error::new(Kind::WrongKey, format!("identity file {name} holds no identity")));
        }
        Ok(Identities(all))
    }

    /// Returns how many there are, never 0.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns the public halves.
    pub fn recipients(&self) -> Vec<Recipient> {
        self.0.iter().map(|i| Recipient::of(i.to_public())).collect()
    }

    /// Makes them of one identity's secret text.
    pub fn of_secret(secret: &SecretString) -> Result<Identities> {
        Identities::parse("(in memory)", secret.expose_secret())
    }

    /// Takes them apart: each alone, with its recipient and secret text.
    pub(super) fn split(self) -> Vec<(Identities, Recipient, SecretString)> {
        let alone = |i: age::x25519::Identity| {
            let (recipient, text) = (Recipient::of(i.to_public()), i.to_string());
            (Identities(vec![i]), recipient, text)
        };
        self.0.into_iter().map(alone).collect()
    }

    /// Adds those of another file.
    pub fn extend(&mut self, other: Identities) {
        self.0.extend(other.0);
    }

    /// Returns the first as the age crate has it.
    pub(super) fn first(&self) -> &age::x25519::Identity {
        &self.0[0]
    }
}

fn encrypted(name: &str) -> Error {
    Error::new(Kind::WrongKey, format!("identity file {name} is itself encrypted"))
        .hint(format!("decrypt it on the way: `age -d {name} | lifeboat ... --identity -`"))
}

impl fmt::Debug for Identities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identities({})", self.0.len())
    }
}

/// Makes a new X25519 identity from the operating system's generator; returns its secret text and recipient.
pub fn generate_identity() -> (SecretString, Recipient) {
    let identity = age::x25519::Identity::generate();
    (identity.to_string(), Recipient::of(identity.to_public()))
}

/// Spells an identity file for an identity's secret text.
pub fn identity_file(comment: &str, secret: &SecretString) -> Zeroizing<String> {
    Zeroizing::new(format!("# {comment}\n{}\n", secret.expose_secret()))
}

/// Seals bytes to all recipients.
pub fn seal(recipients: &[Recipient], plaintext: &[u8]) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity(plaintext.len() + 512);
    let mut writer = sealer(recipients, &mut out)?;
    writer.write_all(plaintext).context(Kind::Bug, "cannot seal")?;
    writer.finish().context(Kind::Bug, "cannot seal")?;
    Ok(out)
}

/// Starts an age file; its `finish` must be called, else the file is cut short.
pub fn sealer<W: Write>(recipients: &[Recipient], to: W) -> Result<age::stream::StreamWriter<W>> {
    let all = recipients.iter().map(|r| &*r.age as &dyn age::Recipient);
    let encryptor =
        Encryptor::with_recipients(all).context(Kind::Config, "cannot seal to these recipients")?;
    encryptor.wrap_output(to).context(Kind::Io, "cannot seal")
}

/// Opens an age file for reading; [`Kind::WrongKey`] where no identity fits, [`Kind::Damaged`] where it is none.
pub fn opener<R: BufRead>(
    what: &str,
    from: R,
    identities: &Identities,
) -> Result<age::stream::StreamReader<R>> {
    let decryptor =
        Decryptor::new_buffered(from).context(Kind::Damaged, format!("{what} is not an age file"))?;
    decryptor.decrypt(identities.0.iter().map(|i| i as &dyn age::Identity)).map_err(|e| match e {
        DecryptError::NoMatchingKeys | DecryptError::DecryptionFailed => {
            Error::new(Kind::WrongKey, format!("{what} is not sealed to the identity given"))
        }
        e => Error::new(Kind::Damaged, format!("{what} does not open")).caused_by(e),
    })
}

/// Opens an age file whose plaintext is at most `limit_bytes` long.
pub fn open(
    what: &str,
    bytes: &[u8],
    identities: &Identities,
    limit_bytes: u64,
) -> Result<Zeroizing<Vec<u8>>> {
    let mut out = Zeroizing::new(Vec::new());
    let mut reader = opener(what, bytes, identities)?.take(limit_bytes + 1);
    reader.read_to_end(&mut out).context(Kind::Damaged, format!("{what} does not decrypt to its end"))?;
    if out.len() as u64 > limit_bytes {
        return Err(Error::new(Kind::Damaged, format!("{what} holds more than {limit_bytes} bytes")));
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one() -> (Identities, Recipient) {
        let (secret, recipient) = generate_identity();
        (Identities::parse("x", secret.expose_secret()).unwrap(), recipient)
    }

    #[test]
    fn what_is_sealed_to_two_opens_with_either_and_no_third() {
        let ((a, ra), (b, rb), (c, _)) = (one(), one(), one());
        let sealed = seal(&[ra, rb], b"hello").unwrap();
        assert_eq!(open("x", &sealed, &a, 5).unwrap().as_slice(), b"hello");
        assert_eq!(open("x", &sealed, &b, 5).unwrap().as_slice(), b"hello");
        assert_eq!(open("x", &sealed, &c, 5).unwrap_err().kind(), Kind::WrongKey);
        assert_eq!(open("x", &sealed, &a, 4).unwrap_err().kind(), Kind::Damaged);
        assert_eq!(open("x", &sealed[..sealed.len() - 1], &a, 5).unwrap_err().kind(), Kind::Damaged);
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
        let sealed = seal(&[one().1], b"x").unwrap();
        for e in [
            Identities::read("k.age", &sealed[..]).unwrap_err(),
            Identities::parse("k.age", "-----BEGIN AGE ENCRYPTED FILE-----\n").unwrap_err(),
        ] {
            assert!(e.hint_text().unwrap().contains("age -d k.age"), "{e}");
        }
    }

    #[test]
    fn an_identity_given_as_recipient_is_not_repeated_in_the_error() {
        let (secret, _) = generate_identity();
        let e = secret.expose_secret().parse::<Recipient>().unwrap_err();
        assert!(!e.to_string().contains(&secret.expose_secret()[20..40]));
    }
}
