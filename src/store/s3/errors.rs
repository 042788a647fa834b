//! From the store's answers to kinds of error.
//!
//! Owns the table. Codes are those of <https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html> and the ones
//! other stores add; where no code is known, the status decides.

use std::fmt;

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};

use crate::error::{Error, Kind};

/// How much of a store's own words an error repeats, in characters.
const MESSAGE_CHARS: usize = 200;

/// What the store said, kept as the cause of the error that it became.
#[derive(Debug)]
pub(super) struct Answer {
    /// The HTTP status.
    pub(super) status: u16,
    /// The code in the answer's document; empty where there is none.
    pub(super) code: String,
    message: String,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the store answered {}", self.status)?;
        match (self.code.as_str(), self.message.as_str()) {
            ("", "") => Ok(()),
            (code, "") => write!(f, " ({code})"),
            ("", message) => write!(f, " ({message})"),
            (code, message) => write!(f, " ({code}: {message})"),
        }
    }
}

impl std::error::Error for Answer {}

/// Makes the error of a failed request; `what` names call, key and store.
pub(super) fn of<E>(what: &str, error: SdkError<E>) -> Error
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    let status = error.raw_response().map(|r| r.status().as_u16());
    if let (Some(service), Some(status)) = (error.as_service_error(), status) {
        let code = printable(service.code().unwrap_or(""));
        let message = printable(service.message().unwrap_or(""));
        let (kind, hint) = judge(&code, status);
        return with_hint(Error::new(kind, what).caused_by(Answer { status, code, message }), hint);
    }
    let lost = Error::new(Kind::Store, format!("{what}: no answer"))
        .hint("check the endpoint, its port and its certificate");
    match error.into_source() {
        Ok(source) => lost.caused_by(source),
        Err(error) => lost.caused_by(error.to_string()),
    }
}

/// Returns what the store said, where an error came from an answer.
pub(super) fn answer(error: &Error) -> Option<&Answer> {
    std::error::Error::source(error)?.downcast_ref()
}

/// Tells whether the store said that it does not know something the request asked for.
pub(super) fn is_not_implemented(error: &Error) -> bool {
    answer(error).is_some_and(|a| a.status == 501)
}

/// The error of a bucket that does not exist.
pub(super) fn no_bucket(what: &str) -> Error {
    with_hint(
        Error::new(Kind::NoRepository, format!("{what}: it does not exist")),
        judge("NoSuchBucket", 404).1,
    )
}

fn with_hint(error: Error, hint: Option<&'static str>) -> Error {
    match hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

/// Keeps a store's words from breaking lines or terminals.
fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(MESSAGE_CHARS).collect()
}

fn judge(code: &str, status: u16) -> (Kind, Option<&'static str>) {
    match code {
        "NoSuchKey" | "NoSuchVersion" | "NotFound" => return (Kind::NotFound, None),
        "NoSuchBucket" => {
            return (
                Kind::NoRepository,
                Some("create the bucket first, with versioning or object lock if you can"),
            );
        }
        "PreconditionFailed" | "ConditionalRequestConflict" => return (Kind::Conflict, None),
        "RequestTimeTooSkewed" => return (Kind::Denied, Some("set this host's clock")),
        "InvalidObjectState" => {
            return (
                Kind::Denied,
                Some("the object lies in an archive class; bring it back from there first"),
            );
        }
        "PermanentRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException" => {
            return (Kind::Config, Some("set the store's region and endpoint to those of the bucket"));
        }
        "InvalidBucketName" => return (Kind::Config, None),
        "SignatureDoesNotMatch" | "InvalidAccessKeyId" | "ExpiredToken" | "InvalidToken" => {
            return (Kind::Denied, Some("check the access key, the secret key and the region"));
        }
        "RequestTimeout" => return (Kind::Timeout, None),
        _ => {}
    }
    // `QuotaExceeded`, `XMinioStorageFull`, `XMinioAdminBucketQuotaExceeded`, `InsufficientStorage`, ...
    if code.contains("Quota") || code.contains("StorageFull") || code.contains("InsufficientStorage") {
        return (Kind::Full, Some("free space in the store or raise its quota"));
    }
    match status {
        401 | 403 => (Kind::Denied, Some("check the rights of the access key")),
        409 | 412 => (Kind::Conflict, None),
        301 | 307 | 308 => (Kind::Config, Some("set the store's region and endpoint to those of the bucket")),
        408 => (Kind::Timeout, None),
        507 => (Kind::Full, Some("free space in the store or raise its quota")),
        _ => (Kind::Store, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_count_before_the_status_and_the_status_where_there_is_no_code() {
        let table = [
            ("NoSuchKey", 404, Kind::NotFound),
            ("NoSuchVersion", 404, Kind::NotFound),
            ("NoSuchBucket", 404, Kind::NoRepository),
            ("NoSuchUpload", 404, Kind::Store),
            ("AccessDenied", 403, Kind::Denied),
            ("SignatureDoesNotMatch", 403, Kind::Denied),
            ("ExpiredToken", 400, Kind::Denied),
            ("RequestTimeTooSkewed", 403, Kind::Denied),
            ("AuthorizationHeaderMalformed", 400, Kind::Config),
            ("PreconditionFailed", 412, Kind::Conflict),
            ("ConditionalRequestConflict", 409, Kind::Conflict),
            ("SlowDown", 503, Kind::Store),
            ("InternalError", 500, Kind::Store),
            ("BadDigest", 400, Kind::Store),
            ("RequestTimeout", 400, Kind::Timeout),
            ("QuotaExceeded", 403, Kind::Full),
            ("XMinioStorageFull", 507, Kind::Full),
            ("InsufficientStorage", 507, Kind::Full),
            ("", 507, Kind::Full),
            ("", 403, Kind::Denied),
            // Some server that is no S3: nobody said that it is the object which is missing.
            ("", 404, Kind::Store),
            ("", 502, Kind::Store),
            ("", 301, Kind::Config),
        ];
        for (code, status, kind) in table {
            assert_eq!(judge(code, status).0, kind, "{code} {status}");
        }
    }

    #[test]
    fn a_stores_words_cannot_break_the_terminal() {
        assert_eq!(printable("a\u{1b}[2J\nb"), "a[2Jb");
        assert_eq!(printable(&"x".repeat(1000)).len(), MESSAGE_CHARS);
    }
}
