//! Definitions of views on their way into a database of another name.
//!
//! The server writes a view down as it can read it just then. Where the view's definer is gone or may not read, where
//! it uses a sequence, or tables of another database too, the database's own name stands before tables and columns
//! (seen with MariaDB 10.11). Under another name such a view would not load, or read the old database. So exactly this
//! qualifier is replaced, in the line that defines a view and nowhere else.

use super::connect::identifier;
use crate::error::{Error, Kind};

/// How the line that defines a view begins, as `mariadb-dump` writes it.
const VIEW: &[u8] = b"/*!50001 VIEW `";

/// The longest definition, in bytes: what a server takes as one statement at its default.
const LINE_BYTES: usize = 16 * 1024 * 1024;

/// Passes a dump on, with views moved from one database to another.
#[derive(Debug)]
pub(super) struct Views {
    from: String,
    to: String,
    /// The line in hand, while it is held.
    held: Vec<u8>,
    /// Whether the rest of the line passes without being looked at.
    passing: bool,
    /// Whether this is within the body of a trigger, routine or event.
    in_body: bool,
    /// Views whose definition uses the database's name for something else too.
    stuck: Vec<String>,
}

impl Views {
    pub fn new(from: &str, to: &str) -> Self {
        Views {
            from: from.to_owned(),
            to: to.to_owned(),
            held: Vec::new(),
            passing: false,
            in_body: false,
            stuck: Vec::new(),
        }
    }

    /// Appends what may go on to `out`.
    pub fn pass(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) {
        while !bytes.is_empty() {
            let end = memchr::memchr(b'\n', bytes).map(|at| at + 1);
            let (piece, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
            bytes = rest;
            if self.passing {
                out.extend_from_slice(piece);
                self.passing = end.is_none();
                continue;
            }
            self.held.extend_from_slice(piece);
            if end.is_some() || !self.may_be_view() || self.held.len() > LINE_BYTES {
                self.line(out);
                self.passing = end.is_none();
            }
        }
    }

    /// Says why the database that is loaded cannot have another name, once a view showed it.
    pub fn refusal(&self) -> Option<Error> {
        let view = self.stuck.first().filter(|_| self.from != self.to)?;
        let what = format!("a database of another name than `{}` does not take view {view}", self.from);
        Some(Error::new(Kind::Unsupported, what).hint(format!(
            "it calls a table or an alias {0} too: restore with --into, where the database keeps its name, or give what is \
             called so another name and back up again",
            self.from
        )))
    }

    /// Appends what was held back, and returns the views that cannot take another name.
    pub fn end(mut self, out: &mut Vec<u8>) -> Vec<String> {
        self.line(out);
        self.stuck
    }

    /// Tells whether the line in hand is, or may become, one that defines a view; other lines of note are shorter.
    fn may_be_view(&self) -> bool {
        self.held.len() < VIEW.len() || self.held.starts_with(VIEW)
    }

    fn line(&mut self, out: &mut Vec<u8>) {
        let line = std::mem::take(&mut self.held);
        match line.strip_suffix(b"\n").unwrap_or(&line) {
            b"DELIMITER ;;" => self.in_body = true,
            b"DELIMITER ;" => self.in_body = false,
            _ => {}
        }
        if self.in_body || !line.starts_with(VIEW) {
            out.extend_from_slice(&line);
            return;
        }
        let (moved, stuck) = moved(&line, &self.from, &self.to);
        if stuck {
            let name = Tokens::of(&line).find_map(|t| t.name()).unwrap_or_default();
            self.stuck.push(String::from_utf8_lossy(&name).into_owned());
        }
        out.extend_from_slice(&moved);
    }
}

/// Returns a view's line with the qualifier replaced, and whether some of what was replaced may have been a table's name.
fn moved(line: &[u8], from: &str, to: &str) -> (Vec<u8>, bool) {
    let mut out = Vec::with_capacity(line.len());
    let tokens: Vec<Token<'_>> = Tokens::of(line).collect();
    let text = |at: usize| tokens.get(at).map_or(&b""[..], |t| t.0);
    let own_name = tokens.iter().position(|t| t.name().is_some());
    let (mut otherwise, mut pairs) = (false, false);
    for (at, token) in tokens.iter().enumerate() {
        let is_name = token.name().is_some_and(|n| n == from.as_bytes());
        let after_dot = at > 0 && text(at - 1) == b".";
        let before_dot = text(at + 1) == b".";
        if is_name && before_dot && !after_dot {
            // Of three parts the first is the database; of two it may be a table that is called so.
            pairs |= text(at + 3) != b".";
            out.extend_from_slice(identifier(to).as_bytes());
            continue;
        }
        let column_alias = at > 1 && text(at - 2).eq_ignore_ascii_case(b"AS");
        if is_name && Some(at) != own_name && !column_alias || token.0.eq_ignore_ascii_case(from.as_bytes()) {
            otherwise = true;
        }
        out.extend_from_slice(token.0);
    }
    (out, otherwise && pairs)
}

/// A string, a quoted name, a word, or a single other byte.
struct Token<'a>(&'a [u8]);

