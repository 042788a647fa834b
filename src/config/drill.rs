//! `[drill]` of a policy: when drills run, how far they go, which snapshot they pick, what they check besides.
//!
//! Owns the operator's own checks as they are written. Knows nothing of how a drill carries them out.

use std::time::Duration;

use jiff::civil::Time;
use jiff::tz::TimeZone;
use serde_spanned::Spanned;

use super::check::{Checker, not_empty, one_of};
use super::policy::{Calendar, Times, days, times};
use super::raw::{self, Text, Texts};
use super::units::some_time;
use crate::error::{Error, Kind, Result};
use crate::id::ProofLevel;

/// The longest name of an own check, in characters: it stands in reports, and in the clear outcome.
const NAME_CHARS: usize = 60;

/// The regular proof of a tenant.
#[derive(Debug, Clone, PartialEq)]
pub enum DrillPolicy {
    /// At these times, to this level.
    Runs {
        /// When.
        calendar: Calendar,
        /// How far.
        level: ProofLevel,
    },
    /// Not drilled, for a reason.
    Skipped {
        /// The reason, as the operator gave it.
        reason: String,
    },
}

/// How a drill is done, planned or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drilling {
    /// How far.
    pub level: ProofLevel,
    /// Which snapshot.
    pub pick: Pick,
    /// Of those that are no older than this, where one is picked by chance.
    pub within: Duration,
    /// How old the newest ledger entry may be when the snapshot is taken; none for any age.
    pub ledger_within: Option<Duration>,
    /// The operator's own checks, in their order.
    pub own: Vec<OwnCheck>,
}

impl Default for Drilling {
    fn default() -> Self {
        Drilling {
            level: ProofLevel::Alive,
            pick: Pick::Latest,
            within: Duration::from_secs(90 * 86_400),
            ledger_within: None,
            own: Vec::new(),
        }
    }
}

/// Which whole snapshot is drilled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pick {
    /// The newest.
    Latest,
    /// Any, by chance.
    Random,
    /// The oldest that is kept.
    Oldest,
    /// The newest that no drill has proven yet.
    NeverDrilled,
}

impl Pick {
    /// The words for them.
    pub const WORDS: [(&'static str, Pick); 4] = [
        ("latest", Pick::Latest),
        ("random", Pick::Random),
        ("oldest", Pick::Oldest),
        ("never-drilled", Pick::NeverDrilled),
    ];

    /// Returns the word.
    pub fn word(self) -> &'static str {
        let found = Self::WORDS.iter().find(|(_, pick)| *pick == self);
        found.map_or("latest", |(word, _)| word)
    }
}

/// A check of the operator's own, carried out in the drill's copy only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnCheck {
    /// Its name.
    pub name: String,
    /// What is asked, and what is to be answered.
    pub ask: Ask,
}

/// What an own check asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// A query of the restored database, which must answer this; columns are parted by tabs, rows by line feeds.
    Sql {
        /// The query.
        query: String,
        /// The whole answer.
        expect: String,
    },
    /// A GET of the copy's frontend.
    Http {
        /// The path, with its query.
        path: String,
        /// The status.
        status: u16,
        /// What the answer holds; none for anything.
        expect: Option<String>,
        /// Whether it is asked as Administrator, logged in.
        login: bool,
    },
    /// A command in the copy's application container, as the bench's user; it must exit with 0.
    Command {
        /// The program and its arguments; `{site}` stands for the site's name.
        run: Vec<String>,
        /// What its output holds; none for anything.
        expect: Option<String>,
    },
}

pub(super) fn policy(raw: &raw::Drill, zone: &TimeZone, c: &mut Checker<'_>) -> (DrillPolicy, Drilling) {
    let sunday = [false, false, false, false, false, false, true];
    let calendar = Calendar {
        times: Times::At(times("drill.at", &raw.at, Time::constant(4, 0, 0, 0), c)),
        days: days("drill.days", &raw.days, sunday, c),
        zone: zone.clone(),
    };
    let or = Drilling::default();
    let how = Drilling {
        level: c.parse("drill.level", &raw.level, level).unwrap_or(or.level),
        pick: c.parse("drill.pick", &raw.pick, |t| one_of(t, &Pick::WORDS)).unwrap_or(or.pick),
        within: c.parse("drill.within", &raw.within, some_time).unwrap_or(or.within),
        ledger_within: c.parse("drill.ledger_within", &raw.ledger_within, some_time),
        own: own(raw, c),
    };
    let when = match c.parse("drill.skip", &raw.skip, not_empty) {
        Some(reason) => DrillPolicy::Skipped { reason },
        None => DrillPolicy::Runs { calendar, level: how.level },
    };
    (when, how)
}

