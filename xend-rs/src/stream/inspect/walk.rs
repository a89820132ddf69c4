//! Going through the layers of a stream from the outside in.

use std::io::{Cursor, Read, Write};

use super::describe;
use super::printer::{Columns, Printer};
use super::{Format, InspectError, Options, Summary};
use crate::stream::error::{Place, StreamError, StreamErrorKind};
use crate::stream::libxc::header::{DOMAIN_HEADER_BYTES, GuestType, IMAGE_HEADER_BYTES};
use crate::stream::xl_header::{self, XlHeader};
use crate::stream::{Checks, Source, libxc, libxl};

/// Reads a stream to its end and writes what is in it to `out`, one line per record and then the
/// summary. If `out` is a pipe that was closed, the rest is not written, and with
/// [`Options::verify`] the verdict still covers the whole stream.
pub fn inspect(
    mut input: impl Read,
    out: impl Write,
    options: &Options,
) -> Result<Summary, InspectError> {
    let (start, format) = match options.format {
        Some(format) => (Vec::new(), format),
        None => detect(&mut input)?,
    };
    let source = Source::new(Cursor::new(start).chain(input));
    let mut walk = Walk {
        printer: Printer::new(out),
        options: *options,
        checks: if options.verify { Checks::VERIFY } else { Checks::DISPLAY },
        summary: Summary::default(),
        guest_type: None,
    };
    let mut source = match format {
        Format::Xl => walk.xl(source)?,
        Format::Libxl => walk.libxl(source)?,
        Format::Libxc => walk.libxc(source)?,
    };
    walk.summary.bytes = source.offset();
    if options.verify {
        check_end(&mut source)?;
    }
    walk.print_summary()?;
    Ok(walk.summary)
}

/// Reads the first bytes to find out what this is.
fn detect(input: &mut impl Read) -> Result<(Vec<u8>, Format), InspectError> {
    let mut start = Vec::new();
    input.take(Format::BYTES as u64).read_to_end(&mut start).map_err(|source| StreamError {
        offset: 0,
        place: Place::Start,
        kind: StreamErrorKind::Io { what: "the first bytes", source },
    })?;
    let format = Format::detect(&start).ok_or(InspectError::UnknownFormat)?;
    Ok((start, format))
}

/// Nothing may follow.
fn check_end<R: Read>(source: &mut Source<R>) -> Result<(), InspectError> {
    let offset = source.offset();
    match source.fill("the end of the stream", &mut [0]) {
        Ok(()) => Err(InspectError::TrailingBytes { offset }),
        Err(StreamErrorKind::Truncated { .. }) => Ok(()),
        Err(kind) => Err(StreamError { offset, place: Place::End, kind }.into()),
    }
}

struct Walk<W> {
    printer: Printer<W>,
    options: Options,
    checks: Checks,
    summary: Summary,
    guest_type: Option<GuestType>,
}

impl<W: Write> Walk<W> {
    fn xl<R: Read>(&mut self, mut source: Source<R>) -> Result<Source<R>, InspectError> {
        let header = XlHeader::read(&mut source, self.checks.zero_fill)?;
        let json = match &header.config {
            Some(config) if header.config_is_json => self.parse_config(config)?,
            _ => None,
        };
        let detail = describe::xl_header(&header, json.as_ref());
        self.header("xl", 0, &"SAVE_HEADER", source.offset(), &detail)?;
        self.libxl(source)
    }

    fn parse_config(&self, config: &[u8]) -> Result<Option<describe::Config>, StreamError> {
        match serde_json::from_slice(config) {
            Ok(config) => Ok(Some(config)),
            Err(source) if self.options.verify => Err(StreamError {
                offset: xl_header::CONFIG_OFFSET,
                place: Place::XlHeader,
                kind: StreamErrorKind::BadConfig { source },
            }),
            Err(_) => Ok(None),
        }
    }

