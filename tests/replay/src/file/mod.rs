//! Traces in files, as they are recorded from a guest and kept.
//!
//! One line of JSON each, so that a file that was cut off can be read up to there by a person. The first
//! line says what it is. This is one that `xend dirty-rate --trace` wrote:
//!
//! ```json
//! {"format":"xend-dirty-trace","version":2,"name":"redis","family":"recorded","tracking":"log-dirty","pages":131072,"nonzero_pages":90112}
//! ```
//!
//! Each line after it is a window, in order: `[length, skip, run, skip, run, ...]`. The length is in
//! microseconds. From page 0 on, so many pages were not written, the next so many were, and so on.
//!
//! - `nonzero_pages` need not be there. Where it is, the guest is played with so many pages.
//! - `link_pages_per_s` is what the link takes in the migration that is to be played. It is no part of
//!   what is recorded: where it is not there, a trace is played over several, by which all pages take
//!   [`COPY_S`] seconds.

mod held;

use std::io::{self, BufRead, Write};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::generate::COPY_S;
use crate::trace::{Trace, Window, Windows};

const FORMAT: &str = "xend-dirty-trace";
const VERSION: u32 = 2;
/// 16 GiB: nobody records more, and nobody is to make us allocate more.
const MOST_PAGES: u32 = 1 << 22;
/// More than a day, in windows of 50 ms.
const MOST_WINDOWS: usize = 1 << 21;
/// Of all windows together: half of a GiB, as they are held here.
const MOST_WRITTEN: usize = 1 << 27;
/// Of a window: from a tenth of a millisecond to an hour.
const LENGTHS_US: std::ops::RangeInclusive<u32> = 100..=3_600_000_000;

#[derive(Serialize, Deserialize)]
struct Header {
    format: String,
    version: u32,
    name: String,
    family: String,
    pages: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    nonzero_pages: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    link_pages_per_s: Option<f64>,
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

/// Reads a file: a trace for each link that it is to be played over.
///
/// # Errors
/// Where it is none, is cut off in its first line, or is too large.
pub fn read(from: impl BufRead) -> Result<Vec<Trace>, TraceError> {
    let mut lines = from.lines().enumerate().map(|(at, text)| {
        let line = at + 1;
        text.map(|text| (line, text)).map_err(|source| TraceError::Read { line, source })
    });
    let nothing = || TraceError::Nonsense { line: 1, what: "it is empty".to_owned() };
    let (line, text) = lines.next().ok_or_else(nothing)??;
    let mut header: Header = serde_json::from_str(&text).map_err(|source| TraceError::Json {
        line,
        what: "header of a trace",
        source,
    })?;
    check(&header).map_err(|what| TraceError::Nonsense { line, what })?;
    let (mut windows, mut written) = (Vec::new(), 0);
    for next in lines {
        let (line, text) = next?;
        let numbers: Vec<u32> = serde_json::from_str(&text).map_err(|source| TraceError::Json {
            line,
            what: "window of a trace",
            source,
        })?;
        let nonsense = |what| TraceError::Nonsense { line, what };
        let window = expand(&numbers, header.pages).map_err(nonsense)?;
        written += window.pages.len();
        windows.push(window);
        if windows.len() > MOST_WINDOWS || written > MOST_WRITTEN {
            let what = format!("more than {MOST_WINDOWS} windows or {MOST_WRITTEN} pages in them");
            return Err(TraceError::Nonsense { line, what });
        }
    }
    if let Some(held) = header.nonzero_pages {
        header.pages = held::condense(header.pages, held, &mut windows);
    }
    let nothing = || TraceError::Nonsense { line: 2, what: "it has no windows".to_owned() };
    Ok(traces(header, &Windows::new(windows).ok_or_else(nothing)?))
}

/// The same windows over each link.
fn traces(header: Header, windows: &Windows) -> Vec<Trace> {
    let Header { name, family, pages, link_pages_per_s, .. } = header;
    let over = |link, name| Trace::new(pages, link, windows.clone()).named(name, family.clone());
    match link_pages_per_s {
        Some(link) => vec![over(link, name)],
        None => COPY_S
            .iter()
            .map(|&seconds| over(f64::from(pages) / seconds, format!("{name} ({seconds} s)")))
            .collect(),
    }
}

fn check(header: &Header) -> Result<(), String> {
    let Header { format, version, pages, link_pages_per_s, .. } = header;
    if format != FORMAT || *version != VERSION {
        return Err(format!("{format:?} version {version} is not {FORMAT:?} version {VERSION}"));
    }
    if *pages == 0 || *pages > MOST_PAGES {
        return Err(format!("{pages} pages: there are 1 to {MOST_PAGES}"));
    }
    match link_pages_per_s {
        Some(link) if !(1e-3..=1e12).contains(link) => Err(format!("a link of {link} pages/s")),
        _ => Ok(()),
    }
}

/// A window by its numbers.
fn expand(numbers: &[u32], pages: u32) -> Result<Window, String> {
    let length = numbers.first().filter(|length| LENGTHS_US.contains(length));
    let &length = length.ok_or_else(|| "it has no length of a window".to_owned())?;
    let (mut written, mut at) = (Vec::new(), 0_u32);
    for pair in numbers[1..].chunks(2) {
        let &[skip, run] = pair else { return Err("it ends with pages not written".to_owned()) };
        let from = at.checked_add(skip);
        let to = from.and_then(|from| from.checked_add(run)).filter(|to| *to <= pages);
        let (Some(from), Some(to)) = (from, to) else {
            return Err(format!("it goes on past the last of {pages} pages"));
        };
        written.extend(from..to);
        at = to;
    }
    Ok(Window { length: Duration::from_micros(length.into()), pages: written })
}

/// Writes a trace, with its link.
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
        nonzero_pages: None,
        link_pages_per_s: Some(trace.link_pages_per_s),
    };
    serde_json::to_writer(&mut to, &header)?;
    for window in trace.windows() {
        to.write_all(b"\n")?;
        serde_json::to_writer(&mut to, &numbers(window))?;
    }
    to.write_all(b"\n")
}

