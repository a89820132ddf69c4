//! Writing the lines of a report.

use std::fmt;
use std::io::{self, Write};

/// One line of a report, apart from the detail at its end.
pub(super) struct Columns<'a> {
    pub(super) layer: &'a str,
    /// `None` for a header.
    pub(super) index: Option<u64>,
    pub(super) offset: u64,
    pub(super) name: &'a dyn fmt::Display,
    pub(super) body_bytes: u64,
}

/// Writes lines until the reader of them has gone away.
pub(super) struct Printer<W> {
    out: W,
    closed: bool,
}

impl<W: Write> Printer<W> {
    pub(super) fn new(out: W) -> Printer<W> {
        Printer { out, closed: false }
    }

    /// Whether nobody reads the lines any more, as after `| head`.
    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    pub(super) fn columns(&mut self, c: &Columns<'_>, detail: impl fmt::Display) -> io::Result<()> {
        let index = c.index.map_or("-".to_owned(), |i| i.to_string());
        let name = c.name.to_string();
        let line = format!(
            "{:<5} {index:>6} {:>12} {name:<24} {:>9}  {detail}",
            c.layer, c.offset, c.body_bytes
        );
        self.line(line.trim_end())
    }

    pub(super) fn line(&mut self, line: &str) -> io::Result<()> {
        self.check(|out| writeln!(out, "{line}"))
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.check(W::flush)
    }

    fn check(&mut self, write: impl FnOnce(&mut W) -> io::Result<()>) -> io::Result<()> {
        if self.closed {
            return Ok(());
        }
        match write(&mut self.out) {
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => {
                self.closed = true;
                Ok(())
            }
            result => result,
        }
    }
}
