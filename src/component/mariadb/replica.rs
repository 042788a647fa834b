//! A second server that follows the first: GTID, read-only.
//!
//! Source: MariaDB's `CHANGE MASTER TO`, `SHOW SLAVE STATUS` and `mariadb-dump --master-data=1 --gtid`. The copy goes straight
//! from server to server within the replica's container, so that no plaintext touches this host's disk.

use std::time::Duration;

use super::connect::literal;
use super::{Server, fault};
use crate::error::Result;

/// How long the copy for a new replica may take.
const COPY_LIMIT: Duration = Duration::from_secs(6 * 3600);

/// Copies all databases of the server `$1` into the one of this container; a dump without its last line is none.
const COPY: &str = r#"
set -e
# What a run that was killed left at work; the client behind it ends with it.
for p in /proc/[0-9]*; do
  case $(cat "$p/comm" 2>/dev/null) in mariadb-dump|mysqldump) kill -KILL "${p#/proc/}" || true ;; esac
done
fifo=$(mktemp -u)
mkfifo -m 600 "$fifo"
trap 'rm -f "$fifo"' EXIT
dump=$(command -v mariadb-dump || command -v mysqldump)
"$dump" --no-defaults --host="$1" --user=root --all-databases --single-transaction --quick --routines --events \
  --triggers --flush-privileges --master-data=1 --gtid --hex-blob >"$fifo" &
pid=$!
"$client" --no-defaults --user="$user" <"$fifo"
wait "$pid"
"#;

/// Prints each field of the status on a line with its name, which versions order differently.
const STATUS: &str = r#"exec "$client" --user="$user" --batch --raw \
  --execute='SELECT @@global.read_only AS Takes_No_Writes\G SHOW ALL SLAVES STATUS\G'"#;

/// How long a look at it may take where a server is no more than asked.
pub(super) const LOOK_LIMIT: Duration = Duration::from_secs(20);

/// How a server follows another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Following {
    /// It follows none.
    Nothing,
    /// It should, and does not, for this reason.
    Broken(String),
    /// It does, so many seconds behind.
    Behind(u64),
}

/// What a server says of the one that it follows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Replication {
    /// The server that it follows.
    pub source: String,
    /// Whether it receives changes, by the server's word: `Yes`, `No`, `Connecting`, `Preparing`.
    pub receives: String,
    /// Whether it makes them too: `Yes` or `No`.
    pub applies: String,
    /// How far it is behind, in seconds; none where the server does not know, as where either stands still.
    pub behind_seconds: Option<u64>,
    /// By what it knows its place: `Slave_Pos`, `Current_Pos`, or `No` for a file and a position in it.
    pub gtid_mode: String,
    /// The last change that it made, as a GTID.
    pub gtid: String,
    /// Whether it takes writes from nobody but that server.
    pub read_only: bool,
    /// What went wrong last, without any row's data; empty where nothing did.
    pub fault: String,
}

impl Replication {
    /// Says why it does not follow, where it does not.
    pub fn broken(&self) -> Option<String> {
        let runs = self.receives == "Yes" && self.applies == "Yes" && self.behind_seconds.is_some();
        if runs {
            return None;
        }
        let threads = format!("receiving {}, applying {}", self.receives, self.applies);
        Some(if self.fault.is_empty() { threads } else { format!("{} ({threads})", self.fault) })
    }
}

/// Looks how a server follows another; within `limit`, after which the client ends too. None where it follows none.
pub async fn replication(server: &Server, limit: Duration) -> Result<Option<Replication>> {
    Ok(read_status(&server.run_within(STATUS, "", limit).await?))
}

/// The same, as far as whoever makes it follow must know.
pub async fn following(replica: &Server) -> Result<Following> {
    Ok(match replication(replica, LOOK_LIMIT).await? {
        None => Following::Nothing,
        Some(seen) => match (seen.broken(), seen.behind_seconds) {
            (None, Some(seconds)) => Following::Behind(seconds),
            (why, _) => Following::Broken(why.unwrap_or_default()),
        },
    })
}

