//! The database: whether it answers, whom it lets in, how full it is, and which tables it cannot read.
//!
//! One look in one session; nothing is locked but, for a moment, each MyISAM table that is checked. Repairs nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::component::fernet::FernetProof;
use crate::component::mariadb::{self, Replication, Server, SiteAccount, Vitals};
use crate::config::Database;
use crate::error::{Kind, Result, counted};
use crate::ops::backup;

use super::pace::within;
use super::subject::Subject;
use super::{Area, Check, Round, State, replica, state_of};

const AREA: Area = Area::Database;

/// A statement that runs for longer is named.
const LONG_QUERY: Duration = Duration::from_secs(120);

/// From this share of the allowed connections on, in percent.
const MANY: u64 = 80;
const TOO_MANY: u64 = 95;

/// From this difference of clocks on, in seconds.
pub(super) const SKEW: f64 = 30.0;
const MUCH_SKEW: f64 = 300.0;

/// Looks at a tenant's database.
pub(super) async fn look(round: &Round<'_>, subject: &Subject<'_>) -> Vec<Check> {
    let Some(part) = subject.tenant.database.on() else { return Vec::new() };
    // Backups may be taken from the replica; the site lives on the first.
    let Some(servers) = subject.tenant.database_servers() else { return Vec::new() };
    let of_replica = async {
        match &servers.replica {
            Some(container) => Some(replica::look(round, part, container).await),
            None => None,
        }
    };
    let (mut checks, replica) = futures::join!(of_server(round, subject, part, &servers.first), of_replica);
    checks.extend(replica);
    checks
}

/// Looks at the server that the site uses.
async fn of_server(round: &Round<'_>, subject: &Subject<'_>, part: &Database, container: &str) -> Vec<Check> {
    let docker = match round.running(AREA, "reachable", container).await {
        Ok(docker) => docker.clone(),
        Err(check) => return vec![check],
    };
    let credentials = match backup::credentials(&part.login) {
        Ok(credentials) => credentials,
        Err(e) => return vec![Check::of_error(AREA, "reachable", State::Failed, &e)],
    };
    let server = Server { docker, container: container.to_owned(), credentials };
    let database = part.name.as_deref().or_else(|| subject.config()?.db_name());
    let limit = round.limits.probe;
    let asked = mariadb::vitals(&server, database, LONG_QUERY, limit);
    let vitals = match within(limit, &server, asked).await {
        Ok(vitals) => vitals,
        Err(e) => return vec![Check::of_error(AREA, "reachable", State::Failed, &e)],
    };
    // Only who takes no writes is asked why.
    let follows = match is_read_only(&vitals) {
        true => within(limit, &server, mariadb::replication(&server, limit)).await.ok().flatten(),
        false => None,
    };
    let mut checks = judge(container, &vitals, follows.as_ref());
    checks.push(clock(round, container, &vitals));
    let Some(database) = database else { return checks };
    checks.push(tables(round, &server, database, &vitals).await);
    checks.extend(account(round, subject, &server, database).await);
    checks.extend(key(round, subject, &server, database).await);
    checks
}

/// Judges what the server says of itself, and of the one that it follows.
fn judge(container: &str, vitals: &Vitals, follows: Option<&Replication>) -> Vec<Check> {
    let version = vitals.version.trim_end_matches("-log");
    let answers = format!("mariadb {version} in container {container} answers");
    let mut checks = vec![
        Check::new(AREA, "reachable", State::Ok, answers),
        connections(container, vitals),
        innodb(container, vitals, follows),
        queries(container, vitals),
    ];
    checks.extend(follows.map(|seen| replica::judge(container, seen)));
    checks
}

fn is_read_only(vitals: &Vitals) -> bool {
    vitals.number("innodb_read_only") == Some(1) || vitals.number("read_only") == Some(1)
}

