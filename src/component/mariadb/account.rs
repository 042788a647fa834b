//! A site's own account: whether it may read the database that its configuration names.
//!
//! A dump by `root` could read any site's database, and the site's folder, which says which, belongs to the tenant. So
//! the name counts only for what the account in the same file may read with the password in the same file.

use secrecy::{ExposeSecret, SecretString};
use sha1::{Digest, Sha1};

use super::connect::literal;
use super::{Credentials, Server, preflight};
use crate::error::{Error, Kind, Result};

/// The account that a site's configuration names.
#[derive(Debug, Clone)]
pub struct SiteAccount {
    /// Its name.
    pub user: String,
    /// Its password.
    pub password: SecretString,
}

/// Fails with [`Kind::Denied`] unless the account may read the database with its own password.
///
/// It logs in from within the server's container. Where it may come from elsewhere only, as one that Frappe bound to an
/// application container's address, its recorded hash is compared instead, which the `server`'s credentials must allow.
pub async fn prove_readable(server: &Server, database: &str, account: &SiteAccount) -> Result<()> {
    let denied =
        || Error::new(Kind::Denied, format!("account {} may not read database `{database}`", account.user));
    match preflight::seen(&account.on(server), database).await {
        Ok(Some(facts)) if facts.lacking_rights.iter().all(|right| right != "SELECT") => Ok(()),
        // Without any right on it, the account does not see that it is there.
        Ok(_) => Err(denied()),
        Err(e) if e.kind() == Kind::Denied && known_by_hash(server, account, Some(database)).await => Ok(()),
        Err(e) if e.kind() == Kind::Denied => Err(denied()),
        Err(e) => Err(e),
    }
}

/// Tells whether the password is that of the account.
pub async fn proves_password(server: &Server, account: &SiteAccount) -> Result<bool> {
    match account.on(server).lines("DO 1;").await {
        Ok(_) => Ok(true),
        Err(e) if e.kind() == Kind::Denied => Ok(known_by_hash(server, account, None).await),
        Err(e) => Err(e),
    }
}

impl SiteAccount {
    /// Returns the server as this account sees it.
    fn on(&self, server: &Server) -> Server {
        let credentials = Credentials::Site { user: self.user.clone(), password: self.password.clone() };
        Server { credentials, ..server.clone() }
    }
}

/// Looks for an account of that name and password, from wherever it may come, that may read the database.
async fn known_by_hash(server: &Server, account: &SiteAccount, database: Option<&str>) -> bool {
    let reads = database.map_or("TRUE".to_owned(), |database| {
        format!(
            "u.Select_priv = 'Y' OR EXISTS (SELECT 1 FROM mysql.db d WHERE d.User = u.User AND d.Host = u.Host
               AND {} LIKE d.Db AND d.Select_priv = 'Y')",
            literal(database)
        )
    });
    let sql = format!(
        "SELECT JSON_ARRAY(COUNT(*)) FROM mysql.user u WHERE u.User = {} AND u.Password = {} AND ({reads});",
        literal(&account.user),
        literal(&native_hash(&account.password)),
    );
    match server.rows::<(u64,)>(&sql).await {
        Ok(rows) => rows.first().is_some_and(|(n,)| *n > 0),
        Err(e) => {
            tracing::debug!(error = %e, "the accounts of the server cannot be looked up");
            false
        }
    }
}

/// Returns a password as `mysql_native_password` keeps it: `*`, then SHA-1 of SHA-1 in capitals. The server could make it
/// too, but writes statements into its log.
fn native_hash(password: &SecretString) -> String {
    let twice = Sha1::digest(Sha1::digest(password.expose_secret().as_bytes()));
    format!("*{}", hex::encode_upper(twice))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_hashed_as_the_server_does() {
        // What MariaDB 10.11 answers to PASSWORD('y').
        assert_eq!(native_hash(&SecretString::from("y")), "*7446F64EFCFB1294A6DE20CAE7E49C2377A9AA25");
    }
}
