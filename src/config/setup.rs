//! What the setup wizard of a new site is told: `[setup]` of a tenant over the defaults of `[platform]`.
//!
//! Owns the answers there are. What the app makes of them, and which of them it needs, is the step's to know.

use super::check::{Checker, not_empty};
use super::raw;
use crate::error::{Error, Kind, Result};

/// The answers to the setup wizard.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Setup {
    /// The company's name.
    pub company: Option<String>,
    /// Its abbreviation, which ends the names of its accounts; none to make one of the company's initials.
    pub abbr: Option<String>,
    /// Its country, as the app names it: `Ireland`.
    pub country: Option<String>,
    /// The language, as the app names it: `English`.
    pub language: Option<String>,
    /// The time zone, `Europe/Dublin`.
    pub timezone: Option<String>,
    /// The currency, `EUR`.
    pub currency: Option<String>,
    /// The chart of accounts, `Standard` where none is given.
    pub chart_of_accounts: Option<String>,
    /// The first day of the fiscal year, `MM-DD`; 1 January where none is given.
    pub fiscal_year_start: Option<String>,
    /// The first user's full name.
    pub full_name: Option<String>,
    /// The first user's mail address; the account that runs the site.
    pub email: Option<String>,
}

impl Setup {
    /// Returns these answers, with those of the host where nothing is said.
    #[must_use]
    pub fn over(&self, host: &Setup) -> Setup {
        Setup {
            country: self.country.clone().or_else(|| host.country.clone()),
            language: self.language.clone().or_else(|| host.language.clone()),
            timezone: self.timezone.clone().or_else(|| host.timezone.clone()),
            currency: self.currency.clone().or_else(|| host.currency.clone()),
            ..self.clone()
        }
    }
}

/// Checks the host's defaults: country, language, time zone and currency.
pub(super) fn of_host(written: [&raw::Text; 4], c: &mut Checker<'_>) -> Setup {
    let [country, language, zone, money] = written;
    Setup {
        country: c.parse("platform.country", country, not_empty),
        language: c.parse("platform.language", language, not_empty),
        timezone: c.parse("platform.timezone", zone, timezone),
        currency: c.parse("platform.currency", money, currency),
        ..Setup::default()
    }
}

/// Checks a tenant's answers, leaving out faulty ones.
pub(super) fn of_tenant(raw: &raw::Setup, c: &mut Checker<'_>) -> Setup {
    Setup {
        company: c.parse("setup.company", &raw.company, not_empty),
        abbr: c.parse("setup.abbr", &raw.abbr, not_empty),
        country: c.parse("setup.country", &raw.country, not_empty),
        language: c.parse("setup.language", &raw.language, not_empty),
        timezone: c.parse("setup.timezone", &raw.timezone, timezone),
        currency: c.parse("setup.currency", &raw.currency, currency),
        chart_of_accounts: c.parse("setup.chart_of_accounts", &raw.chart_of_accounts, not_empty),
        fiscal_year_start: c.parse("setup.fiscal_year_start", &raw.fiscal_year_start, day),
        full_name: c.parse("setup.full_name", &raw.full_name, not_empty),
        email: c.parse("setup.email", &raw.email, email),
    }
}

fn timezone(text: &str) -> Result<String> {
    jiff::tz::TimeZone::get(text)
        .map_err(|_| Error::new(Kind::Config, format!("{text:?} is not a time zone")))
        .map_err(|e| e.hint("write Europe/Dublin"))?;
    Ok(text.to_owned())
}

fn currency(text: &str) -> Result<String> {
    if text.len() != 3 || !text.bytes().all(|b| b.is_ascii_uppercase()) {
        return Err(Error::new(Kind::Config, format!("{text:?} is not a currency")).hint("write EUR"));
    }
    Ok(text.to_owned())
}

/// Accepts a day of each year; 29 February is none.
fn day(text: &str) -> Result<String> {
    let date = format!("2025-{text}").parse::<jiff::civil::Date>();
    if date.is_err() || text.len() != 5 {
        return Err(
            Error::new(Kind::Config, format!("{text:?} is not a day of each year")).hint("write 01-01")
        );
    }
    Ok(text.to_owned())
}

fn email(text: &str) -> Result<String> {
    let good = text.split_once('@').is_some_and(|(user, host)| {
        !user.is_empty() && super::domain::domain(&host.to_ascii_lowercase()).is_ok()
    });
    if !good || text.contains(|ch: char| ch.is_whitespace() || ch.is_control()) {
        return Err(Error::new(Kind::Config, format!("{text:?} is not a mail address"))
            .hint("write admin@example.com"));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_that_the_app_would_refuse_are_refused_here() {
        assert!(timezone("Europe/Dublin").is_ok() && timezone("Europe/Nowhere").is_err());
        assert!(currency("EUR").is_ok() && currency("eur").is_err() && currency("EURO").is_err());
        assert!(day("04-01").is_ok() && day("02-29").is_err() && day("1-1").is_err());
        assert!(email("a@b.example").is_ok() && email("@b.example").is_err() && email("a b@c.de").is_err());
    }

    #[test]
    fn a_tenants_answer_counts_before_the_hosts() {
        let host =
            Setup { currency: Some("EUR".into()), country: Some("Ireland".into()), ..Setup::default() };
        let own = Setup { currency: Some("GBP".into()), company: Some("Acme".into()), ..Setup::default() };
        let both = own.over(&host);
        assert_eq!((both.currency.as_deref(), both.country.as_deref()), (Some("GBP"), Some("Ireland")));
        assert_eq!(both.company, own.company);
    }
}
