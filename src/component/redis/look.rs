//! A look at the server: its own figures, its keys and its queues, all of one instant.
//!
//! Owns the commands and how their answers are read. Counts and file size are asked for in one transaction, so
//! that no other client's command falls between them.

use std::collections::BTreeMap;

use super::Server;
use super::connect::QUERY_LIMIT;
use super::record::{Counts, Keys};
use crate::error::{Error, Kind, Result};

/// Lists the lists that may be queues, `<database> <key>`; `<database> end` when all of one were seen.
const SCAN: &str = include_str!("scan.sh");

/// Stands before each answer.
const MARK: &str = "lifeboat:";

/// A queue of jobs: a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Queue {
    database: u32,
    key: String,
}

/// What was seen.
#[derive(Debug, Clone, Default)]
pub(super) struct Look {
    info: BTreeMap<String, String>,
    /// Keys and jobs.
    pub counts: Counts,
}

/// Answers by the names they were asked under.
pub(super) struct Answers(BTreeMap<String, String>);

impl Queue {
    fn label(&self) -> String {
        match self.database {
            0 => self.key.clone(),
            n => format!("db{n}:{}", self.key),
        }
    }
}

impl Look {
    /// Returns a figure of the server's own, where it gives it.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.info.get(name).map(String::as_str)
    }

    /// Returns a number of the server's own; 0 where it does not give it.
    pub fn number(&self, name: &str) -> u64 {
        self.text(name).and_then(|v| v.parse().ok()).unwrap_or(0)
    }

    /// Tells whether a switch of the server's is on.
    pub fn is(&self, name: &str) -> bool {
        self.text(name) == Some("1")
    }

    /// Takes figures that are known.
    pub fn of(info: BTreeMap<String, String>) -> Look {
        Look { info, counts: Counts::default() }
    }

    /// Reads the client's answers to [`commands`].
    pub fn read(printed: &str, queues: &[Queue], server: &Server) -> Result<Look> {
        let answers = Answers::read(printed);
        let info = fields(answers.get("info", server)?);
        let mut counts = Counts { databases: keyspace(&info), queues: BTreeMap::new() };
        for (i, queue) in queues.iter().enumerate() {
            // What is no list, or gone by now, is no queue.
            if let Some(n @ 1..) = answers.number(&format!("queue {i}")) {
                counts.queues.insert(queue.label(), n);
            }
        }
        Ok(Look { info, counts })
    }
}

impl Answers {
    /// Splits what the client printed at the marks.
    pub fn read(printed: &str) -> Answers {
        let mut answers = BTreeMap::new();
        let mut open: Option<(String, String)> = None;
        for line in printed.lines().map(|l| l.trim_end_matches('\r')) {
            if let Some(name) = line.strip_prefix(MARK) {
                answers.extend(open.replace((name.to_owned(), String::new())));
            } else if let Some((_, text)) = &mut open {
                text.push_str(line);
                text.push('\n');
            }
        }
        answers.extend(open);
        Answers(answers)
    }

    /// Returns an answer that must be there and be no error.
    pub fn get(&self, name: &str, server: &Server) -> Result<&str> {
        let answer = self.0.get(name).map(|a| a.trim()).unwrap_or_default();
        let first = answer.lines().next().unwrap_or_default();
        let code = first.split(' ').next().unwrap_or_default();
        let is_error = code.len() > 2 && code.bytes().all(|b| b.is_ascii_uppercase()) && first.contains(' ');
        if is_error || answer.is_empty() {
            let kind =
                if matches!(code, "NOPERM" | "NOAUTH" | "WRONGPASS") { Kind::Denied } else { Kind::Source };
            let said = if answer.is_empty() { "no answer" } else { first };
            return Err(Error::new(kind, format!("{server}, asked for {name}: {said}")));
        }
        Ok(answer)
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.0.get(name)?.lines().next()?.trim().parse().ok()
    }
}

/// Returns the command that marks the next answer.
pub(super) fn mark(name: &str) -> String {
    format!("ECHO \"{MARK}{name}\"\n")
}