fn connections(container: &str, vitals: &Vitals) -> Check {
    let name = "connections";
    let (Some(used), Some(most)) = (vitals.number("threads_connected"), vitals.number("max_connections"))
    else {
        let reason = format!("mariadb in container {container} does not say how many connections it has");
        return Check::new(AREA, name, State::Unknown, reason);
    };
    let percent = used * 100 / most.max(1);
    let state = match percent {
        TOO_MANY.. => State::Failed,
        MANY.. => State::Warning,
        _ => State::Ok,
    };
    let reason = format!("{used} of {most} connections of container {container} are in use");
    let check = Check::new(AREA, name, state, reason);
    if state == State::Ok {
        check
    } else {
        check.advise("fewer workers, or a higher max_connections of the server")
    }
}

fn innodb(container: &str, vitals: &Vitals, follows: Option<&Replication>) -> Check {
    let name = "innodb";
    let bad = |reason: String, advice: &str| Check::new(AREA, name, State::Failed, reason).advise(advice);
    if let Some(level @ 1..) = vitals.number("innodb_force_recovery") {
        return bad(
            format!(
                "mariadb in container {container} runs with innodb_force_recovery={level}: its data is damaged"
            ),
            "`lifeboat restore` the tenant; what is there can at best be read",
        );
    }
    match vitals.innodb.as_str() {
        "DEFAULT" | "YES" => {}
        other => {
            return bad(
                format!(
                    "InnoDB does not run in container {container} ({})",
                    if other.is_empty() { "absent" } else { other }
                ),
                "`docker logs` of the container says why",
            );
        }
    }
    match follows {
        Some(seen) if vitals.number("innodb_read_only") != Some(1) => {
            let reason =
                format!("InnoDB of container {container} takes what {} sends, and no writes", seen.source);
            return Check::new(AREA, name, State::Ok, reason);
        }
        _ if is_read_only(vitals) => {
            return bad(
                format!(
                    "mariadb in container {container} is read-only and follows no other: nothing can be saved"
                ),
                "SET GLOBAL read_only = 0",
            );
        }
        _ => {}
    }
    Check::new(AREA, name, State::Ok, format!("InnoDB of container {container} takes reads and writes"))
}

fn queries(container: &str, vitals: &Vitals) -> Check {
    let name = "queries";
    let waits = vitals.number("innodb_row_lock_current_waits").unwrap_or(0);
    let Some(longest) = vitals.long_queries.first() else {
        let reason = format!(
            "no statement runs for {} s or longer, {} for a lock",
            LONG_QUERY.as_secs(),
            waiting(waits)
        );
        return Check::new(AREA, name, State::Ok, reason);
    };
    let reason = format!(
        "{} of container {container} for longer than {} s: the longest for {} s, by {} ({}), {} for a lock",
        counted(vitals.long_queries.len(), "statement"),
        LONG_QUERY.as_secs(),
        longest.seconds,
        longest.user,
        if longest.doing.is_empty() { "no state" } else { &longest.doing },
        waiting(waits),
    );
    Check::new(AREA, name, State::Warning, reason).advise("SHOW FULL PROCESSLIST in the container names it")
}

fn waiting(n: u64) -> String {
    match n {
        0 => "nobody waits".to_owned(),
        n => format!("{} waiting", counted(n, "transaction")),
    }
}

fn clock(round: &Round<'_>, container: &str, vitals: &Vitals) -> Check {
    let host = round.now().as_duration().as_secs_f64();
    skew(AREA, &format!("mariadb in container {container}"), vitals.now - host)
}

/// Judges a clock that goes `ahead` of this host's, in seconds.
pub(super) fn skew(area: Area, whose: &str, ahead: f64) -> Check {
    let state = match ahead.abs() {
        s if s >= MUCH_SKEW => State::Failed,
        s if s >= SKEW => State::Warning,
        _ => {
            return Check::new(
                area,
                "clock",
                State::Ok,
                format!("the clock of {whose} agrees with this host's"),
            );
        }
    };
    let way = if ahead > 0.0 { "ahead of" } else { "behind" };
    let reason = format!("the clock of {whose} is {:.0} s {way} this host's", ahead.abs());
    Check::new(area, "clock", state, reason)
        .advise("`timedatectl` shows whether this host's own clock is set by NTP")
}

