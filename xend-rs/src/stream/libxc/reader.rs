//! Reading an image record by record, and page contents straight to where they belong.

use std::io::{self, Read};

use crate::hypervisor::types::Pfn;
use crate::stream::bytes::padded;
use crate::stream::error::{Fault, Place, StreamError, StreamErrorKind};
use crate::stream::libxc::body::{self, PvWidth};
use crate::stream::libxc::header::{DomainHeader, ImageHeader};
use crate::stream::libxc::order::Order;
use crate::stream::libxc::page_data::{self, MAX_PFN, PageDataHead};
use crate::stream::libxc::record::{MAX_OPTIONAL_BYTES, Record, RecordHead, RecordType};
use crate::stream::libxc::{MAX_RECORD_BYTES, PAGE_BYTES};
use crate::stream::{Checks, Source};

/// What the guest can have at most. A pfn or vCPU beyond it is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The last pfn. For a PV guest X86_PV_P2M_FRAMES lowers it further.
    pub last_pfn: Pfn,
    /// Number of vCPUs.
    pub vcpus: u32,
}

impl Default for Limits {
    /// What the format and Xen allow at all.
    fn default() -> Limits {
        // MAX_VIRT_CPUS of an x86 PV guest.
        Limits { last_pfn: MAX_PFN, vcpus: 8192 }
    }
}

/// A libxc image being read.
///
/// After a [`Record::PageData`] its page contents come next in the stream. They have to be
/// taken with [`Reader::page_bytes`] or [`Reader::page_bytes_by`], or dropped with
/// [`Reader::skip_pages`], before the next record: a page forgotten would be a page lost.
///
/// After END nothing more is read, so what follows the image is still in the stream.
#[derive(Debug)]
pub struct Reader<R> {
    source: Source<R>,
    checks: Checks,
    limits: Limits,
    image_header: ImageHeader,
    domain_header: DomainHeader,
    order: Order,
    pv_width: Option<PvWidth>,
    /// Last pfn of a PV guest, from X86_PV_P2M_FRAMES.
    pv_last_pfn: Option<Pfn>,
    next_index: u64,
    head: Option<RecordHead>,
    page_bytes_left: u64,
    ended: bool,
    /// Pfn words of the current record; kept to be used again.
    words: Vec<u8>,
}

impl<R: Read> Reader<R> {
    /// Reads the two headers, for a restore.
    pub fn new(inner: R) -> Result<Reader<R>, StreamError> {
        Reader::open(Source::new(inner), Checks::RESTORE)
    }

    /// Reads the two headers from where `source` is.
    pub fn open(mut source: Source<R>, checks: Checks) -> Result<Reader<R>, StreamError> {
        let image_header = ImageHeader::read(&mut source, checks.zero_fill)?;
        let domain_header = DomainHeader::read(&mut source, checks.zero_fill)?;
        Ok(Reader {
            source,
            checks,
            limits: Limits::default(),
            image_header,
            domain_header,
            order: Order::new(image_header.version, domain_header.guest_type),
            pv_width: None,
            pv_last_pfn: None,
            next_index: 0,
            head: None,
            page_bytes_left: 0,
            ended: false,
            words: Vec::new(),
        })
    }

    /// Sets what the guest can have; for a restore, what the domain was created with.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// The image header.
    pub fn image_header(&self) -> ImageHeader {
        self.image_header
    }

    /// The domain header.
    pub fn domain_header(&self) -> DomainHeader {
        self.domain_header
    }

    /// How far the image has come. Only kept up with [`Checks::order`].
    pub fn order(&self) -> &Order {
        &self.order
    }

    /// The record read last.
    pub fn head(&self) -> Option<RecordHead> {
        self.head
    }

    /// Bytes read of the stream.
    pub fn offset(&self) -> u64 {
        self.source.offset()
    }

    /// Gives the stream back, at the byte after what was read.
    pub fn into_source(self) -> Source<R> {
        self.source
    }

    /// A fault found in the record read last by who uses it.
    pub fn fault(&self, kind: impl Into<StreamErrorKind>) -> StreamError {
        let offset = self.head.map_or(self.source.offset(), |h| h.offset);
        StreamError { offset, place: self.place(), kind: kind.into() }
    }

