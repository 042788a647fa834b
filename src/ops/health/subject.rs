//! One tenant as the probes need it: its site's configuration is read once.

use crate::component::site::SiteConfig;
use crate::config::Tenant;
use crate::error::{Error, Kind, Result};
use crate::ops::site::Site;

use super::Round;
use super::pace::within;

/// A tenant that is looked at.
pub(super) struct Subject<'a> {
    /// As configured.
    pub tenant: &'a Tenant,
    /// The site's configuration over the bench's, or why it cannot be read; none where no site is configured.
    pub site: Option<Result<SiteConfig>>,
}

impl<'a> Subject<'a> {
    /// Reads what the site says of itself.
    pub async fn find(round: &Round<'_>, tenant: &'a Tenant) -> Subject<'a> {
        if tenant.files.on().is_none() {
            return Subject { tenant, site: None };
        }
        let docker = round.docker.as_ref().ok();
        let found = within(round.limits.probe, format!("the folder of site {}", tenant.site), async {
            let site = Site::find(tenant, docker).await?;
            // It may lie on a file system that hangs.
            let reading = tokio::task::spawn_blocking(move || site.effective_config());
            reading.await.unwrap_or_else(|e| Err(Error::new(Kind::Bug, "site configuration").caused_by(e)))
        });
        Subject { tenant, site: Some(found.await) }
    }

    /// Returns the site's configuration where it could be read.
    pub fn config(&self) -> Option<&SiteConfig> {
        self.site.as_ref()?.as_ref().ok()
    }
}
