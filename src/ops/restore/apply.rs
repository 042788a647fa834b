//! The work of a restore, in order: the host's files, containers, database, queue, site folder, application.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::component::Source;
use crate::component::mariadb::{Lent, Server};
use crate::error::{Error, Result};
use crate::host::{ContainerSpec, Docker};
use crate::id::ComponentName;
use crate::ops::appliance::Appliance;
use crate::ops::record::Envelope;
use crate::repo::manifest::State;

use super::made::Made;
use super::naming::Naming;
use super::{Opened, Request, Restored, RestoredComponent};

/// How long an application's container may take to stop.
const STOP_GRACE: Duration = Duration::from_secs(20);

/// One restore under way.
pub(super) struct Work<'a> {
    pub appliance: &'a Appliance,
    pub request: &'a Request,
    pub opened: &'a Opened,
    pub docker: Docker,
    pub naming: Naming,
    pub made: Made,
    /// Names what is moved aside: `20261123t101500z`.
    pub stamp: String,
    /// The database's name after the restore, where it is not the recorded one.
    pub new_database: Option<String>,
    /// What kept it from taking the old one's place.
    pub why_new_database: String,
    /// Databases made by this run that have not taken their place.
    pub staged_database: Option<(Server, String)>,
    /// What a load of views needs for its time.
    pub lent: Option<(Server, Lent)>,
    pub aside: Vec<String>,
    pub notes: Vec<String>,
    pub lacks: Vec<String>,
    /// Held while something takes its place, which an interruption must not cut in two.
    pub unbroken: Arc<Mutex<()>>,
    /// Containers that this run stopped and has not started again.
    pub stopped: Vec<String>,
    components: Vec<RestoredComponent>,
}

