//! The manifest of append-only files: lines `file NAME seq N type b|i|h`, as Redis 7 writes them.
//!
//! Source: `aof.c` of Redis 7.0 as documented at redis.io, "Redis persistence"; NAME stands in double quotes with escapes
//! where it has to.

use crate::error::{Error, Kind, Result};

/// The longest manifest that is believed, in bytes; one names a handful of files.
pub(super) const MANIFEST_LIMIT_BYTES: usize = 1024 * 1024;

/// A file's part in the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The state at some instant.
    Base,
    /// The commands that followed.
    Increment,
}

/// The files that a manifest names, without those that only wait to be deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// Names with their parts, in the order in which they are loaded.
    pub files: Vec<(String, Part)>,
}

impl Manifest {
    /// Reads a manifest; `what` names it in errors.
    pub fn parse(text: &str, what: &str) -> Result<Manifest> {
        let bad = |why: &str| Error::new(Kind::Damaged, format!("{what}: {why}"));
        if !text.ends_with('\n') {
            return Err(bad("it is empty or its last line is cut"));
        }
        let mut files: Vec<(String, Part)> = Vec::new();
        for line in text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#')) {
            let mut fields = fields(line).ok_or_else(|| bad("a line cannot be read"))?.into_iter();
            let (mut name, mut part) = (None, None);
            while let (Some(key), Some(value)) = (fields.next(), fields.next()) {
                match (key.as_str(), value.as_str()) {
                    ("file", _) => name = Some(value),
                    ("type", "b") => part = Some(Some(Part::Base)),
                    ("type", "i") => part = Some(Some(Part::Increment)),
                    ("type", "h") => part = Some(None),
                    _ => {}
                }
            }
            let (Some(name), Some(part)) = (name, part) else { return Err(bad("a line names no file")) };
            check_name(&name)?;
            if files.iter().any(|(n, _)| *n == name) {
                return Err(bad("it names a file twice"));
            }
            files.extend(part.map(|part| (name, part)));
        }
        if files.is_empty() {
            return Err(bad("it names no file"));
        }
        Ok(Manifest { files })
    }

    /// Returns the text of a manifest with one base file.
    pub fn of_base(name: &str) -> String {
        format!("file {} seq 1 type b\n", quoted(name))
    }

    /// Returns the file with the state that the increments start from.
    pub fn base(&self) -> Option<&str> {
        self.files.iter().find(|(_, part)| *part == Part::Base).map(|(name, _)| name.as_str())
    }

    /// Tells whether a file is an increment.
    pub fn is_increment(&self, name: &str) -> bool {
        self.files.iter().any(|(n, part)| n == name && *part == Part::Increment)
    }

    /// Returns the file that grows: the last increment.
    pub fn growing(&self) -> Option<&str> {
        self.files.iter().rfind(|(_, part)| *part == Part::Increment).map(|(name, _)| name.as_str())
    }
}

/// Refuses what is not the plain name of a file.
pub(super) fn check_name(name: &str) -> Result<()> {
    let plain = !matches!(name, "" | "." | "..")
        && name.len() <= 200
        && !name.chars().any(|c| c == '/' || c.is_control());
    if plain { Ok(()) } else { Err(Error::new(Kind::Damaged, format!("{name:?} is not the name of a file"))) }
}

fn quoted(name: &str) -> String {
    if name.chars().all(|c| c.is_ascii_graphic() && !matches!(c, '"' | '\'' | '\\')) {
        return name.to_owned();
    }
    format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Splits a line at spaces; a field in double quotes may hold spaces and escapes of `"` and `\`.
fn fields(line: &str) -> Option<Vec<String>> {
    let mut fields = Vec::new();
    let mut chars = line.chars().peekable();
    while let Some(first) = chars.next() {
        let mut field = String::new();
        match first {
            ' ' => continue,
            '"' => loop {
                match chars.next()? {
                    '"' => break,
                    '\\' => field.push(chars.next().filter(|c| matches!(c, '"' | '\\'))?),
                    c => field.push(c),
                }
            },
            c => {
                field.push(c);
                while let Some(c) = chars.next_if(|c| *c != ' ') {
                    field.push(c);
                }
            }
        }
        fields.push(field);
    }
    Some(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Manifest> {
        Manifest::parse(text, "manifest")
    }

    #[test]
    fn files_are_read_in_order_and_those_to_be_deleted_left_out() {
        let text = "file a.3.base.rdb seq 3 type b\nfile a.2.base.rdb seq 2 type h\n\
                    file a.9.incr.aof seq 9 type i\nfile a.10.incr.aof seq 10 type i\n";
        let manifest = parse(text).unwrap();
        let names: Vec<&str> = manifest.files.iter().map(|(n, _)| n.as_str()).collect();
        assert_eq!(names, ["a.3.base.rdb", "a.9.incr.aof", "a.10.incr.aof"]);
        assert_eq!(manifest.growing(), Some("a.10.incr.aof"));
    }

    #[test]
    fn a_name_with_spaces_stands_in_quotes() {
        let text = Manifest::of_base("my \"file\".1.base.rdb");
        assert_eq!(text, "file \"my \\\"file\\\".1.base.rdb\" seq 1 type b\n");
        assert_eq!(parse(&text).unwrap().files, [("my \"file\".1.base.rdb".to_owned(), Part::Base)]);
        assert_eq!(Manifest::of_base("a.1.base.rdb"), "file a.1.base.rdb seq 1 type b\n");
    }

    #[test]
    fn cut_doubled_and_leaving_names_are_refused() {
        let bad = [
            "",
            "file a seq 1 type b",
            "file ../a seq 1 type b\n",
            "file a/b seq 1 type b\n",
            "file a seq 1 type b\nfile a seq 2 type i\n",
            "file a seq 1 type x\n",
            "seq 1 type b\n",
            "file \"a seq 1 type b\n",
            "# nothing\n",
        ];
        for text in bad {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }
}