    /// Reads the next record; `None` after END.
    pub fn next_record(&mut self) -> Result<Option<Record>, StreamError> {
        if self.page_bytes_left > 0 {
            let left_bytes = self.page_bytes_left;
            return Err(self.fault_here(StreamErrorKind::PagesUnread { left_bytes }));
        }
        if self.ended {
            return Ok(None);
        }
        let head = self.read_head()?;
        if self.checks.order {
            self.order.accept(head.record_type).map_err(|e| self.fault(e))?;
        }
        let record = match head.record_type {
            RecordType::PageData => self.read_page_data(head)?,
            RecordType::Optional(number) => self.read_optional(head, number)?,
            _ => self.read_body(head)?,
        };
        if self.checks.order {
            self.order.accept_body(&record).map_err(|e| self.fault(e))?;
        }
        match &record {
            Record::End => self.ended = true,
            Record::PvInfo(width) => self.pv_width = Some(*width),
            Record::PvP2mFrames(frames) => self.pv_last_pfn = Some(Pfn(u64::from(frames.end))),
            _ => {}
        }
        Ok(Some(record))
    }

    /// Bytes of page contents of the current record that were not taken yet.
    pub fn page_bytes_left(&self) -> u64 {
        self.page_bytes_left
    }

    /// Fills `out` with the next page contents of the current PAGE_DATA record.
    pub fn page_bytes(&mut self, out: &mut [u8]) -> Result<(), StreamError> {
        let wanted = out.len() as u64;
        self.check_page_bytes_left(wanted)?;
        self.source.fill("page contents", out).map_err(|kind| self.fault_here(kind))?;
        self.page_bytes_left -= wanted;
        Ok(())
    }

