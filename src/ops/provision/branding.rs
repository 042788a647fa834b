//! Step `branding`: the site's logo, favicon, colours, login page and letter head.

use async_trait::async_trait;

use super::{Job, Order, Standing, Step, StepName, Thing};
use crate::component::branding::{self, Before, Looks, Sources};
use crate::error::{Context, Kind, Result};

/// What the journal calls the looks of a site.
const LOOKS: &str = "looks";

/// The step.
#[derive(Debug)]
pub struct BrandingStep;

fn sources(order: &Order) -> Option<Sources> {
    let looks = order.looks().ok()?;
    let company = order.setup().ok().and_then(|setup| setup.company);
    Some(Sources {
        app_name: looks.app_name,
        logo: looks.logo,
        favicon: looks.favicon,
        primary_color: looks.primary_color,
        head_html_file: looks.head_html_file,
        letter_head: looks.letter_head,
        letter_head_name: company.unwrap_or_else(|| order.tenant.name.to_string()),
    })
}

async fn looks(order: &Order) -> Result<Option<Looks>> {
    let Some(sources) = sources(order) else { return Ok(None) };
    let read = tokio::task::spawn_blocking(move || Looks::read(&sources));
    read.await.context(Kind::Bug, "read of branding")?.map(Some)
}

#[async_trait]
impl Step for BrandingStep {
    fn name(&self) -> StepName {
        StepName::Branding
    }

    fn sentence(&self, order: &Order) -> String {
        let Some(s) = sources(order) else { return String::new() };
        let said = [
            (s.app_name.is_some(), "name"),
            (s.logo.is_some(), "logo"),
            (s.favicon.is_some(), "favicon"),
            (s.primary_color.is_some(), "colour"),
            (s.head_html_file.is_some(), "page head"),
            (s.letter_head.is_some(), "letter head"),
        ];
        let said: Vec<&str> = said.iter().filter(|(said, _)| *said).map(|(_, what)| *what).collect();
        format!("the site gets its {}", said.join(", "))
    }

    fn skipped(&self, order: &Order) -> Option<String> {
        order.looks().err()
    }

    async fn check(&self, job: &Job) -> Result<Standing> {
        let Some(looks) = looks(&job.order).await? else { return Ok(Standing::Done) };
        let found = looks.look(&job.bench()).await?;
        Ok(match found.differs.is_empty() {
            true => Standing::Done,
            false => Standing::differs(format!("other looks: {}", found.differs.join(", "))),
        })
    }

    async fn apply(&self, job: &Job) -> Result<()> {
        let Some(looks) = looks(&job.order).await? else { return Ok(()) };
        let bench = job.bench();
        let before = looks.look(&bench).await?.before;
        let was = serde_json::to_string(&before).context(Kind::Bug, "looks")?;
        // Of a run that was killed, the first look counts: the journal keeps that.
        let thing = Thing::new(LOOKS, bench.site()).instead_of(was);
        job.make(StepName::Branding, thing, looks.settle(&bench)).await.map(|_| ())
    }

    async fn undo(&self, job: &Job) -> Result<()> {
        let bench = job.bench();
        // With the site, all of it goes.
        let site_goes = !job.journal.things(StepName::Site).is_empty();
        job.unmake(StepName::Branding, |thing| {
            let bench = bench.clone();
            async move {
                if site_goes {
                    return Ok(());
                }
                let was = thing.was.unwrap_or_default();
                let before: Before =
                    serde_json::from_str(&was).context(Kind::Damaged, "looks in the journal")?;
                branding::put_back(&bench, &before).await
            }
        })
        .await
    }
}