fn read_status(answer: &str) -> Option<Replication> {
    let field = |name: &str| {
        answer.lines().find_map(|l| l.trim_start().strip_prefix(name)?.strip_prefix(':').map(str::trim))
    };
    let text = |name: &str| field(name).unwrap_or_default().to_owned();
    let receives = field("Slave_IO_Running")?.to_owned();
    // A copy begins by naming the position; until it has ended there is nobody to follow.
    let source = field("Master_Host").filter(|host| !host.is_empty())?.to_owned();
    // What the change says that cannot be made may quote a row: its number must do.
    let applying = field("Last_SQL_Errno").filter(|n| *n != "0" && !n.is_empty());
    let faults = [
        field("Last_IO_Error").unwrap_or_default().to_owned(),
        applying.map_or_else(String::new, |n| format!("error {n} in a change that it was to make")),
    ];
    Some(Replication {
        source,
        receives,
        applies: text("Slave_SQL_Running"),
        behind_seconds: field("Seconds_Behind_Master").and_then(|t| t.parse().ok()),
        gtid_mode: text("Using_Gtid"),
        gtid: text("Gtid_Slave_Pos"),
        read_only: field("Takes_No_Writes") == Some("1"),
        fault: faults.into_iter().filter(|t| !t.is_empty()).collect::<Vec<String>>().join("; "),
    })
}

/// Lets a server take writes that was started as a replica: a copy of one follows nobody.
pub async fn take_writes(server: &Server) -> Result<()> {
    server.lines("SET GLOBAL read_only = 0;").await.map(drop)
}

/// Makes a server that knows whom to follow do so again.
pub async fn resume(replica: &Server) -> Result<()> {
    replica.lines("START SLAVE;").await.map(drop)
}

/// Makes an account that a replica may follow by; one that is there gets this password.
pub async fn allow_replica(first: &Server, user: &str, password: &str) -> Result<()> {
    let (user, password) = (literal(user), literal(password));
    let sql = format!(
        "CREATE USER IF NOT EXISTS {user}@'%'; ALTER USER {user}@'%' IDENTIFIED BY {password}; \
         GRANT REPLICATION SLAVE ON *.* TO {user}@'%';"
    );
    first.lines(&sql).await.map(drop)
}

/// Removes that account.
pub async fn refuse_replica(first: &Server, user: &str) -> Result<()> {
    first.lines(&format!("DROP USER IF EXISTS {}@'%';", literal(user))).await.map(drop)
}

/// Fills an empty server from another and makes it follow from there on; both have the same `root` password.
pub async fn follow(replica: &Server, host: &str, user: &str, password: &str) -> Result<()> {
    let exec = replica.exec(COPY, [host]).await?;
    let mut output = exec.output;
    drop(exec.input);
    let copied = async {
        while output.next().await?.is_some() {}
        output.exit().await
    };
    let exit = tokio::time::timeout(COPY_LIMIT, copied).await.unwrap_or_else(|_| {
        Err(crate::error::Error::new(
            crate::error::Kind::Timeout,
            format!("{replica}: the copy does not end"),
        ))
    })?;
    if exit.code != 0 {
        return Err(fault::of(&exit, replica));
    }
    let sql = format!(
        "CHANGE MASTER TO MASTER_HOST={}, MASTER_USER={}, MASTER_PASSWORD={}, MASTER_USE_GTID=slave_pos, \
         MASTER_CONNECT_RETRY=10; START SLAVE;",
        literal(host),
        literal(user),
        literal(password),
    );
    replica.lines(&sql).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_that_stopped_is_not_taken_for_one_that_follows() {
        let alone = "*** 1. row ***\nTakes_No_Writes: 0\n";
        assert_eq!(read_status(alone), None);
        let good = "Takes_No_Writes: 1\n  Master_Host: acme-db\n  Slave_IO_Running: Yes\n  Slave_SQL_Running: Yes\n  \
                    Seconds_Behind_Master: 3\n  Last_IO_Error: \n  Using_Gtid: Slave_Pos\n  Gtid_Slave_Pos: 0-1-42\n";
        let seen = read_status(good).unwrap();
        assert_eq!((seen.broken(), seen.behind_seconds, seen.read_only), (None, Some(3), true));
        assert_eq!((seen.source.as_str(), seen.gtid.as_str()), ("acme-db", "0-1-42"));
        assert_eq!(read_status(&good.replace("acme-db", "")), None);
        let broken = |text: &str| read_status(text).unwrap().broken().unwrap();
        let stopped = good.replace("SQL_Running: Yes", "SQL_Running: No").replace("3\n", "NULL\n");
        assert_eq!(broken(&stopped), "receiving Yes, applying No");
        let denied = stopped.replace("Last_IO_Error: ", "Last_IO_Error: access denied");
        assert_eq!(broken(&denied), "access denied (receiving Yes, applying No)");
        let torn = stopped
            + "  Last_SQL_Errno: 1062\n  Last_SQL_Error: Duplicate entry 'ann@acme.example' for key\n";
        let said = broken(&torn);
        assert!(said.starts_with("error 1062 in a change") && !said.contains("ann@"), "{said}");
        // Both threads at work and no lag known: it has yet to hear from the first server.
        assert_eq!(broken(&good.replace("3\n", "NULL\n")), "receiving Yes, applying Yes");
    }
}
