//! The work of a restore: everything staged beside what is there, then one switch.

use std::time::{Duration, Instant};

use crate::component::Source;
use crate::component::archive::Archive;
use crate::component::mariadb::{Lent, Server};
use crate::error::{Error, Result};
use crate::host::ContainerSpec;
use crate::id::ComponentName;
use crate::ops::appliance::Appliance;
use crate::ops::record::Envelope;
use crate::repo::manifest::State;

use super::journal::{Event, Kept, Safety, Story};
use super::made::Made;
use super::naming::Naming;
use super::run::Run;
use super::{Opened, Request, Restored, RestoredComponent};

/// One restore under way.
pub(super) struct Work<'a> {
    pub appliance: &'a Appliance,
    pub request: &'a Request,
    pub opened: &'a Opened,
    pub naming: Naming,
    pub run: Run<'a>,
    /// Names what is staged and what is kept: `20261123t101500z`.
    pub stamp: String,
    /// What a load of views needs for its time.
    pub lent: Option<(Server, Lent)>,
    /// The host's files of the snapshot, where they were read.
    pub settings: Option<Archive>,
    pub notes: Vec<String>,
    pub lacks: Vec<String>,
    components: Vec<RestoredComponent>,
}

impl<'a> Work<'a> {
    /// Goes on with a journal that has its beginning.
    pub fn new(
        appliance: &'a Appliance,
        request: &'a Request,
        opened: &'a Opened,
        run: Run<'a>,
    ) -> Result<Work<'a>> {
        let stamp = run.story()?.begun.stamp;
        Ok(Work {
            appliance,
            request,
            opened,
            naming: Naming::of(request),
            run,
            stamp,
            lent: None,
            settings: None,
            notes: Vec::new(),
            lacks: Vec::new(),
            components: Vec::new(),
        })
    }

    /// Restores all that is wanted; returns what is kept of what was there.
    pub async fn all(&mut self) -> Result<Vec<Kept>> {
        self.stage().await?;
        let _unbroken = self.run.unbroken().await;
        self.run.switch().await?;
        if let Some(queue) = self.envelope(ComponentName::RedisQueue)?.filter(|_| self.request.with_queue) {
            super::queues::compare(self, &queue).await?;
        }
        let kept = self.run.finish().await?;
        if let Some(archive) = self.settings.take().filter(|_| self.request.wants(ComponentName::Config)) {
            super::sso::put_back(self, &archive).await;
        }
        Ok(kept)
    }

    /// Builds everything beside what is there.
    async fn stage(&mut self) -> Result<()> {
        self.announce_streams();
        if self.request.into.is_none() {
            self.one(ComponentName::Config).await?;
            self.one(ComponentName::Certs).await?;
        }
        self.make_containers().await?;
        self.one(ComponentName::Database).await?;
        self.one(ComponentName::RedisQueue).await?;
        self.one(ComponentName::Files).await?;
        super::files::stage_site_config(self).await?;
        self.one(ComponentName::RedisCache).await
    }

    /// Returns a component's envelope, if the snapshot has it and it is wanted.
    pub fn envelope(&self, component: ComponentName) -> Result<Option<Envelope>> {
        match self.request.wants(component) {
            true => self.recorded(component),
            false => Ok(None),
        }
    }

    /// Returns a component's envelope, if the snapshot has it.
    pub fn recorded(&self, component: ComponentName) -> Result<Option<Envelope>> {
        self.opened.envelope(component)
    }

    /// Returns what the journal tells.
    pub fn story(&self) -> Result<Story> {
        self.run.story()
    }

    /// Opens a stream of a component.
    pub fn stream(&self, component: ComponentName, stream: &str) -> Result<Source> {
        Ok(Box::pin(self.opened.reader.stream(component, stream)?))
    }

    /// Tells of something that is to be known before the switch, and after it.
    pub fn tell(&mut self, note: String) {
        self.appliance.around.monitor.note(&note);
        self.notes.push(note);
    }

    async fn one(&mut self, component: ComponentName) -> Result<()> {
        let Some(envelope) = self.envelope(component)? else { return Ok(()) };
        self.appliance.around.monitor.step(&format!("{component}"));
        let clock = Instant::now();
        let detail = match component {
            ComponentName::Database => super::database::stage(self, &envelope).await?,
            ComponentName::RedisQueue if self.request.with_queue => {
                super::queues::stage(self, &envelope).await?
            }
            ComponentName::RedisQueue => match super::queues::start_new(self, &envelope).await? {
                Some(detail) => detail,
                None => return Ok(()),
            },
            ComponentName::RedisCache => super::queues::start_cache(self, &envelope).await?,
            ComponentName::Files => super::files::stage(self, &envelope).await?,
            ComponentName::Config | ComponentName::Certs => {
                super::settings::stage(self, component, &envelope).await?
            }
        };
        self.components.push(RestoredComponent { component, detail, seconds: clock.elapsed().as_secs_f64() });
        Ok(())
    }

    fn announce_streams(&self) {
        let wanted = |c: ComponentName| {
            let loaded = match c {
                ComponentName::RedisQueue => self.request.with_queue,
                ComponentName::RedisCache => false,
                ComponentName::Config | ComponentName::Certs => self.request.into.is_none(),
                ComponentName::Database | ComponentName::Files => true,
            };
            loaded && self.request.wants(c)
        };
        let records: Vec<_> =
            self.opened.reader.streams().iter().filter(|s| wanted(s.component)).cloned().collect();
        let total = records.iter().map(|r| r.size_bytes).sum();
        self.appliance.around.monitor.expect_bytes(total);
        self.opened.reader.expect(&records);
    }

    /// Returns the containers of the tenant as they are to be, servers first.
    fn wanted_containers(&self) -> Result<Vec<ContainerSpec>> {
        let mut specs: Vec<ContainerSpec> = Vec::new();
        for component in self.opened.reader.components() {
            if component.state == State::Failed || !self.request.wants(component.component) {
                continue;
            }
            let envelope = Envelope::parse(&component.record)?;
            for spec in envelope.container.iter().chain(&envelope.apps) {
                let spec = self.naming.spec(spec);
                if specs.iter().all(|s| s.name != spec.name) {
                    specs.push(spec);
                }
            }
        }
        Ok(specs)
    }

    async fn make_containers(&mut self) -> Result<()> {
        for spec in self.wanted_containers()? {
            if Made::ensure(&self.run, &spec).await? {
                self.appliance.around.monitor.note(&format!("made container {} again", spec.name));
            }
        }
        Ok(())
    }

    /// Takes back what a load was lent.
    pub async fn take_back_lent(&mut self) {
        if let Some((server, mut lent)) = self.lent.take() {
            lent.take_back(&server).await;
        }
    }

    /// Takes everything back after an error, and says in it what has become of the tenant.
    pub async fn give_up(mut self, error: Error) -> Error {
        self.run.docker.settle().await;
        self.take_back_lent().await;
        let target = self.request.target();
        let mut hints: Vec<String> = error.hint_text().map(str::to_owned).into_iter().collect();
        match self.run.back().await {
            Ok(left) if left.is_empty() => {
                hints
                    .push("what it had made is removed again; what was there before is as it was".to_owned());
            }
            Ok(left) => {
                hints.push("what was there before is in its place".to_owned());
                hints.push(format!(
                    "to be done: {}; `lifeboat restore {target} --undo` tries it again",
                    left.join(", ")
                ));
            }
            Err(e) => {
                hints.push(format!("taking it back failed too: {e}"));
                hints.push(format!(
                    "`lifeboat restore {target} --undo` tries it again, --resume goes on instead"
                ));
            }
        }
        error.in_context(format!("restore of {}", self.request.tenant)).hint(hints.join("; "))
    }

    /// Ends the journal where nothing old is kept, or where that is asked for; tells whether an undo is possible.
    pub async fn settle(self, kept: &[Kept]) -> Result<(Told, bool)> {
        let story = self.run.story()?;
        let made = Made::of(&story.made).names();
        let told = Told {
            components: self.components,
            made,
            notes: self.notes,
            lacks: self.lacks,
            safety: story.begun.safety,
        };
        let undoable = !kept.is_empty() && !self.request.commit;
        if !undoable {
            self.run.commit().await?;
        }
        Ok((told, undoable))
    }
}

