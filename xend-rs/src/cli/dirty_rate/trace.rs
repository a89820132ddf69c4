//! Each window with its pages, as a file that says in its first line what it is.

use std::fs::File;
use std::io::{self, BufWriter, Write};

use serde::Serialize;

use super::Account;
use crate::migration::probe::{Trace, TracedWindow};

/// The first line.
#[derive(Serialize)]
struct Header<'a> {
    format: &'static str,
    version: u32,
    name: &'a str,
    family: &'static str,
    tracking: &'static str,
    /// One more than the guest's highest pfn.
    pages: u64,
    /// `None` if they were not counted.
    nonzero_pages: Option<u64>,
}

/// Writes the windows into a file, one in a line.
pub(super) fn keep(account: &Account<'_>, trace: &Trace, file: &File) -> io::Result<()> {
    let mut file = BufWriter::new(file);
    write(account, trace, &mut file)?;
    file.flush()
}

pub(super) fn write(account: &Account<'_>, trace: &Trace, to: &mut impl Write) -> io::Result<()> {
    let probe = &account.sight.probe;
    let header = Header {
        format: "xend-dirty-trace",
        version: 2,
        name: account.name,
        family: "recorded",
        tracking: probe.tracking.name(),
        pages: probe.written.bound_pfns(),
        nonzero_pages: account.sight.census.map(|census| census.nonzero_pages()),
    };
    serde_json::to_writer(&mut *to, &header)?;
    for TracedWindow { length, runs } in &trace.windows {
        write!(to, "\n[{}", length.as_micros())?;
        for number in runs {
            write!(to, ",{number}")?;
        }
        to.write_all(b"]")?;
    }
    to.write_all(b"\n")
}