/// Checks the MyISAM tables, which a crash leaves damaged, and names what the server could not open.
async fn tables(round: &Round<'_>, server: &Server, database: &str, vitals: &Vitals) -> Check {
    let name = "tables";
    let checking = mariadb::crashed(server, database, &vitals.myisam, round.limits.probe);
    let crashed = match within(round.limits.probe, format!("CHECK TABLE on {server}"), checking).await {
        Ok(crashed) => crashed,
        Err(e) => return Check::of_error(AREA, name, State::Unknown, &e),
    };
    judge_tables(database, vitals, &crashed)
}

fn judge_tables(database: &str, vitals: &Vitals, crashed: &BTreeMap<String, String>) -> Check {
    let name = "tables";
    let mut bad: BTreeMap<&String, &String> = vitals.unreadable.iter().collect();
    bad.extend(crashed);
    let Some((table, said)) = bad.first_key_value() else {
        let reason =
            format!("`{database}` can be read; {} checked", counted(vitals.myisam.len(), "MyISAM table"));
        return Check::new(AREA, name, State::Ok, reason);
    };
    let more = match bad.len() - 1 {
        0 => String::new(),
        n => format!(", and {} more", counted(n, "table")),
    };
    let reason = format!("table `{table}` of `{database}` is damaged: {said}{more}");
    Check::new(AREA, name, State::Failed, reason).advise(format!(
        "back up first, then REPAIR TABLE `{database}`.`{table}`; a backup leaves it out until then"
    ))
}

/// Finds out whether the site itself can log in, with the account that its configuration names.
async fn account(round: &Round<'_>, subject: &Subject<'_>, server: &Server, database: &str) -> Option<Check> {
    let name = "login";
    let config = subject.config()?;
    let (Some(user), Some(password)) = (config.db_user(), config.db_password()) else {
        let reason = format!("site {} names no account of its database", subject.tenant.site);
        return Some(
            Check::new(AREA, name, State::Failed, reason)
                .advise("db_name and db_password in site_config.json"),
        );
    };
    let account = SiteAccount { user: user.to_owned(), password };
    let proving = mariadb::prove_readable(server, database, &account);
    Some(match within(round.limits.probe, server, proving).await {
        Ok(()) => Check::new(AREA, name, State::Ok, format!("the site's account {user} reads `{database}`")),
        Err(e) if e.kind() == Kind::Denied => {
            let reason = format!("{e}: the site cannot log in to container {}", server.container);
            Check::new(AREA, name, State::Failed, reason)
                .advise("db_password in site_config.json and the account's password differ: ALTER USER … IDENTIFIED BY …")
        }
        Err(e) => Check::of_error(AREA, name, state_of(&e), &e),
    })
}

/// Proves that the site's key opens the secrets in its database.
async fn key(round: &Round<'_>, subject: &Subject<'_>, server: &Server, database: &str) -> Option<Check> {
    let key = subject.config()?.encryption_key();
    let proving = mariadb::prove_encryption_key(server, database, key.as_ref());
    let proof = within(round.limits.probe, server, proving).await;
    Some(judge_key(&subject.tenant.site, key.is_some(), proof))
}

