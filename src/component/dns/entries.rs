//! A zone file's text as entries and words, with the places where they stand (RFC 1035, 5.1).
//!
//! Owns the syntax only: lines, parentheses, quotes, escapes, comments. Knows no record type, so that a zone with
//! types that nobody here has heard of can be read. Keeps places rather than values, so that whoever changes
//! a zone changes the bytes that are meant and no others.

use std::ops::Range;

use crate::error::{Error, Kind, Result};

/// One entry: a record or a directive with all lines it goes over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// From the start of its first line to behind the line feed of its last one.
    pub span: Range<usize>,
    /// Its words; a quoted one with its quotes.
    pub words: Vec<Range<usize>>,
    /// Whether its first line starts with white space, so that it has the owner of the record before it.
    pub indented: bool,
    /// The comment at its end, without the semicolon.
    pub comment: Range<usize>,
}

/// What the reader is in the middle of.
#[derive(Debug, Default)]
struct Reader {
    entries: Vec<Entry>,
    words: Vec<Range<usize>>,
    comment: Range<usize>,
    /// Where the entry and the word began.
    entry: usize,
    word: Option<usize>,
    depth: u32,
    quoted: bool,
    in_comment: bool,
    escaped: bool,
}

/// Reads the entries of a zone file; blank lines and lines of comment alone are none.
///
/// [`Kind::Source`] where a quote or parenthesis stays open or one too many closes: the file is not whole.
pub(super) fn entries(text: &str) -> Result<Vec<Entry>> {
    let mut reader = Reader::default();
    for (at, c) in text.bytes().enumerate() {
        reader.step(text, at, c)?;
    }
    if reader.quoted || reader.depth > 0 {
        return Err(torn("ends within quotes or parentheses"));
    }
    reader.end_entry(text, text.len());
    Ok(reader.entries)
}

fn torn(what: &str) -> Error {
    Error::new(Kind::Source, format!("the zone file {what}"))
}

impl Reader {
    fn step(&mut self, text: &str, at: usize, c: u8) -> Result<()> {
        if self.in_comment {
            if c != b'\n' {
                self.comment.end = at + 1;
                return Ok(());
            }
            self.in_comment = false;
        } else if self.escaped {
            self.escaped = false;
            return Ok(());
        } else if c == b'\\' {
            self.escaped = true;
            self.word.get_or_insert(at);
            return Ok(());
        } else if self.quoted {
            if c == b'\n' {
                return Err(torn("has a line feed within quotes"));
            }
            self.quoted = c != b'"';
            return Ok(());
        }
        match c {
            b'"' => {
                self.quoted = true;
                self.word.get_or_insert(at);
            }
            b';' => {
                self.end_word(at);
                self.in_comment = true;
                self.comment = at + 1..at + 1;
            }
            b'(' => {
                self.end_word(at);
                self.depth += 1;
            }
            b')' => {
                self.end_word(at);
                self.depth =
                    self.depth.checked_sub(1).ok_or_else(|| torn("closes a parenthesis that none opened"))?;
            }
            b'\n' => {
                self.end_word(at);
                if self.depth == 0 {
                    self.end_entry(text, at + 1);
                }
            }
            c if c.is_ascii_whitespace() => self.end_word(at),
            _ => {
                self.word.get_or_insert(at);
            }
        }
        Ok(())
    }

    fn end_word(&mut self, at: usize) {
        self.words.extend(self.word.take().map(|start| start..at));
    }

    fn end_entry(&mut self, text: &str, end: usize) {
        self.end_word(end);
        let span = std::mem::replace(&mut self.entry, end)..end;
        let comment = std::mem::take(&mut self.comment);
        let words = std::mem::take(&mut self.words);
        if !words.is_empty() {
            let indented = text.as_bytes()[span.start].is_ascii_whitespace();
            self.entries.push(Entry { span, words, indented, comment });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<Vec<&str>> {
        entries(text).unwrap().iter().map(|e| e.words.iter().map(|w| &text[w.clone()]).collect()).collect()
    }

    #[test]
    fn quotes_escapes_parentheses_and_comments_are_told_apart() {
        let text =
            "; SOA of old\n\n@ SOA a b ( 1 ; serial (\n 2 )\n t TXT \"a ; b ( c\" x\\;y \\\" ; \"open\r\n";
        assert_eq!(
            words(text),
            [vec!["@", "SOA", "a", "b", "1", "2"], vec!["t", "TXT", "\"a ; b ( c\"", "x\\;y", "\\\""]]
        );
        let all = entries(text).unwrap();
        assert!(!all[0].indented && all[1].indented);
        assert_eq!(&text[all[1].comment.clone()], " \"open\r");
        assert_eq!(&text[all[0].span.clone()], "@ SOA a b ( 1 ; serial (\n 2 )\n");
    }

    #[test]
    fn a_file_that_ends_within_something_is_not_read() {
        for torn in ["@ SOA ( 1", "@ TXT \"a", "@ SOA 1 )", "@ TXT \"a\nb\""] {
            assert_eq!(entries(torn).unwrap_err().kind(), Kind::Source, "{torn}");
        }
        assert_eq!(words("a A 1"), [["a", "A", "1"]]);
        assert!(words("").is_empty());
    }
}
