//! `[coverage]`: what on this host needs no backup, and why.

use serde_spanned::Spanned;

use super::check::{Checker, not_empty};
use super::raw;

/// Something that needs no backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Excluded {
    /// The name of a container, a volume or a site; `*` stands for any part of it.
    pub name: String,
    /// Why.
    pub reason: String,
}

impl Excluded {
    /// Tells whether it means this name.
    pub fn means(&self, name: &str) -> bool {
        let mut parts = self.name.split('*');
        let first = parts.next().unwrap_or_default();
        let Some(mut rest) = name.strip_prefix(first) else { return false };
        let parts: Vec<&str> = parts.collect();
        let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
        for part in middle {
            let Some(at) = rest.find(part) else { return false };
            rest = &rest[at + part.len()..];
        }
        rest.ends_with(last)
    }
}

/// Checks the list; what is faulty is left out.
pub(super) fn check(raw: &raw::Coverage, c: &mut Checker<'_>) -> Vec<Excluded> {
    let mut all = Vec::new();
    for one in raw.exclude.iter().flatten().map(Spanned::get_ref) {
        let hint = "write { name = \"grafana\", reason = \"its dashboards are in git\" }";
        let name = c.require("coverage.exclude.name", &one.name, hint, not_empty);
        let reason = c.require("coverage.exclude.reason", &one.reason, hint, not_empty);
        if let (Some(name), Some(reason)) = (name, reason) {
            all.push(Excluded { name, reason });
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_part_of_a_name_and_nothing_else_does() {
        let means = |name: &str, of: &str| Excluded { name: name.into(), reason: "x".into() }.means(of);
        assert!(
            means("grafana", "grafana") && !means("grafana", "grafana-2") && !means("grafana", "a-grafana")
        );
        assert!(means("*", "anything") && means("mon-*", "mon-grafana") && !means("mon-*", "a-mon-grafana"));
        assert!(means("*-cache", "byrne-cache") && means("a*b*c", "axxbyyc") && !means("a*b*c", "axxcyyb"));
        assert!(!means("a*a", "a"), "one letter is not two");
    }
}
