//! The database of a restore: loaded under a staging name, compared, then put in its place.

use std::time::Duration;

use crate::component::mariadb::{
    self, Credentials, DatabaseRecord, LoadOptions, Loaded, NewUser, Server, SiteAccount,
};
use crate::error::{Error, Kind, Result, counted};
use crate::id::ComponentName;
use crate::ops::record::Envelope;

use super::apply::Work;
use super::plan::names_it;

/// How long a fresh server may take until it answers.
const READY_LIMIT: Duration = Duration::from_secs(180);

/// A stamp's date and time, to the second: `20261123t020000`.
const STAMP_CHARS: usize = 15;

/// Loads the database and puts it in its place; what was there is kept in a database with a dated name.
pub(super) async fn restore(work: &mut Work<'_>, envelope: &Envelope) -> Result<String> {
    let record: DatabaseRecord = envelope.own()?;
    let spec = envelope.container_of(ComponentName::Database)?;
    let server = Server {
        docker: work.docker.clone(),
        container: work.naming.container(&spec.name),
        credentials: Credentials::Container,
    };
    server.docker.start(&server.container).await?;
    mariadb::wait_ready(&server, READY_LIMIT).await?;

    let there = mariadb::has_tables(&server, &record.database).await?;
    let name = match there {
        true => dated(&record.database, "_r", &work.stamp),
        // An official image makes the database, empty, at its first start.
        false => record.database.clone(),
    };
    if !there {
        mariadb::drop_database(&server, &name).await?;
    }
    work.staged_database = Some((server.clone(), name.clone()));
    let loaded = load(work, &server, &record, &name).await?;
    let unbroken = work.unbroken().await;
    let live = if there { take_place(work, &server, &record, &name).await? } else { name };
    if live != record.database && !loaded.names_dumped.is_empty() {
        // Before the site is pointed to it.
        let note = format!("{} {}", loaded.names_dumped.join(", "), names_it(&record.database));
        work.appliance.around.monitor.note(&note);
        work.notes.push(note);
    }
    // Until the site's configuration names the new database, the site goes on with the old one.
    mariadb::recreate_users(&server, &record.users, &record.database, &[&live, &record.database]).await?;
    if work.request.into.is_some() {
        mariadb::end_sessions(&server, &live).await?;
    }
    match live == record.database {
        true => work.staged_database = None,
        false => work.new_database = Some(live.clone()),
    }
    drop(unbroken);
    let rows: u64 = record.tables.values().filter_map(|t| t.rows).sum();
    Ok(format!(
        "{}, {} in database {live}, digest equal",
        counted(record.tables.len(), "table"),
        counted(rows, "row")
    ))
}

/// Names a database beside `base`: without the date of an earlier restore, and never longer than MariaDB takes.
fn dated(base: &str, word: &str, stamp: &str) -> String {
    /// MariaDB's limit, in characters.
    const LONGEST: usize = 64;
    let stamp = &stamp[..STAMP_CHARS];
    let room = LONGEST - word.len() - STAMP_CHARS;
    let plain: String = undated(base).chars().take(room).collect();
    format!("{plain}{word}{stamp}")
}

/// Returns a database's name without the date that a restore gave it.
fn undated(name: &str) -> &str {
    let is_stamp = |s: &str| s.len() == STAMP_CHARS && s.bytes().all(|b| b.is_ascii_digit() || b == b't');
    let of = |word: &str| name.rsplit_once(word).filter(|(_, end)| is_stamp(end)).map(|(plain, _)| plain);
    of("_before_").or_else(|| of("_r")).unwrap_or(name)
}

/// Loads the dump into a new database and compares it with what was recorded.
async fn load(work: &mut Work<'_>, server: &Server, record: &DatabaseRecord, name: &str) -> Result<Loaded> {
    let source = work.stream(ComponentName::Database, mariadb::STREAM)?;
    work.lent = Some((server.clone(), mariadb::lend(server, name, &record.definers).await));
    let loaded = mariadb::load(server, name, source, &LoadOptions::of(record)).await;
    work.take_back_lent().await;
    let loaded = loaded?;
    if loaded.scanned.body_sha256 != Some(record.body_sha256) {
        return Err(Error::new(Kind::Damaged, "what was loaded is not the dump that was recorded"));
    }
    if !loaded.orphans.is_empty() {
        let orphans: Vec<String> = loaded.orphans.iter().map(ToString::to_string).collect();
        work.notes.push(format!("objects whose definer does not exist here: {}", orphans.join(", ")));
    }
    Ok(loaded)
}

/// Moves what is there aside and the staged database into its place; returns the live database's name.
async fn take_place(
    work: &mut Work<'_>,
    server: &Server,
    record: &DatabaseRecord,
    staged: &str,
) -> Result<String> {
    let live = &record.database;
    let aside = dated(live, "_before_", &work.stamp);
    match mariadb::swap(server, live, staged, &aside).await {
        Ok(swapped) => {
            work.aside.push(format!(
                "{} in database {}",
                counted(swapped.moved_aside, "table"),
                swapped.aside
            ));
            Ok(live.clone())
        }
        Err(e) if e.kind() == Kind::Conflict => {
            work.why_new_database = e.to_string();
            Ok(staged.to_owned())
        }
        Err(e) => Err(e),
    }
}

/// Makes the account that the site logs in with, able to come from any container.
///
/// The site's configuration names it, which the tenant may write: an account with other rights than those on the site's own
/// databases is replaced only for whoever knows its password.
pub(super) async fn ensure_site_user(work: &Work<'_>, container: &str, user: NewUser) -> Result<()> {
    let server = Server {
        docker: work.docker.clone(),
        container: container.to_owned(),
        credentials: Credentials::Container,
    };
    let account = SiteAccount { user: user.user.clone(), password: user.password.clone() };
    let own = |database: &String| user.databases.iter().any(|o| undated(o) == undated(database));
    let rights = mariadb::rights_of(&server, &user.user).await?;
    let others = rights.global || !rights.databases.iter().all(own);
    if others && !mariadb::proves_password(&server, &account).await? {
        let what = format!("site_config.json names account {}, which others use too", user.user);
        return Err(Error::new(Kind::Denied, what).hint(
            "its password there is not the account's: correct db_user and db_password in the site's site_config.json, or \
             find out who changed them",
        ));
    }
    mariadb::create_user(&server, &user).await
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: &str = "20261123t131720z-660f612a";

    #[test]
    fn a_database_kept_aside_or_restored_belongs_to_the_one_it_came_from() {
        for dated in ["_f6_r20261123t131720", "_f6_before_20261123t131720", "_f6"] {
            assert_eq!(undated(dated), "_f6");
        }
        assert_eq!(undated("my_report"), "my_report");
    }

    #[test]
    fn databases_of_restore_after_restore_keep_one_date_and_fit() {
        let once = dated("_f6d1a2b3c4d5e6f7", "_r", STAMP);
        assert_eq!(once, "_f6d1a2b3c4d5e6f7_r20261123t131720");
        assert_eq!(dated(&once, "_r", "20261124t131733z-1"), "_f6d1a2b3c4d5e6f7_r20261124t131733");
        assert_eq!(dated("my_report", "_before_", STAMP), "my_report_before_20261123t131720");
        let long = "ü".repeat(64);
        assert_eq!(dated(&long, "_before_", STAMP).chars().count(), 64);
    }
}
