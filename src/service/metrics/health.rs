//! How tenants and host are, as the last look at them found.

use std::collections::BTreeMap;

use super::page::{Labels, Page};
use crate::ops::health::{Check, State};
use crate::service::desk::Sight;

pub fn write(sight: &Sight, page: &mut Page) {
    let Some(health) = &sight.health else { return };
    let host =
        worst(&health.host).into_iter().map(|(place, state)| (of(Labels::default(), place), code(state)));
    let tenants = health.tenants.iter().flat_map(|t| {
        let all = worst(&t.checks).into_iter();
        all.map(|(place, state)| (of(Labels::of(&t.tenant), place), code(state)))
    });
    let help =
        "What a health check says: 0 ok, 1 warning, 2 failed, 3 unknown; the host's own have no tenant";
    page.whole("health_check_state", help, host.chain(tenants));
    page.whole(
        "health_timestamp_seconds",
        "When health was last looked at",
        [(Labels::default(), health.now.as_second())],
    );
    page.real("health_duration_seconds", "How long that look took", [(Labels::default(), health.seconds)]);
}

/// Area and name of a check: fixed words.
type Place = (&'static str, &'static str);

fn of(labels: Labels, (area, check): Place) -> Labels {
    labels.and("area", area).and("check", check)
}

/// One check may be made of several containers: the worst of them counts.
fn worst(checks: &[Check]) -> BTreeMap<Place, State> {
    let mut all: BTreeMap<Place, State> = BTreeMap::new();
    for check in checks {
        let state = all.entry((check.area.as_str(), check.name)).or_insert(check.state);
        *state = (*state).max(check.state);
    }
    all
}

fn code(state: State) -> i64 {
    match state {
        State::Ok => 0,
        State::Warning => 1,
        State::Failed => 2,
        State::Unknown => 3,
    }
}
