//! `files ls`, `files cat`, `files extract`; `files diff` lies beside `diff`.

use serde::Serialize;
use tokio::io::AsyncReadExt;

use super::{Call, DONE};
use crate::cli::args::{CatArgs, FilesArgs, FilesVerb, IdentityArgs, SnapshotArgs};
use crate::cli::ask;
use crate::cli::render::{Rendered, bytes};
use crate::error::{Context, Error, Kind, Result, counted};
use crate::id::Sha256;
use crate::ops::appliance::Appliance;
use crate::ops::files::{self, Listed};
use crate::ops::restore::{self, Opened};

pub(super) async fn run(call: &Call<'_>, verb: &FilesVerb) -> Result<u8> {
    match verb {
        FilesVerb::Ls(args) => ls(call, args).await,
        FilesVerb::Cat(args) => cat(call, args).await,
        FilesVerb::Diff(args) => super::diff::of_files(call, args).await,
        FilesVerb::Extract(args) => {
            let (_appliance, opened) = open(call, &args.what.of).await?;
            let path = args.what.path.as_deref().unwrap_or("");
            let n = files::extract(&opened, path, &args.to).await?;
            Ok(call.done(&Extracted { entries: n, to: args.to.display().to_string() }))
        }
    }
}

/// Returns the identities that a verb was given.
pub(super) fn needed(args: &IdentityArgs) -> Result<crate::repo::age_file::Identities> {
    let path = args.identity.as_deref().ok_or_else(|| {
        Error::new(Kind::WrongKey, "backups are sealed: this needs an identity")
            .hint("give --identity FILE, an operator's age identity or the recovery kit")
    })?;
    ask::identities(path)
}

async fn open(call: &Call<'_>, args: &SnapshotArgs) -> Result<(Appliance, Opened)> {
    let identities = needed(&args.identity)?;
    let appliance = call.appliance_of(args.source).await?;
    args.identity.identity.iter().try_for_each(|kit| appliance.compare_kit(kit))?;
    let opened = restore::open(&appliance, &args.tenant, &args.snapshot, &identities).await?;
    Ok((appliance, opened))
}

async fn ls(call: &Call<'_>, args: &FilesArgs) -> Result<u8> {
    let (_appliance, opened) = open(call, &args.of).await?;
    files::list(&opened, args.path.as_deref().unwrap_or(""), |entry| call.output.result(&entry)).await?;
    Ok(DONE)
}

impl Rendered for Listed {
    fn text(&self) -> String {
        let time = jiff::Timestamp::from_second(self.mtime)
            .map_or_else(|_| String::new(), |t| t.strftime("%Y-%m-%d %H:%M").to_string());
        let size = if self.kind == "file" { bytes(self.size_bytes) } else { String::new() };
        format!("{:<6} {:>9}  {time}  {}\n", self.kind, size, self.path)
    }
}

async fn cat(call: &Call<'_>, args: &CatArgs) -> Result<u8> {
    use sha2::Digest;
    use std::io::Write;
    let path = args.path.as_str();
    let (_appliance, opened) = open(call, &args.of).await?;
    let (line, mut source) = files::open(&opened, path).await?;
    let mut hash = sha2::Sha256::new();
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let n = source.read(&mut buffer).await.map_err(crate::repo::reader::error_of)?;
        if n == 0 {
            break;
        }
        hash.update(&buffer[..n]);
        std::io::stdout().write_all(&buffer[..n]).context(Kind::Io, "cannot write to standard output")?;
    }
    if line.sha256 != Some(Sha256(hash.finalize().into())) {
        return Err(Error::new(Kind::Damaged, format!("{path} is not the file that was backed up")));
    }
    Ok(DONE)
}

#[derive(Debug, Serialize)]
struct Extracted {
    entries: u64,
    to: String,
}

impl Rendered for Extracted {
    fn text(&self) -> String {
        format!("{} written to {}\n", counted(self.entries, "entry"), self.to)
    }
}
