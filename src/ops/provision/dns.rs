//! Step `dns`: the tenant's name in the platform's zone, and the server that answers it.

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::{Job, Order, Standing, Step, StepName, Thing};
use crate::component::dns::{self, Host, Place, Served};
use crate::config::Dns;
use crate::error::Result;

/// How long the server may take to read a changed zone: CoreDNS looks once a minute.
const SERVED_LIMIT: Duration = Duration::from_secs(150);

/// What the journal calls a zone that was made, and records in one that was there.
const ZONE: &str = "zone";
const RECORDS: &str = "records";

/// The step.
#[derive(Debug)]
pub struct DnsStep;

fn place(dns: &Dns, order: &Order) -> Place {
    Place {
        zone: dns.zone.clone().unwrap_or_else(|| order.domain.clone()),
        folder: dns.zones_dir.clone(),
        server: dns.server,
    }
}

fn host(dns: &Dns, order: &Order) -> Host {
    Host {
        tenant: order.tenant.name.clone(),
        domain: order.domain.clone(),
        addresses: vec![dns.address],
        ttl_seconds: u32::try_from(dns.ttl.as_secs()).unwrap_or(u32::MAX),
    }
}

fn today(job: &Job) -> Date {
    job.now().to_zoned(TimeZone::UTC).date()
}

/// Returns what to look at; none where the section lacks, which the engine has skipped before.
fn wanted(order: &Order) -> Option<(Place, Host)> {
    order.platform.dns.as_ref().map(|dns| (place(dns, order), host(dns, order)))
}

#[async_trait]
impl Step for DnsStep {
    fn name(&self) -> StepName {
        StepName::Dns
    }

    fn sentence(&self, order: &Order) -> String {
        let Some((place, host)) = wanted(order) else { return String::new() };
        let file = place.file().map_or_else(|e| e.to_string(), |file| file.display().to_string());
        let addresses: Vec<String> = host.addresses.iter().map(ToString::to_string).collect();
        format!(
            "{} leads to {} in zone {} ({file}), and {} answers it",
            host.domain,
            addresses.join(", "),
            place.zone,
            place.server
        )
    }

    fn skipped(&self, order: &Order) -> Option<String> {
        order.platform.dns.is_none().then(|| "no [platform.dns]".to_owned())
    }

    async fn check(&self, job: &Job) -> Result<Standing> {
        let Some((place, host)) = wanted(&job.order) else { return Ok(Standing::Done) };
        let serial = match place.standing(&host)? {
            None => return Ok(Standing::missing(format!("zone {}", place.zone))),
            Some((dns::Standing::There, serial)) => serial,
            Some((dns::Standing::Differs(what) | dns::Standing::Taken(what), _)) => {
                return Ok(Standing::differs(what));
            }
        };
        Ok(match dns::look_served(place.server, &place.zone, &host, serial).await? {
            Served::Right(_) => Standing::Done,
            Served::Wrong(what) => Standing::differs(what),
        })
    }

    async fn apply(&self, job: &Job) -> Result<()> {
        let Some((place, host)) = wanted(&job.order) else { return Ok(()) };
        let thing = match place.standing(&host)? {
            None => Some(Thing::new(ZONE, place.file()?.to_string_lossy())),
            Some((dns::Standing::There, _)) => None,
            Some(_) => Some(Thing::new(RECORDS, &*place.zone)),
        };
        if let Some(thing) = thing {
            let changed = job.make(StepName::Dns, thing, place.add(&host, today(job))).await?;
            if let Some(changed) = changed {
                let what = format!("zone {} has serial {} now", place.zone, changed.serial);
                job.around.monitor.note(&what);
            }
        }
        let serial = place.standing(&host)?.map_or(0, |(_, serial)| serial);
        let took = place.await_served(&host, serial, SERVED_LIMIT).await?;
        tracing::debug!(zone = %place.zone, serial, ?took, "served");
        Ok(())
    }

    async fn undo(&self, job: &Job) -> Result<()> {
        let Some((place, host)) = wanted(&job.order) else { return Ok(()) };
        let today = today(job);
        job.unmake(StepName::Dns, |thing| {
            let (place, host) = (place.clone(), host.clone());
            async move {
                let made_zone = thing.kind == ZONE && place.file()? == *Path::new(&thing.name);
                place.remove(&host, made_zone, today).await.map(|_| ())
            }
        })
        .await
    }
}
