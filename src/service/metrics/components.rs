//! Each component of each tenant, as the last committed backup took it.

use super::page::{Labels, Page};
use crate::id::{ComponentName, TenantName};
use crate::ops::backup::ComponentState;
use crate::service::desk::Sight;
use crate::service::report::ComponentRun;

pub fn write(sight: &Sight, page: &mut Page) {
    let tenants = &sight.status.tenants;
    let all = || {
        tenants.iter().filter_map(|t| Some((t, t.committed.as_ref()?))).flat_map(|(t, run)| {
            run.report.components.iter().map(move |c| (&t.tenant, c)).filter(|(_, c)| was_taken(c))
        })
    };
    let whole = tenants
        .iter()
        .flat_map(|t| t.component_whole.iter().map(|(c, at)| (of(&t.tenant, *c), at.as_second())));
    page.whole(
        "component_last_success_timestamp_seconds",
        "When the newest backup was begun in which it was whole",
        whole,
    );
    page.real(
        "component_duration_seconds",
        "How long it took in the last committed backup",
        all().map(|(t, c)| (of(t, c.component), c.took_ms as f64 / 1000.0)),
    );
    page.whole(
        "component_read_bytes",
        "What was read from its source in the last committed backup",
        all().map(|(t, c)| (of(t, c.component), bytes(c.read_bytes))),
    );
    page.whole(
        "component_added_bytes",
        "What was new of it in the last committed backup, before compression",
        all().map(|(t, c)| (of(t, c.component), bytes(c.new_bytes))),
    );
    let states = tenants.iter().filter_map(|t| Some((t, t.committed.as_ref()?))).flat_map(|(t, run)| {
        run.report.components.iter().flat_map(|c| {
            ComponentState::ALL.map(|state| {
                (of(&t.tenant, c.component).and("state", state.word()), i64::from(c.state == state))
            })
        })
    });
    page.whole("component_state", "1 for what became of it in the last committed backup", states);
}

fn of(tenant: &TenantName, component: ComponentName) -> Labels {
    Labels::of(tenant).and("component", component.as_str())
}

fn was_taken(c: &ComponentRun) -> bool {
    !matches!(c.state, ComponentState::Skipped | ComponentState::NotConfigured)
}

fn bytes(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
