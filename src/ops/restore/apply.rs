//! The work of a restore, in order: the host's files, containers, database, queue, site folder, application.

use std::time::{Duration, Instant};

use crate::component::Source;
use crate::error::{Kind, Result};
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
    /// Databases made by this run that have not taken their place.
    pub staged_database: Option<(crate::component::mariadb::Server, String)>,
    pub aside: Vec<String>,
    pub notes: Vec<String>,
    stopped_apps: Vec<String>,
    components: Vec<RestoredComponent>,
}

impl<'a> Work<'a> {
    pub async fn new(appliance: &'a Appliance, request: &'a Request, opened: &'a Opened) -> Result<Work<'a>> {
        Ok(Work {
            appliance,
            request,
            opened,
            docker: Docker::connect().await?,
            naming: Naming::of(request),
            made: Made::default(),
            stamp: appliance.around.now().strftime("%Y%m%dt%H%M%Sz").to_string(),
            new_database: None,
            staged_database: None,
            aside: Vec::new(),
            notes: Vec::new(),
            stopped_apps: Vec::new(),
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
        self.one(ComponentName::RedisCache).await?;
        self.start_apps().await
    }

    /// Returns a component's envelope, if the snapshot has it and it is wanted.
    pub fn envelope(&self, component: ComponentName) -> Result<Option<Envelope>> {
        let record = self.opened.reader.components().iter().find(|c| c.component == component);
        match record {
            Some(r) if r.state != State::Failed && self.request.wants(component) => {
                Envelope::parse(&r.record).map(Some)
            }
            _ => Ok(None),
        }
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
            ComponentName::RedisQueue => return Ok(()),
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
            if self.docker.state(&name).await?.is_some_and(|s| s.is_running()) {
                self.docker.stop(&name, STOP_GRACE).await?;
                self.stopped_apps.push(name);
            }
        }
        Ok(())
    }

    async fn start_apps(&mut self) -> Result<()> {
        self.stopped_apps.clear();
        for name in self.apps()? {
            self.docker.start(&name).await?;
        }
        Ok(())
    }

    /// Takes away what this run made and starts what it stopped; returns what is left to do by hand.
    pub async fn undo(&mut self) -> Vec<String> {
        if let Some((server, database)) = self.staged_database.take()
            && !self.made.container(&server.container)
            && let Err(e) = crate::component::mariadb::drop_database(&server, &database).await
        {
            tracing::warn!(error = %e, "a staged database is left");
            return vec![format!("database {database} in {}", server.container)];
        }
        let left = self.made.remove(&self.docker).await;
        for name in std::mem::take(&mut self.stopped_apps) {
            match self.docker.start(&name).await {
                Err(e) if e.kind() != Kind::NotFound => {
                    tracing::warn!(error = %e, "application is not started again")
                }
                _ => {}
            }
        }
        left
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
            notes: self.notes,
            seconds: took.as_secs_f64(),
        }
    }
}
