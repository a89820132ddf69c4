//! The conversation between libxl and its helper.
//!
//! The helper speaks, libxl answers. A message is a `u16` length and that many bytes: a `u16`
//! message number and its arguments, in the machine's byte order. A string is a `u32` length and
//! bytes, with a closing NUL that is counted. To some messages libxl answers with an `i32`.

use std::io::{self, Read, Write};

/// Message numbers, in the order of `libxl_save_msgs_gen.pl`.
pub mod message {
    /// A line for libxl's log.
    pub const LOG: u16 = 1;
    /// How far the transfer is.
    pub const PROGRESS: u16 = 2;
    /// Suspend the guest; answered.
    pub const SUSPEND: u16 = 3;
    /// Turn the device model's write tracking on or off; answered.
    pub const SWITCH_QEMU_LOGDIRTY: u16 = 7;
    /// The static data has arrived; answered.
    pub const STATIC_DATA_DONE: u16 = 8;
    /// Where the rings' pages are.
    pub const RESTORE_RESULTS: u16 = 9;
    /// The transfer is over; answered.
    pub const COMPLETE: u16 = 10;
}

/// The longest text that is sent in one string. With two of them a message stays below 64 KiB.
const MAX_TEXT_BYTES: usize = 16 * 1024;

/// A message being put together.
#[derive(Debug)]
pub struct Message(Vec<u8>);

impl Message {
    /// A message without arguments yet.
    pub fn new(number: u16) -> Self {
        let mut message = Self(vec![0; 2]);
        message.0.extend(number.to_ne_bytes());
        message
    }

    /// Adds a C `uint32_t`, `unsigned` or `int`.
    pub fn u32(mut self, value: u32) -> Self {
        self.0.extend(value.to_ne_bytes());
        self
    }

    /// Adds a C `unsigned long` or `xen_pfn_t`.
    pub fn u64(mut self, value: u64) -> Self {
        self.0.extend(value.to_ne_bytes());
        self
    }

    /// Adds a string, shortened if it is long, up to its first NUL.
    pub fn text(mut self, text: &str) -> Self {
        let mut end = text.find('\0').unwrap_or(text.len()).min(MAX_TEXT_BYTES);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        self.0.extend((end as u32 + 1).to_ne_bytes());
        self.0.extend(&text.as_bytes()[..end]);
        self.0.push(0);
        self
    }

    /// Writes it with its length in front, in one go.
    ///
    /// # Errors
    /// The writer's.
    pub fn send(mut self, to: &mut impl Write) -> io::Result<()> {
        let length =
            u16::try_from(self.0.len() - 2).expect("messages are bounded by MAX_TEXT_BYTES");
        self.0[..2].copy_from_slice(&length.to_ne_bytes());
        to.write_all(&self.0)
    }
}

/// Reads libxl's answer.
///
/// # Errors
/// The reader's; `UnexpectedEof` where libxl has gone.
pub fn read_answer(from: &mut impl Read) -> io::Result<i32> {
    let mut answer = [0; 4];
    from.read_exact(&mut answer)?;
    Ok(i32::from_ne_bytes(answer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_message_is_laid_out_as_libxl_reads_it() {
        let mut out = Vec::new();
        Message::new(message::LOG)
            .u32(5)
            .u32(0)
            .text("xend")
            .text("hi\0hidden")
            .send(&mut out)
            .unwrap();
        let mut expected = Vec::new();
        expected.extend((out.len() as u16 - 2).to_ne_bytes());
        expected.extend(1u16.to_ne_bytes());
        expected.extend(5u32.to_ne_bytes());
        expected.extend(0u32.to_ne_bytes());
        expected.extend(5u32.to_ne_bytes());
        expected.extend(b"xend\0");
        expected.extend(3u32.to_ne_bytes());
        expected.extend(b"hi\0");
        assert_eq!(out, expected);
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        let mut out = Vec::new();
        let text = "é".repeat(40_000);
        Message::new(message::LOG).u32(0).u32(0).text(&text).text(&text).send(&mut out).unwrap();
        assert!(out.len() < 1 << 16);
        assert_eq!(usize::from(u16::from_ne_bytes([out[0], out[1]])), out.len() - 2);
    }
}
