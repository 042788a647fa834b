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
const STATUS: &str = r#"exec "$client" --user="$user" --batch --raw --execute='SHOW ALL SLAVES STATUS\G'"#;

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

/// Looks how a server follows another.
pub async fn following(replica: &Server) -> Result<Following> {
    let answer = replica.run::<&str>(STATUS, [], "").await?;
    Ok(read_status(&answer))
}

fn read_status(answer: &str) -> Following {
    let field = |name: &str| {
        answer.lines().find_map(|l| l.trim_start().strip_prefix(name)?.strip_prefix(':').map(str::trim))
    };
    // A copy begins by naming the position; until it has ended there is nobody to follow.
    let host = field("Master_Host").unwrap_or_default();
    let Some(io) = field("Slave_IO_Running").filter(|_| !host.is_empty()) else { return Following::Nothing };
    let faults = ["Last_IO_Error", "Last_SQL_Error"].iter().filter_map(|name| field(name));
    let fault = faults.filter(|t| !t.is_empty()).collect::<Vec<&str>>().join("; ");
    let sql = field("Slave_SQL_Running").unwrap_or_default();
    match field("Seconds_Behind_Master").and_then(|t| t.parse().ok()) {
        Some(seconds) if io == "Yes" && sql == "Yes" => Following::Behind(seconds),
        _ if fault.is_empty() => Following::Broken(format!("reading {io}, applying {sql}")),
        _ => Following::Broken(fault),
    }
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
        assert_eq!(read_status(""), Following::Nothing);
        let good = "  Master_Host: acme-db\n  Slave_IO_Running: Yes\n  Slave_SQL_Running: Yes\n  Seconds_Behind_Master: 3\n  Last_IO_Error: \n";
        assert_eq!(read_status(good), Following::Behind(3));
        assert_eq!(read_status(&good.replace("acme-db", "")), Following::Nothing);
        let stopped = good.replace("SQL_Running: Yes", "SQL_Running: No").replace("3\n", "NULL\n");
        assert_eq!(read_status(&stopped), Following::Broken("reading Yes, applying No".into()));
        let denied = stopped.replace("Last_IO_Error: ", "Last_IO_Error: access denied");
        assert_eq!(read_status(&denied), Following::Broken("access denied".into()));
    }
}
