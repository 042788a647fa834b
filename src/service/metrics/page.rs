//! A page of metrics under way: families are added whole.
//!
//! Owns the kinds of label sets. Knows nothing of what is measured.

use std::fmt;
use std::fmt::Debug;
use std::hash::Hash;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, LabelSetEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::id::TenantName;

/// The labels of one line: name and value.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Labels(Vec<(&'static str, String)>);

impl Labels {
    /// Names a tenant.
    pub fn of(tenant: &TenantName) -> Labels {
        Labels::default().and("tenant", tenant.as_str())
    }

    /// Adds a label.
    #[must_use]
    pub fn and(mut self, name: &'static str, value: &str) -> Labels {
        self.0.push((name, value.to_owned()));
        self
    }
}

impl EncodeLabelSet for Labels {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), fmt::Error> {
        use prometheus_client::encoding::EncodeLabel;
        self.0.iter().try_for_each(|(name, value)| (*name, value.as_str()).encode(encoder.encode_label()))
    }
}

/// A page under way.
pub struct Page {
    registry: Registry,
    /// Families whose names are a convention of all programs.
    common: Registry,
}

impl Default for Page {
    fn default() -> Self {
        Page { registry: Registry::with_prefix("lifeboat"), common: Registry::default() }
    }
}

impl Page {
    /// Adds a gauge of whole numbers; the last word of its name is its unit.
    pub fn whole(&mut self, name: &str, help: &str, lines: impl IntoIterator<Item = (Labels, i64)>) {
        let family = Family::<Labels, Gauge>::default();
        for (labels, value) in lines {
            if labels.0.is_empty() {
                let alone: Gauge = Gauge::default();
                alone.set(value);
                return self.registry.register(name, help, alone);
            }
            family.get_or_create(&labels).set(value);
        }
        self.registry.register(name, help, family);
    }

    /// Adds a gauge of numbers with fractions.
    pub fn real(&mut self, name: &str, help: &str, lines: impl IntoIterator<Item = (Labels, f64)>) {
        real(&mut self.registry, name, help, lines);
    }

    /// Adds a gauge that every program has, by its common name.
    pub fn common(&mut self, name: &str, help: &str, value: Option<f64>) {
        real(&mut self.common, name, help, value.map(|v| (Labels::default(), v)));
    }

    /// Adds a counter that every program has.
    pub fn common_count(&mut self, name: &str, help: &str, value: Option<f64>) {
        let Some(value) = value else { return };
        let counter = Counter::<f64, AtomicU64>::default();
        counter.inc_by(value);
        self.common.register(name, help, counter);
    }

    /// Adds a counter; its lines get the suffix `_total`.
    pub fn count(&mut self, name: &str, help: &str, lines: impl IntoIterator<Item = (Labels, u64)>) {
        let family = Family::<Labels, Counter>::default();
        for (labels, value) in lines {
            family.get_or_create(&labels).inc_by(value);
        }
        self.registry.register(name, help, family);
    }

    /// Returns the page as OpenMetrics text.
    pub fn text(self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode_registry(&mut text, &self.registry)?;
        encode(&mut text, &self.common)?;
        Ok(text)
    }
}

/// A line without labels is a gauge of its own: a family would write empty braces behind its name.
fn real(to: &mut Registry, name: &str, help: &str, lines: impl IntoIterator<Item = (Labels, f64)>) {
    let family = Family::<Labels, Gauge<f64, AtomicU64>>::default();
    for (labels, value) in lines {
        if labels.0.is_empty() {
            let alone = Gauge::<f64, AtomicU64>::default();
            alone.set(value);
            return to.register(name, help, alone);
        }
        family.get_or_create(&labels).set(value);
    }
    to.register(name, help, family);
}
