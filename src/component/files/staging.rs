//! Where a restore is built before it takes its place.
//!
//! Owns the names that Lifeboat uses beside or inside a target. What is being built, and what was moved aside, lies one
//! folder deeper than a site does: Frappe takes every folder with a `site_config.json` in `sites` for a live site, and
//! would run the jobs of an old copy.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statx};

use super::exclude::OWN_PREFIX;
use crate::error::{Context, Error, Kind, Result};

/// A folder that is to be restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A folder that may be renamed as a whole, such as a site's.
    Folder(PathBuf),
    /// A folder that must stay what it is, such as a volume's root that containers have mounted: what lies in it is exchanged
    /// entry by entry.
    Contents(PathBuf),
}

impl Target {
    /// Returns the folder's path.
    pub fn path(&self) -> &Path {
        match self {
            Target::Folder(path) | Target::Contents(path) => path,
        }
    }

    /// Returns the folder that holds what Lifeboat puts there: the one above, out of the tenant's sight where the
    /// target is a volume's root; the target itself where it is a mount point, since nothing can be renamed out of it.
    pub(super) fn around(&self) -> Result<&Path> {
        match self {
            Target::Contents(path) if is_mount_point(path)? => Ok(path),
            Target::Folder(path) | Target::Contents(path) => {
                let named = path.file_name().and(path.parent());
                named
                    .ok_or_else(|| Error::new(Kind::Io, format!("{} has no folder above it", path.display())))
            }
        }
    }

    /// Returns the name of the restored folder within its wrapping.
    pub(super) fn name(&self) -> String {
        self.path().file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Returns where the restored folder is built.
    pub(super) fn staging(&self) -> Result<PathBuf> {
        Ok(self.around()?.join(format!("{OWN_PREFIX}staging-{}", self.name())))
    }

    /// Returns where the old content goes: a folder that names its time.
    pub(super) fn before(&self, stamp: &str) -> Result<PathBuf> {
        let around = self.around()?;
        // Inside a target, the name must be one that a backup leaves out.
        let prefix = if around == self.path() { OWN_PREFIX } else { "" };
        Ok(around.join(format!("{prefix}{}.before-{stamp}", self.name())))
    }
}

fn is_mount_point(path: &Path) -> Result<bool> {
    let what = || format!("folder {}", path.display());
    let (flags, wanted) = (AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS);
    let here = statx(CWD, path, flags, wanted).context(Kind::Io, what())?;
    let above = statx(CWD, path.parent().unwrap_or(path), flags, wanted).context(Kind::Io, what())?;
    let same_device = (here.stx_dev_major, here.stx_dev_minor) == (above.stx_dev_major, above.stx_dev_minor);
    // A bind mount has its origin's device, and is told by its attribute (Linux 5.8).
    Ok(!same_device || here.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

/// A restored folder that waits to take its place; dropping it removes it.
#[derive(Debug)]
pub(super) struct Staging {
    pub target: Target,
    /// The folder around the restored one.
    pub wrapping: PathBuf,
    kept: bool,
}

impl Staging {
    /// Makes an empty one; what an earlier restore left there half built is removed.
    pub fn make(target: Target) -> Result<Self> {
        let wrapping = target.staging()?;
        let what = || format!("staging folder {}", wrapping.display());
        remove(&wrapping)?;
        fs::DirBuilder::new().mode_only_ours().create(&wrapping).context(Kind::Io, what())?;
        fs::DirBuilder::new()
            .mode_only_ours()
            .create(wrapping.join(target.name()))
            .context(Kind::Io, what())?;
        Ok(Staging { target, wrapping, kept: false })
    }

    /// Returns the restored folder.
    pub fn folder(&self) -> PathBuf {
        self.wrapping.join(self.target.name())
    }

    /// From here on it is no longer removed when dropped.
    pub fn keep(&mut self) {
        self.kept = true;
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if !self.kept
            && let Err(e) = remove(&self.wrapping)
        {
            tracing::warn!("{e}");
        }
    }
}

/// Removes a folder of ours with all in it, if it is there; links in it are removed, not followed.
pub(super) fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(Error::new(Kind::Io, format!("cannot remove {}", folder.display())).caused_by(e)),
    }
}

trait OnlyOurs {
    fn mode_only_ours(&mut self) -> &mut Self;
}

impl OnlyOurs for fs::DirBuilder {
    fn mode_only_ours(&mut self) -> &mut Self {
        std::os::unix::fs::DirBuilderExt::mode(self, 0o700)
    }
}
