//! The stream `rdb`: one RDB file, as the server sends it to a replica.
//!
//! Writes no file in the container and changes nothing of the server's, where `BGSAVE` would leave an RDB that a cache
//! without persistence would load at its next start. The client adds the 40 bytes that ended the transfer to
//! what it prints; it says how long the file is, so they are taken off, and a short file is found out.

use bytes::{Bytes, BytesMut};

use super::Server;
use super::dump::Sending;
use super::look::{Look, Queue};
use crate::error::{Error, Kind, Result};
use crate::host::{Exec, Exit};

const RDB: &str = include_str!("rdb.sh");

/// The random bytes that end a transfer of unknown length.
const EOF_MARK_BYTES: usize = 40;

/// An RDB ends with the byte 255 and the CRC-64 of what was before.
const RDB_END_BYTES: usize = 9;

/// An RDB on its way, and what was counted just before and just after its instant.
pub(super) struct Transfer {
    exec: Exec,
    first: Bytes,
    pub before: Look,
    pub after: Look,
}

/// Starts a transfer and waits for its first bytes: by then the server has forked.
pub(super) async fn start(server: &Server, queues: &[Queue], to: &Sending) -> Result<Transfer> {
    let before = server.look(queues).await?;
    let mut exec = server.exec::<&str>(RDB, []).await?;
    let first = match to.watch(exec.output.next()).await? {
        Some(bytes) => bytes,
        None => return Err(failed(server, &exec.output.exit().await?)),
    };
    let after = server.look(queues).await?;
    Ok(Transfer { exec, first, before, after })
}

impl Transfer {
    /// Returns how many keys and items were changed between the two counts, at most; keys whose time was up are
    /// not counted.
    pub(super) fn changes(&self) -> u64 {
        let more = |name: &str| self.after.number(name).checked_sub(self.before.number(name));
        let saved = self.before.text("rdb_last_save_time") != self.after.text("rdb_last_save_time");
        match (more("rdb_changes_since_last_save"), more("evicted_keys")) {
            (Some(written), Some(evicted)) if !saved => written.saturating_add(evicted),
            // Another save has put the counter back.
            _ => u64::MAX,
        }
    }

    /// Sends the file, reads the client's end, and is content only when every byte came.
    pub(super) async fn send(self, server: &Server, to: &mut Sending) -> Result<()> {
        let Exec { input, mut output } = self.exec;
        let mut held = BytesMut::from(&self.first[..]);
        let mut sent = 0u64;
        // Of the end it is not known yet whether it belongs to the file.
        let keep = EOF_MARK_BYTES + RDB_END_BYTES;
        loop {
            if held.len() > keep {
                let part = held.split_to(held.len() - keep);
                sent += part.len() as u64;
                to.bytes(&part).await?;
            }
            match to.watch(output.next()).await? {
                Some(bytes) => held.extend_from_slice(&bytes),
                None => break,
            }
        }
        let exit = output.exit().await?;
        // The client watched its stdin until here.
        drop(input);
        if exit.code != 0 {
            return Err(failed(server, &exit));
        }
        let end = end(&held, sent, announced(&exit.stderr));
        let end =
            end.ok_or_else(|| Error::new(Kind::Source, format!("{server}: its RDB did not come whole")))?;
        to.bytes(end).await
    }
}

/// Returns what of the last bytes belongs to a file of this size; nothing where the file is not whole.
fn end(held: &[u8], sent: u64, size_bytes: Option<u64>) -> Option<&[u8]> {
    let kept = usize::try_from(size_bytes?.checked_sub(sent)?).ok()?;
    let beyond = held.len().checked_sub(kept)?;
    let whole = (beyond == 0 || beyond == EOF_MARK_BYTES) && kept >= RDB_END_BYTES;
    (whole && held[kept - RDB_END_BYTES] == 0xff).then_some(&held[..kept])
}

/// Reads the size that the client states, before the transfer or after it.
fn announced(stderr: &str) -> Option<u64> {
    let number = |text: &str| text.split_whitespace().next()?.parse().ok();
    stderr.lines().rev().find_map(|line| {
        let after = line.split_once("with success after ").and_then(|(_, rest)| number(rest));
        after.or_else(|| line.split_once(", writing ").and_then(|(_, rest)| number(rest)))
    })
}

fn failed(server: &Server, exit: &Exit) -> Error {
    let denied = ["NOPERM", "NOAUTH"].iter().any(|code| exit.stderr.contains(code));
    if denied {
        return Error::new(Kind::Denied, format!("{server} may not be dumped: {}", exit.stderr.trim()))
            .hint("the user needs the command SYNC, or AOF on");
    }
    server.fault(exit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_is_read_in_both_ways_of_transfer() {
        let by_mark = "sending REPLCONF capa eof\nSYNC sent to master, writing bytes of bulk transfer until EOF marker \
                       to '-'\nTransfer finished with success after 230 bytes\n";
        assert_eq!(announced(by_mark), Some(230));
        let by_size = "SYNC sent to master, writing 176 bytes to '-'\nTransfer finished with success.\n";
        assert_eq!(announced(by_size), Some(176));
        assert_eq!(announced("SYNC sent to master\n"), None);
    }

    #[test]
    fn the_mark_is_taken_off_and_a_short_file_is_found_out() {
        let mut file = vec![7; 100];
        file.extend([0xff, 1, 2, 3, 4, 5, 6, 7, 8]);
        let mut marked = file.clone();
        marked.extend([b'a'; EOF_MARK_BYTES]);
        assert_eq!(end(&marked, 1000, Some(1109)), Some(&file[..]));
        assert_eq!(end(&file, 1000, Some(1109)), Some(&file[..]));
        assert_eq!(end(&marked[..148], 1000, Some(1109)), None, "a byte of the mark lacks");
        assert_eq!(end(&file[..108], 1000, Some(1109)), None);
        assert_eq!(end(&file, 1000, None), None);
        assert_eq!(end(&marked, 1000, Some(1108)), None, "no end of an RDB there");
    }
}
