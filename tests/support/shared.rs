//! The three days of a real site: outside the repository, so that a test that needs them can only skip, by name.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

/// Says by name that a test did not run and why, where `tests/run` finds it.
///
/// It goes to the process's own standard output: the test harness would keep that of a test that passes to itself.
#[macro_export]
macro_rules! skip {
    ($name:expr, $reason:expr $(,)?) => {{
        $crate::support::shared::note_skipped($name, &$reason.to_string());
        return;
    }};
}

/// Writes `skipped: name: reason`, past the harness.
pub fn note_skipped(name: &str, reason: &str) {
    use std::io::Write;
    let line = format!("skipped: {name}: {reason}\n");
    match std::env::var_os("LIFEBOAT_SKIPPED") {
        Some(path) => {
            let mut file = File::options().create(true).append(true).open(path).unwrap();
            file.write_all(line.as_bytes()).unwrap();
        }
        None => std::io::stdout().lock().write_all(line.as_bytes()).unwrap(),
    }
}

/// Returns the folder with the real site's data: `$LIFEBOAT_SHARED/data/erpnext`, or beside the repository.
pub fn erpnext() -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().skip(1).map(|dir| dir.join("shared"));
    let named = std::env::var_os("LIFEBOAT_SHARED").map(PathBuf::from);
    named
        .into_iter()
        .chain(beside())
        .map(|dir| dir.join("data/erpnext"))
        .find(|dir| dir.join("day1.sql.zst").is_file())
}

/// Returns the decompressed bytes of one of its files, such as `day1.sql.zst`.
pub fn unpacked(file: &str) -> Option<Unpacked> {
    let path = erpnext()?.join(file);
    let mut child = Command::new("zstd").args(["-dcq"]).arg(path).stdout(Stdio::piped()).spawn().unwrap();
    let out = child.stdout.take().unwrap();
    Some(Unpacked { child, out })
}

/// The bytes that zstd writes; its exit code is checked at the end.
#[derive(Debug)]
pub struct Unpacked {
    child: Child,
    out: ChildStdout,
}

impl Read for Unpacked {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let n = self.out.read(buf)?;
        if n == 0 && !buf.is_empty() && !self.child.wait()?.success() {
            return Err(std::io::Error::other("zstd failed"));
        }
        Ok(n)
    }
}