impl Token<'_> {
    /// Returns the name that a quoted one spells.
    fn name(&self) -> Option<Vec<u8>> {
        let inner = self.0.strip_prefix(b"`")?.strip_suffix(b"`")?;
        let mut name = Vec::with_capacity(inner.len());
        let mut bytes = inner.iter().copied().peekable();
        while let Some(byte) = bytes.next() {
            if byte == b'`' {
                bytes.next_if_eq(&b'`');
            }
            name.push(byte);
        }
        Some(name)
    }
}

/// Cuts a statement as the server writes it with an empty `sql_mode`.
struct Tokens<'a> {
    rest: &'a [u8],
}

impl<'a> Tokens<'a> {
    fn of(line: &'a [u8]) -> Self {
        Tokens { rest: line }
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        let first = *self.rest.first()?;
        let is_word = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'$' | 0x80..);
        let len = match first {
            b'\'' | b'"' | b'`' => quoted(self.rest, first),
            b if is_word(&b) => self.rest.iter().position(|b| !is_word(b)).unwrap_or(self.rest.len()),
            _ => 1,
        };
        let (token, rest) = self.rest.split_at(len);
        self.rest = rest;
        Some(Token(token))
    }
}

/// Returns the length of what is quoted at the beginning; all of it where the quote is not closed.
fn quoted(text: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < text.len() {
        match text[at] {
            b'\\' if quote != b'`' => at += 1,
            b if b == quote && text.get(at + 1) == Some(&quote) => at += 1,
            b if b == quote => return at + 1,
            _ => {}
        }
        at += 1;
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(text: &str, step: usize) -> (String, Vec<String>) {
        let mut views = Views::new("old", "new`1");
        let mut out = Vec::new();
        for piece in text.as_bytes().chunks(step) {
            views.pass(piece, &mut out);
        }
        let stuck = views.end(&mut out);
        (String::from_utf8(out).unwrap(), stuck)
    }

    fn view(body: &str) -> String {
        format!("/*!50001 VIEW `v` AS {body} */;\n")
    }

    #[test]
    fn only_the_qualifier_of_a_view_is_replaced() {
        let same = "-- Dump\nINSERT INTO `t` VALUES\n(1,'`old`.`t`'),\n(2,'/*!50001 VIEW `old`.');\n\
                    DELIMITER ;;\n/*!50001 VIEW `x` AS select `old`.`t`.`a` */;\nDELIMITER ;\n";
        let before = "select `f`(`old`.`t`.`a`) AS `old`,'`old`.`t` \\' `old`.' AS `x``old`,\"`old`.\" from `old`.`t` `x`";
        let after = "select `f`(`new``1`.`t`.`a`) AS `old`,'`old`.`t` \\' `old`.' AS `x``old`,\"`old`.\" from `new``1`.`t` `x`";
        for step in [1, 7, 4096] {
            let (text, stuck) = passed(&format!("{same}{}last", view(before)), step);
            assert_eq!(text, format!("{same}{}last", view(after)), "{step}");
            assert!(stuck.is_empty(), "{stuck:?}");
        }
    }

    #[test]
    fn a_view_that_calls_a_table_as_its_database_is_called_is_stuck() {
        for body in [
            "select `old`.`a` AS `a` from `t` `old`",
            "with old as (select 1 AS `a`)select `old`.`a` AS `a` from `old`",
            "select `x`.`a` AS `a` from (`old`.`old` `x` join `mysql`.`db`)",
        ] {
            assert_eq!(passed(&view(body), 5).1, ["v"], "{body}");
        }
        for body in [
            "select `old`.`t`.`a` AS `a` from `t`",
            "select `t`.`old` AS `old` from `t`",
            "select nextval(`old`.`s`) AS `old`",
        ] {
            assert!(passed(&view(body), 5).1.is_empty(), "{body}");
        }
    }
}
