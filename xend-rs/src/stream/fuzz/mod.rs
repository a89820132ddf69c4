//! Entry points for the fuzz targets, and the sound streams they start from.
//!
//! Each takes any bytes, reads them as its layer, and panics if a decoder breaks a promise:
//!
//! - it accounts for every byte it reads, and allocates little before bytes arrive;
//! - an error is one line and points into the input;
//! - what was decoded can be encoded again and decodes to the same.

mod counted;
pub mod sample;

use std::io::{self, Read};

use counted::Counted;

use crate::stream::inspect::{InspectError, Options, inspect};
use crate::stream::libxc::PAGE_BYTES;
use crate::stream::libxc::page_data::encode_head;
use crate::stream::xend;
use crate::stream::xl_header::XlHeader;
use crate::stream::{Checks, Source, StreamError, StreamErrorKind};
use crate::stream::{libxc as xc, libxl as xl};

const ALL_CHECKS: [Checks; 3] = [Checks::DISPLAY, Checks::RESTORE, Checks::VERIFY];

/// Reads `data` as a libxc image.
pub fn libxc(data: &[u8]) {
    for checks in ALL_CHECKS {
        let first = Decoded::from(data, |d, source| d.image(source, checks).map(|s| s.offset()));
        let again = first.encoded.as_slice();
        let second = Decoded::from(again, |d, source| d.image(source, checks).map(|s| s.offset()));
        assert!(first.items == second.items, "encoding the records again changed them");
    }
    check_inspector(data);
}

/// Reads `data` as a libxl stream, with the image in it.
pub fn libxl(data: &[u8]) {
    for checks in ALL_CHECKS {
        let first = Decoded::from(data, |d, source| d.stream(source, checks));
        let again = first.encoded.as_slice();
        let second = Decoded::from(again, |d, source| d.stream(source, checks));
        assert!(first.items == second.items, "encoding the records again changed them");
    }
    check_inspector(data);
}

/// Reads `data` as the header of an xl save file.
pub fn xl_header(data: &[u8]) {
    for zero_fill in [false, true] {
        let read = |d: &mut Decoded, mut source: Source<&mut Counted<'_>>| {
            let header = XlHeader::read(&mut source, zero_fill)?;
            header.write(&mut d.encoded).expect("a header no longer than it was");
            d.items.push(Item::Xl(header));
            Ok(source.offset())
        };
        let first = Decoded::from(data, read);
        let second = Decoded::from(first.encoded.as_slice(), read);
        assert!(first.items == second.items, "encoding the header again changed it");
    }
    check_inspector(data);
}

/// Reads `data` as what a xend says: an offer, an answer, and as many messages as there are.
pub fn xend(data: &[u8]) {
    // The longest that can be written back has been cut to what may be sent.
    match xend::Offer::decode(data) {
        Ok(None) => {}
        Ok(Some(offer)) => {
            let again = xend::Offer::decode(&offer.encode()).expect("what was written");
            assert!(again == Some(offer), "encoding the offer again changed it");
        }
        Err(fault) => assert!(fault.at <= data.len(), "beyond {} bytes", data.len()),
    }
    let mut counted = Counted::new(data);
    match xend::Answer::read_rest(&mut Source::new(&mut counted)) {
        Ok(answer) => {
            let bytes = answer.encode();
            let rest = &bytes[xend::ANSWER_MAGIC.len()..];
            let again = xend::Answer::read_rest(&mut Source::new(rest)).expect("what was written");
            assert_eq!(again.verdict, answer.verdict, "encoding the answer again changed it");
        }
        Err(error) => check_error(&error, data),
    }
    let mut counted = Counted::new(data);
    let mut source = Source::new(&mut counted);
    loop {
        match xend::Frame::read(&mut source) {
            Ok(frame) => frame.write(&mut io::sink()).expect("room in memory"),
            Err(error) => return check_error(&error, data),
        }
    }
}

/// Something decoded.
#[derive(PartialEq)]
enum Item {
    Xl(XlHeader),
    Libxl(xl::Record),
    Libxc(xc::Record),
    Page(Box<[u8; PAGE_BYTES]>),
}

/// What came out of some bytes before the first fault, and the same encoded again.
#[derive(Default)]
struct Decoded {
    items: Vec<Item>,
    encoded: Vec<u8>,
}

impl Decoded {
    /// Decodes with `read`, which returns how many bytes it believes it read.
    fn from(
        data: &[u8],
        read: impl Fn(&mut Decoded, Source<&mut Counted<'_>>) -> Result<u64, StreamError>,
    ) -> Decoded {
        let mut decoded = Decoded::default();
        let mut counted = Counted::new(data);
        match read(&mut decoded, Source::new(&mut counted)) {
            Ok(offset) => assert_eq!(offset, counted.taken(), "bytes unaccounted for"),
            Err(error) => check_error(&error, data),
        }
        decoded
    }

    fn image<R: Read>(
        &mut self,
        source: Source<R>,
        checks: Checks,
    ) -> Result<Source<R>, StreamError> {
        let mut reader = xc::Reader::open(source, checks)?;
        xc::write::headers(&mut self.encoded, &reader.image_header(), &reader.domain_header())
            .expect("room in memory");
        while let Some(record) = reader.next_record()? {
            // A body too long to be kept cannot be encoded again.
            if !matches!(record, xc::Record::Optional { body: None, .. }) {
                self.encode(&record);
                self.items.push(Item::Libxc(record));
            }
            while reader.page_bytes_left() > 0 {
                let mut page = Box::new([0; PAGE_BYTES]);
                reader.page_bytes(page.as_mut_slice())?;
                self.encoded.extend_from_slice(page.as_slice());
                self.items.push(Item::Page(page));
            }
        }
        Ok(reader.into_source())
    }

    fn encode(&mut self, record: &xc::Record) {
        if let xc::Record::PageData(head) = record {
            encode_head(&head.entries, &mut self.encoded).expect("no larger than it was");
        } else {
            xc::write::record(&mut self.encoded, record).expect("no longer than it was");
        }
    }

    fn stream<R: Read>(&mut self, source: Source<R>, checks: Checks) -> Result<u64, StreamError> {
        let mut reader = xl::Reader::open(source, checks)?;
        xl::write::header(&mut self.encoded, &reader.header()).expect("room in memory");
        while let Some(record) = reader.next_record()? {
            xl::write::record(&mut self.encoded, &record).expect("no longer than it was");
            let is_image = record == xl::Record::LibxcContext;
            self.items.push(Item::Libxl(record));
            if is_image {
                self.image(reader.image(), checks)?;
            }
        }
        Ok(reader.into_source().offset())
    }
}

fn check_error(error: &StreamError, data: &[u8]) {
    assert!(error.offset <= data.len() as u64, "{error}: beyond {} bytes", data.len());
    assert!(!matches!(error.kind, StreamErrorKind::Io { .. }), "{error}: from memory");
    assert!(!error.to_string().contains('\n'), "{error:?}: more than one line");
}

/// The inspector must get through anything, and find sound only what it can also show.
fn check_inspector(data: &[u8]) {
    let run = |verify| {
        let options = Options { verify, ..Options::default() };
        let result = inspect(data, io::sink(), &options);
        if let Err(InspectError::Stream(error)) = &result {
            check_error(error, data);
        }
        result.is_ok()
    };
    let (is_sound, is_readable) = (run(true), run(false));
    assert!(is_readable || !is_sound, "sound, but cannot be shown");
}
