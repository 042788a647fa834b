//! `diff`, `files diff`.

use serde::Serialize;

use super::files::needed;
use super::{Call, DONE};
use crate::cli::args::{DiffArgs, PairArgs};
use crate::cli::render::{Rendered, bytes, table};
use crate::error::{Result, counted};
use crate::ops::appliance::Appliance;
use crate::ops::diff::{self, Compared, FileChange, FileCounts, TableChange};
use crate::ops::restore::{self, Opened};

/// How the files of two snapshots differ in all.
#[derive(Debug, Serialize)]
struct FilesDiffer {
    files: FileCounts,
}

/// Opens both; the repository stays open as long as they are read.
async fn open(call: &Call<'_>, args: &PairArgs) -> Result<(Appliance, Opened, Opened)> {
    let identities = needed(&args.identity)?;
    let appliance = call.appliance_of(args.source).await?;
    args.identity.identity.iter().try_for_each(|kit| appliance.compare_kit(kit))?;
    let from = restore::open(&appliance, &args.tenant, &args.from, &identities).await?;
    let to = restore::open(&appliance, &args.tenant, &args.to, &identities).await?;
    Ok((appliance, from, to))
}

pub(super) async fn run(call: &Call<'_>, args: &PairArgs) -> Result<u8> {
    let (_appliance, from, to) = open(call, args).await?;
    Ok(call.done(&diff::diff(&from, &to).await?))
}

pub(super) async fn of_files(call: &Call<'_>, args: &DiffArgs) -> Result<u8> {
    let (_appliance, from, to) = open(call, &args.pair).await?;
    let path = args.path.as_deref().unwrap_or("");
    let files = diff::walk(&from, &to, path, |change| call.output.result(&change)).await?;
    call.output.result(&FilesDiffer { files });
    Ok(DONE)
}

impl Rendered for FileChange {
    fn text(&self) -> String {
        let size = |n: Option<u64>| n.map_or_else(|| "-".to_owned(), bytes);
        let (before, after) = (size(self.before_bytes), size(self.after_bytes));
        format!("{:<10} {before:>9} {after:>9}  {}\n", self.how.word(), self.path)
    }
}

impl Rendered for FilesDiffer {
    fn text(&self) -> String {
        format!("{}\n", sentence(&self.files))
    }
}

fn sentence(f: &FileCounts) -> String {
    format!(
        "files: {} added, {} removed, {} changed, {} with other attributes, {} equal",
        f.added, f.removed, f.changed, f.attributes, f.equal
    )
}

impl Rendered for Compared {
    fn text(&self) -> String {
        let mut text = format!("{}: {} against {}\n", self.tenant, self.to, self.from);
        match &self.tables {
            None => text.push_str("  database: not in both\n"),
            Some(changes) => {
                let (n, equal) = (counted(changes.len(), "table"), self.equal_tables);
                text.push_str(&format!("  database: {n} with other rows, {equal} with as many\n"));
                let rows: Vec<_> = changes.iter().map(row).collect();
                text.push_str(&table(&rows));
            }
        }
        match &self.files {
            None => text.push_str("  files: not in both\n"),
            Some(files) => text.push_str(&format!("  {}\n", sentence(files))),
        }
        text
    }
}

fn row(t: &TableChange) -> Vec<String> {
    let side = |there: bool, rows: Option<u64>| match (there, rows) {
        (false, _) => "-".to_owned(),
        (true, None) => "?".to_owned(),
        (true, Some(n)) => n.to_string(),
    };
    let change = match (t.before_rows, t.after_rows) {
        (Some(b), Some(a)) => format!("{:+}", i128::from(a) - i128::from(b)),
        _ if !t.there.0 => "new".to_owned(),
        _ if !t.there.1 => "gone".to_owned(),
        _ => String::new(),
    };
    vec![format!("    {}", t.table), side(t.there.0, t.before_rows), side(t.there.1, t.after_rows), change]
}