fn judge_key(site: &str, has_key: bool, proof: Result<FernetProof>) -> Check {
    let (area, name) = (Area::Backups, "encryption-key");
    let lost = "set the old key again: `bench --site SITE set-config encryption_key KEY`; a snapshot's config component holds it";
    let ok = |reason: String| Check::new(area, name, State::Ok, reason);
    let failed = |reason: String| Check::new(area, name, State::Failed, reason).advise(lost);
    match proof {
        Ok(FernetProof::Proven { rows }) => {
            ok(format!("encryption_key of site {site} opens all {}", counted(rows, "stored secret")))
        }
        Ok(FernetProof::NothingToProve) if has_key => {
            ok(format!("site {site} has an encryption_key and no stored secret yet"))
        }
        Ok(FernetProof::NothingToProve) => {
            ok(format!("site {site} has stored no secret yet, so it has no encryption_key"))
        }
        Ok(FernetProof::KeyMissing { rows }) => failed(format!(
            "encryption_key of site {site} is missing, and nothing else opens its {}",
            counted(rows, "stored secret")
        )),
        Ok(FernetProof::Mismatch { failed: bad, rows }) => failed(format!(
            "encryption_key of site {site} is not the one that {bad} of {} were written with",
            counted(rows, "stored secret")
        )),
        Err(e) => Check::of_error(area, name, State::Unknown, &e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::component::mariadb::LongQuery;

    fn vitals(changed: &[(&str, u64)]) -> Vitals {
        let well = [
            ("threads_connected", 5),
            ("max_connections", 151),
            ("innodb_force_recovery", 0),
            ("read_only", 0),
        ];
        let numbers = well.iter().chain(changed).map(|(k, v)| ((*k).to_owned(), *v)).collect();
        Vitals { version: "10.11.19-MariaDB".into(), innodb: "DEFAULT".into(), numbers, ..Vitals::default() }
    }

    fn troubles(vitals: &Vitals) -> Vec<(&'static str, State)> {
        judge("byrne-db", vitals, None)
            .iter()
            .filter(|c| c.state != State::Ok)
            .map(|c| (c.name, c.state))
            .collect()
    }

    #[test]
    fn a_server_is_judged_by_its_own_figures() {
        assert_eq!(troubles(&vitals(&[])), []);
        assert_eq!(troubles(&vitals(&[("threads_connected", 125)])), [("connections", State::Warning)]);
        assert_eq!(troubles(&vitals(&[("threads_connected", 150)])), [("connections", State::Failed)]);
        assert_eq!(troubles(&vitals(&[("innodb_force_recovery", 3)])), [("innodb", State::Failed)]);
        assert_eq!(troubles(&vitals(&[("read_only", 1)])), [("innodb", State::Failed)]);
        assert_eq!(
            troubles(&Vitals { innodb: "DISABLED".into(), ..vitals(&[]) }),
            [("innodb", State::Failed)]
        );
        let follows = Replication {
            source: "a".into(),
            receives: "Yes".into(),
            applies: "Yes".into(),
            behind_seconds: Some(1),
            gtid_mode: "Slave_Pos".into(),
            read_only: true,
            ..Replication::default()
        };
        let replica = judge("byrne-db", &vitals(&[("read_only", 1)]), Some(&follows));
        assert!(replica.iter().all(|c| c.state == State::Ok) && replica.len() == 5, "{replica:#?}");
        let long = LongQuery { user: "_1".into(), doing: "Sending data".into(), seconds: 700 };
        assert_eq!(
            troubles(&Vitals { long_queries: vec![long], ..vitals(&[]) }),
            [("queries", State::Warning)]
        );
    }

    #[test]
    fn clocks_may_differ_by_seconds() {
        let states = [3.0, -45.0, 600.0].map(|ahead| skew(AREA, "x", ahead).state);
        assert_eq!(states, [State::Ok, State::Warning, State::Failed]);
        assert!(skew(AREA, "x", -45.0).reason.contains("behind"));
    }

    #[test]
    fn a_key_that_opens_nothing_is_a_failure_and_none_without_secrets_is_not() {
        let state = |has_key, proof| judge_key("erp", has_key, Ok(proof)).state;
        assert_eq!(state(true, FernetProof::Proven { rows: 4 }), State::Ok);
        assert_eq!(state(false, FernetProof::NothingToProve), State::Ok);
        assert_eq!(state(false, FernetProof::KeyMissing { rows: 4 }), State::Failed);
        assert_eq!(state(true, FernetProof::Mismatch { failed: 1, rows: 4 }), State::Failed);
    }

    #[test]
    fn every_damaged_table_counts_and_the_first_is_named() {
        let seen = Vitals {
            unreadable: [("tabX".to_owned(), "marked as crashed".to_owned())].into(),
            ..vitals(&[])
        };
        let crashed = [("__global_search".to_owned(), "size differs".to_owned())].into();
        let check = judge_tables("_1", &seen, &crashed);
        assert_eq!(check.state, State::Failed);
        assert!(
            check.reason.contains("__global_search") && check.reason.contains("1 table more"),
            "{}",
            check.reason
        );
    }
}
