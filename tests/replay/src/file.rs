//! Traces in files, as they are recorded from a guest and kept.
//!
//! One line of JSON each, so that a recorder can append, and a file that was cut off can be read up to
//! there by a person. The first line says what it is:
//!
//! ```json
//! {"format":"xend-dirty-trace","version":1,"name":"redis, 50:50","family":"recorded","pages":131072,"window_ms":50.0,"link_pages_per_s":1220.0}
//! ```
//!
//! Each line after it is a window, in order: `[skip, run, skip, run, ...]`. From page 0 on, so many
//! pages were not written, the next so many were, and so on. An idle window is `[]`.
//! `link_pages_per_s` is what the link takes in the migration that is to be played; it is no part of
//! what was recorded.

use std::io::{self, BufRead, Write};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::trace::Trace;

const FORMAT: &str = "xend-dirty-trace";
const VERSION: u32 = 1;
/// 16 GiB: nobody records more, and nobody is to make us allocate more.
const MOST_PAGES: u32 = 1 << 22;
/// More than a day, in windows of 50 ms.
const MOST_WINDOWS: usize = 1 << 21;

#[derive(Serialize, Deserialize)]
struct Header {
    format: String,
    version: u32,
    name: String,
    family: String,
    pages: u32,
    window_ms: f64,
    link_pages_per_s: f64,
}

/// Why a trace could not be read.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The file could not be read.
    #[error("line {line} cannot be read")]
    Read {
        /// From 1.
        line: usize,
        /// Why.
        source: io::Error,
    },
    /// A line is not what it should be.
    #[error("line {line} is no {what}")]
    Json {
        /// From 1.
        line: usize,
        /// What was expected.
        what: &'static str,
        /// Why.
        source: serde_json::Error,
    },
    /// It says something that cannot be.
    #[error("line {line}: {what}")]
    Nonsense {
        /// From 1.
        line: usize,
        /// What.
        what: String,
    },
}

/// Reads a trace.
///
/// # Errors
/// Where it is none, is cut off in its first line, or is too large.
pub fn read(from: impl BufRead) -> Result<Trace, TraceError> {
    let mut lines = from.lines().enumerate().map(|(at, text)| {
        let line = at + 1;
        text.map(|text| (line, text)).map_err(|source| TraceError::Read { line, source })
    });
    let nothing = || TraceError::Nonsense { line: 1, what: "it is empty".to_owned() };
    let (line, text) = lines.next().ok_or_else(nothing)??;
    let header: Header = serde_json::from_str(&text).map_err(|source| TraceError::Json {
        line,
        what: "header of a trace",
        source,
    })?;
    check(&header).map_err(|what| TraceError::Nonsense { line, what })?;
    let mut windows = Vec::new();
    for next in lines {
        let (line, text) = next?;
        if windows.len() == MOST_WINDOWS {
            let what = format!("more than {MOST_WINDOWS} windows");
            return Err(TraceError::Nonsense { line, what });
        }
        let runs: Vec<u32> = serde_json::from_str(&text).map_err(|source| TraceError::Json {
            line,
            what: "window of a trace",
            source,
        })?;
        let window = expand(&runs, header.pages);
        windows.push(window.map_err(|what| TraceError::Nonsense { line, what })?);
    }
    if windows.is_empty() {
        return Err(TraceError::Nonsense { line: 2, what: "it has no windows".to_owned() });
    }
    Ok(Trace {
        name: header.name,
        family: header.family,
        pages: header.pages,
        window: Duration::from_secs_f64(header.window_ms / 1e3),
        link_pages_per_s: header.link_pages_per_s,
        windows,
    })
}

fn check(header: &Header) -> Result<(), String> {
    let Header { format, version, pages, window_ms, link_pages_per_s, .. } = header;
    if format != FORMAT || *version != VERSION {
        return Err(format!("{format:?} version {version} is not {FORMAT:?} version {VERSION}"));
    }
    if *pages == 0 || *pages > MOST_PAGES {
        return Err(format!("{pages} pages: there are 1 to {MOST_PAGES}"));
    }
    if !(0.1..=1e7).contains(window_ms) || !(1e-3..=1e12).contains(link_pages_per_s) {
        return Err(format!("windows of {window_ms} ms, {link_pages_per_s} pages/s"));
    }
    Ok(())
}

/// The pages of a window.
fn expand(runs: &[u32], pages: u32) -> Result<Vec<u32>, String> {
    let (mut window, mut at) = (Vec::new(), 0_u32);
    for pair in runs.chunks(2) {
        let &[skip, run] = pair else { return Err("it ends with pages not written".to_owned()) };
        let from = at.checked_add(skip);
        let to = from.and_then(|from| from.checked_add(run)).filter(|to| *to <= pages);
        let (Some(from), Some(to)) = (from, to) else {
            return Err(format!("it goes on past the last of {pages} pages"));
        };
        window.extend(from..to);
        at = to;
    }
    Ok(window)
}

/// Writes a trace.
///
/// # Errors
/// Those of `to`.
pub fn write(trace: &Trace, mut to: impl Write) -> io::Result<()> {
    let header = Header {
        format: FORMAT.to_owned(),
        version: VERSION,
        name: trace.name.clone(),
        family: trace.family.clone(),
        pages: trace.pages,
        window_ms: trace.window.as_secs_f64() * 1e3,
        link_pages_per_s: trace.link_pages_per_s,
    };
    serde_json::to_writer(&mut to, &header)?;
    for window in &trace.windows {
        to.write_all(b"\n")?;
        serde_json::to_writer(&mut to, &runs(window))?;
    }
    to.write_all(b"\n")
}

fn runs(window: &[u32]) -> Vec<u32> {
    let (mut runs, mut at) = (Vec::new(), 0);
    for run in window.chunk_by(|left, right| left + 1 == *right) {
        runs.extend([run[0] - at, run.len() as u32]);
        at = run[0] + run.len() as u32;
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::catalogue;

    #[test]
    fn what_is_written_is_read_back() {
        for guest in catalogue().iter().step_by(97) {
            let mut trace = guest.trace();
            trace.windows.truncate(200);
            let mut bytes = Vec::new();
            write(&trace, &mut bytes).unwrap();
            assert_eq!(read(&bytes[..]).unwrap(), trace);
        }
    }

    #[test]
    fn what_is_no_trace_is_refused() {
        let header = r#"{"format":"xend-dirty-trace","version":1,"name":"","family":"","pages":8,"window_ms":50.0,"link_pages_per_s":100.0}"#;
        let refused = |text: String| read(text.as_bytes()).unwrap_err().to_string();
        assert_eq!(refused(String::new()), "line 1: it is empty");
        assert_eq!(refused(header.to_owned()), "line 2: it has no windows");
        let newer = header.replace(":1,", ":2,");
        assert!(refused(newer).contains("version 2"));
        assert!(refused(header.replace(":8,", ":4294967295,")).contains("4294967295 pages"));
        assert_eq!(refused(format!("{header}\n[1]")), "line 2: it ends with pages not written");
        for past in ["[0,9]", "[8,1]", "[4294967295,1]", "[1,4294967295]"] {
            let error = refused(format!("{header}\n[]\n{past}"));
            assert_eq!(error, "line 3: it goes on past the last of 8 pages", "{past}");
        }
        assert!(refused(format!("{header}\n{{")).contains("line 2 is no window"));
        assert_eq!(
            read(format!("{header}\n[1,2,3,2]").as_bytes()).unwrap().windows,
            [[1, 2, 6, 7]]
        );
    }
}
