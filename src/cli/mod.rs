//! tmp
use std::ffi::OsString;
/// tmp
pub fn run(_args: impl IntoIterator<Item = OsString>) -> std::process::ExitCode { std::process::ExitCode::SUCCESS }
