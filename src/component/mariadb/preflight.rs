//! What the server says of a database before and after it is dumped.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;

use super::connect::{identifier, literal};
use super::{DefinerRecord, Routine, Server};
use crate::error::{Error, Kind, Result};

/// Settings of the server that data or statements may depend on.
const OPTIONS: &[&str] = &[
    "binlog_format",
    "character_set_server",
    "collation_server",
    "event_scheduler",
    "ft_min_word_len",
    "innodb_ft_min_token_size",
    "innodb_page_size",
    "innodb_read_only_compressed",
    "innodb_strict_mode",
    "log_bin",
    "lower_case_table_names",
    "max_allowed_packet",
    "sql_mode",
    "system_time_zone",
    "time_zone",
];

/// What the server is.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) version: String,
    pub(super) charset: String,
    pub(super) collation: String,
    pub(super) options: BTreeMap<String, String>,
    /// Privileges on the database; nothing where all are held globally.
    pub(super) lacking_rights: Vec<String>,
}

/// What the database holds, as far as the user may see it.
#[derive(Debug, Default)]
pub(super) struct Inventory {
    pub(super) tables: BTreeMap<String, Table>,
    pub(super) sequences: BTreeSet<String>,
    pub(super) views: BTreeMap<String, View>,
    pub(super) triggers: BTreeMap<String, Trigger>,
    pub(super) routines: BTreeMap<Routine, RoutineFacts>,
    pub(super) events: BTreeMap<String, String>,
    /// Triggers, routines, events and defaults of columns that name the database.
    pub(super) names: Vec<String>,
    /// Accounts that exist, and whether they may read the database; nothing where the user may not know.
    pub(super) accounts: Option<BTreeMap<String, bool>>,
}

#[derive(Debug, Default)]
pub(super) struct View {
    pub(super) definer: String,
    /// What stands in the way of dumping it.
    pub(super) fault: Option<&'static str>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Table {
    /// Nothing where the server cannot open it.
    pub(super) engine: Option<String>,
    pub(super) created: Option<String>,
    pub(super) rows_estimate: u64,
    /// Whether it keeps its rows' history, which a dump leaves behind.
    pub(super) versioned: bool,
}

#[derive(Debug)]
pub(super) struct Trigger {
    pub(super) definer: String,
    pub(super) table: String,
}

#[derive(Debug)]
pub(super) struct RoutineFacts {
    pub(super) definer: String,
    pub(super) readable: bool,
}

/// An object whose definer does not exist: it fails when used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Orphan {
    /// The object, such as `trigger t`.
    pub object: String,
    /// The account, as `user@host`.
    pub definer: String,
}

impl std::fmt::Display for Orphan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} belongs to {}, an account that does not exist", self.object, self.definer)
    }
}

/// Asks what the server is; fails with [`Kind::Source`] where it has no such database.
pub(super) async fn facts(server: &Server, database: &str) -> Result<Facts> {
    seen(server, database).await?.ok_or_else(|| {
        Error::new(Kind::Source, format!("{server} has no database `{database}` that it may see"))
            .hint("db_name in the site's site_config.json names it")
    })
}

