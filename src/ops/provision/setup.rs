//! The step `setup`: the setup wizard, answered from `[setup]`.
//!
//! Owns what the wizard is told. A site whose wizard was run, by whomever, is left as it is: Frappe 15 says so in System
//! Settings, 16 for each app; `frappe.is_setup_complete` knows both where it is there.

use std::time::Duration;

use async_trait::async_trait;
use jiff::civil::Date;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use super::job::{COMMAND_LIMIT, Job, Order};
use super::journal::Thing;
use super::secrets::Secret;
use super::step::{Standing, Step, StepName};
use crate::component::bench::Program;
use crate::config::Setup as Answers;
use crate::error::{Context, Error, Kind, Result};

/// How long the wizard may take: a chart of accounts is hundreds of rows.
const WIZARD_LIMIT: Duration = Duration::from_secs(20 * 60);

const LOOK: &str = r#"
if hasattr(frappe, "is_setup_complete"):
    done = frappe.is_setup_complete()
else:
    done = int(frappe.db.get_single_value("System Settings", "setup_complete") or 0)
answer(bool(done))
"#;

const RUN: &str = r#"
from frappe.desk.page.setup_wizard.setup_wizard import setup_complete
given = dict(ARGS)
if given.get("email"):
    given["password"] = SECRETS["first_user"]
result = setup_complete(given) or {}
frappe.db.commit()
answer({"status": result.get("status"), "fail": str(result.get("fail") or "")})
"#;

/// The step.
#[derive(Debug)]
pub struct Setup;

#[async_trait]
impl Step for Setup {
    fn name(&self) -> StepName {
        StepName::Setup
    }

    fn sentence(&self, order: &Order) -> String {
        let setup = order.setup().unwrap_or_default();
        let said = |text: &Option<String>| text.clone().unwrap_or_else(|| "?".to_owned());
        format!(
            "company {} in {}, {}, {}",
            said(&setup.company),
            said(&setup.country),
            said(&setup.currency),
            said(&setup.timezone)
        )
    }

    fn skipped(&self, order: &Order) -> Option<String> {
        if let Some(snapshot) = order.snapshot() {
            return Some(format!("the company comes with snapshot {snapshot}"));
        }
        let setup = match order.setup() {
            Ok(setup) => setup,
            Err(reason) => return Some(reason),
        };
        let needed = [
            ("company", &setup.company),
            ("country", &setup.country),
            ("language", &setup.language),
            ("timezone", &setup.timezone),
            ("currency", &setup.currency),
        ];
        let lacking: Vec<&str> = needed.iter().filter(|(_, v)| v.is_none()).map(|(k, _)| *k).collect();
        (!lacking.is_empty()).then(|| format!("[setup] says no {}", lacking.join(", ")))
    }

    async fn check(&self, job: &Job) -> Result<Standing> {
        let look = Program {
            what: "look at its setup",
            text: LOOK,
            args: json!({}),
            secrets: json!({}),
            limit: COMMAND_LIMIT,
        };
        let done = job.bench().python(look).await?;
        Ok(if done == Value::Bool(true) { Standing::Done } else { Standing::missing("the company") })
    }

    async fn apply(&self, job: &Job) -> Result<()> {
        let first_user = job.order.secret(Secret::FirstUser)?;
        let today = job.now().to_zoned(jiff::tz::TimeZone::UTC).date();
        let answers = job.order.setup().unwrap_or_default();
        let program = Program {
            what: "run the setup wizard",
            text: RUN,
            args: wizard(&answers, today)?,
            secrets: json!({ "first_user": first_user.expose_secret() }),
            limit: WIZARD_LIMIT,
        };
        let company = answers.company.unwrap_or_default();
        let bench = job.bench();
        let run = bench.python(program);
        let said = job.make(StepName::Setup, Thing::new("company", company), run).await?;
        match said["status"].as_str() {
            // "registered": a worker does it; the look that follows waits no longer than this.
            Some("registered") => wait(self, job).await,
            Some("ok") | None => Ok(()),
            Some(status) => {
                let why = said["fail"].as_str().unwrap_or_default();
                Err(Error::new(Kind::Source, format!("the setup wizard says {status}: {why}")))
            }
        }
    }

    async fn undo(&self, job: &Job) -> Result<()> {
        // The company goes with the site's database.
        job.unmake(StepName::Setup, |_| async { Ok(()) }).await
    }
}

async fn wait(step: &Setup, job: &Job) -> Result<()> {
    let deadline = tokio::time::Instant::now() + WIZARD_LIMIT;
    while step.check(job).await? != Standing::Done {
        if tokio::time::Instant::now() > deadline {
            return Err(Error::new(Kind::Timeout, "the setup wizard does not end")
                .hint("look at the queue: `lifeboat health` says whether workers run"));
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    Ok(())
}

/// Returns what the wizard of ERPNext is told; the fiscal year is the one that holds `today`.
fn wizard(answers: &Answers, today: Date) -> Result<Value> {
    let company = answers.company.clone().unwrap_or_default();
    let abbr = answers.abbr.clone().unwrap_or_else(|| initials(&company));
    let start = answers.fiscal_year_start.as_deref().unwrap_or("01-01");
    let of_year = |year: i16| {
        format!("{year:04}-{start}").parse::<Date>().context(Kind::Config, "setup.fiscal_year_start")
    };
    let this = of_year(today.year())?;
    let first = if this <= today { this } else { of_year(today.year() - 1)? };
    let next = of_year(first.year() + 1)?;
    let last = next.yesterday().context(Kind::Config, "setup.fiscal_year_start")?;
    Ok(json!({
        "language": answers.language, "country": answers.country, "timezone": answers.timezone,
        "currency": answers.currency, "full_name": answers.full_name.clone().or_else(|| answers.email.clone()),
        "email": answers.email, "enable_telemetry": 0, "company_name": company, "company_abbr": abbr,
        "chart_of_accounts": answers.chart_of_accounts.as_deref().unwrap_or("Standard"),
        "fy_start_date": first.to_string(), "fy_end_date": last.to_string(), "setup_demo": 0,
    }))
}

fn initials(company: &str) -> String {
    company
        .split_whitespace()
        .filter_map(|word| word.chars().next())
        .flat_map(char::to_uppercase)
        .take(10)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fiscal_year_is_the_one_that_holds_today() {
        let answers = |start: &str| Answers {
            company: Some("Byrne Accounting".into()),
            fiscal_year_start: Some(start.into()),
            ..Answers::default()
        };
        let today = jiff::civil::date(2026, 3, 31);
        let april = wizard(&answers("04-01"), today).unwrap();
        assert_eq!(
            (&april["fy_start_date"], &april["fy_end_date"]),
            (&json!("2025-04-01"), &json!("2026-03-31"))
        );
        let calendar = wizard(&answers("01-01"), today).unwrap();
        assert_eq!(calendar["fy_end_date"], "2026-12-31");
        assert_eq!(calendar["company_abbr"], "BA");
    }
}
