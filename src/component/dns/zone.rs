//! A zone with one host more or one less, and a greater serial (RFC 1035, 3.3.13 and 5).
//!
//! Owns which records are a tenant's: those of its domain that end in its mark. All other bytes stay as the operator
//! wrote them, comments and order too. Pure: text in, text out. CoreDNS serves a changed file only if its
//! serial is another, and secondaries take it only if it is greater.

use std::net::IpAddr;
use std::ops::Range;

use jiff::civil::Date;

use super::entries::{Entry, entries};
use crate::error::{Error, Kind, Result, counted};
use crate::id::TenantName;

/// What a tenant's domain is to answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Whose records they are.
    pub tenant: TenantName,
    /// The domain, such as `erp.example.com`.
    pub domain: String,
    /// Its addresses, of either family.
    pub addresses: Vec<IpAddr>,
    /// How long an answer may be remembered, in seconds.
    pub ttl_seconds: u32,
}

/// How a zone stands to a [`Host`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// All its addresses are there, and no stale one of the tenant's.
    There,
    /// Something is to be written or taken away: what.
    Differs(String),
    /// The name answers something that Lifeboat did not write: what.
    Taken(String),
}

/// A zone's text, read.
#[derive(Debug, Clone)]
pub struct Zone {
    /// Absolute.
    name: String,
    text: String,
    records: Vec<Record>,
    serial: Range<usize>,
}

#[derive(Debug, Clone)]
struct Record {
    /// Absolute, in lowercase, with its dot.
    owner: String,
    /// In uppercase.
    kind: String,
    /// The first word of its data.
    value: String,
    span: Range<usize>,
    mark: String,
}

/// Spells a name absolutely: lowercase, with a dot at its end.
pub(super) fn absolute(name: &str) -> String {
    format!("{}.", name.trim_end_matches('.').to_ascii_lowercase())
}

fn mark(tenant: &TenantName) -> String {
    format!("lifeboat {tenant}")
}

impl Zone {
    /// Reads the text of a zone.
    ///
    /// [`Kind::Source`] where it is torn, or has no SOA record of this zone, or two.
    pub fn read(name: &str, text: impl Into<String>) -> Result<Zone> {
        let zone = Zone::parse(&absolute(name), text.into())?;
        match zone.name == absolute(name) {
            true => Ok(zone),
            false => Err(no_soa(name).hint(format!("its SOA record is of {}", zone.name))),
        }
    }

    /// Reads the text of a zone whose name only its SOA record tells; relative names stay so.
    pub fn read_nameless(text: impl Into<String>) -> Result<Zone> {
        Zone::parse(".", text.into())
    }

    fn parse(origin: &str, text: String) -> Result<Zone> {
        let (records, soas) = records(&text, origin)?;
        let [(name, Some(serial))] = &soas[..] else {
            return Err(no_soa(origin).hint(format!("it has {}", counted(soas.len(), "SOA record"))));
        };
        let (name, serial) = (name.clone(), serial.clone());
        let zone = Zone { name, text, records, serial };
        match zone.digits() {
            Some(_) => Ok(zone),
            None => Err(no_soa(&zone.name)),
        }
    }

    /// Makes the zone of a domain that has none yet: its SOA, its name server at the first address, no host.
    pub fn new(name: &str, host: &Host, serial: u32) -> Result<Zone> {
        let (name, ttl) = (absolute(name), host.ttl_seconds);
        let mut text = format!(
            "; Zone of {}, made by {}; what is written here by hand stays.\n$ORIGIN {name}\n$TTL {ttl}\n\
             @ IN SOA ns.{name} hostmaster.{name} (\n  {serial} ; serial\n  7200 ; refresh\n  900 ; retry\n  \
             1209600 ; expire\n  300 ) ; negative answers\n@ IN NS ns.{name}\n",
            name.trim_end_matches('.'),
            mark(&host.tenant),
        );
        for address in &host.addresses {
            text.push_str(&format!("ns.{name} {ttl} IN {} {address}\n", family(address)));
        }
        Zone::read(&name, text)
    }

    /// Returns the text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns the serial of the SOA record.
    pub fn serial(&self) -> u32 {
        self.digits().expect("read only with a serial")
    }

    fn digits(&self) -> Option<u32> {
        let word = &self.text[self.serial.clone()];
        word.bytes().all(|b| b.is_ascii_digit()).then(|| word.parse().ok()).flatten()
    }

    /// Returns the zone's text with another serial.
    pub fn with_serial(&self, serial: u32) -> String {
        format!("{}{serial}{}", &self.text[..self.serial.start], &self.text[self.serial.end..])
    }