/// What a restore found out on its way.
pub(super) struct Told {
    pub components: Vec<RestoredComponent>,
    pub made: Vec<String>,
    pub notes: Vec<String>,
    pub lacks: Vec<String>,
    pub safety: Safety,
}

impl Told {
    /// Says what was done.
    pub fn report(
        self,
        request: &Request,
        opened: &Opened,
        kept: Vec<Kept>,
        undoable: bool,
        took: Duration,
    ) -> Restored {
        let receipt = &opened.committed.receipt;
        Restored {
            tenant: request.tenant.clone(),
            target: request.target().clone(),
            snapshot: receipt.snapshot.clone(),
            as_of: receipt.started,
            components: self.components,
            safety: self.safety,
            kept,
            undoable,
            made: self.made,
            muted: request.into.is_some() && !request.live,
            lacks: self.lacks,
            worse: Vec::new(),
            notes: self.notes,
            seconds: took.as_secs_f64(),
        }
    }
}

/// Returns the names of the application's containers, whatever is wanted of the snapshot: none of them may write while parts change
/// places.
pub(super) fn apps(opened: &Opened, naming: &Naming) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for component in [ComponentName::Config, ComponentName::Files] {
        let Some(envelope) = opened.envelope(component)? else { continue };
        let of_files = (component == ComponentName::Files).then_some(envelope.container.as_ref()).flatten();
        for spec in envelope.apps.iter().chain(of_files) {
            let name = naming.container(&spec.name);
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    Ok(names)
}

/// Removes what an earlier try left of a part.
pub(super) async fn clear_half(run: &Run<'_>, key: &str) -> Result<()> {
    match run.story()?.parts.iter().find(|(part, _)| part.key() == key) {
        Some((half, _)) => half.clear(&run.docker).await,
        None => Ok(()),
    }
}

/// Says that a part is about to be built, once what an earlier try left of it is gone.
pub(super) async fn begin_part(run: &Run<'_>, part: super::part::Part) -> Result<()> {
    clear_half(run, part.key()).await?;
    run.write(Event::Staging(part))
}
