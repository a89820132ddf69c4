//! Traces that were recorded from guests, judged as the generated ones are.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::time::Duration;

use replay::engine::{Mechanics, policy};
use replay::file;
use replay::generate::COPY_S;
use replay::table::{Family, HEADING, Row};
use replay::trace::Trace;
use replay::voyage::play;
use xend_rs::migration::policy::adaptive::Settings;

fn here(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn read(path: &Path) -> Vec<Trace> {
    let traces = file::read(BufReader::new(File::open(path).unwrap()));
    traces.unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn a_recorded_file_is_read_as_it_was_recorded_and_played_over_each_link() {
    let traces = read(&here("tests/fixtures/by-hand.jsonl"));
    let links: Vec<f64> = traces.iter().map(|trace| trace.link_pages_per_s).collect();
    assert_eq!(links, COPY_S.map(|seconds| 64.0 / seconds));
    for trace in &traces {
        assert_eq!((trace.family.as_str(), trace.pages), ("recorded", 64));
        let windows: Vec<_> = trace
            .windows()
            .iter()
            .map(|window| (window.length.as_micros(), window.pages.as_slice()))
            .collect();
        let expected: [(u128, &[u32]); 4] =
            [(50_000, &[3, 4, 15]), (52_500, &[]), (150_000, &[0]), (49_000, &[63])];
        assert_eq!(windows, expected);
        // It lasts a third of a second, and a round takes many times that.
        let voyage = play(trace, Mechanics::ours(64), &policy(Settings::default()), 2, true);
        assert_eq!(voyage.rounds[0].dirtied_pages, Some(5), "{trace:?}");
    }
    assert_eq!(traces[1].name, "by hand (12 s)");
}

fn judge(probe: Duration) {
    let mut paths: Vec<_> =
        here("traces").read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "jsonl"));
    paths.sort();
    assert!(!paths.is_empty());
    let traces = paths.iter().flat_map(|path| read(path));
    let rows: Vec<Row> =
        traces.map(|trace| Row::of(&trace, &policy(Settings::default()), probe)).collect();
    println!("{HEADING}");
    let families = Family::all(&rows);
    for family in &families {
        println!("{family}");
        family.rows.iter().for_each(|row| println!("  {row}"));
    }
    let misses: Vec<String> = families.iter().flat_map(Family::misses).collect();
    assert!(misses.is_empty(), "{}", misses.join("\n"));
}

#[test]
fn recorded_traces_are_within_the_bound_after_a_probe() {
    judge(Duration::from_secs(2));
}

#[test]
fn recorded_traces_are_within_the_bound_without_a_probe() {
    judge(Duration::ZERO);
}
