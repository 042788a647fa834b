//! `unlock`.

use jiff::Timestamp;
use serde::Serialize;

use super::{Call, DONE};
use crate::cli::args::UnlockArgs;
use crate::cli::render::{Rendered, bytes};
use crate::config::DrillPlace;
use crate::error::{Error, Kind, Result};
use crate::id::TenantName;
use crate::ops::appliance;
use crate::ops::unlock::{self, CacheState};
use crate::service::unlocked::{Asked, LONGEST, Reply, ask};

#[derive(Debug, Serialize)]
struct Said {
    tenant: TenantName,
    /// Until when the service has the key; none where it has not.
    until: Option<Timestamp>,
    /// Whether a service runs on this host.
    service: bool,
    #[serde(flatten)]
    cache: Option<CacheState>,
}

pub(super) async fn run(call: &Call<'_>, args: &UnlockArgs) -> Result<u8> {
    let time = args.time;
    if time.is_zero() || time > LONGEST {
        return Err(Error::new(Kind::Usage, "--for is between 1s and 15m")
            .hint("a key in the service's memory is there for whoever breaks in meanwhile"));
    }
    if args.end {
        return end(call, &args.tenants).await;
    }
    let identities = super::files::needed(&args.identity)?;
    let appliance = call.appliance().await?;
    args.identity.identity.iter().try_for_each(|kit| appliance.compare_kit(kit))?;
    let machine = &appliance.config.machine;
    let lends = appliance::drill_place(machine, &appliance.state)? != DrillPlace::Elsewhere;
    // All are known before the first is opened: a slip in the last name leaves nothing lent.
    args.tenants.iter().try_for_each(|tenant| appliance.known(tenant))?;
    for tenant in &args.tenants {
        appliance.around.monitor.step(&format!("unlock {tenant}"));
        let unlocked = unlock::unlock(&appliance, tenant, &identities).await?;
        let reply = match lends {
            true => ask(&machine.state_dir, tenant, Asked::Lend(unlocked.vault.secret(), time)).await?,
            false => Reply::NoService,
        };
        call.output.result(&Said::of(tenant, &reply, Some(unlocked.cache)));
    }
    if !lends {
        appliance.around.monitor.note("drills run elsewhere, so no key was lent to the service of this host");
    }
    Ok(DONE)
}

/// Takes keys back; needs neither store nor identity.
async fn end(call: &Call<'_>, tenants: &[TenantName]) -> Result<u8> {
    let config = call.config()?;
    for tenant in tenants {
        let reply = ask(&config.machine.state_dir, tenant, Asked::TakeBack).await?;
        call.output.result(&Said::of(tenant, &reply, None));
    }
    Ok(DONE)
}

impl Said {
    fn of(tenant: &TenantName, reply: &Reply, cache: Option<CacheState>) -> Said {
        let until = match reply {
            Reply::Lent(until) => Some(*until),
            Reply::TakenBack | Reply::NoService => None,
        };
        Said { tenant: tenant.clone(), until, service: *reply != Reply::NoService, cache }
    }
}

impl Rendered for Said {
    fn text(&self) -> String {
        let tenant = &self.tenant;
        let lent = match (self.until, self.service, &self.cache) {
            (Some(until), ..) => {
                let until = until.strftime("%H:%M:%S UTC");
                format!(
                    "{tenant}: the service has its key until {until}; a drill that is due begins within a minute"
                )
            }
            (None, true, _) => format!("{tenant}: the service has no key of it any more"),
            (None, false, None) => format!("{tenant}: no service runs on this host"),
            (None, false, Some(_)) => format!("{tenant}: opens; no service on this host was given its key"),
        };
        let cache = match &self.cache {
            None | Some(CacheState::Kept) => String::new(),
            Some(CacheState::InUse) => "\n  its cache is in use by a backup".to_owned(),
            Some(CacheState::MadeAgain { packs, fetched_bytes, chunks }) => format!(
                "\n  its cache was lost and is made again: {chunks} chunks from {packs} packs, {} read",
                bytes(*fetched_bytes)
            ),
            Some(CacheState::OfNoUse { why }) => {
                format!(
                    "\n  its cache was lost and stays empty, so the next backup uploads everything: {why}"
                )
            }
        };
        format!("{lent}{cache}\n")
    }
}
