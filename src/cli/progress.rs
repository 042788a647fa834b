//! Progress on a terminal, or as JSON lines: two listeners to the same work.

use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::render::bytes;
use crate::error::Error;
use crate::monitor::{Counter, Monitor};

/// Shows the step, bytes read and bytes stored on one line of standard error.
#[derive(Debug)]
pub struct Terminal {
    bar: ProgressBar,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    moved_bytes: u64,
    stored_bytes: u64,
    fetched_bytes: u64,
}

impl Terminal {
    /// Starts the line; without a terminal only problems and notes are printed.
    pub fn new() -> Self {
        let bar =
            if std::io::stderr().is_terminal() { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
        bar.enable_steady_tick(Duration::from_millis(120));
        bar.set_style(plain());
        Terminal { bar, seen: Mutex::default() }
    }

    /// Returns the line, for whoever prints on the same terminal.
    pub fn bar(&self) -> ProgressBar {
        self.bar.clone()
    }

    fn line(&self, text: &str) {
        self.bar.suspend(|| {
            // A closed standard error must not end a backup.
            drop(writeln!(std::io::stderr(), "{text}"));
        });
    }
}

impl Default for Terminal {
    fn default() -> Self {
        Self::new()
    }
}

fn plain() -> ProgressStyle {
    ProgressStyle::with_template("{spinner} {prefix} {msg} {elapsed}")
        .unwrap_or_else(|_| ProgressStyle::default_spinner())
}

fn with_total() -> ProgressStyle {
    ProgressStyle::with_template("{spinner} {prefix} {bar:24} {percent}% {msg} {elapsed}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
}

impl Monitor for Terminal {
    fn count(&self, counter: Counter, n: u64) {
        let mut seen = self.seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match counter {
            Counter::SourceBytes | Counter::RestoredBytes => {
                seen.moved_bytes += n;
                self.bar.inc(n);
            }
            Counter::StoredBytes => seen.stored_bytes += n,
            Counter::FetchedBytes => seen.fetched_bytes += n,
            Counter::NewBytes
            | Counter::CompressedBytes
            | Counter::StoredPacks
            | Counter::Files
            | Counter::RenewedLocks => return,
        }
        let mut text = bytes(seen.moved_bytes);
        if seen.stored_bytes > 0 {
            text = format!("{text} read, {} stored", bytes(seen.stored_bytes));
        }
        if seen.fetched_bytes > 0 {
            text = format!("{text} restored, {} fetched", bytes(seen.fetched_bytes));
        }
        self.bar.set_message(text);
    }

    fn step(&self, name: &str) {
        self.bar.set_style(plain());
        self.bar.set_prefix(name.to_owned());
    }

    fn expect_bytes(&self, n: u64) {
        self.bar.set_position(0);
        self.bar.set_length(n);
        self.bar.set_style(with_total());
    }

    fn problem(&self, error: &Error) {
        self.line(&format!("warning: {error}"));
    }

    fn note(&self, text: &str) {
        self.line(text);
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// Prints steps, problems and notes as JSON lines on standard error.
#[derive(Debug, Default)]
pub struct JsonLines;

impl JsonLines {
    fn line(value: &serde_json::Value) {
        // A closed standard error must not end a backup.
        drop(writeln!(std::io::stderr(), "{value}"));
    }
}

impl Monitor for JsonLines {
    fn step(&self, name: &str) {
        Self::line(&serde_json::json!({"event": "step", "step": name}));
    }

    fn problem(&self, error: &Error) {
        Self::line(
            &serde_json::json!({"event": "problem", "kind": error.kind().word(), "message": error.to_string()}),
        );
    }

    fn note(&self, text: &str) {
        Self::line(&serde_json::json!({"event": "note", "message": text}));
    }
}
