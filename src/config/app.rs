//! `[app]` of a tenant: which containers run its application, and as what.
//!
//! Owns the roles there are, after `frappe_docker`. A container may be named without a role: it is recorded, no more.

use std::collections::BTreeMap;

use serde_spanned::Spanned;

use super::check::{Checker, container};
use super::raw::{self, OneOrMore};
use super::size::TenantSize;
use crate::id::TenantName;

/// What a container of the application does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Answers requests.
    Backend,
    /// Serves files and hands requests on; the one that the proxy reaches.
    Frontend,
    /// Holds the browsers' open connections.
    Websocket,
    /// Works on short jobs.
    QueueShort,
    /// Works on long jobs.
    QueueLong,
    /// Starts jobs by the clock.
    Scheduler,
}

impl Role {
    /// All roles, in the order in which they are started.
    pub const ALL: [Role; 6] =
        [Role::Backend, Role::Websocket, Role::Frontend, Role::QueueShort, Role::QueueLong, Role::Scheduler];

    /// Returns its key in `[app]`.
    pub fn key(self) -> &'static str {
        match self {
            Role::Backend => "backend",
            Role::Frontend => "frontend",
            Role::Websocket => "websocket",
            Role::QueueShort => "queue_short",
            Role::QueueLong => "queue_long",
            Role::Scheduler => "scheduler",
        }
    }

    /// Returns how many containers of this role a size asks for.
    pub fn count(self, size: &TenantSize) -> u32 {
        match self {
            Role::Backend | Role::Frontend => size.workers,
            Role::QueueShort | Role::QueueLong => size.queue_workers,
            Role::Websocket | Role::Scheduler => 1,
        }
    }

    /// Returns the service's name in compose files, with which container names end.
    pub fn service(self) -> &'static str {
        match self {
            Role::QueueShort => "queue-short",
            Role::QueueLong => "queue-long",
            other => other.key(),
        }
    }
}

/// The containers of an application by what they do.
pub type Roles = BTreeMap<Role, Vec<String>>;

/// Returns the roles of a tenant that provisioning made, whose file names no containers: they follow from its size.
pub(super) fn by_convention(tenant: &TenantName, size: &TenantSize) -> Roles {
    let named = |role: Role| {
        let numbered = |n: u32| match n {
            1 => format!("{tenant}-{}", role.service()),
            n => format!("{tenant}-{}-{n}", role.service()),
        };
        (role, (1..=role.count(size)).map(numbered).collect())
    };
    Role::ALL.map(named).into()
}

/// Checks the roles, leaving out faulty names.
pub(super) fn roles(raw: &raw::App, c: &mut Checker<'_>) -> Roles {
    let written = Role::ALL.map(|role| {
        let names = match role {
            Role::Backend => &raw.backend,
            Role::Frontend => &raw.frontend,
            Role::Websocket => &raw.websocket,
            Role::QueueShort => &raw.queue_short,
            Role::QueueLong => &raw.queue_long,
            Role::Scheduler => &raw.scheduler,
        };
        (role, names)
    });
    written.into_iter().filter_map(|(role, names)| Some((role, one_role(role, names.as_ref()?, c)))).collect()
}

fn one_role(role: Role, names: &Spanned<OneOrMore>, c: &mut Checker<'_>) -> Vec<String> {
    let mut all = Vec::new();
    for name in &names.get_ref().0 {
        match container(name) {
            Ok(name) => all.push(name),
            Err(error) => c.fault(Some(&names.span()), &format!("app.{}", role.key()), &error),
        }
    }
    all
}
