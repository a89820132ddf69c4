//! Texts of a peer: short, and harmless on a terminal.

use crate::stream::bytes::Fields;
use crate::stream::error::{Fault, StreamErrorKind};

/// The longest text that is sent or accepted.
const MAX_TEXT_BYTES: usize = 1024;
/// The longest list of them.
const MAX_TEXTS: usize = 64;

/// `text` with everything that could do something to a terminal replaced.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// Appends a text, cut between characters if it is too long.
pub(super) fn put(out: &mut Vec<u8>, text: &str) {
    let mut end = text.len().min(MAX_TEXT_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    out.extend((end as u16).to_le_bytes());
    out.extend(&text.as_bytes()[..end]);
}

/// Appends a list, without what is too much of it.
pub(super) fn put_list(out: &mut Vec<u8>, texts: &[String]) {
    let texts = &texts[..texts.len().min(MAX_TEXTS)];
    out.extend((texts.len() as u16).to_le_bytes());
    texts.iter().for_each(|text| put(out, text));
}

pub(super) fn take(fields: &mut Fields<'_>, what: &'static str) -> Result<String, Fault> {
    let length = usize::from(fields.u16()?);
    check(fields, what, length, MAX_TEXT_BYTES)?;
    Ok(printable(&String::from_utf8_lossy(fields.bytes(length)?)))
}

pub(super) fn take_list(fields: &mut Fields<'_>, what: &'static str) -> Result<Vec<String>, Fault> {
    let count = usize::from(fields.u16()?);
    check(fields, what, count, MAX_TEXTS)?;
    (0..count).map(|_| take(fields, what)).collect()
}

/// Insists that a length or count that has just been read is within its limit.
pub(super) fn check(
    fields: &Fields<'_>,
    what: &'static str,
    found: usize,
    limit: usize,
) -> Result<(), Fault> {
    if found <= limit {
        return Ok(());
    }
    let (found, limit) = (found as u64, limit as u64);
    Err(fields.fault_before(2, StreamErrorKind::TooLarge { what, found, limit }))
}
