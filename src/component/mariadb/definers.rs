//! Accounts that views belong to, lent to a server while it loads them.
//!
//! A view over another view, or over a function, is loaded only where the definers of both may read; how the server
//! then writes it down depends on that too (MariaDB 10.11). A fresh server knows none of them, a new database's name none
//! of their rights.

use super::connect::literal;
use super::users::grantable;
use super::{DefinerRecord, Server};

/// What was made for the time of a load, to be taken back after it.
#[derive(Debug, Clone, Default)]
pub struct Lent {
    database: String,
    /// Accounts that were not there.
    made: Vec<String>,
    /// Accounts that were there and had no right of this kind.
    granted: Vec<String>,
}

impl Lent {
    /// Returns the accounts, as `user@host`, that were not there.
    pub fn made(&self) -> &[String] {
        &self.made
    }

    /// Takes everything back.
    pub async fn take_back(&mut self, server: &Server) {
        let all = self.made.clone();
        self.drop_made(server, &all).await;
        for account in std::mem::take(&mut self.granted) {
            let sql = format!("REVOKE ALL ON {}.* FROM {};", grantable(&self.database), quoted(&account));
            log(server.lines(&sql).await);
        }
    }

    /// Takes back the accounts that could not read where the dump was taken, so that a second dump is written as the first.
    pub async fn take_back_unable(&mut self, server: &Server, definers: &[DefinerRecord]) {
        let unable = definers.iter().filter(|d| !d.able).map(|d| d.account.clone()).collect::<Vec<_>>();
        self.drop_made(server, &unable).await;
    }

    async fn drop_made(&mut self, server: &Server, accounts: &[String]) {
        for account in accounts.iter().filter(|a| self.made.contains(*a)) {
            log(server.lines(&format!("DROP USER IF EXISTS {};", quoted(account))).await);
        }
        self.made.retain(|made| !accounts.contains(made));
    }
}

/// Makes the definers that are not there, locked, and gives all of them rights on `database`; what cannot be lent lets the
/// load go on without, and fail where it is needed.
pub async fn lend(server: &Server, database: &str, definers: &[DefinerRecord]) -> Lent {
    let mut lent = Lent { database: database.to_owned(), ..Lent::default() };
    for definer in definers {
        let Some((user, host)) = definer.account.rsplit_once('@') else { continue };
        let known = format!(
            "SELECT JSON_ARRAY((SELECT COUNT(*) FROM mysql.user WHERE User = {u} AND Host = {h}),
               (SELECT COUNT(*) FROM mysql.db WHERE User = {u} AND Host = {h} AND Db = {db}));",
            u = literal(user),
            h = literal(host),
            db = literal(&database.replace('_', "\\_").replace('%', "\\%")),
        );
        let account = quoted(&definer.account);
        let grant = format!("GRANT ALL PRIVILEGES ON {}.* TO {account};", grantable(database));
        let (sql, list) = match server.rows::<(u64, u64)>(&known).await.as_deref() {
            Ok([(0, _)]) => (format!("CREATE USER {account} ACCOUNT LOCK;\n{grant}"), &mut lent.made),
            Ok([(_, 0)]) => (grant, &mut lent.granted),
            _ => continue,
        };
        list.push(definer.account.clone());
        log(server.lines(&sql).await);
    }
    lent
}

fn quoted(account: &str) -> String {
    let (user, host) = account.rsplit_once('@').unwrap_or((account, "%"));
    format!("{}@{}", literal(user), literal(host))
}

fn log<T>(result: crate::error::Result<T>) {
    if let Err(e) = result {
        tracing::warn!(error = %e, "an account that a view belongs to");
    }
}
