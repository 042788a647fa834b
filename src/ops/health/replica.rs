//! A database server that follows another: whether it does, how far it is behind, and why not.

use crate::component::mariadb::{self, Replication, Server};
use crate::config::Database;
use crate::ops::backup;

use super::pace::within;
use super::{Area, Check, Round, State};

const AREA: Area = Area::Database;
const NAME: &str = "replica";

/// From this lag on, in seconds; a night's long statement may take a minute there too.
const BEHIND_S: u64 = 60;
const FAR_BEHIND_S: u64 = 600;

/// Looks at the replica that `[size]` asks for.
pub(super) async fn look(round: &Round<'_>, part: &Database, container: &str) -> Check {
    let docker = match round.running(AREA, NAME, container).await {
        Ok(docker) => docker.clone(),
        Err(check) => return check,
    };
    let credentials = match backup::credentials(&part.login) {
        Ok(credentials) => credentials,
        Err(e) => return Check::of_error(AREA, NAME, State::Failed, &e),
    };
    let server = Server { docker, container: container.to_owned(), credentials };
    let asked = mariadb::replication(&server, round.limits.probe);
    match within(round.limits.probe, &server, asked).await {
        Ok(Some(seen)) => judge(container, &seen),
        Ok(None) => {
            let reason = format!("the server in container {container} is to be a replica, and follows none");
            Check::new(AREA, NAME, State::Failed, reason)
                .advise("`lifeboat provision TENANT --apply` fills it and makes it follow")
        }
        Err(e) => Check::of_error(AREA, NAME, State::Failed, &e),
    }
}

/// Judges what a replica says of itself.
pub(super) fn judge(container: &str, seen: &Replication) -> Check {
    let what = format!("the replica in container {container}");
    let source = &seen.source;
    if let Some(why) = seen.broken() {
        return Check::new(AREA, NAME, State::Failed, format!("{what} does not follow {source}: {why}")).advise(
            "`lifeboat provision TENANT --apply` makes it go on; if it cannot, replica = false, --apply, then true and --apply make it anew",
        );
    }
    let behind = seen.behind_seconds.unwrap_or_default();
    if behind >= BEHIND_S {
        let state = if behind >= FAR_BEHIND_S { State::Failed } else { State::Warning };
        return Check::new(AREA, NAME, state, format!("{what} is {behind} s behind {source}"))
            .advise("a long statement or a slow disk holds it up: SHOW FULL PROCESSLIST in its container; backups from it are as old");
    }
    if !seen.read_only {
        return Check::new(AREA, NAME, State::Warning, format!("{what} takes writes of others too")).advise(
            "SET GLOBAL read_only = 1: what is written there parts it from the server that it follows",
        );
    }
    if seen.gtid_mode.eq_ignore_ascii_case("no") {
        return Check::new(
            AREA,
            NAME,
            State::Warning,
            format!("{what} follows {source} by file and position"),
        )
        .advise("CHANGE MASTER TO MASTER_USE_GTID = slave_pos, so that it finds its place after a restore");
    }
    Check::new(
        AREA,
        NAME,
        State::Ok,
        format!("{what} follows {source} by GTID ({}), {behind} s behind", seen.gtid),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn well() -> Replication {
        Replication {
            source: "acme-db".into(),
            receives: "Yes".into(),
            applies: "Yes".into(),
            behind_seconds: Some(0),
            gtid_mode: "Slave_Pos".into(),
            gtid: "0-1-42".into(),
            read_only: true,
            fault: String::new(),
        }
    }

    #[test]
    fn a_replica_is_judged_by_its_lag_and_named_with_the_cause_where_it_stands_still() {
        let state = |seen: Replication| judge("acme-db-replica", &seen).state;
        assert_eq!(state(well()), State::Ok);
        assert!(judge("acme-db-replica", &well()).reason.contains("0-1-42"));
        assert_eq!(state(Replication { behind_seconds: Some(75), ..well() }), State::Warning);
        assert_eq!(state(Replication { behind_seconds: Some(700), ..well() }), State::Failed);
        assert_eq!(state(Replication { read_only: false, ..well() }), State::Warning);
        assert_eq!(state(Replication { gtid_mode: "No".into(), ..well() }), State::Warning);
        let stopped =
            Replication { applies: "No".into(), behind_seconds: None, fault: "error 1062".into(), ..well() };
        let check = judge("acme-db-replica", &stopped);
        assert_eq!(check.state, State::Failed);
        assert!(check.reason.contains("error 1062") && check.reason.contains("applying No"), "{check:?}");
        // Whoever is behind and stands still stands still.
        let both = Replication { receives: "Connecting".into(), behind_seconds: None, ..well() };
        assert!(judge("x", &both).reason.contains("receiving Connecting"));
    }
}
