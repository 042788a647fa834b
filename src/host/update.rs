//! Limits of containers changed while they run, and images pinned to what they are now.

use bollard::models::ContainerUpdateBody;

use super::{Docker, Limits, call, fault};
use crate::error::{Error, Kind, Result};

/// An image by a name that means the same tomorrow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PinnedImage {
    /// `name@sha256:…` where a registry gave it a digest, else its id.
    pub name: String,
    /// Its id, `sha256:…`.
    pub id: String,
    /// All its registry digests.
    pub digests: Vec<String>,
}

impl Docker {
    /// Returns what an image's name means now, fetching the image where it is not here.
    pub async fn pin(&self, image: &str) -> Result<PinnedImage> {
        if self.image_id(image).await?.is_none() {
            self.pull(image).await?;
        }
        let found = match self.client.inspect_image(image).await {
            Ok(found) => found,
            Err(e) => return Err(fault::of(e, format_args!("image {image}"))),
        };
        let missing = || Error::new(Kind::Host, format!("image {image} has no id"));
        let id = found.id.filter(|id| !id.is_empty()).ok_or_else(missing)?;
        let digests = found.repo_digests.unwrap_or_default();
        // The digest under the name that was asked for; another registry's may not be reachable from here.
        let base = repository(image);
        let own = digests.iter().find(|d| repository(d) == base).or(digests.first());
        Ok(PinnedImage { name: own.cloned().unwrap_or_else(|| id.clone()), id, digests })
    }

    /// Gives a container other limits of memory and processors, running or not; what is none stays.
    pub async fn update_limits(&self, container: &str, limits: &Limits) -> Result<()> {
        let body = ContainerUpdateBody {
            memory: limits.memory_bytes,
            memory_swap: limits.memory_swap_bytes,
            memory_reservation: limits.memory_reservation_bytes,
            nano_cpus: limits.nano_cpus,
            ..ContainerUpdateBody::default()
        };
        call(format!("container {container}"), self.client.update_container(container, body)).await
    }
}

/// Returns an image's name without tag and digest.
fn repository(image: &str) -> &str {
    let name = image.split('@').next().unwrap_or(image);
    match name.rsplit_once(':') {
        // A colon before a slash is that of a registry's port.
        Some((name, tag)) if !tag.contains('/') => name,
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tag_and_digest_are_no_part_of_the_repository() {
        assert_eq!(repository("mariadb:10.11"), "mariadb");
        assert_eq!(repository("registry:5000/a/b"), "registry:5000/a/b");
        assert_eq!(repository("registry:5000/a/b:1@sha256:00"), "registry:5000/a/b");
    }
}
