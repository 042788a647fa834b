//! A server's own figures, for whoever watches it, and the workers that a queue knows of.
//!
//! Owns the questions and how their answers are read; what is good or bad is not known here. Changes nothing. Sources:
//! redis.io, `INFO`; the keys of RQ (`rq:workers`, `rq:worker:<name>`).

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::look::{Answers, Look, mark};
use super::{Credentials, Server};
use crate::error::{Error, Kind, Result};
use crate::host::Docker;

/// Lists each registered worker on a line of its own: name, state, queues, last sign of life, tabs between; then `end`.
/// The client takes one backslash of two away, Lua the other. Reads only.
const WORKERS: &str = "local out = {} \
     for _, key in ipairs(redis.call('SMEMBERS', 'rq:workers')) do \
     local w = redis.call('HMGET', key, 'state', 'queues', 'last_heartbeat') \
     out[#out + 1] = key .. '\\\\t' .. (w[1] or '') .. '\\\\t' .. (w[2] or '') .. '\\\\t' .. (w[3] or '') end \
     out[#out + 1] = 'end' return table.concat(out, '\\\\n')";

/// What a server says of itself.
#[derive(Debug, Clone, Default)]
pub struct Vitals {
    look: Look,
}

/// A worker that a queue knows of; one that was killed stays known for some minutes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Worker {
    /// Its name.
    pub name: String,
    /// `idle`, `busy`, `suspended`.
    pub state: String,
    /// The queues it takes jobs from, without the bench's prefix: `short`, `default`, `long`.
    pub queues: Vec<String>,
    /// When it last gave a sign of life.
    pub heartbeat: Option<Timestamp>,
}

impl Vitals {
    /// Returns one of the server's figures by its name in `INFO`.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.look.text(name)
    }

    /// Returns a number of the server's; nothing where it does not give it.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.look.text(name)?.parse().ok()
    }

    /// Tells whether a switch of the server's is on.
    pub fn is(&self, name: &str) -> bool {
        self.look.is(name)
    }
}

/// Asks a server for its figures; ends within `limit`, in the container too.
pub async fn vitals(
    docker: &Docker,
    container: &str,
    credentials: &Credentials,
    limit: Duration,
) -> Result<Vitals> {
    let server = Server::of(docker, container, credentials).await?;
    // Outside of a transaction: a server that is full takes no command into one.
    let ask = format!("{}INFO\n{}", mark("info"), mark("end"));
    let printed = server.query_within(&ask, limit).await?;
    Ok(Vitals { look: Look::read(&printed, &[], &server)? })
}

/// Lists the workers that a queue knows of.
pub async fn workers(
    docker: &Docker,
    container: &str,
    credentials: &Credentials,
    limit: Duration,
) -> Result<Vec<Worker>> {
    let server = Server::of(docker, container, credentials).await?;
    let ask = format!("{}EVAL \"{WORKERS}\" 0\n{}", mark("workers"), mark("end"));
    let printed = server.query_within(&ask, limit).await?;
    read(Answers::read(&printed).get("workers", &server)?)
        .ok_or_else(|| Error::new(Kind::Source, format!("{server} did not list its workers to their end")))
}

fn read(answer: &str) -> Option<Vec<Worker>> {
    let mut lines: Vec<&str> = answer.lines().filter(|l| !l.is_empty()).collect();
    if lines.pop() != Some("end") {
        return None;
    }
    Some(lines.into_iter().filter_map(worker).collect())
}

fn worker(line: &str) -> Option<Worker> {
    let mut fields = line.split('\t');
    let name = fields.next()?.trim_start_matches("rq:worker:").to_owned();
    let (state, queues, beat) = (fields.next()?, fields.next()?, fields.next()?);
    // RQ's key of a worker goes with it, its name in the set may stay behind.
    if state.is_empty() && queues.is_empty() && beat.is_empty() {
        return None;
    }
    let queue = |text: &str| text.rsplit(':').next().unwrap_or(text).to_owned();
    Some(Worker {
        name,
        state: state.to_owned(),
        queues: queues.split(',').filter(|q| !q.is_empty()).map(queue).collect(),
        heartbeat: time(beat),
    })
}

/// Reads `2026-11-23T02:00:00.123456Z`; without a zone it is UTC.
fn time(text: &str) -> Option<Timestamp> {
    if let Ok(time) = text.parse() {
        return Some(time);
    }
    let civil: DateTime = text.parse().ok()?;
    Some(civil.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

impl From<BTreeMap<String, String>> for Vitals {
    fn from(info: BTreeMap<String, String>) -> Vitals {
        Vitals { look: Look::of(info) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_are_read_and_a_name_without_a_worker_is_none() {
        let answer = "rq:worker:a\tidle\tbench:short,bench:default\t2026-11-23T02:00:00.5Z\n\
                      rq:worker:b\tbusy\tlong\t2026-11-23 02:00:00\nrq:worker:gone\t\t\t\nend\n";
        let found = read(answer).unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].name.as_str(), found[0].queues.join("+")), ("a", "short+default".to_owned()));
        assert_eq!(found[1].heartbeat, "2026-11-23T02:00:00Z".parse().ok());
        assert_eq!(read("rq:worker:a\tidle\tlong\tx\nend").unwrap()[0].heartbeat, None);
        assert_eq!(read("rq:worker:a\tidle"), None, "a list that broke off");
        assert_eq!(read("end"), Some(Vec::new()));
    }
}