fn level(text: &str) -> Result<ProofLevel> {
    match text.parse()? {
        ProofLevel::FromNothing => {
            Err(Error::new(Kind::Config, "L5 needs an empty host and cannot be scheduled")
                .hint("write L3 or L4"))
        }
        level if level < ProofLevel::Readable => {
            Err(Error::new(Kind::Config, format!("{level} is no drill")).hint("write L2, L3 or L4"))
        }
        level => Ok(level),
    }
}

fn own(raw: &raw::Drill, c: &mut Checker<'_>) -> Vec<OwnCheck> {
    let mut all = Vec::new();
    all.extend(raw.sql.iter().flatten().filter_map(|s| sql(s.get_ref(), c)));
    all.extend(raw.http.iter().flatten().filter_map(|h| http(h.get_ref(), c)));
    all.extend(raw.command.iter().flatten().filter_map(|o| command(o.get_ref(), c)));
    let mut seen = std::collections::BTreeSet::new();
    for check in &all {
        if !seen.insert(check.name.clone()) {
            let what = format!("two own checks are called {:?}", check.name);
            c.fault(None, "drill", &Error::new(Kind::Config, what).hint("give each a name of its own"));
        }
    }
    all
}

fn sql(raw: &raw::DrillSql, c: &mut Checker<'_>) -> Option<OwnCheck> {
    let name = named("drill.sql.name", &raw.name, c);
    let query = c.require("drill.sql.query", &raw.query, "write query = \"SELECT 1\"", not_empty);
    let expect = c.require("drill.sql.expect", &raw.expect, "write expect = \"1\"", |t| Ok(t.to_owned()));
    Some(OwnCheck { name: name?, ask: Ask::Sql { query: query?, expect: expect? } })
}

fn http(raw: &raw::DrillHttp, c: &mut Checker<'_>) -> Option<OwnCheck> {
    let name = named("drill.http.name", &raw.name, c);
    let path = c.require("drill.http.path", &raw.path, "write path = \"/api/method/ping\"", |t| {
        match t.starts_with('/') && !t.contains(|c: char| c.is_control() || c == ' ') {
            true => Ok(t.to_owned()),
            false => Err(Error::new(Kind::Config, format!("{t:?} is not the path of an address"))
                .hint("it begins with / and holds no blank: the copy's own frontend is asked, nobody else")),
        }
    });
    let status = c.number("drill.http.status", &raw.status, 100..600, 200);
    let expect = c.parse("drill.http.expect", &raw.expect, not_empty);
    let login = raw.login.as_ref().is_some_and(|l| *l.get_ref());
    let status = u16::try_from(status).unwrap_or(200);
    Some(OwnCheck { name: name?, ask: Ask::Http { path: path?, status, expect, login } })
}

fn command(raw: &raw::DrillCommand, c: &mut Checker<'_>) -> Option<OwnCheck> {
    let name = named("drill.command.name", &raw.name, c);
    let run = program(&raw.run, c);
    let expect = c.parse("drill.command.expect", &raw.expect, not_empty);
    Some(OwnCheck { name: name?, ask: Ask::Command { run: run?, expect } })
}

fn program(run: &Texts, c: &mut Checker<'_>) -> Option<Vec<String>> {
    let words: Vec<String> = run.iter().flatten().map(|w| w.get_ref().clone()).collect();
    if words.first().is_none_or(|program| program.is_empty()) {
        let hint = "write run = [\"bench\", \"--site\", \"{site}\", \"list-apps\"]";
        let place = run.iter().flatten().next().map(Spanned::span);
        c.fault(place.as_ref(), "drill.command.run", &Error::new(Kind::Config, "missing").hint(hint));
        return None;
    }
    Some(words)
}

fn named(key: &str, text: &Text, c: &mut Checker<'_>) -> Option<String> {
    c.require(key, text, "write name = \"customers\"", |t| {
        let good =
            !t.trim().is_empty() && t.chars().count() <= NAME_CHARS && !t.chars().any(char::is_control);
        good.then(|| t.to_owned()).ok_or_else(|| {
            let what = format!("{t:?} is no name of a check");
            Error::new(Kind::Config, what).hint(format!("one line of at most {NAME_CHARS} characters"))
        })
    })
}
