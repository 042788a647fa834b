//! Results as text or JSON, chosen once.
//!
//! A verb's outcome implements [`Rendered`]: its JSON is its serde form with a `verb` field, its text is for people.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use indicatif::ProgressBar;
use serde::Serialize;

use crate::error::Error;

/// Where results go and in which form.
#[derive(Debug)]
pub struct Output {
    json: bool,
    /// The line of progress, which must be gone where a result is printed.
    progress: Mutex<Option<ProgressBar>>,
}

/// Something that can be shown to people; serde gives the form for programs.
pub trait Rendered: Serialize {
    /// Returns lines for people, each ended by a line feed.
    fn text(&self) -> String;
}

impl Output {
    /// Chooses the form.
    pub fn new(json: bool) -> Self {
        Output { json, progress: Mutex::default() }
    }

    /// Takes note of a line of progress on the same terminal.
    pub fn beside(&self, progress: ProgressBar) {
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner) = Some(progress);
    }

    /// Prints with the line of progress out of the way.
    fn apart(&self, print: impl FnOnce()) {
        match &*self.progress.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(progress) => progress.suspend(print),
            None => print(),
        }
    }

    /// Tells whether results are JSON.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Prints one result.
    pub fn result(&self, value: &impl Rendered) {
        if self.json {
            match serde_json::to_string(value) {
                Ok(line) => self.apart(|| print_out(&format!("{line}\n"))),
                Err(e) => print_err(&format!("error: result has no JSON form: {e}\n")),
            }
        } else {
            self.apart(|| print_out(&value.text()));
        }
    }

    /// Prints the error that ended the verb.
    pub fn error(&self, e: &Error) {
        if self.json {
            let value = serde_json::json!({
                "event": "error",
                "kind": e.kind().word(),
                "exit_code": e.kind().exit_code(),
                "message": e.to_string(),
                "hint": e.hint_text(),
            });
            self.apart(|| print_out(&format!("{value}\n")));
            return;
        }
        let mut text = format!("error: {e}\n");
        if let Some(hint) = e.hint_text() {
            text.push_str(&format!("hint: {hint}\n"));
        }
        self.apart(|| print_err(&text));
    }
}

/// Whether standard output failed for another reason than that its reader went away.
static LOST: AtomicBool = AtomicBool::new(false);

/// Tells whether something that was to be printed is lost.
pub fn is_output_lost() -> bool {
    LOST.load(Ordering::Relaxed)
}

/// Writes to standard output; a reader that went away (`| head`) ends nothing but the output.
pub fn print_out(text: &str) {
    let mut out = std::io::stdout();
    if let Err(e) = out.write_all(text.as_bytes()).and_then(|()| out.flush())
        && e.kind() != std::io::ErrorKind::BrokenPipe
        && !LOST.swap(true, Ordering::Relaxed)
    {
        print_err(&format!("error: standard output: {e}\n"));
    }
}

fn print_err(text: &str) {
    drop(std::io::stderr().write_all(text.as_bytes()));
}

/// Formats bytes for people: `37.1 MB`.
pub fn bytes(n: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if n < 1000 {
        return format!("{n} B");
    }
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let mut x = n as f64 / 1000.0;
    let mut unit = 0;
    while x >= 999.5 && unit + 1 < UNITS.len() {
        x /= 1000.0;
        unit += 1;
    }
    if x < 99.95 { format!("{x:.1} {}", UNITS[unit]) } else { format!("{x:.0} {}", UNITS[unit]) }
}

/// Formats a duration for people: `1.4 s`, `2 min 5 s`, `3 h 2 min`.
pub fn seconds(s: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "whole seconds of a duration"
    )]
    let whole = s.max(0.0).round() as u64;
    match whole {
        0..60 => format!("{s:.1} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
    }
}

/// Formats a time for people: whole seconds, UTC.
pub fn moment(t: jiff::Timestamp) -> String {
    t.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Formats an age for people: `3 h ago`.
pub fn ago(then: jiff::Timestamp, now: jiff::Timestamp) -> String {
    let s = now.duration_since(then).as_secs();
    match s {
        ..0 => "in the future".to_owned(),
        0..120 => format!("{s} s ago"),
        120..7200 => format!("{} min ago", s / 60),
        7200..172_800 => format!("{} h ago", s / 3600),
        _ => format!("{} days ago", s / 86_400),
    }
}

/// Lays rows out in columns as wide as their widest cell; the last column is not padded.
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|c| rows.iter().filter_map(|r| r.get(c)).map(|s| s.chars().count()).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(&format!("{cell:<width$}  "));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_read_as_people_write_them() {
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(37_100_000), "37.1 MB");
        assert_eq!(bytes(548_000_000), "548 MB");
        assert_eq!(bytes(999_999), "1.0 MB");
        assert_eq!(seconds(1.44), "1.4 s");
        assert_eq!(seconds(125.0), "2 min 5 s");
        assert_eq!(seconds(10_920.0), "3 h 2 min");
    }

    #[test]
    fn columns_line_up() {
        let rows = [vec!["a".to_owned(), "b".to_owned()], vec!["ccc".to_owned(), "d".to_owned()]];
        assert_eq!(table(&rows), "a    b\nccc  d\n");
    }
}
