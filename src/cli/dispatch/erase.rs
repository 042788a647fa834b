//! `erase`.

use std::path::Path;

use serde::Serialize;

use super::{Call, DONE};
use crate::cli::args::EraseArgs;
use crate::cli::render::{Rendered, bytes};
use crate::error::{Context, Error, Kind, Result, counted};
use crate::id::TenantName;
use crate::ops::appliance::Appliance;
use crate::ops::erase::{self, ErasePlan, Erased};
use crate::ops::init;
use crate::ops::kit::Kit;
use crate::repo::erasure::Statement;

pub(super) async fn run(call: &Call<'_>, args: &EraseArgs) -> Result<u8> {
    let appliance = Appliance::open_to_prune(call.config()?, call.around()).await?;
    let tenant = &args.tenant;
    if let Some(other) = args.yes_erase.as_ref().filter(|t| *t != tenant) {
        return Err(Error::new(Kind::Usage, format!("--yes-erase names {other}, not {tenant}")));
    }
    let allowed = args.yes_erase.is_some();
    let Some(kit) = &args.kit else { return only_here(call, &appliance, tenant, allowed) };
    let kit = Kit::read(kit)?;
    let root = init::root_of(&kit)?;
    if kit.pin != appliance.repo.hash() || root.public() != appliance.repo.root() {
        return Err(Error::new(
            Kind::WrongKey,
            format!("this kit is that of repository {}, not of {}", kit.repository, appliance.repo.id()),
        ));
    }
    let plan = erase::plan(&appliance, tenant).await?;
    if args.dry_run || !allowed {
        call.output.result(&plan);
    }
    match (args.dry_run, allowed) {
        (true, _) => return Ok(DONE),
        (false, false) => return Err(unconfirmed(tenant)),
        (false, true) => {}
    }
    let erased = erase::apply(&appliance, &root, &plan).await?;
    drop(appliance);
    if let Some(file) = &args.statement {
        write(file, &erased.statement)?;
    }
    let left = erased.statement.remaining.amount.objects > 0;
    call.output.result(&erased);
    Ok(if left { Kind::Partial.exit_code() } else { DONE })
}

fn unconfirmed(tenant: &TenantName) -> Error {
    Error::new(Kind::Usage, format!("nobody confirmed that {tenant} is to be erased, for good"))
        .hint(format!("repeat its name: --yes-erase {tenant}"))
}

fn write(file: &Path, statement: &Statement) -> Result<()> {
    let text = serde_json::to_string_pretty(statement).context(Kind::Bug, "statement")?;
    std::fs::write(file, text + "\n").context(Kind::Io, format!("statement {}", file.display()))
}

#[derive(Debug, Serialize)]
struct Forgotten {
    tenant: TenantName,
}

fn only_here(call: &Call<'_>, appliance: &Appliance, tenant: &TenantName, allowed: bool) -> Result<u8> {
    if !allowed {
        return Err(unconfirmed(tenant));
    }
    if appliance.config.tenant(tenant).is_ok() {
        return Err(Error::new(Kind::Conflict, format!("tenant {tenant} is configured here"))
            .hint(format!("take tenants/{tenant}.toml away first")));
    }
    erase::forget_here(appliance, tenant)?;
    Ok(call.done(&Forgotten { tenant: tenant.clone() }))
}

impl Rendered for Forgotten {
    fn text(&self) -> String {
        format!("This host forgot {}: dedup key, cache and history.\n", self.tenant)
    }
}

impl Rendered for ErasePlan {
    fn text(&self) -> String {
        let hosts: Vec<String> = self.writers.iter().map(ToString::to_string).collect();
        format!(
            "Erasing {} would remove {} objects, {}, for good.\nWritten by: {}; by nobody then.\nOpens for: {}.\n",
            self.tenant,
            self.stored.objects,
            bytes(self.stored.bytes),
            if hosts.is_empty() { "nobody".to_owned() } else { hosts.join(", ") },
            readers(&self.readers, self.unknown_wraps),
        )
    }
}

fn readers(known: &[String], unknown: u64) -> String {
    let mut all = known.to_vec();
    if unknown > 0 {
        all.push(format!("whoever opens {} that this host did not see made", counted(unknown, "wrap")));
    }
    if all.is_empty() { "nobody that is known".to_owned() } else { all.join(", ") }
}

impl Rendered for Erased {
    fn text(&self) -> String {
        let s = &self.statement;
        let mut text = format!(
            "Tenant {} erased from repository {} on {}: {} objects, {} are gone (statement {}, signed by the root).\n",
            s.tenant,
            s.repository,
            s.time,
            s.removed.objects,
            bytes(s.removed.bytes),
            s.number
        );
        let who = readers(&s.readers, s.unknown_wraps);
        let left = &s.remaining.amount;
        match (left.objects, s.remaining.locked_until) {
            (0, _) => text.push_str("Nothing of it is left in this store.\n"),
            (n, Some(until)) => text.push_str(&format!(
                "{n} objects, {}, are left; the last lock ends on {until}. Until they are gone they open for {who}. \
                 Run this again after that date.\n",
                bytes(left.bytes)
            )),
            (n, None) => text.push_str(&format!(
                "{n} objects, {}, are left, which this credential may not remove. They open for {who}.\n",
                bytes(left.bytes)
            )),
        }
        text.push_str(&format!(
            "Not touched: what runs now; other stores; and copies that somebody took out of this store, which open for {who}.\n"
        ));
        for host in s.hosts.iter().filter(|h| **h != s.host) {
            text.push_str(&format!(
                "On {host}: `lifeboat erase {} --only-here --yes-erase {}` removes its dedup key and cache.\n",
                s.tenant, s.tenant
            ));
        }
        for failure in &self.failures {
            text.push_str(&format!("not removed: {failure}\n"));
        }
        text
    }
}