/// The same; nothing where the user sees no such database.
pub(super) async fn seen(server: &Server, database: &str) -> Result<Option<Facts>> {
    let names: Vec<String> = OPTIONS.iter().map(|o| literal(o)).collect();
    let db = literal(database);
    let sql = format!(
        "SELECT JSON_ARRAY('version', VERSION(), '');
         SELECT JSON_ARRAY('schema', DEFAULT_CHARACTER_SET_NAME, DEFAULT_COLLATION_NAME)
           FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = {db};
         SELECT JSON_ARRAY(LOWER(VARIABLE_NAME), VARIABLE_VALUE, 'option')
           FROM information_schema.GLOBAL_VARIABLES WHERE LOWER(VARIABLE_NAME) IN ({});
         SELECT JSON_ARRAY('right', PRIVILEGE_TYPE, '') FROM information_schema.USER_PRIVILEGES
           WHERE GRANTEE = CONCAT(\"'\", REPLACE(CURRENT_USER(), '@', \"'@'\"), \"'\");
         SELECT JSON_ARRAY('right', PRIVILEGE_TYPE, '') FROM information_schema.SCHEMA_PRIVILEGES
           WHERE GRANTEE = CONCAT(\"'\", REPLACE(CURRENT_USER(), '@', \"'@'\"), \"'\") AND {db} LIKE TABLE_SCHEMA;",
        names.join(",")
    );
    let mut facts = Facts::default();
    let mut rights = BTreeSet::new();
    let mut known = false;
    for (first, second, third) in server.rows::<(String, String, String)>(&sql).await? {
        match (first.as_str(), third.as_str()) {
            (_, "option") => drop(facts.options.insert(first, second)),
            ("version", _) => facts.version = second,
            ("right", _) => drop(rights.insert(second)),
            _ => {
                known = true;
                (facts.charset, facts.collation) = (second, third);
            }
        }
    }
    if !known {
        return Ok(None);
    }
    let needed = ["SELECT", "SHOW VIEW", "TRIGGER", "EVENT"];
    facts.lacking_rights = needed.iter().filter(|r| !rights.contains(**r)).map(|r| (*r).to_owned()).collect();
    Ok(Some(facts))
}

/// Asks what the database holds.
pub(super) async fn inventory(server: &Server, database: &str) -> Result<Inventory> {
    inventory_naming(server, database, database).await
}

/// The same; `names` holds what names another database.
pub(super) async fn inventory_naming(server: &Server, database: &str, named: &str) -> Result<Inventory> {
    let db = literal(database);
    let naming = literal(&format!("(^|[^0-9A-Za-z_$])`?\\Q{named}\\E`?[[:space:]]*[.]"));
    let sql = format!(
        "SELECT JSON_ARRAY('table', TABLE_NAME, TABLE_TYPE, ENGINE, CAST(CREATE_TIME AS CHAR), TABLE_ROWS,
             TABLE_COMMENT <> 'VIEW')
           FROM information_schema.TABLES WHERE TABLE_SCHEMA = {db};
         SELECT JSON_ARRAY('view', TABLE_NAME, DEFINER) FROM information_schema.VIEWS WHERE TABLE_SCHEMA = {db};
         SELECT JSON_ARRAY('hidden', TABLE_NAME)
           FROM information_schema.VIEWS WHERE TABLE_SCHEMA = {db} AND VIEW_DEFINITION = '';
         SELECT JSON_ARRAY('trigger', TRIGGER_NAME, DEFINER, EVENT_OBJECT_TABLE)
           FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = {db};
         SELECT JSON_ARRAY('routine', ROUTINE_NAME, DEFINER, LOWER(ROUTINE_TYPE), ROUTINE_DEFINITION IS NOT NULL)
           FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = {db};
         SELECT JSON_ARRAY('event', EVENT_NAME, DEFINER)
           FROM information_schema.EVENTS WHERE EVENT_SCHEMA = {db};
         SELECT JSON_ARRAY('names', CONCAT('trigger ', TRIGGER_NAME))
           FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = {db} AND ACTION_STATEMENT REGEXP {naming};
         SELECT JSON_ARRAY('names', CONCAT(LOWER(ROUTINE_TYPE), ' ', ROUTINE_NAME))
           FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = {db} AND ROUTINE_DEFINITION REGEXP {naming};
         SELECT JSON_ARRAY('names', CONCAT('event ', EVENT_NAME))
           FROM information_schema.EVENTS WHERE EVENT_SCHEMA = {db} AND EVENT_DEFINITION REGEXP {naming};
         SELECT JSON_ARRAY('names', CONCAT('the default of ', TABLE_NAME, '.', COLUMN_NAME))
           FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = {db} AND COLUMN_DEFAULT LIKE 'nextval(%'
             AND COLUMN_DEFAULT REGEXP {naming};"
    );
    let mut inventory = Inventory::default();
    for row in server.rows::<Vec<Value>>(&sql).await? {
        inventory.take(&row);
    }
    inventory.names.sort();
    let accounts = format!(
        "SELECT JSON_ARRAY(u.User, u.Host, IF(u.Select_priv = 'Y' OR EXISTS (SELECT 1 FROM mysql.db d WHERE d.User = u.User
           AND d.Host = u.Host AND {db} LIKE d.Db AND d.Select_priv = 'Y'), 1, 0)) FROM mysql.user u;"
    );
    if let Ok(rows) = server.rows::<(String, String, u8)>(&accounts).await {
        let known = rows.into_iter().map(|(user, host, reads)| (format!("{user}@{host}"), reads == 1));
        inventory.accounts = Some(known.collect());
    }
    Ok(inventory)
}

