//! The configuration's folder, looked at while the service runs: tenants and policies that changed count without a restart.
//!
//! Owns what is taken over. What `lifeboat.toml` says counts from the next start. A configuration with a fault is told
//! once and not taken, so that the tenants that are well go on.

use std::path::PathBuf;

use crate::config::{Config, Marks};

/// The folder, as it was when it was last looked at.
#[derive(Debug)]
pub(super) struct Folder {
    dir: PathBuf,
    marks: Option<Marks>,
    /// The faults that were told last.
    told: Option<String>,
}

impl Folder {
    /// Takes the folder of a configuration that was just read; waits for the disk.
    pub fn of(config: &Config) -> Folder {
        Folder { dir: config.dir.clone(), marks: Marks::of(&config.dir), told: None }
    }

    /// Returns the configuration that counts from now on, where the files of tenants or policies changed.
    pub async fn changed(&mut self, present: &Config) -> Option<Config> {
        let (dir, before) = (self.dir.clone(), self.marks);
        let looking = tokio::task::spawn_blocking(move || {
            // Files that cannot be read, or are being written, are looked at again.
            let marks = Marks::of(&dir)?;
            (Some(marks) != before).then(|| (marks, Config::load(&dir)))
        });
        let (marks, read) = looking.await.ok()??;
        if before.is_some_and(|b| b.host != marks.host) {
            tracing::warn!("lifeboat.toml changed: what it says counts once the service is started again");
        }
        match read {
            Ok(read) => {
                (self.marks, self.told) = (Some(marks), None);
                Some(present.with_tenants_of(read))
            }
            Err(faults) => {
                // Looked at again each time: a secret's file may come later than the file that names it.
                let text = faults.to_string();
                if self.told.as_ref() != Some(&text) {
                    tracing::error!(error = %faults, "the changed configuration is not taken");
                }
                self.told = Some(text);
                None
            }
        }
    }
}
