//! What a save helper says to libxl, read from a copy of its standard output.
//!
//! A message is a `u16` length and that many bytes: a `u16` number and arguments, in the machine's
//! byte order. A string is a `u32` length, bytes, and a NUL that is counted.

use anyhow::{Context, Result, bail, ensure};

/// The messages that matter here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// A line for the log.
    Log {
        /// xentoollog's level; 8 is an error, 5 information.
        level: u32,
        /// The line.
        text: String,
    },
    /// How far the transfer is.
    Progress {
        /// What is being done, for instance `Frames iteration 0`.
        what: String,
        /// Pages done.
        done: u64,
        /// Pages in all.
        total: u64,
    },
    /// The transfer is over.
    Complete {
        /// 0 when it worked.
        retval: i32,
        /// Why it did not.
        errno: i32,
    },
    /// Any other message, by its number.
    Other(u16),
}

/// Reads all whole messages; a part of one at the end is left alone, since the helper may be
/// writing it just now.
///
/// # Errors
/// When a message does not have the arguments it should.
pub fn read_all(mut bytes: &[u8]) -> Result<Vec<Said>> {
    let mut messages = Vec::new();
    while let Some((head, rest)) = bytes.split_first_chunk::<2>() {
        let Some((message, rest)) = rest.split_at_checked(u16::from_ne_bytes(*head).into()) else {
            break;
        };
        messages.push(read_one(message)?);
        bytes = rest;
    }
    Ok(messages)
}

fn read_one(message: &[u8]) -> Result<Said> {
    let mut fields = Fields(message);
    let number = u16::from_ne_bytes(fields.take()?);
    let said = match number {
        1 => {
            let level = fields.u32()?;
            let _errno = fields.u32()?;
            let _context = fields.text()?;
            Said::Log { level, text: fields.text()? }
        }
        2 => {
            let _context = fields.text()?;
            let what = fields.text()?;
            let done = u64::from_ne_bytes(fields.take()?);
            Said::Progress { what, done, total: u64::from_ne_bytes(fields.take()?) }
        }
        10 => Said::Complete {
            retval: i32::from_ne_bytes(fields.take()?),
            errno: i32::from_ne_bytes(fields.take()?),
        },
        3..10 => return Ok(Said::Other(number)),
        _ => bail!("there is no message number {number}"),
    };
    ensure!(fields.0.is_empty(), "{} bytes follow a message {number}", fields.0.len());
    Ok(said)
}

struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk().context("a message is too short")?;
        self.0 = rest;
        Ok(*field)
    }

    fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_ne_bytes(self.take()?))
    }

    fn text(&mut self) -> Result<String> {
        let length = self.u32()? as usize;
        let (text, rest) =
            self.0.split_at_checked(length).context("a string is longer than its message")?;
        self.0 = rest;
        Ok(String::from_utf8_lossy(text.strip_suffix(&[0]).unwrap_or(text)).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::{Said, read_all};

    fn text(text: &str) -> Vec<u8> {
        let mut bytes = (text.len() as u32 + 1).to_ne_bytes().to_vec();
        bytes.extend(text.as_bytes());
        bytes.push(0);
        bytes
    }

    fn message(number: u16, arguments: &[Vec<u8>]) -> Vec<u8> {
        let body: Vec<u8> = number.to_ne_bytes().into_iter().chain(arguments.concat()).collect();
        [(body.len() as u16).to_ne_bytes().to_vec(), body].concat()
    }

    #[test]
    fn whole_messages_are_read_and_a_half_one_waits() {
        let mut said = message(
            1,
            &[5u32.to_ne_bytes().into(), u32::MAX.to_ne_bytes().into(), text("xend"), text("hi")],
        );
        said.extend(message(
            2,
            &[text("xc"), text("Frames"), 7u64.to_ne_bytes().into(), 9u64.to_ne_bytes().into()],
        ));
        said.extend(message(3, &[]));
        let whole = read_all(&said).expect("three messages");
        assert_eq!(whole.len(), 3);
        assert_eq!(whole[0], Said::Log { level: 5, text: "hi".to_owned() });
        assert_eq!(whole[1], Said::Progress { what: "Frames".to_owned(), done: 7, total: 9 });
        assert_eq!(whole[2], Said::Other(3));
        let half = message(10, &[(-1i32).to_ne_bytes().into(), 5i32.to_ne_bytes().into()]);
        said.extend(&half[..5]);
        assert_eq!(read_all(&said).expect("the same three").len(), 3);
        said.extend(&half[5..]);
        assert_eq!(
            read_all(&said).expect("four").pop(),
            Some(Said::Complete { retval: -1, errno: 5 })
        );
    }

    #[test]
    fn nonsense_is_an_error() {
        assert!(read_all(&message(77, &[])).is_err());
        assert!(read_all(&message(10, &[vec![0; 9]])).is_err());
        assert!(read_all(&message(2, &[u32::MAX.to_ne_bytes().into()])).is_err());
    }
}
