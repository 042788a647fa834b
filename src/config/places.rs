//! Which folders may be ours, and that none lies in another it must be kept apart from.
//!
//! Looks at paths as they are written; what is a link on this host is not known here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_spanned::Spanned;

use super::check::{Checker, absolute};
use super::machine::Machine;
use super::raw;
use super::store::StoreAddress;
use super::tenant::{SitesPlace, Tenant};
use crate::error::{Error, Kind, Result};
use crate::id::TenantName;

/// Folders of the system: what we put there would lie among what others own, or be gone at the next start.
const SYSTEM: [&str; 17] = [
    "/", "/bin", "/boot", "/etc", "/home", "/lib", "/lib64", "/mnt", "/opt", "/root", "/run", "/sbin",
    "/tmp", "/usr", "/var", "/var/lib", "/var/tmp",
];

/// The address of a store that is not configured.
const NO_TEXT: raw::Text = None;

/// Trees that the kernel makes: nothing in them is kept.
const KERNEL: [&str; 3] = ["/proc", "/sys", "/dev"];

/// Memory that looks like a folder: whoever names one below it, for a trial, knows that it goes with the machine.
const MEMORY: &str = "/dev/shm";

/// Accepts the absolute path of a folder that can be ours alone.
pub(super) fn own_folder(text: &str) -> Result<PathBuf> {
    let path = absolute(text)?;
    let is_system = SYSTEM.iter().any(|system| path == Path::new(system));
    let is_memory = path.starts_with(MEMORY) && path != Path::new(MEMORY);
    if is_system || (KERNEL.iter().any(|tree| path.starts_with(tree)) && !is_memory) {
        return Err(Error::new(Kind::Config, format!("{text:?} is a folder of the system"))
            .hint("name a folder that nothing else uses, such as /var/lib/lifeboat or /srv/lifeboat"));
    }
    Ok(path)
}

/// Notes which of our folders lie in each other, or where a tenant may write.
pub(super) fn are_apart(
    raw: &raw::Host,
    machine: &Machine,
    tenants: &BTreeMap<TenantName, Tenant>,
    c: &mut Checker<'_>,
) {
    let copy = machine.copy.as_ref().map(|copy| &copy.store.address);
    let stores = [
        ("store.url", Some(&machine.store.address), &raw.store.url),
        ("copy.url", copy, raw.copy.as_ref().map_or(&NO_TEXT, |copy| &copy.url)),
    ];
    let mut ours = vec![("state_dir", machine.state_dir.as_path(), &raw.state_dir)];
    for (key, address, text) in stores {
        let Some(StoreAddress::Local { path }) = address else { continue };
        if overlap(path, &machine.state_dir) {
            let state = machine.state_dir.display();
            let error =
                Error::new(Kind::Config, format!("a store and the state folder {state} lie in each other"));
            let hint =
                "what is lost with the state is then lost with the store: give each a folder of its own";
            c.fault(text.as_ref().map(Spanned::span).as_ref(), key, &error.hint(hint));
        }
        ours.push((key, path.as_path(), text));
    }
    let projects = machine.platform.as_ref().map(|p| p.projects_dir.as_path());
    for (key, path, text) in &ours {
        if projects.is_some_and(|projects| overlap(path, projects)) {
            let error = Error::new(Kind::Config, "lies in the folder of the tenants' projects, or holds it");
            let hint = "projects_dir holds the tenants' secrets: give each a folder of its own";
            c.fault(text.as_ref().map(Spanned::span).as_ref(), key, &error.hint(hint));
        }
    }
    for (tenant, site) in tenants.values().filter_map(site_on_host) {
        for (key, path, text) in &ours {
            if overlap(path, &site) {
                let what =
                    format!("{} and the site folder of tenant {tenant} lie in each other", path.display());
                let error =
                    Error::new(Kind::Config, what).hint("the tenant writes there: name a folder elsewhere");
                c.fault(text.as_ref().map(Spanned::span).as_ref(), key, &error);
            }
        }
    }
}

fn overlap(a: &Path, b: &Path) -> bool {
    a.starts_with(b) || b.starts_with(a)
}

/// Returns the folder of a tenant's site, where it lies on this host as it is written.
fn site_on_host(tenant: &Tenant) -> Option<(&TenantName, PathBuf)> {
    match &tenant.files.on()?.sites {
        SitesPlace::Host { path } => Some((&tenant.name, path.join(&tenant.site))),
        SitesPlace::Container { .. } => None,
    }
}
