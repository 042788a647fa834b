//! What can be checked of a Frappe site without Frappe: File rows against files.
//!
//! Owns where a row's file lies (`File.get_full_path` in Frappe 15). Pure: rows and paths come from the caller, so a drill
//! and a backup use the same check.

use std::collections::BTreeMap;

/// A row of `tabFile`, as far as it tells where the content lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileRow {
    /// The row's name.
    pub name: String,
    /// `file_url`, empty where it is null.
    pub file_url: String,
    /// `file_name`, empty where it is null.
    pub file_name: String,
    /// `is_private`.
    pub is_private: bool,
    /// `is_folder`: such a row has no content.
    pub is_folder: bool,
}

/// Where a row's content lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Below the site's folder, at this path.
    Here(String),
    /// On another server.
    Elsewhere,
    /// The row is a folder, or names nothing.
    Nowhere,
}

impl FileRow {
    /// Returns where the content lies; `host_name` is the site's own address, whose absolute URLs are local files.
    pub fn place(&self, host_name: Option<&str>) -> Place {
        let named = if self.file_url.is_empty() { &self.file_name } else { &self.file_url };
        if self.is_folder || named.is_empty() {
            return Place::Nowhere;
        }
        let own = host_name.map(|h| h.trim_end_matches('/')).filter(|h| !h.is_empty());
        let url =
            own.and_then(|h| named.strip_prefix(h)).filter(|rest| rest.starts_with('/')).unwrap_or(named);
        // A browser's request for a private file may carry `?fid=`.
        let url = url.split_once("?fid=").map_or(url, |(path, _)| path);
        let folder = if self.is_private { "private/files" } else { "public/files" };
        if let Some(below) = url.strip_prefix("/private/files/") {
            Place::Here(format!("private/files/{below}"))
        } else if let Some(below) = url.strip_prefix("/files/") {
            Place::Here(format!("public/files/{below}"))
        } else if url.contains("://") {
            Place::Elsewhere
        } else if url.contains('/') {
            // Assets of an app and the like: no upload.
            Place::Elsewhere
        } else {
            Place::Here(format!("{folder}/{url}"))
        }
    }
}

/// File rows waiting for the files that they name.
#[derive(Debug, Clone, Default)]
pub struct FileRows {
    waiting: BTreeMap<String, Waiting>,
    outcome: FilesOutcome,
}

#[derive(Debug, Clone)]
struct Waiting {
    rows: Vec<String>,
    found: bool,
}

/// What became of the comparison.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FilesOutcome {
    /// Rows that name a file of the site.
    pub rows: u64,
    /// Rows whose content lies elsewhere, and is not checked.
    pub elsewhere: u64,
    /// Rows whose file is not there: the row's name and the path.
    pub missing: Vec<(String, String)>,
    /// Uploaded files that no row names; harmless.
    pub unnamed: u64,
}

impl FilesOutcome {
    /// Tells whether each row has its file.
    pub fn is_whole(&self) -> bool {
        self.missing.is_empty()
    }
}

impl FileRows {
    /// Takes the rows.
    pub fn new(rows: impl IntoIterator<Item = FileRow>, host_name: Option<&str>) -> Self {
        let mut all = FileRows::default();
        for row in rows {
            match row.place(host_name) {
                Place::Here(path) => {
                    all.outcome.rows += 1;
                    let waiting = Waiting { rows: Vec::new(), found: false };
                    all.waiting.entry(path).or_insert(waiting).rows.push(row.name);
                }
                Place::Elsewhere => all.outcome.elsewhere += 1,
                Place::Nowhere => {}
            }
        }
        all
    }

    /// Takes one regular file's path below the site's folder, in any order.
    pub fn file(&mut self, path: &str) {
        match self.waiting.get_mut(path) {
            Some(waiting) => waiting.found = true,
            None if path.starts_with("public/files/") || path.starts_with("private/files/") => {
                self.outcome.unnamed += 1
            }
            None => {}
        }
    }

    /// Returns what became of it, once all files were seen.
    pub fn finish(self) -> FilesOutcome {
        let mut outcome = self.outcome;
        for (path, waiting) in self.waiting.into_iter().filter(|(_, w)| !w.found) {
            outcome.missing.extend(waiting.rows.into_iter().map(|row| (row, path.clone())));
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, file_url: &str) -> FileRow {
        let (name, file_url) = (name.to_owned(), file_url.to_owned());
        FileRow { name, file_url, file_name: String::new(), is_private: false, is_folder: false }
    }

    #[test]
    fn each_kind_of_url_leads_to_its_place() {
        let host = Some("https://erp.example.com/");
        let here = |path: &str| Place::Here(path.to_owned());
        for (url, expected) in [
            ("/files/a b.pdf", here("public/files/a b.pdf")),
            ("/private/files/x/y.pdf", here("private/files/x/y.pdf")),
            ("/private/files/y.pdf?fid=abc", here("private/files/y.pdf")),
            ("https://erp.example.com/files/z", here("public/files/z")),
            ("https://erp.example.com.evil/files/z", Place::Elsewhere),
            ("https://cdn.example/z", Place::Elsewhere),
            ("/assets/erpnext/logo.svg", Place::Elsewhere),
            ("plain.txt", here("public/files/plain.txt")),
            ("", Place::Nowhere),
        ] {
            assert_eq!(row("r", url).place(host), expected, "{url}");
        }
        let private = FileRow { is_private: true, file_name: "p.txt".into(), ..row("r", "") };
        assert_eq!(private.place(None), here("private/files/p.txt"));
        assert_eq!(FileRow { is_folder: true, ..row("Home", "/files/a") }.place(None), Place::Nowhere);
    }

    #[test]
    fn a_row_without_its_file_is_named_and_two_rows_may_share_one() {
        let rows = [
            row("a", "/files/1"),
            row("b", "/files/1"),
            row("c", "/private/files/2"),
            row("d", "https://x/y"),
        ];
        let mut check = FileRows::new(rows, None);
        for path in ["public/files/1", "public/files/extra", "site_config.json"] {
            check.file(path);
        }
        let outcome = check.finish();
        assert_eq!((outcome.rows, outcome.elsewhere, outcome.unnamed), (3, 1, 1));
        assert_eq!(outcome.missing, [("c".to_owned(), "private/files/2".to_owned())]);
        assert!(!outcome.is_whole());
    }
}
