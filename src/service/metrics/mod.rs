//! What the service knows, as Prometheus reads it.
//!
//! Owns names, units and labels of metrics, and the two formats. Every value is taken from one [`Sight`] when it is asked
//! for, so that nothing is counted twice. Labels are tenants, hosts and words that this program spells, so that the number
//! of lines is bounded: `docs/monitoring.md` says by what. What is not known has no line, rather than a zero that would
//! look like a fact. No label is called `job` or `instance`: those are Prometheus' own.

mod capacity;
mod components;
mod drills;
mod health;
mod host;
mod page;
mod plain;
mod store;
mod tenants;

use std::fmt;

use super::desk::Sight;
use page::Page;

/// Which text is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0.0, which Prometheus asks for.
    OpenMetrics,
    /// Prometheus' own text format, version 0.0.4: for all others, such as `promtool check metrics`.
    Plain,
}

impl Format {
    /// Picks by the request's `Accept` header.
    pub fn asked(accept: Option<&str>) -> Format {
        match accept {
            Some(types) if types.contains("application/openmetrics-text") => Format::OpenMetrics,
            _ => Format::Plain,
        }
    }

    /// Returns the media type of the text.
    pub fn media_type(self) -> &'static str {
        match self {
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Format::Plain => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// Returns the text of all metrics.
pub fn text(sight: &Sight, format: Format) -> Result<String, fmt::Error> {
    let mut page = Page::default();
    host::write(sight, &mut page);
    tenants::write(sight, &mut page);
    components::write(sight, &mut page);
    drills::write(sight, &mut page);
    store::write(sight, &mut page);
    health::write(sight, &mut page);
    capacity::write(sight, &mut page);
    let text = page.text()?;
    Ok(match format {
        Format::OpenMetrics => text,
        Format::Plain => plain::of(&text),
    })
}

#[cfg(test)]
mod tests;
