//! Reading a small file that may change under the reader: again, until two looks around a reading agree.

use std::fs::File;
use std::io::{Read, Seek};
use std::time::Duration;

use super::beneath::{self, Look};

/// How often a file that changes while it is read, or that is not yet what it must be, is read again.
const READ_AGAIN: u32 = 4;

/// A small file as it was read last.
pub(in crate::component) struct Settled {
    pub content: Vec<u8>,
    pub look: Look,
    /// What is wrong with the content, for the operator.
    pub fault: Option<&'static str>,
}

/// Reads a file of less than `limit_bytes`; one that has grown to it comes back cut, with the look that says so.
pub(in crate::component) fn settle(
    file: &mut File,
    look: Look,
    limit_bytes: u64,
    must_be_json: bool,
) -> std::io::Result<Settled> {
    let mut before = look;
    let mut attempt = 0;
    loop {
        let mut content = Vec::new();
        file.rewind()?;
        Read::take(&mut *file, limit_bytes - 1).read_to_end(&mut content)?;
        let look = beneath::look_at_open(&*file)?;
        let settled = look.stamp.mtime_ns == before.stamp.mtime_ns
            && look.stamp.size_bytes == before.stamp.size_bytes
            && look.stamp.size_bytes == content.len() as u64;
        let fault = if !settled {
            Some("changed while it was read")
        } else if must_be_json && !is_json_object(&content) {
            Some("is not a whole JSON object")
        } else {
            None
        };
        if fault.is_none() || attempt == READ_AGAIN || look.stamp.size_bytes >= limit_bytes {
            return Ok(Settled { content, look, fault });
        }
        std::thread::sleep(Duration::from_millis(20 << attempt));
        attempt += 1;
        before = look;
    }
}

fn is_json_object(content: &[u8]) -> bool {
    serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(content).is_ok()
}
