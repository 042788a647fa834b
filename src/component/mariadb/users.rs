//! Accounts: what is recorded of them, and how they come back.

use std::net::IpAddr;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use super::connect::{identifier, literal};
use super::{Server, UserRecord};
use crate::error::Result;

/// An account to make for a site.
#[derive(Debug, Clone)]
pub struct NewUser {
    /// Its name.
    pub user: String,
    /// Its password.
    pub password: SecretString,
    /// The databases that it may do anything with.
    pub databases: Vec<String>,
}

/// What an account may do, from wherever it comes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rights {
    /// Whether it has a right on the server as a whole.
    pub global: bool,
    /// The databases it has rights on, by the names that they were given for.
    pub databases: Vec<String>,
}

/// Asks what the accounts of a name may do.
pub async fn rights_of(server: &Server, user: &str) -> Result<Rights> {
    let user = literal(user);
    let sql = format!(
        "SELECT JSON_ARRAY(NULL) FROM mysql.user WHERE User = {user} AND 'Y' IN (Select_priv, Insert_priv, Update_priv,
           Delete_priv, Create_priv, Drop_priv, Reload_priv, Shutdown_priv, Process_priv, File_priv, Grant_priv, Super_priv,
           Repl_slave_priv, Repl_client_priv, Create_user_priv);
         SELECT JSON_ARRAY(Db) FROM mysql.db WHERE User = {user};"
    );
    let mut rights = Rights::default();
    for (database,) in server.rows::<(Option<String>,)>(&sql).await? {
        match database {
            Some(name) => rights.databases.push(name.replace("\\_", "_").replace("\\%", "%")),
            None => rights.global = true,
        }
    }
    Ok(rights)
}

/// Reads the accounts that have rights on a database, with the statements that make them.
pub(super) async fn recorded(server: &Server, database: &str) -> Result<Vec<UserRecord>> {
    let accounts = format!(
        "SELECT JSON_ARRAY(User, Host) FROM mysql.db WHERE {} LIKE Db AND User <> '' ORDER BY User, Host;",
        literal(database)
    );
    let mut users = Vec::new();
    for (user, host) in server.rows::<(String, String)>(&accounts).await? {
        let account = format!("{}@{}", literal(&user), literal(&host));
        let lines = server.lines(&format!("SHOW CREATE USER {account}; SHOW GRANTS FOR {account};")).await?;
        let (create, grants) = lines.into_iter().partition::<Vec<_>, _>(|l| l.starts_with("CREATE USER"));
        users.push(UserRecord { user, host, create: create.concat(), grants });
    }
    Ok(users)
}

/// Makes an account that may come from anywhere and do anything with its databases; replaces one of that name.
pub async fn create_user(server: &Server, new: &NewUser) -> Result<()> {
    let account = format!("{}@'%'", literal(&new.user));
    let grant =
        |database: &String| format!("GRANT ALL PRIVILEGES ON {}.* TO {account};", grantable(database));
    let sql = zeroize::Zeroizing::new(format!(
        "CREATE OR REPLACE USER {account} IDENTIFIED BY {};\n{}",
        literal(new.password.expose_secret()),
        new.databases.iter().map(grant).collect::<Vec<_>>().join("\n"),
    ));
    server.lines(&sql).await?;
    Ok(())
}

/// Gives an account that is there, and may come from anywhere, all rights on its databases; its password stays.
pub async fn let_in(server: &Server, new: &NewUser) -> Result<()> {
    let account = Account::from_anywhere(&new.user).quoted();
    let grant =
        |database: &String| format!("GRANT ALL PRIVILEGES ON {}.* TO {account};", grantable(database));
    let sql: Vec<String> = new.databases.iter().map(grant).collect();
    server.lines(&sql.join("\n")).await.map(drop)
}

/// An account: a name, and from where it may come.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Account {
    /// The name.
    pub user: String,
    /// From where.
    pub host: String,
}

impl Account {
    /// Names an account that may come from anywhere.
    pub fn from_anywhere(user: &str) -> Account {
        Account { user: user.to_owned(), host: "%".to_owned() }
    }

    /// Names a recorded account as it comes back: one address does not last.
    pub fn of(record: &UserRecord) -> Account {
        Account { user: record.user.clone(), host: lasting(&record.host).to_owned() }
    }

    /// Reads `user@host`.
    pub fn parse(text: &str) -> Option<Account> {
        text.rsplit_once('@').map(|(user, host)| Account { user: user.into(), host: host.into() })
    }

    fn quoted(&self) -> String {
        format!("{}@{}", literal(&self.user), literal(&self.host))
    }
}

/// Returns those accounts that the server does not have, each once.
pub async fn missing(server: &Server, accounts: &[Account]) -> Result<Vec<Account>> {
    let mut missing = Vec::new();
    for account in accounts {
        let (user, host) = (literal(&account.user), literal(&account.host));
        let sql =
            format!("SELECT JSON_ARRAY(COUNT(*)) FROM mysql.user WHERE User = {user} AND Host = {host};");
        let there = server.rows::<(u64,)>(&sql).await?.first().is_some_and(|(n,)| *n > 0);
        if !there && !missing.contains(account) {
            missing.push(account.clone());
        }
    }
    Ok(missing)
}

/// Drops accounts; those that are not there count as dropped.
pub async fn drop_accounts(server: &Server, accounts: &[Account]) -> Result<()> {
    for account in accounts {
        server.lines(&format!("DROP USER IF EXISTS {};", account.quoted())).await?;
    }
    Ok(())
}

