//! What the service can have done; how it is done is plugged in.
//!
//! Owns the contract between the service and the verbs.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;

use super::report::JobReport;
use super::run::Trigger;
use crate::config::Config;
use crate::error::Result;
use crate::id::TenantName;
use crate::ops::capacity::Capacity;
use crate::ops::health::Report;

/// The verbs that the service runs.
///
/// A future that is dropped ends all it began, in containers too, and leaves nothing that hinders the next run. Each
/// stage has its own timeout; the service adds one around the whole only as a last resort.
#[async_trait]
pub trait Jobs: Send + Sync + 'static {
    /// Tells of a configuration that was read anew: what begins from now on goes by it.
    fn configure(&self, _config: Arc<Config>) {}

    /// Backs a tenant up.
    async fn backup(&self, tenant: &TenantName, trigger: Trigger) -> Result<JobReport>;

    /// Drills a tenant's newest whole snapshot.
    async fn drill(&self, tenant: &TenantName) -> Result<JobReport>;

    /// Looks at how the host and all tenants are, and changes nothing; none where nothing here can look.
    async fn look(&self) -> Option<Result<Report>> {
        None
    }

    /// Measures what all tenants use and what is left of the host, and changes nothing; none where nothing here can.
    async fn measure(&self) -> Option<Result<Capacity>> {
        None
    }

    /// Tells whether an identity is at hand that a drill of this tenant can use now.
    fn can_drill(&self, tenant: &TenantName) -> bool;

    /// Returns why a tenant is on hold at `now`, if it is.
    fn held(&self, tenant: &TenantName, now: Timestamp) -> Option<String>;
}
