//! A restore under way, as its journal knows it: the switch, the way back, and the end. None of it needs the snapshot.
//!
//! Owns the order that keeps a tenant from ever running half old and half new: the application stands still from before the
//! first part changes places until all have, in either direction, and the journal says so before it is done.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::component::mariadb::{self, Account, Server};
use crate::component::redis::{self, RedisRecord};
use crate::error::{Error, Kind, Result};
use crate::host::{ContainerSpec, Docker};
use crate::ops::appliance::Surroundings;

use super::journal::{Event, Journal, Kept, Phase, Story, Thing, ThingKind};
use super::made::Made;
use super::part::{DatabasePart, Part};

/// How long an application's container may take to stop.
const STOP_GRACE: Duration = Duration::from_secs(20);
/// How long a server may take until it answers.
const READY_LIMIT: Duration = Duration::from_secs(300);

/// A restore whose journal this process holds.
pub(super) struct Run<'a> {
    pub docker: Docker,
    pub journal: Journal,
    pub around: &'a Surroundings,
    /// Held while parts change places, which an interruption must not cut in two.
    pub unbroken: Arc<Mutex<()>>,
    /// The queue's container and what was recorded of it, whose files are checked before it starts from them.
    pub queue: Option<(ContainerSpec, RedisRecord)>,
}