    fn libxl<R: Read>(&mut self, source: Source<R>) -> Result<Source<R>, InspectError> {
        let offset = source.offset();
        let mut reader = libxl::Reader::open(source, self.checks)?;
        let legacy = reader.header().converted_from_legacy;
        let detail = if legacy { "version 2, converted from legacy" } else { "version 2" };
        self.header("libxl", offset, &"HEADER", libxl::HEADER_BYTES as u64, detail)?;
        while let Some(record) = reader.next_record()? {
            if let Some(head) = reader.head() {
                self.summary.count_record(head.record_type.name());
                let columns = Columns {
                    layer: "libxl",
                    index: Some(head.index),
                    offset: head.offset,
                    name: &head.record_type,
                    body_bytes: u64::from(head.body_bytes),
                };
                self.line(&columns, &describe::libxl_record(&record))?;
            }
            if record == libxl::Record::LibxcContext {
                self.libxc(reader.image())?;
                if let Some(guest_type) = self.guest_type {
                    reader.set_guest_type(guest_type);
                }
            }
            if self.nobody_listens() {
                break;
            }
        }
        Ok(reader.into_source())
    }

    fn libxc<R: Read>(&mut self, source: Source<R>) -> Result<Source<R>, InspectError> {
        let offset = source.offset();
        let mut reader = libxc::Reader::open(source, self.checks)?;
        let (image, domain) = (reader.image_header(), reader.domain_header());
        self.guest_type = Some(domain.guest_type);
        let (image_bytes, domain_bytes) = (IMAGE_HEADER_BYTES as u64, DOMAIN_HEADER_BYTES as u64);
        let detail = format!("version {}", image.version.number());
        self.header("libxc", offset, &"IMAGE_HEADER", image_bytes, &detail)?;
        let detail = match (domain.xen_major, domain.xen_minor) {
            (0, _) => format!("{} guest, converted from legacy", domain.guest_type.name()),
            (major, minor) => format!("{} guest of Xen {major}.{minor}", domain.guest_type.name()),
        };
        self.header("libxc", offset + image_bytes, &"DOMAIN_HEADER", domain_bytes, &detail)?;
        while let Some(record) = reader.next_record()? {
            if let libxc::Record::PageData(pages) = &record {
                self.summary.count_pages(&pages.entries);
                reader.skip_pages()?;
            }
            if let libxc::Record::ZeroPages(runs) = &record {
                self.summary.count_zero_pages(runs);
            }
            if let Some(head) = reader.head() {
                self.summary.count_record(head.record_type.name());
                let columns = Columns {
                    layer: "libxc",
                    index: Some(head.index),
                    offset: head.offset,
                    name: &head.record_type,
                    body_bytes: u64::from(head.body_bytes),
                };
                self.line(&columns, &describe::libxc_record(&record))?;
            }
            // The outer stream goes on here, too, while this image goes on later.
            if self.nobody_listens() || record == libxc::Record::Checkpoint {
                break;
            }
        }
        Ok(reader.into_source())
    }

    fn header(
        &mut self,
        layer: &str,
        offset: u64,
        name: &&'static str,
        bytes: u64,
        detail: &str,
    ) -> Result<(), InspectError> {
        let columns = Columns { layer, index: None, offset, name, body_bytes: bytes };
        self.line(&columns, detail)
    }

    fn line(&mut self, columns: &Columns<'_>, detail: &str) -> Result<(), InspectError> {
        if self.options.summary_only {
            return Ok(());
        }
        self.printer.columns(columns, detail).map_err(InspectError::Write)
    }

    fn print_summary(&mut self) -> Result<(), InspectError> {
        let mut text = self.summary.to_string();
        if self.options.verify {
            text += "\nverdict  sound";
        }
        self.printer.line(&text).and_then(|()| self.printer.flush()).map_err(InspectError::Write)
    }

    /// Whether going on would serve nobody.
    fn nobody_listens(&self) -> bool {
        self.printer.is_closed() && !self.options.verify
    }
}
