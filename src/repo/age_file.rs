//! Small age files: sealing bytes to recipients, opening them with identities.
//!
//! Owns recipients and identities as text and the limits of what is opened in memory. Knows nothing of what is
//! inside. Format: <https://age-encryption.org/v1>, always binary.

mod ask;
mod identities;
mod limited;
mod recipient;

use std::io::{BufRead, Read, Write};

use age::{DecryptError, Decryptor, EncryptError, Encryptor};
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use crate::error::{Context, Error, Kind, Result};

pub use ask::{Asked, Nobody, SharedAsked};
pub use identities::Identities;
pub use recipient::Recipient;

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
    let all = recipients.iter().map(Recipient::to_age).collect::<Result<Vec<_>>>()?;
    let all = all.iter().map(|r| &**r as &dyn age::Recipient);
    let encryptor = Encryptor::with_recipients(all).map_err(|e| match &e {
        EncryptError::Io(fault) if limited::is_timeout(fault) => {
            Error::new(Kind::Timeout, format!("cannot seal: {fault}"))
                .hint("a plugin that seals must not ask anybody; try it with `age -r`")
        }
        _ => Error::new(Kind::Config, "cannot seal to these recipients").caused_by(e),
    })?;
    encryptor.wrap_output(to).context(Kind::Io, "cannot seal")
}

/// Opens an age file for reading; [`Kind::WrongKey`] where no identity fits, [`Kind::Denied`] where a
/// plugin's key refuses, [`Kind::Timeout`] where a plugin hangs, [`Kind::Damaged`] where it is none.
pub fn opener<R: BufRead>(
    what: &str,
    from: R,
    identities: &Identities,
) -> Result<age::stream::StreamReader<R>> {
    let decryptor =
        Decryptor::new_buffered(from).context(Kind::Damaged, format!("{what} is not an age file"))?;
    decryptor.decrypt(identities.to_age()).map_err(|e| match e {
        DecryptError::NoMatchingKeys | DecryptError::DecryptionFailed => {
            Error::new(Kind::WrongKey, format!("{what} is not sealed to the identity given"))
        }
        DecryptError::Plugin(faults) => {
            let said: Vec<String> = faults.iter().map(ToString::to_string).collect();
            Error::new(Kind::Denied, format!("{what} does not open: {}", said.join("; ")))
        }
        DecryptError::Io(fault) if limited::is_timeout(&fault) => {
            Error::new(Kind::Timeout, format!("{what} does not open: {fault}"))
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
}