    /// Lets `read` take up to `wanted_bytes` of page contents from the underlying reader by
    /// means of its own, such as `readv` into a mapping of the guest. `read` gets the bytes still
    /// wanted, returns how many it took, and is called again until all are taken.
    pub fn page_bytes_by(
        &mut self,
        wanted_bytes: u64,
        mut read: impl FnMut(&mut R, u64) -> io::Result<usize>,
    ) -> Result<(), StreamError> {
        self.check_page_bytes_left(wanted_bytes)?;
        let what = "page contents";
        let mut left = wanted_bytes;
        while left > 0 {
            let kind = match self.source.read_by(|r| read(r, left)) {
                Ok(0) => {
                    let got_bytes = wanted_bytes - left;
                    StreamErrorKind::Truncated { what, wanted_bytes, got_bytes }
                }
                Ok(taken) if taken as u64 > left => {
                    let (asked_bytes, left_bytes) = (taken as u64, left);
                    StreamErrorKind::PagesExhausted { asked_bytes, left_bytes }
                }
                Ok(taken) => {
                    left -= taken as u64;
                    self.page_bytes_left -= taken as u64;
                    continue;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => StreamErrorKind::Io { what, source },
            };
            return Err(self.fault_here(kind));
        }
        Ok(())
    }

    /// Drops what is left of the page contents of the current record.
    pub fn skip_pages(&mut self) -> Result<(), StreamError> {
        let left = self.page_bytes_left;
        self.source.discard("page contents", left).map_err(|kind| self.fault_here(kind))?;
        self.page_bytes_left = 0;
        Ok(())
    }

    fn check_page_bytes_left(&self, asked_bytes: u64) -> Result<(), StreamError> {
        let left_bytes = self.page_bytes_left;
        if asked_bytes > left_bytes {
            return Err(
                self.fault_here(StreamErrorKind::PagesExhausted { asked_bytes, left_bytes })
            );
        }
        Ok(())
    }

    fn read_head(&mut self) -> Result<RecordHead, StreamError> {
        let (index, offset) = (self.next_index, self.source.offset());
        let place = Place::LibxcRecord { index, record_type: None };
        let mut bytes = [0; 8];
        self.source.fill("a record header", &mut bytes).map_err(|kind| {
            let offset = self.source.offset();
            StreamError { offset, place, kind }
        })?;
        let word = u64::from_le_bytes(bytes);
        let (number, body_bytes) = (word as u32, (word >> 32) as u32);
        let record_type = RecordType::from_wire(number).ok_or(StreamError {
            offset,
            place,
            kind: StreamErrorKind::UnknownMandatory(number),
        })?;
        let head = RecordHead { index, offset, record_type, body_bytes };
        self.next_index += 1;
        self.head = Some(head);
        let limit = record_type.max_bytes().min(MAX_RECORD_BYTES);
        if body_bytes > limit {
            let (found, limit) = (u64::from(body_bytes), u64::from(limit));
            return Err(self.fault(StreamErrorKind::TooLarge {
                what: "body length",
                found,
                limit,
            }));
        }
        Ok(head)
    }

    fn read_page_data(&mut self, head: RecordHead) -> Result<Record, StreamError> {
        let body_start = self.source.offset();
        let in_body = |reader: &Self, f: Fault| StreamError {
            offset: body_start + f.at as u64,
            place: reader.place(),
            kind: f.kind,
        };
        if head.body_bytes < 8 {
            let kind = page_data::too_short(head.body_bytes);
            return Err(in_body(self, Fault::at(0, kind)));
        }
        let mut first = [0; 8];
        self.source.fill("PAGE_DATA count", &mut first).map_err(|k| self.fault_here(k))?;
        let count =
            page_data::decode_count(first, head.body_bytes).map_err(|f| in_body(self, f))?;
        let mut words = std::mem::take(&mut self.words);
        let filled = self.source.fill_growing("PAGE_DATA pfns", count * 8, &mut words);
        self.words = words;
        filled.map_err(|k| self.fault_here(k))?;
        let entries = page_data::decode_entries(&self.words, head.body_bytes, self.last_pfn())
            .map_err(|f| in_body(self, f))?;
        let pages = PageDataHead { entries };
        self.page_bytes_left = (pages.data_pages() * PAGE_BYTES) as u64;
        Ok(Record::PageData(pages))
    }

    fn read_optional(&mut self, head: RecordHead, number: u32) -> Result<Record, StreamError> {
        if head.body_bytes <= MAX_OPTIONAL_BYTES {
            let body = Some(self.read_padded(head)?);
            return Ok(Record::Optional { number, body });
        }
        let length = padded(head.body_bytes as usize) as u64;
        self.source.discard("a record body", length).map_err(|k| self.fault_here(k))?;
        Ok(Record::Optional { number, body: None })
    }

    fn read_body(&mut self, head: RecordHead) -> Result<Record, StreamError> {
        let body_start = self.source.offset();
        let bytes = self.read_padded(head)?;
        let context = body::Context {
            zero_fill: self.checks.zero_fill,
            pv_width: self.pv_width,
            last_pfn: self.limits.last_pfn,
            last_page: self.last_pfn(),
            vcpus: self.limits.vcpus,
        };
        body::decode(head.record_type, bytes, &context).map_err(|f| StreamError {
            offset: body_start + f.at as u64,
            place: self.place(),
            kind: f.kind,
        })
    }

    /// Reads a body with its padding, and takes the padding off.
    fn read_padded(&mut self, head: RecordHead) -> Result<Vec<u8>, StreamError> {
        let length = head.body_bytes as usize;
        let mut bytes = Vec::new();
        self.source
            .fill_growing("a record body and its padding", padded(length), &mut bytes)
            .map_err(|kind| self.fault_here(kind))?;
        if self.checks.zero_fill && bytes[length..].iter().any(|b| *b != 0) {
            return Err(self.fault(StreamErrorKind::NonZeroFill { what: "record padding" }));
        }
        bytes.truncate(length);
        Ok(bytes)
    }

    /// The last pfn that may be named now.
    fn last_pfn(&self) -> Pfn {
        self.pv_last_pfn.map_or(self.limits.last_pfn, |pv| pv.min(self.limits.last_pfn))
    }

    fn place(&self) -> Place {
        match self.head {
            Some(head) => {
                Place::LibxcRecord { index: head.index, record_type: Some(head.record_type) }
            }
            None => Place::DomainHeader,
        }
    }

    fn fault_here(&self, kind: StreamErrorKind) -> StreamError {
        StreamError { offset: self.source.offset(), place: self.place(), kind }
    }
}

#[cfg(test)]
#[path = "reader_tests.rs"]
mod tests;
