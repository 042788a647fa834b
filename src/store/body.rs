//! What is to be stored, and what comes back: bodies of known length and checked downloads.
//!
//! Owns the check that as many bytes come as were announced (a short answer that says OK was seen in the field), and
//! the digest of a body before it is sent. Knows nothing of any driver.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use sha2::Digest;

use crate::error::{Context, Error, Kind, Result};
use crate::id::Sha256;

/// How much of a file is read at once, in bytes.
pub(super) const READ_BYTES: usize = 256 * 1024;

/// What is to be stored; its length is always known beforehand.
#[derive(Debug, Clone)]
pub enum Body {
    /// Bytes in memory.
    Bytes(Bytes),
    /// A local file of exactly this size.
    File {
        /// Where it lies.
        path: PathBuf,
        /// Its length; a file of another length fails the put.
        size_bytes: u64,
        /// Its SHA-256, where it is known. Stores that are told it refuse a file that is another; those that are not do not look.
        sha256: Option<Sha256>,
    },
}

impl Body {
    /// Returns the length.
    pub fn size_bytes(&self) -> u64 {
        match self {
            Body::Bytes(b) => b.len() as u64,
            Body::File { size_bytes, .. } => *size_bytes,
        }
    }

    /// Returns the SHA-256; a file's that is not known is found by reading it off the runtime's threads.
    ///
    /// # Errors
    /// [`Kind::Io`] where a file cannot be read or has another length than stated.
    pub async fn sha256(&self) -> Result<Sha256> {
        let body = self.clone();
        let task = tokio::task::spawn_blocking(move || match body {
            Body::Bytes(b) => Ok(Sha256::of(&b)),
            Body::File { sha256: Some(known), .. } => Ok(known),
            Body::File { path, size_bytes, .. } => hash_file(&path, size_bytes),
        });
        task.await.context(Kind::Bug, "hashing a body")?
    }

    /// Reads `length_bytes` from `offset_bytes` on into memory.
    pub(super) async fn section(&self, offset_bytes: u64, length_bytes: usize) -> Result<Bytes> {
        match self {
            Body::Bytes(b) => {
                let from = usize::try_from(offset_bytes).context(Kind::Bug, "offset in a body")?;
                Ok(b.slice(from..from + length_bytes))
            }
            Body::File { path, .. } => {
                let path = path.clone();
                let task =
                    tokio::task::spawn_blocking(move || read_section(&path, offset_bytes, length_bytes));
                task.await.context(Kind::Bug, "reading a body")?
            }
        }
    }

    /// Fails when a file has another length than stated.
    pub(super) async fn check_length(&self) -> Result<()> {
        let Body::File { path, size_bytes, .. } = self else { return Ok(()) };
        let meta = tokio::fs::metadata(path).await.context(Kind::Io, path.display())?;
        if meta.len() == *size_bytes { Ok(()) } else { Err(wrong_length(path, *size_bytes)) }
    }
}

impl From<Vec<u8>> for Body {
    fn from(v: Vec<u8>) -> Self {
        Body::Bytes(v.into())
    }
}

/// The error of a file that is not as long as its body says.
pub(super) fn wrong_length(path: &Path, stated_bytes: u64) -> Error {
    Error::new(Kind::Io, format!("{} is not {stated_bytes} bytes long", path.display()))
}

fn hash_file(path: &Path, size_bytes: u64) -> Result<Sha256> {
    let mut file = std::fs::File::open(path).context(Kind::Io, path.display())?;
    let mut hash = sha2::Sha256::new();
    let mut buffer = vec![0; READ_BYTES];
    let mut seen = 0_u64;
    loop {
        let n = file.read(&mut buffer).context(Kind::Io, path.display())?;
        if n == 0 {
            break;
        }
        seen += n as u64;
        hash.update(&buffer[..n]);
    }
    if seen == size_bytes { Ok(Sha256(hash.finalize().into())) } else { Err(wrong_length(path, size_bytes)) }
}

fn read_section(path: &Path, offset_bytes: u64, length_bytes: usize) -> Result<Bytes> {
    use std::os::unix::fs::FileExt;
    let file = std::fs::File::open(path).context(Kind::Io, path.display())?;
    let mut buffer = vec![0; length_bytes];
    file.read_exact_at(&mut buffer, offset_bytes).context(Kind::Io, path.display())?;
    Ok(buffer.into())
}

/// An object on its way here.
pub struct Download {
    /// The length the store announced.
    pub size_bytes: u64,
    /// The bytes; ends in an error, never early, when fewer or more come than were announced.
    pub body: BoxStream<'static, Result<Bytes>>,
}

impl std::fmt::Debug for Download {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Download").field("size_bytes", &self.size_bytes).finish_non_exhaustive()
    }
}

impl Download {
    /// Makes a download of bytes in memory.
    pub fn of(bytes: Bytes) -> Self {
        let size_bytes = bytes.len() as u64;
        Download { size_bytes, body: futures::stream::iter([Ok(bytes)]).boxed() }
    }

