//! `check`.

use serde::Serialize;

use super::read::nothing_to_say;
use super::{Call, DONE};
use crate::cli::args::CheckArgs;
use crate::cli::ask;
use crate::cli::render::Rendered;
use crate::error::{Kind, Result, counted};
use crate::id::RepositoryId;
use crate::ops::check::verified::Verified;
use crate::ops::check::{self, Extent, Fault, ReadData, TenantCheck};

/// What concerns all tenants.
#[derive(Debug, Serialize)]
struct OfRepository<'a> {
    repository: &'a RepositoryId,
    faults: &'a [Fault],
}

/// The outcome of a tenant.
#[derive(Debug, Serialize)]
struct OfTenant<'a>(&'a TenantCheck);

pub(super) async fn run(call: &Call<'_>, args: &CheckArgs) -> Result<u8> {
    let identities = args.identity.identity.as_deref().map(ask::identities).transpose()?;
    let mut appliance = call.appliance_of(args.source).await?;
    if args.repair {
        return super::repair::run(call, args, &mut appliance, identities.as_ref()).await;
    }
    let read_data = args.read_data.map_or(ReadData::None, |packs| packs.0);
    let extent = Extent { read_data, latest_only: args.latest };
    let checking = check::check(&appliance, &args.tenants, extent, identities.as_ref());
    let checked = call.reading(checking).await?;
    if !checked.repository.is_empty() {
        call.output.result(&OfRepository { repository: appliance.repo.id(), faults: &checked.repository });
    }
    drop(appliance);
    for tenant in &checked.tenants {
        call.output.result(&OfTenant(tenant));
    }
    nothing_to_say(call, checked.tenants.len());
    Ok(if checked.is_bad() { Kind::CheckFailed.exit_code() } else { DONE })
}

impl Rendered for OfRepository<'_> {
    fn text(&self) -> String {
        format!("repository {}:\n{}", self.repository, faults(self.faults))
    }
}

impl Rendered for OfTenant<'_> {
    fn text(&self) -> String {
        let t = self.0;
        let reached = match t.level.as_deref() {
            Some("L0") => "L0: receipts verify, every object is there (their content: --read-data)",
            Some("L1") => "L1: every object is there and is what its name says",
            Some("L2") => "L2: every stream decrypts, decompresses and has its digest",
            _ if t.snapshots == 0 => "no snapshot to check",
            _ => "FAULTS FOUND",
        };
        let mut text = format!("{}: {}, {reached}\n", t.tenant, counted(t.snapshots, "snapshot"));
        if t.given_up > 0 {
            text.push_str(&format!("  {} of them are not whole any more: packs were given up\n", t.given_up));
        }
        text.push_str(&faults(&t.faults));
        text.push_str(&format!("  {}\n", told(&t.verified)));
        text
    }
}

fn faults(all: &[Fault]) -> String {
    let line = |f: &Fault| {
        let mark = if f.alarm { "fault" } else { "note" };
        let of = f.snapshot.as_ref().map_or(String::new(), |s| format!(" {s}"));
        format!("  {mark}{of} [{}] {}\n", f.kind, f.what)
    };
    all.iter().map(line).collect()
}

/// Says how much was read and found right, and when.
pub(super) fn told(v: &Verified) -> String {
    let part = v.part.as_ref().map_or(String::new(), |part| format!("; part {part} was read last"));
    match v.oldest {
        None => format!("{}: none was ever read on this host (--read-data){part}", counted(v.packs, "pack")),
        Some(oldest) => {
            let never = match v.never {
                0 => String::new(),
                n => format!(", {n} never"),
            };
            let since = oldest.strftime("%Y-%m-%d %H:%M");
            format!("{}: read and right since {since}{never}{part}", counted(v.packs, "pack"))
        }
    }
}
