//! What can be wrong with a stream, where, in one line.

use std::error::Error;
use std::fmt;
use std::io;

use crate::stream::{libxc, libxl};

/// A fault of a stream: what, in which record, at which byte.
#[derive(Debug)]
pub struct StreamError {
    /// Bytes from the start of the stream to the fault. For a truncated stream: where it ends.
    pub offset: u64,
    /// The header or record the fault is in.
    pub place: Place,
    /// What is wrong.
    pub kind: StreamErrorKind,
}

impl fmt::Display for StreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}: {}", self.place, self.offset, self.kind)
    }
}

impl Error for StreamError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        // The kind is part of this line already; only what lies behind it is a cause of its own.
        self.kind.source()
    }
}

/// The part of a stream a fault is in. Records are counted from 0 in their own layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The first bytes, while it is not known what they start.
    Start,
    /// After the end of everything.
    End,
    /// The header of an xl save file, with the configuration it carries.
    XlHeader,
    /// The 16 bytes that open a libxl stream.
    LibxlHeader,
    /// A record of a libxl stream; no type while its header has not been read.
    LibxlRecord {
        /// Position in the stream.
        index: u64,
        /// Type, once known.
        record_type: Option<libxl::RecordType>,
    },
    /// The 24 bytes that open a libxc image.
    ImageHeader,
    /// The 16 bytes after the image header.
    DomainHeader,
    /// A record of a libxc image; no type while its header has not been read.
    LibxcRecord {
        /// Position in the image.
        index: u64,
        /// Type, once known.
        record_type: Option<libxc::RecordType>,
    },
    /// A xend's answer to an offer.
    XendAnswer,
    /// A message of the conversation around the streams.
    PeerMessage,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Start => write!(f, "start of the stream"),
            Place::End => write!(f, "end of the stream"),
            Place::XlHeader => write!(f, "xl save-file header"),
            Place::LibxlHeader => write!(f, "libxl header"),
            Place::LibxlRecord { index, record_type: None } => write!(f, "libxl record {index}"),
            Place::LibxlRecord { index, record_type: Some(t) } => {
                write!(f, "libxl record {index} ({t})")
            }
            Place::XendAnswer => write!(f, "answer of the peer"),
            Place::PeerMessage => write!(f, "message of the peer"),
            Place::ImageHeader => write!(f, "libxc image header"),
            Place::DomainHeader => write!(f, "libxc domain header"),
            Place::LibxcRecord { index, record_type: None } => write!(f, "libxc record {index}"),
            Place::LibxcRecord { index, record_type: Some(t) } => {
                write!(f, "libxc record {index} ({t})")
            }
        }
    }
}

/// What is wrong with a stream. Lengths are in bytes.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StreamErrorKind {
    /// The stream ends inside something.
    #[error("the stream ends after {got_bytes} of {wanted_bytes} bytes of {what}")]
    Truncated {
        /// What was being read.
        what: &'static str,
        /// Bytes that should have been there.
        wanted_bytes: u64,
        /// Bytes that were.
        got_bytes: u64,
    },
    /// Reading failed.
    #[error("cannot read {what}")]
    Io {
        /// What was being read.
        what: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// This is not the kind of stream it was taken for.
    #[error("{what} is {found:#x}, expected {expected:#x}")]
    BadMagic {
        /// The identifying field.
        what: &'static str,
        /// Its value.
        found: u64,
        /// The only good value.
        expected: u64,
    },
    /// A version, byte order or kind of guest that is not supported.
    #[error("unsupported {what} {found:#x}")]
    Unsupported {
        /// The field.
        what: &'static str,
        /// Its value.
        found: u64,
    },
    /// A record this version does not know and may not skip.
    #[error("unknown mandatory record type {0:#x}")]
    UnknownMandatory(u32),
    /// A length or count beyond what is ever needed.
    #[error("{what} is {found}, the limit is {limit}")]
    TooLarge {
        /// The length or count.
        what: &'static str,
        /// Its value.
        found: u64,
        /// The largest accepted value.
        limit: u64,
    },
    /// A length that does not fit the content.
    #[error("{what} is {found} bytes, expected {expected}")]
    BadLength {
        /// What has the length.
        what: &'static str,
        /// Its length.
        found: u64,
        /// What would have been right.
        expected: Expected,
    },
    /// A pfn that cannot be the guest's.
    #[error("pfn {pfn:#x} is above the last pfn {last:#x}")]
    BadPfn {
        /// The pfn.
        pfn: u64,
        /// The last good one.
        last: u64,
    },
    /// A page type that does not exist.
    #[error("pfn {pfn:#x} has the reserved page type {page_type:#x}")]
    BadPageType {
        /// The page.
        pfn: u64,
        /// The four type bits.
        page_type: u8,
    },
    /// A vCPU the guest cannot have.
    #[error("vCPU {vcpu} is beyond the guest's {vcpus} vCPUs")]
    BadVcpu {
        /// The vCPU.
        vcpu: u32,
        /// How many there are.
        vcpus: u32,
    },
    /// A field with a value that makes no sense.
    #[error("{what} has the bad value {found:#x}")]
    BadField {
        /// The field.
        what: &'static str,
        /// Its value.
        found: u64,
    },
    /// A domain configuration that should be JSON.
    #[error("the domain configuration is no JSON object of the right shape")]
    BadConfig {
        /// Why not.
        #[source]
        source: serde_json::Error,
    },
    /// Padding or a reserved field that is not zero.
    #[error("{what} is not zero")]
    NonZeroFill {
        /// The padding or field.
        what: &'static str,
    },
    /// A record that may not come here in an image, or one that is missing.
    #[error(transparent)]
    OutOfOrder(#[from] libxc::OrderError),
    /// A record that may not come here in a libxl stream.
    #[error(transparent)]
    LibxlOutOfOrder(#[from] libxl::OrderError),
    /// The reader was asked for the next record with page contents of this one still unread.
    #[error("{left_bytes} bytes of page contents were left unread")]
    PagesUnread {
        /// How many.
        left_bytes: u64,
    },
    /// The reader was asked for more page contents than the record has.
    #[error("{asked_bytes} bytes of page contents were asked for where {left_bytes} are left")]
    PagesExhausted {
        /// Asked for.
        asked_bytes: u64,
        /// Still there.
        left_bytes: u64,
    },
}

/// A length that would have been right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Exactly this many bytes.
    Exactly(u64),
    /// This many bytes or more.
    AtLeast(u64),
    /// A multiple of this many bytes, and not 0.
    MultipleOf(u64),
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Expected::Exactly(n) => write!(f, "{n}"),
            Expected::AtLeast(n) => write!(f, "at least {n}"),
            Expected::MultipleOf(n) => write!(f, "a multiple of {n}"),
        }
    }
}

/// A fault inside a buffer, before the reader adds where in the stream that buffer was.
#[derive(Debug)]
pub(crate) struct Fault {
    /// Bytes from the start of the buffer.
    pub(crate) at: usize,
    pub(crate) kind: StreamErrorKind,
}

impl Fault {
    pub(crate) fn at(at: usize, kind: StreamErrorKind) -> Fault {
        Fault { at, kind }
    }
}
