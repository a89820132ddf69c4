//! What two xends say to each other in addition to xl's own conversation.
//!
//! Everything begins as xl's conversation, for the peer may be one:
//!
//! ```text
//! receiver                                   sender
//!   banner ──────────────────────────────────▶
//!          ◀── xl header, config, offer            offer: a stock xl ignores what follows the config
//!   answer ──────────────────────────────────▶     only from a xend, only to an offer
//!          ◀── libxl stream                        or a preface first: then frames, not messages
//! ```
//!
//! The sender says with its next eight bytes which conversation it chose, so an answer may come
//! late or not at all. All numbers are little-endian. A newer version may append to any body, and
//! an older one ignores what it does not know there; what stands is never changed.

mod answer;
mod frame;
mod offer;
mod text;
mod token;

pub use answer::{ANSWER_MAGIC, Answer, Verdict};
pub use frame::{Frame, MAX_FRAME_BYTES, Timing};
pub use offer::{GuestNeeds, OFFER_MAGIC, Offer, Request};
pub use text::printable;
pub use token::{ParseTokenError, Token};

use std::ops::RangeInclusive;

use crate::stream::bytes::Fields;
use crate::stream::error::Fault;

/// The oldest version of the extended conversation that is understood.
pub const OLDEST: u16 = 1;
/// The version that is preferred.
pub const CURRENT: u16 = 1;
/// Length of the preface.
pub const PREFACE_BYTES: usize = 16;
/// What the preface starts with. No libxl stream does.
pub const PREFACE_MAGIC: [u8; 8] = *b"XENDtalk";

/// A capability: pages of zeroes may travel without contents, as a record of our own in the image, and
/// pfns that have no memory not at all.
pub const ZERO_PAGES: u64 = 1;
/// Everything that this program understands beyond the version: offered, and answered as far as it was
/// offered. Only what both have said may be used.
pub const CAPABILITIES: u64 = ZERO_PAGES;

/// Versions that a peer understands, both ends included.
pub type Versions = RangeInclusive<u16>;

/// What this program understands.
pub fn our_versions() -> Versions {
    OLDEST..=CURRENT
}

/// The highest version that both understand.
pub fn common_version(ours: &Versions, theirs: &Versions) -> Option<u16> {
    let highest = *ours.end().min(theirs.end());
    (highest >= *ours.start().max(theirs.start())).then_some(highest)
}

/// "What follows is the extended conversation, in this version."
pub fn encode_preface(version: u16) -> [u8; PREFACE_BYTES] {
    let mut out = [0; PREFACE_BYTES];
    out[..8].copy_from_slice(&PREFACE_MAGIC);
    out[8..10].copy_from_slice(&version.to_le_bytes());
    out
}

/// The version from what follows [`PREFACE_MAGIC`].
pub fn decode_preface(rest: [u8; PREFACE_BYTES - PREFACE_MAGIC.len()]) -> u16 {
    u16::from_le_bytes([rest[0], rest[1]])
}

fn decode_versions(fields: &mut Fields<'_>) -> Result<Versions, Fault> {
    Ok(fields.u16()?..=fields.u16()?)
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