    /// Makes a download that keeps the promise of [`Download::body`] over a `stream` that may not, and that fails when
    /// nothing comes for `silence`.
    ///
    /// `what` names the object in errors, which are of [`Kind::Store`], or [`Kind::Timeout`] for silence.
    pub fn checked(
        what: String,
        size_bytes: u64,
        silence: Duration,
        stream: BoxStream<'static, Result<Bytes>>,
    ) -> Self {
        let state = Checked { what, left_bytes: size_bytes, silence, stream, ended: false };
        let body = futures::stream::unfold(state, |mut state| async move {
            let piece = state.next().await?;
            Some((piece, state))
        });
        Download { size_bytes, body: body.boxed() }
    }

    /// Collects the whole object, which must be at most `limit_bytes` long.
    ///
    /// # Errors
    /// [`Kind::Damaged`] when it is longer; else those of the body.
    pub async fn bytes(mut self, limit_bytes: u64) -> Result<Bytes> {
        if self.size_bytes > limit_bytes {
            return Err(Error::new(
                Kind::Damaged,
                format!("object of {} bytes, at most {limit_bytes} expected", self.size_bytes),
            ));
        }
        // The limit, not the announcement, bounds the memory; drivers end the body where it was announced to end.
        let mut all = bytes::BytesMut::with_capacity(usize::try_from(self.size_bytes).unwrap_or(0));
        while let Some(piece) = self.body.next().await {
            all.extend_from_slice(&piece?);
        }
        Ok(all.freeze())
    }
}

/// A stream with the number of bytes that it still owes.
struct Checked {
    what: String,
    left_bytes: u64,
    silence: Duration,
    stream: BoxStream<'static, Result<Bytes>>,
    ended: bool,
}

impl Checked {
    async fn next(&mut self) -> Option<Result<Bytes>> {
        if self.ended {
            return None;
        }
        let piece = match tokio::time::timeout(self.silence, self.stream.next()).await {
            Err(_) => Some(Err(Error::new(
                Kind::Timeout,
                format!("{}: nothing came for {} s", self.what, self.silence.as_secs()),
            ))),
            Ok(piece) => piece,
        };
        match piece {
            Some(Ok(bytes)) => match self.left_bytes.checked_sub(bytes.len() as u64) {
                Some(left) => {
                    self.left_bytes = left;
                    Some(Ok(bytes))
                }
                None => self.end_with("more bytes came than were announced"),
            },
            Some(Err(error)) => {
                self.ended = true;
                Some(Err(error))
            }
            None if self.left_bytes > 0 => {
                let text = format!("the answer ended {} bytes too early", self.left_bytes);
                self.end_with(&text)
            }
            None => None,
        }
    }

    fn end_with(&mut self, text: &str) -> Option<Result<Bytes>> {
        self.ended = true;
        Some(Err(Error::new(Kind::Store, format!("{}: {text}", self.what))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SILENCE: Duration = Duration::from_secs(30);

    fn pieces(pieces: &[&'static [u8]]) -> BoxStream<'static, Result<Bytes>> {
        let owned: Vec<_> = pieces.iter().map(|p| Ok(Bytes::from_static(p))).collect();
        futures::stream::iter(owned).boxed()
    }

    fn is_send_and_static<T: Send + 'static>(_: &T) {}

    #[tokio::test]
    async fn an_answer_that_ends_early_is_an_error_and_not_an_end() {
        let download = Download::checked("object x".into(), 6, SILENCE, pieces(&[b"abc", b"de"]));
        is_send_and_static(&download);
        is_send_and_static(&download.body);
        let error = download.bytes(100).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Store);
        assert_eq!(error.to_string(), "object x: the answer ended 1 bytes too early");
    }

    #[tokio::test]
    async fn bytes_beyond_the_announced_length_are_an_error() {
        let download = Download::checked("x".into(), 4, SILENCE, pieces(&[b"abc", b"de"]));
        assert_eq!(download.bytes(100).await.unwrap_err().kind(), Kind::Store);
    }

    #[tokio::test]
    async fn silence_ends_in_a_timeout() {
        let never = futures::stream::pending().boxed();
        let download = Download::checked("x".into(), 4, Duration::from_millis(5), never);
        assert_eq!(download.bytes(100).await.unwrap_err().kind(), Kind::Timeout);
    }

    #[tokio::test]
    async fn an_object_longer_than_expected_is_not_collected() {
        let download = Download::checked("x".into(), 5, SILENCE, pieces(&[b"abc", b"de"]));
        assert_eq!(download.bytes(4).await.unwrap_err().kind(), Kind::Damaged);
    }

    #[tokio::test]
    async fn a_file_of_another_length_than_stated_has_no_digest() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), b"abc").unwrap();
        let body = |size_bytes| Body::File { path: file.path().to_owned(), size_bytes, sha256: None };
        assert_eq!(body(3).sha256().await.unwrap(), Sha256::of(b"abc"));
        for wrong in [2, 4] {
            assert_eq!(body(wrong).sha256().await.unwrap_err().kind(), Kind::Io);
        }
    }
}
