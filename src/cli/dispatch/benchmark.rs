//! `benchmark`.

use std::time::Duration;

use super::Call;
use crate::cli::args::BenchmarkArgs;
use crate::cli::render::{Rendered, table};
use crate::error::Result;
use crate::ops::benchmark::{Figure, Measured, Stage, benchmark};

pub(super) async fn run(call: &Call<'_>, args: &BenchmarkArgs) -> Result<u8> {
    let config = match call.config() {
        Ok(config) => Some(config),
        // Who looks at a machine before anything is installed there needs none.
        Err(_) if !args.store && !call.cli.config.join("lifeboat.toml").exists() => None,
        Err(e) => return Err(e),
    };
    let around = call.around();
    let budget = Duration::from_secs(args.seconds.into());
    let measured = benchmark(config.as_ref(), args.store, budget, &around).await?;
    drop(around);
    Ok(call.done(&measured))
}

fn speed(mb_s: f64) -> String {
    if mb_s < 9.95 { format!("{mb_s:>7.1}") } else { format!("{mb_s:>7.0}") }
}

fn row(figure: &Figure) -> Vec<String> {
    let first = figure.first_backup_mb_s.map_or_else(|| format!("{:>7}", "-"), speed);
    vec![format!("  {}", figure.stage.name()), speed(figure.one_mb_s), speed(figure.all_mb_s), first]
}

impl Rendered for Measured {
    fn text(&self) -> String {
        let cores = if self.cores == 1 { "1 core".to_owned() } else { format!("{} cores", self.cores) };
        let head = ["  MB/s", "one core", &cores, "first backup"].map(str::to_owned).to_vec();
        let rows: Vec<Vec<String>> = std::iter::once(head).chain(self.stages.iter().map(row)).collect();
        let place = self.store.as_deref().map_or_else(String::new, |s| format!(", store {s}"));
        let mut text =
            format!("{cores}, spool in {}{place}, {:.0} s\n\n{}\n", self.spool, self.seconds, table(&rows));
        let turns = match self.bottleneck.stage {
            Stage::ChunkRows | Stage::KeyedHash => ", for a stream is cut and hashed on one core",
            _ => "",
        };
        text.push_str(&format!(
            "Bottleneck of a first backup: {}, at {} MB/s of SQL{turns}.\n\
             \"First backup\": the SQL that could be read if only this stage held it up; {:.0} % of it is left after\n\
             compression. Disk and store: one transfer at a time, then as many as a backup makes.\n",
            self.bottleneck.stage.name(),
            speed(self.bottleneck.mb_s).trim(),
            100.0 * self.sql_ratio,
        ));
        for warning in &self.warnings {
            text.push_str(&format!("warning: {warning}\n"));
        }
        text
    }
}
