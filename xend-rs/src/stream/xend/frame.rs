//! The messages of the extended conversation: a type, a length, a body.

use std::io::{self, Read, Write};

use super::Token;
use super::text::{check, put, take};
use crate::stream::Source;
use crate::stream::bytes::Fields;
use crate::stream::error::{Fault, Place, StreamError, StreamErrorKind};

/// The longest body that is sent or accepted.
pub const MAX_FRAME_BYTES: u32 = 64 << 10;

/// The most steps whose times are told.
const MAX_TIMINGS: usize = 32;

/// How long a step took at the destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timing {
    /// The step.
    pub step: String,
    /// How long it took.
    pub micros: u32,
}

/// A message. Its texts are printable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// Receiver: it is still there.
    KeepAlive,
    /// Receiver: it has read this many bytes of what came after header and offer.
    Taken(u64),
    /// Receiver: the guest is complete, and waits.
    Ready(Token),
    /// Receiver: the guest runs. It is the receiver's.
    Running(Vec<Timing>),
    /// Receiver: it could not, for this reason; its copy will never run.
    Failed(String),
    /// Sender: the guest is the receiver's.
    Handover(Token),
    /// Sender: the guest stays where it is, for this reason.
    Cancel(String),
    /// Of a version that is newer than ours, and may be skipped.
    Other(u32),
}

/// Frame types from here on may be skipped by who does not know them.
const OPTIONAL: u32 = 1 << 31;
/// One of those: without it a sender does not know what is still on its way.
const TAKEN: u32 = OPTIONAL | 1;

impl Frame {
    /// Whether eight bytes can be the head of a frame. Those of xl's messages cannot.
    pub fn is_head(head: [u8; 8]) -> bool {
        let (number, length) = split(head);
        (matches!(number, 1..=6) || number & OPTIONAL != 0) && length <= MAX_FRAME_BYTES
    }

    /// Writes it with one write.
    ///
    /// # Errors
    /// The writer's.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let mut buffer = vec![0; 8];
        let number: u32 = match self {
            Self::KeepAlive => 1,
            Self::Ready(token) => {
                buffer.extend(token.bytes());
                2
            }
            Self::Running(timings) => {
                let timings = &timings[..timings.len().min(MAX_TIMINGS)];
                buffer.extend((timings.len() as u16).to_le_bytes());
                for timing in timings {
                    put(&mut buffer, &timing.step);
                    buffer.extend(timing.micros.to_le_bytes());
                }
                3
            }
            Self::Failed(text) => {
                put(&mut buffer, text);
                4
            }
            Self::Handover(token) => {
                buffer.extend(token.bytes());
                5
            }
            Self::Cancel(text) => {
                put(&mut buffer, text);
                6
            }
            Self::Taken(bytes) => {
                buffer.extend(bytes.to_le_bytes());
                TAKEN
            }
            Self::Other(number) => *number,
        };
        let length = buffer.len() as u32 - 8;
        buffer[0..4].copy_from_slice(&number.to_le_bytes());
        buffer[4..8].copy_from_slice(&length.to_le_bytes());
        out.write_all(&buffer)
    }

    /// Reads the next frame and nothing more.
    ///
    /// # Errors
    /// If it is none, or the peer has gone.
    pub fn read<R: Read>(source: &mut Source<R>) -> Result<Frame, StreamError> {
        let mut head = [0; 8];
        let fill = source.fill("the peer's next message", &mut head);
        let place = Place::PeerMessage;
        fill.map_err(|kind| StreamError { offset: source.offset(), place, kind })?;
        Self::read_body(head, source)
    }

    /// Reads a frame whose head has been read.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_body<R: Read>(head: [u8; 8], source: &mut Source<R>) -> Result<Frame, StreamError> {
        let place = Place::PeerMessage;
        let (number, length) = split(head);
        let start = source.offset();
        if length > MAX_FRAME_BYTES {
            let (found, limit) = (u64::from(length), u64::from(MAX_FRAME_BYTES));
            let kind = StreamErrorKind::TooLarge { what: "the peer's message", found, limit };
            return Err(StreamError { offset: start, place, kind });
        }
        let mut body = Vec::new();
        source
            .fill_growing("the peer's message", length as usize, &mut body)
            .map_err(|kind| StreamError { offset: source.offset(), place, kind })?;
        Self::decode(number, &body).map_err(|f| StreamError {
            offset: start + f.at as u64,
            place,
            kind: f.kind,
        })
    }

    fn decode(number: u32, body: &[u8]) -> Result<Frame, Fault> {
        let mut fields = Fields::new("the peer's message", body, false);
        Ok(match number {
            1 => Self::KeepAlive,
            2 => Self::Ready(Token::from_bytes(fields.array()?)),
            3 => {
                let count = usize::from(fields.u16()?);
                check(&fields, "number of timings", count, MAX_TIMINGS)?;
                let timing = |_| {
                    let step = take(&mut fields, "name of a timing")?;
                    Ok(Timing { step, micros: fields.u32()? })
                };
                Self::Running((0..count).map(timing).collect::<Result<_, _>>()?)
            }
            4 => Self::Failed(take(&mut fields, "the peer's reason")?),
            5 => Self::Handover(Token::from_bytes(fields.array()?)),
            6 => Self::Cancel(take(&mut fields, "the peer's reason")?),
            TAKEN => Self::Taken(fields.u64()?),
            other if other & OPTIONAL != 0 => Self::Other(other),
            other => return Err(Fault::at(0, StreamErrorKind::UnknownMandatory(other))),
        })
    }
}

/// Type and length.
fn split(head: [u8; 8]) -> (u32, u32) {
    let word = u64::from_le_bytes(head);
    (word as u32, (word >> 32) as u32)
}
