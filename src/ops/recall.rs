//! What this host has read of signed objects: kept between runs, so that a look at what is unchanged costs listings alone.
//!
//! Owns the files. What is read here is judged as if it had just been fetched; the files can be lost at the cost of fetching
//! once more. `check`, `copy`, `prune` and restores do without: they are to see what the store gives.

use std::path::PathBuf;
use std::sync::Arc;

use crate::error::Result;
use crate::id::TenantName;
use crate::ops::state::{self, State};
use crate::repo::recall::Recall;
use crate::repo::repository::Repository;

/// The file of a tenant, in its folder.
const TENANT: &str = "signed.zst";

/// A memory and where it is kept.
#[derive(Debug)]
pub struct Kept {
    recall: Arc<Recall>,
    file: PathBuf,
}

impl Kept {
    /// Reads what is kept of a tenant's receipts, void marks and drills.
    pub fn of_tenant(state: &State, tenant: &TenantName) -> Kept {
        Kept::read(state.tenant_if_there(tenant).join(TENANT))
    }

    /// Reads what is kept of the hosts' certificates.
    pub fn of_certificates(state: &State) -> Kept {
        Kept::read(state.signed_certificates())
    }

    fn read(file: PathBuf) -> Kept {
        let bytes = state::read_if_there(&file).and_then(|b| b.map(|b| Recall::parse(&b)).transpose());
        let recall = bytes.unwrap_or_else(|error| {
            tracing::warn!(file = %file.display(), %error, "everything is fetched anew");
            None
        });
        Kept { recall: Arc::new(recall.unwrap_or_default()), file }
    }

    /// Returns the repository as it is read with this memory.
    pub fn through(&self, repo: &Repository) -> Repository {
        repo.recalling(Arc::clone(&self.recall))
    }

    /// Keeps what was learned; where that cannot be, the next run fetches it again.
    pub fn keep(&self) {
        if let Err(error) = self.try_keep() {
            tracing::warn!(file = %self.file.display(), %error, "not kept");
        }
    }

    fn try_keep(&self) -> Result<()> {
        let Some(bytes) = self.recall.spell()? else { return Ok(()) };
        if let Some(folder) = self.file.parent() {
            state::make_private_dir(folder)?;
        }
        state::write_passing(&self.file, &bytes)
    }
}
