//! The database of a restore: loaded beside the old one, compared, and let in whoever shall use it.

use std::time::Duration;

use crate::component::fernet::FernetProof;
use crate::component::mariadb::{
    self, Account, Credentials, DatabaseRecord, LoadOptions, Loaded, NewUser, Server, SiteAccount,
};
use crate::component::site::SiteConfig;
use crate::error::{Error, Kind, Result, counted};
use crate::id::ComponentName;
use crate::ops::record::Envelope;

use super::apply::{Work, begin_part, clear_half};
use super::journal::{Event, Thing, ThingKind};
use super::part::{DatabasePart, Part};
use super::plan::names_it;
use super::stamp_of;

/// How long a fresh server may take until it answers.
const READY_LIMIT: Duration = Duration::from_secs(180);

/// A stamp's date and time, to the second: `20261123t020000`.
const STAMP_CHARS: usize = 15;

/// Loads the database under a name of its own; the site uses it once its configuration says so.
pub(super) async fn stage(work: &mut Work<'_>, envelope: &Envelope) -> Result<String> {
    let record: DatabaseRecord = envelope.own()?;
    let part = match work.story()?.whole("database") {
        Some(Part::Database(part)) => part.clone(),
        _ => load_anew(work, envelope, &record).await?,
    };
    let rows: u64 = record.tables.values().filter_map(|t| t.rows).sum();
    Ok(format!(
        "{}, {} in database {}, digest equal",
        counted(record.tables.len(), "table"),
        counted(rows, "row"),
        if part.renamed.is_some() { &record.database } else { &part.new }
    ))
}

async fn load_anew(
    work: &mut Work<'_>,
    envelope: &Envelope,
    record: &DatabaseRecord,
) -> Result<DatabasePart> {
    let server = server_of(work, envelope)?;
    server.docker.start(&server.container).await?;
    mariadb::wait_ready(&server, READY_LIMIT).await?;
    // First, so that what it lent counts as not there.
    clear_half(&work.run, "database").await?;
    let part = plan_part(work, &server, record).await?;
    begin_part(&work.run, Part::Database(part.clone())).await?;
    if part.new == record.database {
        // Without any table, as found above: an official image makes the database, empty, at its first start.
        mariadb::drop_database(&server, &part.new).await?;
    }
    let loaded = load(work, &server, record, &part).await?;
    let part = settle_way(work, &server, record, part, &loaded).await?;
    note_missing(work, &server, &record.users.iter().map(Account::of).collect::<Vec<_>>()).await?;
    let live = if part.renamed.is_some() { part.old.as_ref() } else { None }.unwrap_or(&part.new);
    mariadb::admit(&server, &record.users, &record.database, part.old.as_deref(), live).await?;
    if work.request.into.is_some() {
        mariadb::end_sessions(&server, &part.new).await?;
    }
    work.run.write(Event::Staged(Part::Database(part.clone())))?;
    Ok(part)
}

/// Returns the server that a database lived in, or lives in now.
pub(super) fn server_of(work: &Work<'_>, envelope: &Envelope) -> Result<Server> {
    let spec = envelope.container_of(ComponentName::Database)?;
    Ok(Server {
        docker: work.run.docker.clone(),
        container: work.naming.container(&spec.name),
        credentials: Credentials::Container,
    })
}

/// Finds out which database the site uses, what the new one is called, and how they change places.
async fn plan_part(work: &Work<'_>, server: &Server, record: &DatabaseRecord) -> Result<DatabasePart> {
    // Of this try: a client that outlived an earlier one must not find a database of the name that it loads into.
    let stamp = stamp_of(work.appliance.around.now());
    let site = super::files::living_config(work).await?;
    let mut old = None;
    let named = site.as_ref().and_then(SiteConfig::db_name).map(str::to_owned);
    for name in named.into_iter().chain([record.database.clone()]) {
        if old.is_none() && mariadb::has_tables(server, &name).await? {
            old = Some(name);
        }
    }
    let points = site.is_some() || work.envelope(ComponentName::Files)?.is_some();
    let moves = old.is_some() && (!points || named_by_operator(work));
    let renamed = old.as_ref().filter(|_| moves).map(|old| dated(old, "_before_", &stamp));
    let free = !mariadb::has_tables(server, &record.database).await?;
    let new = match &old {
        // Under its recorded name, where that is free: what names it in its body then means itself.
        _ if free && !moves => record.database.clone(),
        Some(old) => dated(old, "_r", &stamp),
        None => record.database.clone(),
    };
    let own = old.as_ref().is_some_and(|old| undated(old) == undated(&record.database));
    let definers: Vec<Account> = record.definers.iter().filter_map(|d| Account::parse(&d.account)).collect();
    let lent = mariadb::missing(server, &definers).await?;
    let container = server.container.clone();
    Ok(DatabasePart { container, old, new, renamed, own, lent })
}

/// Tells whether the tenant's file on this host names the database, so that the site's configuration does not decide.
fn named_by_operator(work: &Work<'_>) -> bool {
    let tenant = work.appliance.config.tenant(work.request.target()).ok();
    tenant.and_then(|t| t.database.on()).is_some_and(|d| d.name.is_some())
}

