//! What a container's command says of the server: password, port, configuration file.
//!
//! The command as Docker keeps it is the only place for this: a running server overwrites its own command line.

use zeroize::Zeroizing;

/// What a command says; empty where it says nothing.
#[derive(Default)]
pub(super) struct Hints {
    /// The value of `--requirepass`.
    pub password: Zeroizing<String>,
    /// The value of `--port`.
    pub port: String,
    conf: String,
}

impl Hints {
    /// Reads entrypoint and command; a part with spaces in it is taken for a line of a shell.
    pub fn of<'a>(parts: impl Iterator<Item = &'a String>) -> Hints {
        let mut hints = Hints::default();
        let words = parts.flat_map(|part| {
            let line = part.contains("redis-server ") || part.contains("valkey-server ");
            if line { part.split_whitespace().map(unquoted).collect() } else { vec![part.as_str()] }
        });
        let mut words = words.peekable();
        while let Some(word) = words.next() {
            let mut value = || words.peek().filter(|v| !v.starts_with('$')).copied().unwrap_or_default();
            match word {
                "--requirepass" => *hints.password = value().to_owned(),
                "--port" => value().clone_into(&mut hints.port),
                "redis-server" | "valkey-server" => {
                    let first = value();
                    if !first.is_empty() && !first.starts_with('-') {
                        first.clone_into(&mut hints.conf);
                    }
                }
                _ if hints.conf.is_empty() && word.ends_with(".conf") => word.clone_into(&mut hints.conf),
                _ => {}
            }
        }
        hints
    }

    /// Returns the path of the configuration file, taken from `folder` where it is relative.
    pub fn conf_in(&self, folder: &str) -> String {
        if self.conf.is_empty() || self.conf.starts_with('/') {
            return self.conf.clone();
        }
        format!("{}/{}", folder.trim_end_matches('/'), self.conf)
    }
}

fn unquoted(word: &str) -> &str {
    word.trim_matches(['"', '\''])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hints(parts: &[&str]) -> (String, String, String) {
        let parts: Vec<String> = parts.iter().map(|p| (*p).to_owned()).collect();
        let hints = Hints::of(parts.iter());
        (hints.password.to_string(), hints.port.clone(), hints.conf_in("/etc/redis"))
    }

    fn three(password: &str, port: &str, conf: &str) -> (String, String, String) {
        (password.into(), port.into(), conf.into())
    }

    #[test]
    fn options_and_file_are_found_in_a_command() {
        let command =
            ["docker-entrypoint.sh", "redis-server", "/x/redis.conf", "--requirepass", "a b", "--port", "7"];
        assert_eq!(hints(&command), three("a b", "7", "/x/redis.conf"));
        assert_eq!(hints(&["redis-server", "--appendonly", "yes"]), three("", "", ""));
        assert_eq!(hints(&["redis_queue.conf"]), three("", "", "/etc/redis/redis_queue.conf"));
    }

    #[test]
    fn a_line_for_a_shell_is_read_too_but_its_variables_are_not_taken_for_values() {
        let line = "exec redis-server q.conf --requirepass 's3cret' --port 6380";
        assert_eq!(hints(&["sh", "-c", line]), three("s3cret", "6380", "/etc/redis/q.conf"));
        assert_eq!(hints(&["sh", "-c", "redis-server --requirepass \"$REDIS_PASSWORD\""]), three("", "", ""));
    }
}