    /// Says how the zone stands to a host.
    pub fn standing(&self, host: &Host) -> Standing {
        let mut todo = Vec::new();
        let mut left: Vec<&IpAddr> = host.addresses.iter().collect();
        for record in self.of(&host.domain) {
            let ours = record.mark == mark(&host.tenant);
            let wanted = host.addresses.iter().find(|a| record.answers(a));
            let same_family = host.addresses.iter().any(|a| record.kind == family(a));
            let shown = format!("{} {}", record.kind, record.value);
            match wanted {
                Some(wanted) => left.retain(|a| *a != wanted),
                None if ours => todo.push(format!("{shown} is stale")),
                None if same_family || record.kind == "CNAME" => {
                    return Standing::Taken(format!("{} has {shown}", host.domain));
                }
                None => {}
            }
        }
        todo.extend(left.iter().map(|a| format!("{} {a} lacks", family(a))));
        match todo.is_empty() {
            true => Standing::There,
            false => Standing::Differs(format!("{}: {}", host.domain, todo.join(", "))),
        }
    }

    /// Returns the text in which the host's name answers its addresses, under a new serial; the tenant's stale records go.
    pub fn with(&self, host: &Host, serial: u32) -> Result<String> {
        let name = absolute(&host.domain);
        if name != self.name && !name.ends_with(&format!(".{}", self.name)) {
            return Err(Error::new(Kind::Config, format!("{name} does not lie in zone {}", self.name)));
        }
        if let Standing::Taken(what) = self.standing(host) {
            return Err(Error::new(Kind::Conflict, format!("{what}, which Lifeboat did not write"))
                .hint("remove that record, or give the tenant another domain or address"));
        }
        let answered = |r: &Record| host.addresses.iter().any(|a| r.answers(a));
        let stale: Vec<_> =
            self.of(&host.domain).filter(|r| r.mark == mark(&host.tenant) && !answered(r)).collect();
        let mut text = Zone { text: self.with_serial(serial), ..self.clone() }.lacking(&self.text, &stale);
        let lf = if text.contains("\r\n") { "\r\n" } else { "\n" };
        let ends = text.is_empty() || text.ends_with('\n');
        for address in &host.addresses {
            if self.of(&host.domain).any(|r| r.answers(address)) {
                continue;
            }
            let line = format!(
                "{name} {} IN {} {address} ; {}",
                host.ttl_seconds,
                family(address),
                mark(&host.tenant)
            );
            // A file without a line feed at its end gets none, so that taking the line away gives the file as it was.
            match ends {
                true => text.push_str(&format!("{line}{lf}")),
                false => text.push_str(&format!("{lf}{line}")),
            }
        }
        Ok(text)
    }

    /// Returns the text without the tenant's records, under a new serial; none where it has none.
    ///
    /// [`Kind::Conflict`] where a record that somebody wrote below them would change its owner.
    pub fn without(&self, tenant: &TenantName, serial: u32) -> Result<Option<String>> {
        let gone: Vec<_> = self.records.iter().filter(|r| r.mark == mark(tenant)).collect();
        if gone.is_empty() {
            return Ok(None);
        }
        let text = Zone { text: self.with_serial(serial), ..self.clone() }.lacking(&self.text, &gone);
        let left = Zone::read(&self.name, text)?;
        let same = |r: &&Record| r.mark != mark(tenant);
        let before = self.records.iter().filter(same).map(|r| (&r.owner, &r.kind));
        if !before.eq(left.records.iter().map(|r| (&r.owner, &r.kind))) {
            let what = format!("a record without a name of its own follows the records of tenant {tenant}");
            return Err(Error::new(Kind::Conflict, what).hint("give that record its name"));
        }
        Ok(Some(left.text))
    }

    fn of<'a>(&'a self, domain: &str) -> impl Iterator<Item = &'a Record> {
        let name = absolute(domain);
        self.records.iter().filter(move |r| r.owner == name)
    }

    /// Cuts records out of a text that differs from `read` in the length of its serial only.
    fn lacking(&self, read: &str, gone: &[&Record]) -> String {
        let grown = self.text.len() as isize - read.len() as isize;
        let shifted = |at: usize| match at > self.serial.start {
            true => at.saturating_add_signed(grown),
            false => at,
        };
        let mut text = self.text.clone();
        for record in gone.iter().rev() {
            let (mut start, end) = (shifted(record.span.start), shifted(record.span.end).min(text.len()));
            // The last line of a file that ends without a line feed takes the one before it along.
            if end == text.len() && !text.ends_with('\n') {
                let head = &text[..start];
                start = head.strip_suffix("\r\n").or(head.strip_suffix('\n')).unwrap_or(head).len();
            }
            text.replace_range(start..end, "");
        }
        text
    }
}