/// Returns the commands of a look, one a line.
pub(super) fn commands(queues: &[Queue]) -> String {
    let mut out = format!("MULTI\n{}INFO\n", mark("info"));
    for (i, queue) in queues.iter().enumerate() {
        out.push_str(&format!(
            "SELECT {}\n{}LLEN \"{}\"\n",
            queue.database,
            mark(&format!("queue {i}")),
            queue.key
        ));
    }
    // The last answer ends with a mark too.
    out + &mark("end") + "EXEC\n"
}

impl Server {
    /// Looks at the server now.
    pub(super) async fn look(&self, queues: &[Queue]) -> Result<Look> {
        Look::read(&self.query(&commands(queues)).await?, queues, self)
    }

    /// Looks at the server and finds its queues.
    pub(super) async fn look_for_queues(&self) -> Result<(Look, Vec<Queue>)> {
        let look = self.look(&[]).await?;
        let databases: Vec<String> = look.counts.databases.keys().map(u32::to_string).collect();
        let printed = self.run(SCAN, databases.iter().cloned(), "", QUERY_LIMIT).await?;
        for database in &databases {
            if !printed.lines().any(|l| l.split_once(' ') == Some((database.as_str(), "end"))) {
                return Err(Error::new(
                    Kind::Source,
                    format!("{self}: database {database} was not listed to its end"),
                ));
            }
        }
        Ok((look, queues(&printed)))
    }
}

fn queues(printed: &str) -> Vec<Queue> {
    let mut found = Vec::new();
    for (database, key) in printed.lines().filter_map(|l| l.split_once(' ')) {
        let plain = key.chars().all(|c| !c.is_control() && !matches!(c, '"' | '\\' | '\u{fffd}'));
        if let (Ok(database), true, true) = (database.parse(), plain, key.starts_with("rq:queue:")) {
            found.push(Queue { database, key: key.to_owned() });
        }
    }
    found.sort_by(|a, b| (a.database, &a.key).cmp(&(b.database, &b.key)));
    // A scan may name a key twice.
    found.dedup();
    found
}

fn fields(info: &str) -> BTreeMap<String, String> {
    let pairs = info.lines().filter_map(|l| l.trim().split_once(':'));
    pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
}

/// Reads `db0:keys=3,expires=1,avg_ttl=0`.
fn keyspace(info: &BTreeMap<String, String>) -> BTreeMap<u32, Keys> {
    let mut databases = BTreeMap::new();
    for (name, value) in info {
        let Some(Ok(number)) = name.strip_prefix("db").map(str::parse::<u32>) else { continue };
        let of = |field: &str| {
            let mut pairs = value.split(',').filter_map(|p| p.split_once('='));
            pairs.find(|(k, _)| *k == field).and_then(|(_, v)| v.parse().ok())
        };
        let (Some(keys), Some(with_ttl)) = (of("keys"), of("expires")) else { continue };
        databases.insert(number, Keys { keys, with_ttl });
    }
    databases
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_split_at_their_marks() {
        let printed = "OK\nQUEUEDQUEUED\nQUEUED\nlifeboat:info\r\n# Keyspace\r\ndb0:keys=3,expires=1,avg_ttl=0\r\n\
                       db12:keys=7,expires=0,avg_ttl=0,subexpiry=2\r\n\nOK\nlifeboat:queue 0\n3\nOK\nlifeboat:queue 1\nWRONGTYPE x\n\nlifeboat:end\n";
        let answers = Answers::read(printed);
        assert_eq!(answers.number("queue 0"), Some(3));
        assert_eq!(answers.number("queue 1"), None);
        let keys = keyspace(&fields(&answers.0["info"]));
        assert_eq!(keys[&0], Keys { keys: 3, with_ttl: 1 });
        assert_eq!(keys[&12], Keys { keys: 7, with_ttl: 0 });
        assert_eq!(keys.len(), 2);
    }

    #[test]
    fn only_lists_with_plain_names_are_taken_for_queues_and_each_once() {
        let printed =
            "0 rq:queue:b\n0 rq:queue:a\n0 rq:queue:b\n0 rq:queue:x\"y\n3 rq:queue:a\n0 other\n0 end\n";
        let found: Vec<String> = queues(printed).iter().map(Queue::label).collect();
        assert_eq!(found, ["rq:queue:a", "rq:queue:b", "db3:rq:queue:a"]);
    }
}
