//! The receiver's answer to an offer.

use std::io::Read;

use super::text::{put_list, take_list};
use super::{MAX_FRAME_BYTES, Token, Versions, decode_versions};
use crate::stream::Source;
use crate::stream::bytes::Fields;
use crate::stream::error::{Fault, Place, StreamError, StreamErrorKind};

/// What an answer starts with. No message of xl's does.
pub const ANSWER_MAGIC: [u8; 8] = *b"XENDansw";

/// What the receiver says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The guest can come; room is reserved for it.
    Accepted,
    /// It cannot, for the reasons given. Nothing was done.
    Refused,
    /// The guest of that attempt is this host's.
    Mine,
    /// It is the sender's: it will never run here.
    Yours,
    /// This host knows nothing of that attempt.
    Unknown,
}

impl Verdict {
    const ALL: [Self; 5] = [Self::Accepted, Self::Refused, Self::Mine, Self::Yours, Self::Unknown];

    fn to_wire(self) -> u16 {
        match self {
            Self::Accepted => 0,
            Self::Refused => 1,
            Self::Mine => 2,
            Self::Yours => 3,
            Self::Unknown => 4,
        }
    }
}

/// An answer. Its texts are printable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The version that the receiver proposes: the highest that both know, if there is one.
    pub version: Option<u16>,
    /// Versions that the receiver understands.
    pub versions: Versions,
    /// What it says.
    pub verdict: Verdict,
    /// Which offer it answers.
    pub token: Token,
    /// What else it understands, of what was offered.
    pub capabilities: u64,
    /// Why not.
    pub problems: Vec<String>,
    /// What the administrator may want to know although it works.
    pub warnings: Vec<String>,
}

impl Answer {
    /// The bytes, with magic and length.
    pub fn encode(&self) -> Vec<u8> {
        let mut body = Vec::new();
        // 0 is no version.
        body.extend(self.version.unwrap_or(0).to_le_bytes());
        body.extend(self.versions.start().to_le_bytes());
        body.extend(self.versions.end().to_le_bytes());
        body.extend(self.verdict.to_wire().to_le_bytes());
        body.extend(self.token.bytes());
        body.extend(self.capabilities.to_le_bytes());
        // The lists are bounded so that neither pushes the other out of the frame.
        put_list(&mut body, &self.problems[..self.problems.len().min(24)]);
        put_list(&mut body, &self.warnings[..self.warnings.len().min(24)]);
        let mut out = ANSWER_MAGIC.to_vec();
        out.extend((body.len() as u32).to_le_bytes());
        out.extend(body);
        out
    }

    /// Reads an answer whose magic has been read.
    ///
    /// # Errors
    /// If it is none, or the peer has gone.
    pub fn read_rest<R: Read>(source: &mut Source<R>) -> Result<Answer, StreamError> {
        let place = Place::XendAnswer;
        let mut head = [0; 4];
        let fill = source.fill("the length of the peer's answer", &mut head);
        fill.map_err(|kind| StreamError { offset: source.offset(), place, kind })?;
        let length = u32::from_le_bytes(head);
        if length > MAX_FRAME_BYTES {
            let (found, limit) = (u64::from(length), u64::from(MAX_FRAME_BYTES));
            let kind = StreamErrorKind::TooLarge { what: "the peer's answer", found, limit };
            return Err(StreamError { offset: source.offset(), place, kind });
        }
        let start = source.offset();
        let mut body = Vec::new();
        source
            .fill_growing("the peer's answer", length as usize, &mut body)
            .map_err(|kind| StreamError { offset: source.offset(), place, kind })?;
        Self::decode(&body).map_err(|f| StreamError {
            offset: start + f.at as u64,
            place,
            kind: f.kind,
        })
    }

    fn decode(body: &[u8]) -> Result<Answer, Fault> {
        let mut fields = Fields::new("the peer's answer", body, false);
        let version = Some(fields.u16()?).filter(|&v| v != 0);
        let versions = decode_versions(&mut fields)?;
        let number = fields.u16()?;
        let verdict =
            Verdict::ALL.into_iter().find(|v| v.to_wire() == number).ok_or_else(|| {
                let found = u64::from(number);
                fields.fault_before(
                    2,
                    StreamErrorKind::BadField { what: "the peer's verdict", found },
                )
            })?;
        Ok(Answer {
            version,
            versions,
            verdict,
            token: Token::from_bytes(fields.array()?),
            capabilities: fields.u64()?,
            problems: take_list(&mut fields, "the peer's list of problems")?,
            warnings: take_list(&mut fields, "the peer's list of warnings")?,
        })
    }
}