fn numbers(window: &Window) -> Vec<u32> {
    let (mut numbers, mut at) = (vec![window.length.as_micros() as u32], 0);
    for run in window.pages.chunk_by(|left, right| left + 1 == *right) {
        numbers.extend([run[0] - at, run.len() as u32]);
        at = run[0] + run.len() as u32;
    }
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::catalogue;

    #[test]
    fn what_is_written_is_read_back() {
        for guest in catalogue().iter().step_by(97) {
            let trace = guest.trace();
            let mut bytes = Vec::new();
            write(&trace, &mut bytes).unwrap();
            assert_eq!(read(&bytes[..]).unwrap(), [trace]);
        }
    }

    const HEADER: &str =
        r#"{"format":"xend-dirty-trace","version":2,"name":"x","family":"recorded","pages":8}"#;

    #[test]
    fn what_is_no_trace_is_refused() {
        let refused = |text: String| read(text.as_bytes()).unwrap_err().to_string();
        assert_eq!(refused(String::new()), "line 1: it is empty");
        assert_eq!(refused(HEADER.to_owned()), "line 2: it has no windows");
        assert!(refused(HEADER.replace(":2,", ":3,")).contains("version 3"));
        assert!(refused(HEADER.replace(":8}", ":4294967295}")).contains("4294967295 pages"));
        let link = HEADER.replace(":8}", r#":8,"link_pages_per_s":0}"#);
        assert_eq!(refused(link), "line 1: a link of 0 pages/s");
        let odd = format!("{HEADER}\n[50000,1]");
        assert_eq!(refused(odd), "line 2: it ends with pages not written");
        for no_length in ["[]", "[0]", "[99,1,1]", "[4294967295]"] {
            let error = refused(format!("{HEADER}\n{no_length}"));
            assert_eq!(error, "line 2: it has no length of a window", "{no_length}");
        }
        for past in ["0,9", "8,1", "4294967295,1", "1,4294967295"] {
            let error = refused(format!("{HEADER}\n[50000]\n[50000,{past}]"));
            assert_eq!(error, "line 3: it goes on past the last of 8 pages", "{past}");
        }
        assert!(refused(format!("{HEADER}\n{{")).contains("line 2 is no window"));
    }

    #[test]
    fn pages_of_zeroes_do_not_travel() {
        let header = HEADER.replace(":8}", r#":8,"nonzero_pages":4}"#);
        let traces = read(format!("{header}\n[50000,1,1,4,2]").as_bytes()).unwrap();
        assert!(traces.iter().all(|trace| trace.pages == 4), "{traces:?}");
        assert_eq!(traces[0].windows()[0].pages, [0, 2, 3]);
    }
}