impl<'a> Run<'a> {
    pub fn new(docker: Docker, journal: Journal, around: &'a Surroundings) -> Run<'a> {
        Run { docker, journal, around, unbroken: Arc::default(), queue: None }
    }

    /// Writes an event down before it is done.
    pub fn write(&self, event: Event) -> Result<()> {
        self.journal.write(self.around.now(), event)
    }

    /// Returns what the journal tells.
    pub fn story(&self) -> Result<Story> {
        self.journal.read(Story::of).ok_or_else(|| {
            Error::new(Kind::Bug, "the journal of a restore does not begin with its beginning")
        })
    }

    /// Keeps an interruption away while the guard lives: for what must happen whole.
    pub async fn unbroken(&self) -> OwnedMutexGuard<()> {
        Arc::clone(&self.unbroken).lock_owned().await
    }

    /// Stops the application, lets all parts take their places, and starts what is to run.
    pub async fn switch(&self) -> Result<()> {
        let story = self.story()?;
        self.around.monitor.step("switch");
        self.stop_all(&story).await?;
        if !story.switched {
            if !story.switching {
                self.write(Event::Switching)?;
            }
            for (part, _) in &story.parts {
                part.take_place(&self.docker).await?;
            }
            self.write(Event::Switched)?;
        }
        self.start_stopped_servers(&story).await
    }

    /// Flushes the cache, starts the application, and notes what is kept. With nothing old kept, the restore is final.
    pub async fn finish(&self) -> Result<Vec<Kept>> {
        let story = self.story()?;
        flush(&self.docker, &story).await?;
        let made = Made::of(&story.made);
        let ran = |app: &String| story.running.iter().flatten().any(|name| name == app);
        for app in &story.begun.apps {
            // Of a part of a tenant alone it is not asked that all of it runs, nor even is there.
            let wanted = story.begun.only.is_empty() || made.container(app) || ran(app);
            if wanted && self.docker.try_inspect(app).await?.is_some() {
                self.docker.start(app).await?;
            }
        }
        let mut kept = Vec::new();
        for (part, _) in &story.parts {
            kept.extend(part.keeps(&self.docker).await?);
        }
        self.write(Event::Done { kept: kept.clone() })?;
        Ok(kept)
    }

    /// Drops what is kept.
    pub async fn commit(self) -> Result<Vec<Kept>> {
        let story = self.story()?;
        if story.phase != Phase::Committing {
            self.write(Event::Committing)?;
        }
        for (part, _) in &story.parts {
            part.make_final(&self.docker).await?;
        }
        self.journal.remove()?;
        Ok(story.kept)
    }

    /// Takes everything back; returns what is left to do by hand. With nothing left, the journal is gone.
    pub async fn back(self) -> Result<Vec<String>> {
        self.docker.settle().await;
        let story = self.story()?;
        if story.phase != Phase::Undoing {
            self.write(Event::Undoing)?;
        }
        if story.switching && !story.undone {
            self.around.monitor.step("undo");
            self.stop_all(&story).await?;
            for (part, _) in story.parts.iter().rev() {
                self.reachable(part).await?;
                part.give_back(&self.docker, story.switched, self.around.now()).await?;
            }
            self.write(Event::Undone)?;
        }
        if !story.undone {
            for (part, _) in story.parts.iter().filter(|(part, _)| part.at_once() && !story.switching) {
                part.give_back(&self.docker, false, self.around.now()).await?;
            }
        }
        let left = self.clear(&story).await;
        if story.switching
            && let Err(e) = flush(&self.docker, &story).await
        {
            tracing::warn!(error = %e, "the cache is not flushed");
        }
        let left = [left, self.start_again(&story).await].concat();
        if left.is_empty() {
            self.journal.remove()?;
        }
        Ok(left)
    }

    /// Removes what was staged and made; returns what could not be removed.
    async fn clear(&self, story: &Story) -> Vec<String> {
        let made = Made::of(&story.made);
        let mut left = Vec::new();
        for (part, _) in &story.parts {
            let gone = matches!(part, Part::Database(p) if made.container(&p.container));
            if gone {
                continue;
            }
            let cleared = match self.reachable(part).await {
                Ok(()) => part.clear(&self.docker).await,
                Err(e) => Err(e),
            };
            if let Err(e) = cleared {
                tracing::warn!(error = %e, "something staged is left");
                left.push(match part {
                    Part::Database(p) => format!("drop database {} in {}", p.new, p.container),
                    other => format!("remove what is staged of {}: {e}", other.key()),
                });
            }
        }
        for thing in story.made.iter().filter(|t| t.kind == ThingKind::Account) {
            if let Err(e) = self.drop_account(thing, &made).await {
                tracing::warn!(error = %e, "an account is left");
                left.push(format!("drop account {}", thing.name));
            }
        }
        left.extend(made.remove(&self.docker).await.into_iter().map(|what| format!("remove {what}")));
        left
    }

    async fn drop_account(&self, thing: &Thing, made: &Made) -> Result<()> {
        let container = thing.of.clone().unwrap_or_default();
        match Account::parse(&thing.name) {
            Some(account) if !made.container(&container) => {
                let credentials = mariadb::Credentials::Container;
                let server = Server { docker: self.docker.clone(), container, credentials };
                mariadb::drop_accounts(&server, &[account]).await
            }
            _ => Ok(()),
        }
    }

    /// Makes sure that the server of a database answers.
    async fn reachable(&self, part: &Part) -> Result<()> {
        let Part::Database(part) = part else { return Ok(()) };
        ready(&self.docker, part).await
    }

    /// Nothing may write to the tenant while parts change places.
    async fn stop_all(&self, story: &Story) -> Result<()> {
        let own = story.parts.iter().filter_map(|(part, _)| part.stops());
        let all: Vec<&str> = story.begun.apps.iter().map(String::as_str).chain(own).collect();
        let mut running = Vec::new();
        for name in all {
            if self.docker.state(name).await?.is_some_and(|s| s.is_running()) {
                running.push(name.to_owned());
            }
        }
        if story.running.is_none() {
            self.write(Event::Stopping { running: running.clone() })?;
        }
        for name in &running {
            self.docker.stop(name, STOP_GRACE).await?;
        }
        Ok(())
    }

    async fn start_stopped_servers(&self, story: &Story) -> Result<()> {
        for name in story.parts.iter().filter_map(|(part, _)| part.stops()) {
            if let Some((spec, record)) = &self.queue {
                redis::check_files(&self.docker, spec, record).await?;
            }
            self.docker.start(name).await?;
            redis::wait_ready(&self.docker, name, &redis::Credentials::Container, READY_LIMIT).await?;
        }
        Ok(())
    }

    /// Starts what ran before; returns what does not start.
    async fn start_again(&self, story: &Story) -> Vec<String> {
        let made = Made::of(&story.made);
        let mut left = Vec::new();
        // Servers were noted last, and are wanted first.
        for name in story.running.iter().flatten().rev().filter(|name| !made.container(name)) {
            if let Err(e) = self.docker.start(name).await {
                tracing::warn!(error = %e, "a container is not started again");
                left.push(format!("start container {name}"));
            }
        }
        left
    }
}

/// Starts a database's server and waits until it answers.
pub(super) async fn ready(docker: &Docker, part: &DatabasePart) -> Result<()> {
    docker.start(&part.container).await?;
    mariadb::wait_ready(&part.server(docker), READY_LIMIT).await
}

/// Removes the site's keys from the cache, under the old database's name and the new one's.
async fn flush(docker: &Docker, story: &Story) -> Result<u64> {
    let Some(cache) = &story.begun.cache else { return Ok(0) };
    let names = story.parts.iter().filter_map(|(part, _)| match part {
        Part::Database(p) => Some(p.old.iter().chain([&p.new])),
        _ => None,
    });
    let names: Vec<&String> = names.flatten().collect();
    if names.is_empty() || docker.try_inspect(cache).await?.is_none() {
        return Ok(0);
    }
    docker.start(cache).await?;
    redis::wait_ready(docker, cache, &redis::Credentials::Container, READY_LIMIT).await?;
    let mut n = 0;
    for name in names {
        let prefix = format!("{name}|");
        n += redis::flush_site_keys(docker, cache, &redis::Credentials::Container, &prefix).await?;
    }
    Ok(n)
}
