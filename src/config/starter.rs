//! The first `lifeboat.toml` of a host, as `lifeboat init` writes it.
//!
//! Owns its text and comments. What it writes is read back by the checks before anybody sees it.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;

use super::file::SourceFile;
use super::load::Surroundings;
use super::machine::DrillPlace;
use super::secret::SecretRef;
use super::{Config, Faults};
use crate::error::Result;
use crate::id::{HostName, Sha256};

/// What a host must know from its first day.
#[derive(Debug, Clone)]
pub struct Starter {
    /// Its name.
    pub host: HostName,
    /// Where its state lies.
    pub state_dir: PathBuf,
    /// The store's address, `s3://…` or `file:///…`.
    pub store_url: String,
    /// The store's server; none for AWS or a folder.
    pub endpoint: Option<String>,
    /// Where the access key id and the secret key are kept; none for those of the environment, or a folder.
    pub credentials: Option<(SecretRef, SecretRef)>,
    /// The hash of the repository's `lifeboat.json`.
    pub pin: Option<Sha256>,
    /// The operators' age recipients.
    pub recipients: Vec<String>,
    /// Where drills run.
    pub drills: DrillPlace,
}

impl Starter {
    /// Returns the text of the file.
    ///
    /// # Errors
    /// What the checks find wrong with it, each fault with its line.
    pub fn text(&self) -> Result<String> {
        let text = self.write();
        let around = Surroundings { hostname: self.host.to_string(), zone: TimeZone::UTC };
        let checked: std::result::Result<Config, Faults> =
            Config::from_files(Path::new("/"), &[SourceFile::new("lifeboat.toml", text.clone())], &around);
        checked?;
        Ok(text)
    }

    fn write(&self) -> String {
        let mut out = String::from("# This host. All keys are explained in docs/configuration.md.\n");
        let mut line = |key: &str, value: toml::Value, comment: &str| {
            let comment = if comment.is_empty() { String::new() } else { format!(" # {comment}") };
            // Writing to a string cannot fail.
            writeln!(out, "{key} = {value}{comment}").unwrap_or_default();
        };
        let text = |t: &dyn ToString| toml::Value::String(t.to_string());
        line("host", text(&self.host), "under this name it writes to the repository");
        line("state_dir", text(&self.state_dir.display()), "");
        line("store.url", text(&self.store_url), "");
        if let Some(endpoint) = &self.endpoint {
            line("store.endpoint", text(endpoint), "");
        }
        for (key, place) in self.credentials.iter().flat_map(|(a, s)| [("access_key", a), ("secret_key", s)])
        {
            match place {
                SecretRef::File(path) => line(&format!("store.{key}_file"), text(&path.display()), ""),
                SecretRef::Env(name) => line(&format!("store.{key}"), text(&format!("env:{name}")), ""),
            }
        }
        if let Some(pin) = &self.pin {
            line("repository.pin", text(pin), "another repository at this address is refused");
        }
        let recipients = self.recipients.iter().map(|r| text(r)).collect();
        line("operators.recipients", toml::Value::Array(recipients), "they alone can read the backups");
        match &self.drills {
            DrillPlace::Here { identity_file } => {
                line("drills.run", text(&"here"), "so this host can read its own backups");
                line("drills.identity_file", text(&identity_file.display()), "");
            }
            DrillPlace::Elsewhere => line("drills.run", text(&"elsewhere"), ""),
            DrillPlace::Unlocked => line("drills.run", text(&"unlocked"), "an operator unlocks each drill"),
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn starter() -> Starter {
        Starter {
            host: "h1".parse().unwrap(),
            state_dir: "/var/lib/\"odd\" name".into(),
            store_url: "s3://bucket/prefix".into(),
            endpoint: Some("http://127.0.0.1:8333".into()),
            credentials: Some((SecretRef::Env("KEY".into()), SecretRef::File("/etc/lifeboat/secret".into()))),
            pin: Some(Sha256([7; 32])),
            recipients: vec!["age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p".into()],
            drills: DrillPlace::Here { identity_file: "/etc/lifeboat/drill".into() },
        }
    }

    #[test]
    fn the_first_file_is_read_back_as_it_was_meant() {
        let text = starter().text().unwrap();
        let around = Surroundings { hostname: "other".into(), zone: TimeZone::UTC };
        let files = [SourceFile::new("lifeboat.toml", text)];
        let config = Config::from_files(Path::new("/etc/lifeboat"), &files, &around).unwrap();
        assert_eq!(config.machine.state_dir, starter().state_dir);
        assert_eq!(config.machine.pin, starter().pin);
        assert_eq!(config.machine.drills, starter().drills);
        assert_eq!(config.machine.operators, starter().recipients);
        assert!(config.warnings().is_empty(), "{:?}", config.warnings());
    }

    #[test]
    fn a_first_file_that_would_not_be_read_is_not_written() {
        let bad = Starter { store_url: "bucket".into(), ..starter() };
        assert!(bad.text().unwrap_err().to_string().contains("store.url: not a store's address"));
    }
}
