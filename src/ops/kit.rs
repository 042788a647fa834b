//! The recovery kit: one sheet of text from which, with the bucket, everything can be restored.
//!
//! The sheet is an age identity file, so that stock `age -d -i KIT` takes it as it is; all else stands in its comment
//! lines. Owns that text. Knows nothing of how its keys are used.

use std::path::Path;

use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use crate::error::{Context, Error, Kind, Result};
use crate::id::{RepositoryId, Sha256};
use crate::repo::age_file::Identities;
use crate::repo::repository::whole_seconds;

/// A sheet is far shorter; a device that never ends is none.
const LIMIT_BYTES: u64 = 1024 * 1024;

const TITLE: &str = "# LIFEBOAT RECOVERY KIT 1";

/// All that a recovery needs besides the bucket.
#[derive(Debug)]
pub struct Kit {
    /// Which repository it opens.
    pub repository: RepositoryId,
    /// The hash of its `lifeboat.json`.
    pub pin: Sha256,
    /// The store's address, `s3://…` or `file://…`.
    pub store: String,
    /// The endpoint, where it is not AWS.
    pub endpoint: Option<String>,
    /// The region.
    pub region: Option<String>,
    /// The operators' signing key, public half, as minisign prints it.
    pub root_public: String,
    /// Its secret half, base64, on the sheet of whoever may certify hosts.
    pub root_secret: Option<SecretString>,
    /// age identities (`AGE-SECRET-KEY-1…`), where the operator did not bring a key of their own.
    pub identities: Vec<SecretString>,
    /// When it was made, for people.
    pub made: jiff::Timestamp,
}

impl Kit {
    /// Returns the sheet's text.
    pub fn to_text(&self) -> SecretString {
        let mut t = String::new();
        let mut line = |s: &str| {
            t.push_str(s);
            t.push('\n');
        };
        line(TITLE);
        line(
            "# Whoever holds this sheet can read every backup and certify hosts. Keep it off the host, print it,",
        );
        line(
            "# and store it where a fire in the server room does not reach. It is also an age identity file.",
        );
        line("#");
        line(&format!("# made: {}", whole_seconds(self.made)));
        line(&format!("# repository: {}", self.repository));
        line(&format!("# pin: {}", self.pin));
        line(&format!("# store: {}", self.store));
        for (word, value) in [("endpoint", &self.endpoint), ("region", &self.region)] {
            if let Some(v) = value {
                line(&format!("# {word}: {v}"));
            }
        }
        line(&format!("# root public key: {}", self.root_public));
        if let Some(secret) = &self.root_secret {
            line(&format!("# root secret key: {}", secret.expose_secret()));
        }
        line("#");
        line("# To restore a tenant:  lifeboat restore TENANT --kit THIS-FILE --identity THIS-FILE");
        line("# Without Lifeboat:     docs/emergency-restore.md, with age, zstd, minisign and python3");
        line("# The store's own credentials (access key) are not on this sheet; keep them with it.");
        for identity in &self.identities {
            line(identity.expose_secret());
        }
        SecretString::from(t)
    }

    /// Reads a sheet; the error names the line that is missing and never its content.
    pub fn parse(text: &str) -> Result<Kit> {
        if text.lines().next().map(str::trim_end) != Some(TITLE) {
            return Err(Error::new(Kind::Usage, "not a recovery kit")
                .hint(format!("its first line is {TITLE:?}; `lifeboat init` writes one")));
        }
        let field = |word: &str| {
            text.lines()
                .find_map(|l| l.strip_prefix("# ")?.strip_prefix(word)?.strip_prefix(": ").map(str::trim))
        };
        let need = |word: &str| {
            field(word).ok_or_else(|| Error::new(Kind::Usage, format!("recovery kit has no line {word:?}")))
        };
        Ok(Kit {
            repository: need("repository")?.parse()?,
            pin: need("pin")?.parse()?,
            store: need("store")?.to_owned(),
            endpoint: field("endpoint").map(str::to_owned),
            region: field("region").map(str::to_owned),
            root_public: need("root public key")?.to_owned(),
            root_secret: field("root secret key").map(SecretString::from),
            identities: text
                .lines()
                .filter(|l| l.starts_with("AGE-SECRET-KEY-"))
                .map(|l| SecretString::from(l.trim().to_owned()))
                .collect(),
            made: need("made")?.parse().context(Kind::Usage, "recovery kit's line \"made\"")?,
        })
    }

    /// Returns its identities as they open vaults; an error where the operators keep theirs elsewhere.
    pub fn identities(&self) -> Result<Identities> {
        let text: String = self.identities.iter().map(|i| format!("{}\n", i.expose_secret())).collect();
        Identities::parse("recovery kit", &text)
    }

    /// Reads a sheet from a file.
    pub fn read(path: &Path) -> Result<Kit> {
        use std::io::Read;
        let what = || format!("recovery kit {}", path.display());
        let file = std::fs::File::open(path).context(Kind::Usage, what())?;
        let mut text = Zeroizing::new(String::new());
        let read = file.take(LIMIT_BYTES + 1).read_to_string(&mut text).context(Kind::Usage, what())?;
        if read as u64 > LIMIT_BYTES {
            return Err(Error::new(Kind::Usage, format!("{} is too long for one", what())));
        }
        Kit::parse(&text).map_err(|e| e.in_context(path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_never_ends_is_no_kit() {
        let refused = Kit::read(Path::new("/dev/zero")).unwrap_err().to_string();
        assert!(refused.contains("too long"), "{refused}");
    }

    fn kit() -> Kit {
        Kit {
            repository: RepositoryId::new([7; 16]),
            pin: Sha256::of(b"x"),
            store: "s3://bucket/prefix".into(),
            endpoint: Some("http://127.0.0.1:8333".into()),
            region: None,
            root_public: "RWabc".into(),
            root_secret: Some("c2VjcmV0".to_owned().into()),
            identities: vec!["AGE-SECRET-KEY-1QQ".to_owned().into()],
            made: jiff::Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn a_sheet_reads_back_as_it_was_written() {
        let text = kit().to_text();
        let back = Kit::parse(text.expose_secret()).unwrap();
        assert_eq!(back.to_text().expose_secret(), text.expose_secret());
        assert_eq!(back.endpoint.as_deref(), Some("http://127.0.0.1:8333"));
    }

    #[test]
    fn every_line_that_is_not_a_comment_is_an_age_identity() {
        let text = kit().to_text();
        assert!(
            text.expose_secret().lines().all(|l| l.starts_with('#') || l.starts_with("AGE-SECRET-KEY-")),
            "age would refuse the sheet"
        );
    }

    #[test]
    fn another_file_is_refused_without_quoting_it() {
        let e = Kit::parse("AGE-SECRET-KEY-1SECRET").unwrap_err();
        assert!(!e.to_string().contains("SECRET"), "{e}");
    }
}
