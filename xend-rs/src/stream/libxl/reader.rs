//! Reading a libxl stream record by record.

use std::io::Read;

use super::{Header, Record, RecordHead, RecordType};
use crate::stream::bytes::padded;
use crate::stream::error::{Place, StreamError, StreamErrorKind};
use crate::stream::libxc::GuestType;
use crate::stream::{Checks, Source};

/// A record that may not come here, or one that is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// A record of a checkpointed stream.
    #[error("{0} does not belong into the stream of a migration or a save")]
    NotPlain(RecordType),
    /// A record before the image.
    #[error("{0} before LIBXC_CONTEXT")]
    BeforeImage(RecordType),
    /// A second image.
    #[error("a second LIBXC_CONTEXT")]
    SecondImage,
    /// State of a device model for a guest that has none.
    #[error("{0} for a PV guest, which has no device model")]
    NoDeviceModel(RecordType),
    /// The image after LIBXC_CONTEXT was not read.
    #[error("the libxc image before this record was not read")]
    ImageUnread,
}

/// A libxl stream being read.
///
/// After [`Record::LibxcContext`] the stream continues with a libxc image, which is to be read
/// through [`Reader::image`] up to its END before the next record here.
#[derive(Debug)]
pub struct Reader<R> {
    source: Source<R>,
    checks: Checks,
    header: Header,
    next_index: u64,
    head: Option<RecordHead>,
    /// Where the image started, once LIBXC_CONTEXT came.
    image_offset: Option<u64>,
    guest_type: Option<GuestType>,
    ended: bool,
}

impl<R: Read> Reader<R> {
    /// Reads the header, for a restore.
    pub fn new(inner: R) -> Result<Reader<R>, StreamError> {
        Reader::open(Source::new(inner), Checks::RESTORE)
    }

    /// Reads the header from where `source` is.
    pub fn open(mut source: Source<R>, checks: Checks) -> Result<Reader<R>, StreamError> {
        let header = Header::read(&mut source, checks.zero_fill)?;
        Ok(Reader {
            source,
            checks,
            header,
            next_index: 0,
            head: None,
            image_offset: None,
            guest_type: None,
            ended: false,
        })
    }

    /// The header.
    pub fn header(&self) -> Header {
        self.header
    }

    /// The record read last.
    pub fn head(&self) -> Option<RecordHead> {
        self.head
    }

    /// The stream at the image, for a [`libxc::Reader`](crate::stream::libxc::Reader).
    pub fn image(&mut self) -> Source<&mut Source<R>> {
        self.source.by_ref()
    }

    /// Tells whose image it was, so that records such a guest cannot have are refused.
    pub fn set_guest_type(&mut self, guest_type: GuestType) {
        self.guest_type = Some(guest_type);
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
        if self.ended {
            return Ok(None);
        }
        if self.image_offset == Some(self.source.offset()) {
            return Err(self.fault(OrderError::ImageUnread));
        }
        let head = self.read_head()?;
        if self.checks.order {
            self.check_order(head.record_type).map_err(|e| self.fault(e))?;
        }
        let record = self.read_body(head)?;
        match record {
            Record::End => self.ended = true,
            Record::LibxcContext => self.image_offset = Some(self.source.offset()),
            _ => {}
        }
        Ok(Some(record))
    }

    fn check_order(&self, record: RecordType) -> Result<(), OrderError> {
        match (record, self.image_offset) {
            (RecordType::CheckpointEnd | RecordType::CheckpointState, _) => {
                Err(OrderError::NotPlain(record))
            }
            (RecordType::LibxcContext, None) => Ok(()),
            (RecordType::LibxcContext, Some(_)) => Err(OrderError::SecondImage),
            (_, None) => Err(OrderError::BeforeImage(record)),
            (RecordType::EmulatorXenstoreData | RecordType::EmulatorContext, Some(_))
                if self.guest_type == Some(GuestType::X86Pv) =>
            {
                Err(OrderError::NoDeviceModel(record))
            }
            (_, Some(_)) => Ok(()),
        }
    }

    fn read_head(&mut self) -> Result<RecordHead, StreamError> {
        let (index, offset) = (self.next_index, self.source.offset());
        let place = Place::LibxlRecord { index, record_type: None };
        let mut bytes = [0; 8];
        self.source.fill("a record header", &mut bytes).map_err(|kind| {
            let offset = self.source.offset();
            StreamError { offset, place, kind }
        })?;
        let word = u64::from_le_bytes(bytes);
        let (number, body_bytes) = (word as u32, (word >> 32) as u32);
        let kind = StreamErrorKind::UnknownMandatory(number);
        let record_type =
            RecordType::from_wire(number).ok_or(StreamError { offset, place, kind })?;
        let head = RecordHead { index, offset, record_type, body_bytes };
        self.next_index += 1;
        self.head = Some(head);
        if body_bytes > record_type.max_bytes() {
            let (found, limit) = (u64::from(body_bytes), u64::from(record_type.max_bytes()));
            return Err(self.fault(StreamErrorKind::TooLarge {
                what: "body length",
                found,
                limit,
            }));
        }
        Ok(head)
    }

    fn read_body(&mut self, head: RecordHead) -> Result<Record, StreamError> {
        let body_start = self.source.offset();
        let length = head.body_bytes as usize;
        let mut bytes = Vec::new();
        self.source
            .fill_growing("a record body and its padding", padded(length), &mut bytes)
            .map_err(|kind| {
                let offset = self.source.offset();
                StreamError { offset, place: self.place(), kind }
            })?;
        if self.checks.zero_fill && bytes[length..].iter().any(|b| *b != 0) {
            return Err(self.fault(StreamErrorKind::NonZeroFill { what: "record padding" }));
        }
        Record::decode(head.record_type, &bytes[..length], self.checks.zero_fill).map_err(|f| {
            StreamError { offset: body_start + f.at as u64, place: self.place(), kind: f.kind }
        })
    }

    fn place(&self) -> Place {
        match self.head {
            Some(head) => {
                Place::LibxlRecord { index: head.index, record_type: Some(head.record_type) }
            }
            None => Place::LibxlHeader,
        }
    }
}

#[cfg(test)]
#[path = "reader_tests.rs"]
mod tests;
