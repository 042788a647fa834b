//! What of a folder is left out of its backup.
//!
//! Owns patterns and the defaults for Frappe sites. What users uploaded is never left out by its name.

/// Folders of uploads, where patterns without `/` do not count.
const UPLOADS: [&[u8]; 2] = [b"public/files/", b"private/files/"];

/// What Lifeboat puts beside or into a folder while it restores.
pub const OWN_PREFIX: &str = ".lifeboat-";

/// Patterns of what is left out.
///
/// With a `/`, a pattern is matched against the whole path below the root (a leading `/` is allowed); without, against each
/// name outside of the uploads. `*` stands for any bytes but `/`. What matches is left out with all below it; `logs/*`
/// keeps the folder itself, because Frappe does not make it again.
#[derive(Debug, Clone, Default)]
pub struct Excludes {
    patterns: Vec<String>,
}

impl Excludes {
    /// Leaves out nothing but what Lifeboat itself put there.
    pub fn none() -> Self {
        Excludes { patterns: vec![format!("/{OWN_PREFIX}*")] }
    }

    /// Leaves out what a site folder holds only for a while: its own backups, locks, logs, compiled code.
    pub fn frappe_site() -> Self {
        Self::none().and(["/private/backups/*", "/locks/*", "/logs/*", "*.pyc", "__pycache__"])
    }

    /// The same one level up, for a `sites` folder as a whole; `assets` belongs to the image.
    pub fn frappe_sites() -> Self {
        let below = ["/assets", "/*/private/backups/*", "/*/locks/*", "/*/logs/*", "*.pyc", "__pycache__"];
        Self::none().and(below)
    }

    /// Adds patterns.
    #[must_use]
    pub fn and<S: Into<String>>(mut self, patterns: impl IntoIterator<Item = S>) -> Self {
        self.patterns.extend(patterns.into_iter().map(Into::into));
        self
    }

    /// Tells whether this path below the root is left out.
    pub fn covers(&self, path: &[u8]) -> bool {
        let uploaded = UPLOADS.iter().any(|u| path.windows(u.len()).any(|w| w == *u));
        let name = path.rsplit(|b| *b == b'/').next().unwrap_or(path);
        self.patterns
            .iter()
            .any(|p| if p.contains('/') { matches(p, path) } else { !uploaded && matches(p, name) })
    }
}

/// Tells whether a pattern, as [`Excludes`] reads them, matches all of `text`.
pub fn matches(pattern: &str, text: &[u8]) -> bool {
    let pattern = pattern.strip_prefix('/').unwrap_or(pattern).as_bytes();
    let (mut p, mut t) = (0, 0);
    // Where the last `*` stood, and how far it has eaten.
    let mut star: Option<(usize, usize)> = None;
    loop {
        match (pattern.get(p), text.get(t)) {
            (None, None) => return true,
            (Some(b'*'), _) => {
                star = Some((p, t));
                p += 1;
            }
            (Some(a), Some(b)) if a == b => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((at, eaten)) if text.get(eaten).is_some_and(|b| *b != b'/') => {
                    star = Some((at, eaten + 1));
                    (p, t) = (at + 1, eaten + 1);
                }
                _ => return false,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stops_at_a_slash() {
        for (pattern, text, expected) in [
            ("/logs/*", "logs/a.log", true),
            ("/logs/*", "logs", false),
            ("/logs/*", "logs/a/b", false),
            ("/*/logs/*", "erp.example.com/logs/x", true),
            ("*.pyc", "a.b.pyc", true),
            ("*.pyc", "a.pyc2", false),
            ("a*b*c", "aXbYbZc", true),
            ("*", "", true),
            ("a", "b", false),
        ] {
            assert_eq!(matches(pattern, text.as_bytes()), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn a_site_keeps_its_uploads_whatever_their_names() {
        let site = Excludes::frappe_site();
        for kept in [
            "public/files/x.pyc",
            "private/files/locks",
            "private/files/__pycache__/a",
            "private/backups",
            "logs",
        ] {
            assert!(!site.covers(kept.as_bytes()), "{kept}");
        }
        for gone in
            ["private/backups/a.sql.gz", "locks/x", "logs/a", "x.pyc", ".lifeboat-before-1", "a/__pycache__"]
        {
            assert!(site.covers(gone.as_bytes()), "{gone}");
        }
        assert!(!site.covers(b"indexes") && site.and(["/indexes/*"]).covers(b"indexes/web"));
        assert!(Excludes::frappe_sites().covers(b"assets") && !Excludes::frappe_sites().covers(b"x/assets"));
    }
}
