//! Plays the adaptive policy and Xen's own over traces and prints how they did.

use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use replay::engine::policy;
use replay::table::{Family, HEADING, Row};
use replay::{file, generate};
use xend_rs::migration::policy::adaptive::Settings;

/// Plays migration policies over traces of what guests wrote.
#[derive(Parser)]
struct Options {
    /// Recorded traces. Without any, the generated ones are played.
    traces: Vec<PathBuf>,
    /// How long the guest may stand still.
    #[arg(long, value_name = "MS", default_value_t = 300)]
    downtime: u64,
    /// How long a probe before the migration lasts; 0 for none.
    #[arg(long, value_name = "MS", default_value_t = 2000)]
    probe: u64,
    /// Only this family.
    #[arg(long)]
    family: Option<String>,
    /// Each trace, the worst last, before the table.
    #[arg(long)]
    each: bool,
    /// Plays nothing, and writes the generated traces whose names begin with this to the standard
    /// output, one after the other.
    #[arg(long, value_name = "NAME")]
    write: Option<String>,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    if let Some(name) = &options.write {
        for guest in generate::catalogue().iter().filter(|guest| guest.name.starts_with(name)) {
            file::write(&guest.trace(), std::io::stdout().lock())?;
        }
        return Ok(());
    }
    let settings = Settings {
        downtime_target: Duration::from_millis(options.downtime),
        ..Settings::default()
    };
    let (policy, probe) = (policy(settings), Duration::from_millis(options.probe));
    let mut rows = Vec::new();
    for path in &options.traces {
        let opened = File::open(path).with_context(|| format!("opening {}", path.display()))?;
        let traces = file::read(BufReader::new(opened));
        let traces = traces.with_context(|| format!("reading {}", path.display()))?;
        rows.extend(traces.iter().map(|trace| Row::of(trace, &policy, probe)));
    }
    if options.traces.is_empty() {
        let guests = generate::catalogue();
        rows.extend(guests.iter().map(|guest| Row::of(&guest.trace(), &policy, probe)));
    }
    rows.retain(|row| options.family.as_ref().is_none_or(|family| row.family == *family));
    let families = Family::all(&rows);
    if options.each {
        families.iter().flat_map(|family| &family.rows).for_each(|row| println!("{row}"));
    }
    println!("{HEADING}");
    families.iter().for_each(|family| println!("{family}"));
    Ok(())
}
