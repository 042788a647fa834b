//! Accounts: what is recorded of them, and how they come back.

use std::net::IpAddr;

use secrecy::{ExposeSecret, SecretString};

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
    let account = |host: &str| format!("{}@{}", identifier(&record.user), identifier(host));
    let host = if record.host.parse::<IpAddr>().is_ok() { "%" } else { &record.host };
    let moved = |statement: &str| statement.replacen(&account(&record.host), &account(host), 1);
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