/// The owner and the place of the serial of each SOA record.
type Soas = Vec<(String, Option<Range<usize>>)>;

fn records(text: &str, origin: &str) -> Result<(Vec<Record>, Soas)> {
    let mut origin = origin.to_owned();
    let mut owner: Option<String> = None;
    let (mut records, mut soas) = (Vec::new(), Vec::new());
    for entry in entries(text)? {
        let word = |n: usize| entry.words.get(n).map_or("", |w| &text[w.clone()]);
        if !entry.indented && word(0).starts_with('$') {
            if word(0).eq_ignore_ascii_case("$ORIGIN") {
                origin = under(word(1), &origin);
            }
            continue;
        }
        let mut at = 0;
        if !entry.indented {
            owner = Some(under(word(0), &origin));
            at = 1;
        }
        let owner = owner.clone().ok_or_else(|| no_owner(text, &entry))?;
        at += (at..at + 2).take_while(|n| is_ttl_or_class(word(*n))).count();
        if word(at).eq_ignore_ascii_case("SOA") {
            soas.push((owner.clone(), entry.words.get(at + 3).cloned()));
        }
        records.push(Record {
            owner,
            kind: word(at).to_ascii_uppercase(),
            value: word(at + 1).to_owned(),
            span: entry.span.clone(),
            mark: text[entry.comment.clone()].trim().to_owned(),
        });
    }
    Ok((records, soas))
}

impl Record {
    fn answers(&self, address: &IpAddr) -> bool {
        self.kind == family(address) && self.value.parse() == Ok(*address)
    }
}

/// Returns the serial that follows the file's and the served one: `YYYYMMDDnn` of that day, or one more than the greatest.
///
/// [`Kind::Conflict`] where there is none greater.
pub fn next_serial(file: u32, served: Option<u32>, today: Date) -> Result<u32> {
    let last = served.map_or(file, |s| s.max(file));
    let of_day = (i32::from(today.year()) * 10_000 + i32::from(today.month()) * 100 + i32::from(today.day()))
        .unsigned_abs()
        .saturating_mul(100)
        .saturating_add(1);
    let next = last.checked_add(1).ok_or_else(|| {
        Error::new(Kind::Conflict, format!("serial {last} is the greatest there is"))
            .hint("reset it as RFC 1982 says, secondaries too, then start again")
    })?;
    Ok(next.max(of_day))
}

/// Returns the text of a zone that is put back, under a serial greater than its own and that of the file there.
///
/// A text that cannot be read as a zone is returned as it is: what was backed up is put back.
pub fn put_back(coming: &str, there: Option<&str>, today: Date) -> Result<String> {
    let Ok(zone) = Zone::read_nameless(coming) else { return Ok(coming.to_owned()) };
    let live = there.and_then(|text| Zone::read_nameless(text).ok()).map(|z| z.serial());
    Ok(zone.with_serial(next_serial(zone.serial(), live, today)?))
}

pub(super) fn family(address: &IpAddr) -> &'static str {
    match address {
        IpAddr::V4(_) => "A",
        IpAddr::V6(_) => "AAAA",
    }
}

/// Spells a name below an origin absolutely.
fn under(name: &str, origin: &str) -> String {
    let dotted = name.ends_with('.') && !name.ends_with("\\.");
    match name {
        "@" => origin.to_owned(),
        name if dotted => name.to_ascii_lowercase(),
        name if origin == "." => format!("{}.", name.to_ascii_lowercase()),
        name => format!("{}.{origin}", name.to_ascii_lowercase()),
    }
}

/// Tells whether a word is a time (`300`, `1h30m`) or a class.
fn is_ttl_or_class(word: &str) -> bool {
    let time = word.starts_with(|c: char| c.is_ascii_digit())
        && word.bytes().all(|b| b.is_ascii_digit() || b"wdhmsWDHMS".contains(&b));
    let class = ["IN", "CH", "HS", "CS"].iter().any(|c| word.eq_ignore_ascii_case(c));
    time || class || word.get(..5).is_some_and(|w| w.eq_ignore_ascii_case("CLASS"))
}

fn no_soa(name: &str) -> Error {
    Error::new(Kind::Source, format!("the zone file has no single SOA record of {name} with a serial"))
}

fn no_owner(text: &str, entry: &Entry) -> Error {
    let line = text[..entry.span.start].matches('\n').count() + 1;
    Error::new(Kind::Source, format!("the zone file's first record, in line {line}, has no name"))
}

#[cfg(test)]
mod tests;
