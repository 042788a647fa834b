//! Reading an increment of append-only files as it passes: whole commands, whole transactions.
//!
//! Owns no content. An increment has no checksum; that its commands fit one behind the other up to the cut is what can
//! be known of it. Format: RESP arrays of bulk strings, lines beginning with `#` between them (redis.io, "Redis
//! persistence").

/// The longest line that announces a number or a time, in bytes.
const LINE_LIMIT: usize = 1024;

/// Where in a command the next byte stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Between two commands.
    Between,
    /// In a line that began with this byte.
    Line(u8),
    /// Before the line that announces an argument.
    Argument,
    /// In an argument, with so many bytes to come, its line end included.
    Bulk(u64),
}

/// The state of reading.
#[derive(Debug)]
pub(super) struct Commands {
    place: Place,
    line: Vec<u8>,
    /// Arguments to come.
    arguments: u64,
    /// Whether the command has one argument, the only form of `MULTI` and `EXEC`.
    single: bool,
    in_transaction: bool,
    position: u64,
    good_up_to: u64,
    broken: bool,
}

impl Commands {
    /// Begins at the first byte of a file.
    pub fn new() -> Self {
        Commands {
            place: Place::Between,
            line: Vec::new(),
            arguments: 0,
            single: false,
            in_transaction: false,
            position: 0,
            good_up_to: 0,
            broken: false,
        }
    }

    /// Reads the next bytes.
    pub fn push(&mut self, mut bytes: &[u8]) {
        while let (Some(&byte), false) = (bytes.first(), self.broken) {
            let used = match self.place {
                Place::Bulk(left) => self.bulk(left, bytes),
                Place::Line(kind) => self.line(kind, bytes),
                Place::Between | Place::Argument => {
                    let fits = match self.place {
                        Place::Argument => byte == b'$',
                        _ => matches!(byte, b'*' | b'#'),
                    };
                    self.broken |= !fits;
                    self.place = Place::Line(byte);
                    1
                }
            };
            self.position += used as u64;
            bytes = &bytes[used..];
            if self.place == Place::Between && !self.in_transaction && !self.broken {
                self.good_up_to = self.position;
            }
        }
    }

    /// Returns the end of the last whole command or transaction, where that is not the end of the file.
    pub fn broken_at(&self) -> Option<u64> {
        let whole = !self.broken && self.place == Place::Between && !self.in_transaction;
        (!whole).then_some(self.good_up_to)
    }

    /// Takes what of `bytes` belongs to an argument. The end of each is kept: short names stand there whole.
    fn bulk(&mut self, left: u64, bytes: &[u8]) -> usize {
        let n = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
        self.line.extend_from_slice(&bytes[n.saturating_sub(8)..n]);
        let excess = self.line.len().saturating_sub(8);
        self.line.drain(..excess);
        self.place = Place::Bulk(left - n as u64);
        if left > n as u64 {
            return n;
        }
        let name = self.line.strip_suffix(b"\r\n");
        self.broken |= name.is_none();
        if let (Some(name), true) = (name, self.single) {
            match (name.to_ascii_lowercase().as_slice(), self.in_transaction) {
                (b"multi", false) => self.in_transaction = true,
                (b"exec", true) => self.in_transaction = false,
                (b"multi" | b"exec", _) => self.broken = true,
                _ => {}
            }
        }
        self.line.clear();
        self.arguments -= 1;
        self.place = if self.arguments == 0 { Place::Between } else { Place::Argument };
        n
    }

    /// Takes what of `bytes` belongs to a line.
    fn line(&mut self, kind: u8, bytes: &[u8]) -> usize {
        let end = bytes.iter().position(|b| *b == b'\n');
        let n = end.map_or(bytes.len(), |at| at + 1);
        self.line.extend_from_slice(&bytes[..n.min(LINE_LIMIT)]);
        self.broken |= self.line.len() > LINE_LIMIT;
        if end.is_none() {
            return n;
        }
        let number =
            self.line.strip_suffix(b"\r\n").and_then(|l| std::str::from_utf8(l).ok()?.parse::<u64>().ok());
        match (kind, number) {
            (b'#', _) => self.place = Place::Between,
            (b'*', Some(n @ 1..)) => {
                (self.arguments, self.single) = (n, n == 1);
                self.place = Place::Argument;
            }
            // The longest argument that a server takes is 512 MiB unless it is told otherwise.
            (b'$', Some(n @ ..0x1_0000_0000)) => self.place = Place::Bulk(n + 2),
            _ => self.broken = true,
        }
        self.line.clear();
        n
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &[u8] = b"*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n#TS:1700000000\r\n*1\r\n$5\r\nMULTI\r\n\
        *3\r\n$3\r\nset\r\n$0\r\n\r\n$14\r\nvalue *1\r\n$4\r\n\r\n*2\r\n$4\r\nINCR\r\n$4\r\nEXEC\r\n*1\r\n$4\r\nExec\r\n";

    fn read(bytes: &[u8], step: usize) -> Option<u64> {
        let mut commands = Commands::new();
        bytes.chunks(step).for_each(|part| commands.push(part));
        commands.broken_at()
    }

    #[test]
    fn a_whole_file_is_good_however_it_is_cut_up() {
        for step in 1..=FILE.len() {
            assert_eq!(read(FILE, step), None, "{step}");
        }
        assert_eq!(read(b"", 1), None);
    }

    #[test]
    fn a_cut_in_a_command_or_a_transaction_is_found() {
        let select = 23;
        let stamp = select + 16;
        for end in 1..FILE.len() {
            let good = [0, select, stamp].into_iter().rfind(|good| *good <= end).unwrap();
            let expected = (good != end).then_some(good as u64);
            for step in [1, 7, 1000] {
                assert_eq!(read(&FILE[..end], step), expected, "cut at {end}");
            }
        }
    }

    #[test]
    fn what_is_no_command_is_found_where_it_stands() {
        let mut file = FILE[..23].to_vec();
        for bad in [
            &b"x"[..],
            b"*0\r\n",
            b"*1\n",
            b"*1\r\n*1\r\n",
            b"*1\r\n$-1\r\n",
            b"*1\r\n$1\r\nab\r\n",
            b"*1\r\n$4\r\nEXEC\r\n",
            &[b'*'; 3000],
        ] {
            file.truncate(23);
            file.extend_from_slice(bad);
            assert_eq!(read(&file, 5), Some(23), "{bad:?}");
        }
    }
}