impl<'a> Work<'a> {
    pub async fn new(appliance: &'a Appliance, request: &'a Request, opened: &'a Opened) -> Result<Work<'a>> {
        Ok(Work {
            appliance,
            request,
            opened,
            docker: appliance.docker().await?,
            naming: Naming::of(request),
            made: Made::default(),
            stamp: appliance.around.now().strftime("%Y%m%dt%H%M%Sz").to_string(),
            new_database: None,
            why_new_database: String::new(),
            staged_database: None,
            lent: None,
            aside: Vec::new(),
            notes: Vec::new(),
            lacks: Vec::new(),
            unbroken: Arc::default(),
            stopped: Vec::new(),
            components: Vec::new(),
        })
    }

    /// Restores all that is wanted.
    pub async fn run(&mut self) -> Result<()> {
        self.announce_streams();
        if self.request.into.is_none() {
            self.one(ComponentName::Config).await?;
            self.one(ComponentName::Certs).await?;
        }
        self.make_containers().await?;
        self.stop_apps().await?;
        self.one(ComponentName::Database).await?;
        self.one(ComponentName::RedisQueue).await?;
        self.one(ComponentName::Files).await?;
        super::files::point_to_new_database(self).await?;
        self.one(ComponentName::RedisCache).await?;
        self.start_apps().await
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

    /// Notes that the site's configuration names the new database now.
    pub fn switched(&mut self, from: &str) {
        let Some(to) = &self.new_database else { return };
        self.staged_database = None;
        self.aside.push(format!("database {from}, untouched"));
        let why = &self.why_new_database;
        self.notes
            .push(format!("the site now uses database {to}, for views and the like cannot be moved ({why})"));
    }

    /// Opens a stream of a component.
    pub fn stream(&self, component: ComponentName, stream: &str) -> Result<Source> {
        Ok(Box::pin(self.opened.reader.stream(component, stream)?))
    }

    async fn one(&mut self, component: ComponentName) -> Result<()> {
        let Some(envelope) = self.envelope(component)? else { return Ok(()) };
        self.appliance.around.monitor.step(&format!("{component}"));
        let clock = Instant::now();
        let detail = match component {
            ComponentName::Database => super::database::restore(self, &envelope).await?,
            ComponentName::RedisQueue if self.request.with_queue => {
                super::queues::restore(self, &envelope).await?
            }
            ComponentName::RedisQueue => match super::queues::start_new(self, &envelope).await? {
                Some(detail) => detail,
                None => return Ok(()),
            },
            ComponentName::RedisCache => super::queues::flush_cache(self, &envelope).await?,
            ComponentName::Files => super::files::restore(self, &envelope).await?,
            ComponentName::Config | ComponentName::Certs => {
                super::settings::restore(self, component, &envelope).await?
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
            if self.made.ensure(&self.docker, &spec).await? {
                self.appliance.around.monitor.note(&format!("made container {} again", spec.name));
            }
        }
        Ok(())
    }

    /// Returns the names of the application's containers.
    fn apps(&self) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for component in [ComponentName::Config, ComponentName::Files] {
            let Some(envelope) = self.envelope(component)? else { continue };
            let of_files =
                (component == ComponentName::Files).then_some(envelope.container.as_ref()).flatten();
            for spec in envelope.apps.iter().chain(of_files) {
                let name = self.naming.container(&spec.name);
                if !names.contains(&name) {
                    names.push(name);
                }
            }
        }
        Ok(names)
    }

    /// Nothing may write to the site while it is exchanged.
    async fn stop_apps(&mut self) -> Result<()> {
        for name in self.apps()? {
            self.stop(&name, STOP_GRACE).await?;
        }
        Ok(())
    }

    async fn start_apps(&mut self) -> Result<()> {
        for name in self.apps()? {
            self.docker.start(&name).await?;
            self.stopped.retain(|stopped| *stopped != name);
        }
        Ok(())
    }

    /// Stops a container if it runs, and remembers that it did.
    pub async fn stop(&mut self, name: &str, grace: Duration) -> Result<()> {
        if !self.docker.state(name).await?.is_some_and(|s| s.is_running()) {
            return Ok(());
        }
        // Before the call, which may be cut off after it was sent.
        self.stopped.push(name.to_owned());
        self.docker.stop(name, grace).await
    }

    /// Keeps an interruption away while the guard lives: for what must happen whole.
    pub async fn unbroken(&self) -> OwnedMutexGuard<()> {
        Arc::clone(&self.unbroken).lock_owned().await
    }

    /// Takes back what a load was lent.
    pub async fn take_back_lent(&mut self) {
        if let Some((server, mut lent)) = self.lent.take() {
            lent.take_back(&server).await;
        }
    }

    /// Takes away what this run made and starts what it stopped; returns what is left to do by hand.
    pub async fn undo(&mut self) -> Vec<String> {
        self.docker.settle().await;
        self.take_back_lent().await;
        let mut left = Vec::new();
        if let Some((server, database)) = self.staged_database.take()
            && !self.made.container(&server.container)
            && let Err(e) = crate::component::mariadb::drop_database(&server, &database).await
        {
            tracing::warn!(error = %e, "a staged database is left");
            left.push(format!("drop database {database} in {}", server.container));
        }
        left.extend(self.made.remove(&self.docker).await.into_iter().map(|what| format!("remove {what}")));
        for name in std::mem::take(&mut self.stopped) {
            if self.made.container(&name) {
                continue;
            }
            if let Err(e) = self.docker.start(&name).await {
                tracing::warn!(error = %e, "a container is not started again");
                left.push(format!("start container {name}"));
            }
        }
        left
    }

    /// Says of the error that ended the run what has become of the tenant; `left` is what is to be done by hand.
    pub fn after(&self, error: Error, left: &[String]) -> Error {
        let mut hints: Vec<String> = error.hint_text().map(str::to_owned).into_iter().collect();
        if self.aside.is_empty() {
            hints.push("what it had made is removed again; what was there before is as it was".to_owned());
        } else {
            let aside = self.aside.join("; ");
            hints.push(format!("some of it is in its place; what was there before is kept: {aside}"));
            hints.push("run the restore again to complete it".to_owned());
        }
        if !left.is_empty() {
            hints.push(format!("to be done by hand: {}", left.join(", ")));
        }
        error.in_context(format!("restore of {}", self.request.tenant)).hint(hints.join("; "))
    }

    /// Says what was done.
    pub fn report(self, took: Duration) -> Restored {
        let receipt = &self.opened.committed.receipt;
        Restored {
            tenant: self.request.tenant.clone(),
            target: self.request.target().clone(),
            snapshot: receipt.snapshot.clone(),
            as_of: receipt.started,
            components: self.components,
            made: self.made.names(),
            aside: self.aside,
            muted: self.request.into.is_some() && !self.request.live,
            lacks: self.lacks,
            notes: self.notes,
            seconds: took.as_secs_f64(),
        }
    }
}