/// Lets in whoever shall use a database that is to take another's place: who has rights on `old` gets the same on `new`,
/// and recorded accounts that are not there are made, with their rights on `from` now on `new`.
///
/// No account that is there loses a right or changes its password.
pub async fn admit(
    server: &Server,
    users: &[UserRecord],
    from: &str,
    old: Option<&str>,
    new: &str,
) -> Result<()> {
    let mut all = Vec::new();
    if let Some(old) = old.filter(|old| *old != new) {
        for living in recorded(server, old).await? {
            let moved = living.grants.iter().map(|grant| (grant, moved_to(grant, old, new)));
            all.extend(moved.filter(|(grant, moved)| *grant != moved).map(|(_, moved)| format!("{moved};")));
        }
    }
    for user in users {
        let account = Account::of(user);
        if missing(server, std::slice::from_ref(&account)).await?.is_empty() {
            let on_it = user.grants.iter().filter(|grant| names(grant, from));
            all.extend(on_it.map(|grant| format!("{};", at_host(&moved_to(grant, from, new), user))));
        } else {
            all.extend(
                statements(user, from, &[new])
                    .into_iter()
                    .map(|s| s.replacen("CREATE OR REPLACE", "CREATE", 1)),
            );
        }
    }
    if !all.is_empty() {
        server.lines(&all.join("\n")).await?;
    }
    Ok(())
}

/// Tells whether a GRANT is about a database.
fn names(grant: &str, database: &str) -> bool {
    [grantable(database), identifier(database)].iter().any(|name| grant.contains(&format!(" ON {name}.")))
}

/// Returns an account's place, where one address becomes all.
fn lasting(host: &str) -> &str {
    if host.parse::<IpAddr>().is_ok() { "%" } else { host }
}

/// Returns a statement about a recorded account as one about the account that it comes back as.
fn at_host(statement: &str, record: &UserRecord) -> String {
    let account = |host: &str| format!("{}@{}", identifier(&record.user), identifier(host));
    statement.replacen(&account(&record.host), &account(lasting(&record.host)), 1)
}

/// Makes recorded accounts again, with their passwords and with their rights on `from` now on each of `databases`.
///
/// One that could only come from one address may come from anywhere: a container's address does not last.
pub async fn recreate_users(
    server: &Server,
    users: &[UserRecord],
    from: &str,
    databases: &[&str],
) -> Result<()> {
    let statements: Vec<String> = users.iter().flat_map(|user| statements(user, from, databases)).collect();
    if !statements.is_empty() {
        server.lines(&statements.join("\n")).await?;
    }
    Ok(())
}

fn statements(record: &UserRecord, from: &str, databases: &[&str]) -> Vec<String> {
    let moved = |statement: &str| at_host(statement, record);
    let mut all =
        vec![format!("{};", moved(&record.create).replacen("CREATE USER", "CREATE OR REPLACE USER", 1))];
    for grant in &record.grants {
        let grant = moved(grant);
        let mut on_each: Vec<String> = databases.iter().map(|to| moved_to(&grant, from, to)).collect();
        on_each.dedup();
        all.extend(on_each.into_iter().map(|grant| format!("{grant};")));
    }
    all
}

/// Returns a GRANT with its rights on one database turned into rights on another; other rights stay.
fn moved_to(grant: &str, from: &str, database: &str) -> String {
    let mut grant = grant.to_owned();
    for old in [grantable(from), identifier(from)] {
        grant = grant.replacen(&format!(" ON {old}."), &format!(" ON {}.", grantable(database)), 1);
    }
    grant
}

/// Quotes a database for GRANT, where `_` and `%` would stand for other characters.
pub(super) fn grantable(database: &str) -> String {
    identifier(&database.replace('_', "\\_").replace('%', "\\%"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(host: &str) -> UserRecord {
        UserRecord {
            user: "_1a".into(),
            host: host.into(),
            create: format!("CREATE USER `_1a`@`{host}` IDENTIFIED BY PASSWORD '*HASH'"),
            grants: vec![
                format!("GRANT USAGE ON *.* TO `_1a`@`{host}` IDENTIFIED BY PASSWORD '*HASH'"),
                format!("GRANT ALL PRIVILEGES ON `_1a`.* TO `_1a`@`{host}`"),
                format!("GRANT SELECT ON `\\_1a`.* TO `_1a`@`{host}`"),
            ],
        }
    }

    #[test]
    fn an_account_bound_to_an_address_comes_back_for_every_address() {
        let all = statements(&record("172.18.0.5"), "_1a", &["_1a"]);
        assert_eq!(all[0], "CREATE OR REPLACE USER `_1a`@`%` IDENTIFIED BY PASSWORD '*HASH';");
        assert!(all.iter().all(|s| !s.contains("172.18.0.5")), "{all:?}");
        assert!(statements(&record("localhost"), "_1a", &["_1a"])[0].contains("`_1a`@`localhost`"));
    }

    #[test]
    fn rights_follow_the_database_to_its_new_name() {
        let all = statements(&record("%"), "_1a", &["new_db"]);
        assert_eq!(all[2], "GRANT ALL PRIVILEGES ON `new\\_db`.* TO `_1a`@`%`;");
        assert_eq!(all[3], "GRANT SELECT ON `new\\_db`.* TO `_1a`@`%`;");
        assert!(all[1].contains(" ON *.* "));
    }

    #[test]
    fn rights_on_two_databases_are_given_on_each_and_others_once() {
        let all = statements(&record("%"), "_1a", &["_1b", "_1a"]);
        assert_eq!(all.iter().filter(|s| s.contains(" ON *.* ")).count(), 1);
        for database in ["\\_1a", "\\_1b"] {
            assert!(
                all.contains(&format!("GRANT ALL PRIVILEGES ON `{database}`.* TO `_1a`@`%`;")),
                "{all:?}"
            );
        }
    }
}
