//! OpenMetrics text as the older text format 0.0.4.
//!
//! They differ, for gauges and counters, in two things only: the older one names a counter in `# HELP` and `# TYPE` as its
//! lines do, with `_total`, and has no `# EOF` and no `# UNIT`. Source: Prometheus, "Exposition formats"; OpenMetrics 1.0.0.

use std::collections::BTreeSet;

/// Turns one into the other.
pub fn of(text: &str) -> String {
    let counters: BTreeSet<&str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter")).collect();
    let mut plain = String::with_capacity(text.len());
    for line in text.lines() {
        if line == "# EOF" || line.starts_with("# UNIT ") {
            continue;
        }
        match head(line).filter(|(_, name, _)| counters.contains(name)) {
            Some((begin, name, rest)) => plain.push_str(&format!("{begin}{name}_total{rest}")),
            None => plain.push_str(line),
        }
        plain.push('\n');
    }
    plain
}

/// Cuts `# HELP name …` and `# TYPE name …` around the name.
fn head(line: &str) -> Option<(&str, &str, &str)> {
    let begin = ["# HELP ", "# TYPE "].into_iter().find(|begin| line.starts_with(begin))?;
    let rest = &line[begin.len()..];
    let end = rest.find(' ')?;
    Some((&line[..begin.len()], &rest[..end], &rest[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_is_named_as_its_lines_are_and_gauges_stay() {
        let open = "# HELP a Runs.\n# TYPE a counter\na_total{t=\"x # TYPE a counter\"} 1\n# HELP ab Age.\n# TYPE ab gauge\nab 2\n# EOF\n";
        let plain = "# HELP a_total Runs.\n# TYPE a_total counter\na_total{t=\"x # TYPE a counter\"} 1\n# HELP ab Age.\n# TYPE ab gauge\nab 2\n";
        assert_eq!(of(open), plain);
    }
}