impl Inventory {
    fn take(&mut self, row: &[Value]) {
        let text = |at: usize| row.get(at).and_then(Value::as_str).map(str::to_owned);
        let flag =
            |at: usize| row.get(at).is_some_and(|v| v.as_i64() == Some(1) || v.as_bool() == Some(true));
        let (Some(what), Some(name)) = (text(0), text(1)) else { return };
        let second = text(2).unwrap_or_default();
        match (what.as_str(), second.as_str()) {
            ("table", "VIEW") => {
                self.views.entry(name).or_default().fault =
                    flag(6).then_some("it refers to something that is not there");
            }
            ("view", _) => self.views.entry(name).or_default().definer = second,
            ("hidden", _) => {
                let view = self.views.entry(name).or_default();
                view.fault.get_or_insert("the user may not see its definition");
            }
            ("names", _) => self.names.push(name),
            ("table", "SEQUENCE") => drop(self.sequences.insert(name)),
            ("table", kind) => {
                let rows_estimate = row.get(5).and_then(Value::as_u64).unwrap_or_default();
                self.tables.insert(
                    name,
                    Table {
                        engine: text(3),
                        created: text(4),
                        rows_estimate,
                        versioned: kind == "SYSTEM VERSIONED",
                    },
                );
            }
            ("trigger", _) => {
                let trigger = Trigger { definer: second, table: text(3).unwrap_or_default() };
                self.triggers.insert(name, trigger);
            }
            ("event", _) => drop(self.events.insert(name, second)),
            _ => {
                let routine = Routine { kind: text(3).unwrap_or_default(), name };
                let facts = RoutineFacts { definer: second, readable: flag(4) };
                self.routines.insert(routine, facts);
            }
        }
    }

    /// Returns the accounts that views belong to.
    pub(super) fn definers(&self) -> Vec<DefinerRecord> {
        let able = |account: &str| {
            let accounts = self.accounts.as_ref();
            accounts.is_none_or(|known| known.get(account).copied().unwrap_or_default())
        };
        let names: BTreeSet<&String> = self.views.values().map(|v| &v.definer).collect();
        let some = names.into_iter().filter(|account| !account.is_empty());
        some.map(|account| DefinerRecord { account: account.clone(), able: able(account) }).collect()
    }

    /// Returns the objects whose definer no account is, each with its definer.
    pub(super) fn orphans(&self) -> Vec<Orphan> {
        let Some(accounts) = &self.accounts else { return Vec::new() };
        let views = self.views.iter().map(|(name, view)| (format!("view {name}"), &view.definer));
        let triggers = self.triggers.iter().map(|(name, t)| (format!("trigger {name}"), &t.definer));
        let events = self.events.iter().map(|(name, definer)| (format!("event {name}"), definer));
        let routines = self.routines.iter().map(|(routine, facts)| (routine.to_string(), &facts.definer));
        triggers
            .chain(events)
            .chain(routines)
            .chain(views)
            .filter(|(_, definer)| !definer.is_empty() && !accounts.contains_key(*definer))
            .map(|(object, definer)| Orphan { object, definer: definer.clone() })
            .collect()
    }

    /// Returns the tables that were made anew, changed or dropped since `before`.
    pub(super) fn changed_since(&self, before: &Inventory) -> Vec<String> {
        let differs = |name: &String, table: &Table| {
            self.tables.get(name).is_none_or(|now| now.created != table.created || now.engine != table.engine)
        };
        before.tables.iter().filter(|(n, t)| differs(n, t)).map(|(name, _)| name.clone()).collect()
    }
}

/// Returns those of the named tables that the server finds damaged, each with what it says.
///
/// `CHECK TABLE … QUICK` compares the size of the data file and walks the index; `FAST` would believe the header of a
/// table whose file was cut.
pub(super) async fn damaged(
    server: &Server,
    database: &str,
    tables: &[&str],
) -> Result<BTreeMap<String, String>> {
    match check_of(database, tables) {
        Some(sql) => Ok(said_of(database, &server.lines(&sql).await?)),
        None => Ok(BTreeMap::new()),
    }
}

/// The same, for a server that may hang.
pub(super) async fn damaged_within(
    server: &Server,
    database: &str,
    tables: &[&str],
    limit: Duration,
) -> Result<BTreeMap<String, String>> {
    match check_of(database, tables) {
        Some(sql) => Ok(said_of(database, &server.lines_within(&sql, limit).await?)),
        None => Ok(BTreeMap::new()),
    }
}

fn check_of(database: &str, tables: &[&str]) -> Option<String> {
    let names: Vec<String> =
        tables.iter().map(|t| format!("{}.{}", identifier(database), identifier(t))).collect();
    (!names.is_empty()).then(|| format!("CHECK TABLE {} QUICK;", names.join(",")))
}

fn said_of(database: &str, lines: &[String]) -> BTreeMap<String, String> {
    let mut damaged = BTreeMap::new();
    for line in lines {
        let mut fields = line.split('\t').skip_while(|f| !f.contains('.'));
        let (Some(table), _, Some(kind), Some(text)) =
            (fields.next(), fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        let table = table.strip_prefix(&format!("{database}.")).unwrap_or(table);
        if kind.eq_ignore_ascii_case("error") {
            damaged.entry(table.to_owned()).or_insert_with(|| text.to_owned());
        }
    }
    damaged
}