/// Decides how old and new change places, now that both can be looked at, and tells of what names its database.
async fn settle_way(
    work: &mut Work<'_>,
    server: &Server,
    record: &DatabaseRecord,
    mut part: DatabasePart,
    loaded: &Loaded,
) -> Result<DatabasePart> {
    if let (Some(old), Some(_)) = (&part.old, &part.renamed) {
        let fixed = match mariadb::refuse_immovable(server, old).await {
            Ok(()) => mariadb::refuse_immovable(server, &part.new).await.err(),
            Err(e) => Some(e),
        };
        if let Some(e) = fixed {
            if super::files::living_config(work).await?.is_none() && !work.request.wants(ComponentName::Files)
            {
                return Err(
                    e.hint("restore database and files together: the site then names the new database")
                );
            }
            work.tell(format!(
                "database {} keeps its name, for views and the like cannot be moved: write name = \"{0}\" below [database] in \
                 tenants/{}.toml",
                part.new,
                work.request.target()
            ));
            part.renamed = None;
        }
    }
    let live = if part.renamed.is_some() { part.old.as_ref() } else { Some(&part.new) };
    if live.is_some_and(|live| *live != record.database) && !loaded.names_dumped.is_empty() {
        // Before the site is pointed to it.
        work.tell(format!("{} {}", loaded.names_dumped.join(", "), names_it(&record.database)));
    }
    if part.renamed.is_none() && part.old.is_some() {
        work.notes.push(format!("the site now uses database {}", part.new));
    }
    Ok(part)
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
pub(super) fn undated(name: &str) -> &str {
    let is_stamp = |s: &str| s.len() == STAMP_CHARS && s.bytes().all(|b| b.is_ascii_digit() || b == b't');
    let of = |word: &str| name.rsplit_once(word).filter(|(_, end)| is_stamp(end)).map(|(plain, _)| plain);
    of("_before_").or_else(|| of("_r")).unwrap_or(name)
}

/// Loads the dump into a new database and compares it with what was recorded.
async fn load(
    work: &mut Work<'_>,
    server: &Server,
    record: &DatabaseRecord,
    part: &DatabasePart,
) -> Result<Loaded> {
    let source = work.stream(ComponentName::Database, mariadb::STREAM)?;
    work.lent = Some((server.clone(), mariadb::lend(server, &part.new, &record.definers).await));
    let loaded = mariadb::load(server, &part.new, source, &LoadOptions::of(record)).await;
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

/// Writes down those accounts that are not there and are about to be made.
async fn note_missing(work: &Work<'_>, server: &Server, accounts: &[Account]) -> Result<()> {
    for account in mariadb::missing(server, accounts).await? {
        work.run.write(Event::Making(Thing {
            kind: ThingKind::Account,
            name: format!("{}@{}", account.user, account.host),
            of: Some(server.container.clone()),
        }))?;
    }
    Ok(())
}

/// Makes the account that the site logs in with, able to come from any container, or lets the one that is there in.
///
/// The site's configuration names it, which the tenant may write: an account with other rights than those on the site's own
/// databases is let in only for whoever knows its password.
pub(super) async fn ensure_site_user(work: &mut Work<'_>, server: &Server, user: NewUser) -> Result<()> {
    let account = SiteAccount { user: user.user.clone(), password: user.password.clone() };
    let own = |database: &String| user.databases.iter().any(|o| undated(o) == undated(database));
    let rights = mariadb::rights_of(server, &user.user).await?;
    let others = rights.global || !rights.databases.iter().all(own);
    let anywhere = [Account::from_anywhere(&user.user)];
    let there = mariadb::missing(server, &anywhere).await?.is_empty();
    let known = (others || there) && mariadb::proves_password(server, &account).await?;
    if others && !known {
        let what = format!("site_config.json names account {}, which others use too", user.user);
        return Err(Error::new(Kind::Denied, what).hint(
            "its password there is not the account's: correct db_user and db_password in the site's site_config.json, or \
             find out who changed them",
        ));
    }
    if there && known {
        // What it has stays as it was given, so that an undo has nothing to find.
        let lacks = user.databases.iter().filter(|d| !rights.databases.contains(d)).cloned().collect();
        return mariadb::let_in(server, &NewUser { databases: lacks, ..user }).await;
    }
    if there {
        work.notes
            .push(format!("account {} has the password now that the site's configuration names", user.user));
    }
    note_missing(work, server, &anywhere).await?;
    mariadb::create_user(server, &user).await
}

/// Fails where the site's `encryption_key` would not open the secrets in the database that it is to be used with, unless that
/// was so before.
pub(super) async fn prove_key(
    work: &mut Work<'_>,
    config: &SiteConfig,
    living: Option<&SiteConfig>,
) -> Result<()> {
    let Some(envelope) = work.recorded(ComponentName::Database)? else { return Ok(()) };
    let server = server_of(work, &envelope)?;
    let (database, known) = match work.story()?.whole("database") {
        Some(Part::Database(part)) => (part.new.clone(), envelope.own::<DatabaseRecord>()?.fernet),
        _ => {
            let Some(database) = config.db_name().map(str::to_owned) else { return Ok(()) };
            if !server.docker.state(&server.container).await?.is_some_and(|s| s.is_running()) {
                return Ok(());
            }
            let key = living.and_then(SiteConfig::encryption_key);
            let known = mariadb::prove_encryption_key(&server, &database, key.as_ref()).await?;
            (database, known)
        }
    };
    let good =
        |proof: &FernetProof| matches!(proof, FernetProof::Proven { .. } | FernetProof::NothingToProve);
    let key = config.encryption_key();
    let proof = mariadb::prove_encryption_key(&server, &database, key.as_ref()).await?;
    let (failed, rows) = match proof {
        FernetProof::Proven { .. } | FernetProof::NothingToProve => return Ok(()),
        FernetProof::Mismatch { failed, rows } => (failed, rows),
        FernetProof::KeyMissing { rows } => (rows, rows),
    };
    let said = format!("the encryption_key does not open {failed} of {rows} secrets in database {database}");
    if !good(&known) {
        work.tell(format!("{said}; it did not before either"));
        return Ok(());
    }
    Err(Error::new(Kind::CheckFailed, said).hint("restore database and files of one snapshot together"))
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
