//! From a path inside a container to the path on this host.

use std::path::PathBuf;

use super::{Docker, call};
use crate::error::{Error, Kind, Result};

impl Docker {
    /// Returns the folder on this host where a volume's files lie.
    pub async fn volume_path(&self, volume: &str) -> Result<PathBuf> {
        let answer = call(format!("volume {volume}"), self.client.inspect_volume(volume)).await?;
        if answer.mountpoint.is_empty() {
            return Err(Error::new(Kind::Host, format!("volume {volume} has no folder on this host"))
                .hint(format!("its driver is {}; only local volumes can be read from here", answer.driver)));
        }
        Ok(PathBuf::from(answer.mountpoint))
    }

    /// Returns where `path` of a container lies on this host, through its mounts; symbolic links are not followed.
    ///
    /// Works for stopped containers too. Fails with [`Kind::Host`] for a path in the container's own layer, which is
    /// lost with the container.
    pub async fn host_path_of(&self, container: &str, path: &str) -> Result<PathBuf> {
        let spec = self.inspect(container).await?;
        let missing = || {
            Error::new(Kind::Host, format!("container {container}: {path} lies in no mount"))
                .hint("mount a volume or folder there; the container's own layer is lost with it")
        };
        if !path.starts_with('/') || path.split('/').any(|part| part == "..") {
            return Err(Error::new(Kind::Usage, format!("{path:?} is not an absolute path without `..`")));
        }
        let mount = spec.mount_of(path).ok_or_else(missing)?;
        let rest = below(path, &mount.target).ok_or_else(missing)?;
        let base = match mount.kind {
            super::MountKind::Bind => PathBuf::from(&mount.source),
            super::MountKind::Volume => self.volume_path(&mount.source).await?,
            super::MountKind::Tmpfs => return Err(missing()),
        };
        Ok(if rest.is_empty() { base } else { base.join(rest) })
    }
}

/// Returns `path` relative to `folder` where it is or lies below it; both are absolute.
pub(super) fn below<'a>(path: &'a str, folder: &str) -> Option<&'a str> {
    let rest = path.strip_prefix(folder.trim_end_matches('/'))?;
    match rest.strip_prefix('/') {
        Some(inner) => Some(inner.trim_matches('/')),
        None => rest.is_empty().then_some(""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_neighbour_with_the_same_beginning_is_not_below() {
        assert_eq!(below("/a/b/c", "/a/b"), Some("c"));
        assert_eq!(below("/a/b", "/a/b/"), Some(""));
        assert_eq!(below("/a/bc", "/a/b"), None);
        assert_eq!(below("/a", "/"), Some("a"));
    }
}
