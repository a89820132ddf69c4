//! Words and `key=value` pairs in a node that anybody may have written.

use std::str::FromStr;

use super::MAX_BYTES;

/// A node's content makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// It is longer than anything that is meant.
    #[error("{bytes} bytes, and {MAX_BYTES} is the most")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// It has other bytes than printable ASCII.
    #[error("not printable")]
    NotPrintable,
    /// Something that must be there is not.
    #[error("no {0}")]
    Missing(&'static str),
    /// Something is there and cannot be read.
    #[error("a bad {0}")]
    Bad(&'static str),
}

/// A node's content, taken apart.
pub(super) struct Fields<'a> {
    words: std::str::Split<'a, char>,
}

impl<'a> Fields<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Result<Self, Unreadable> {
        if bytes.len() > MAX_BYTES {
            return Err(Unreadable::TooLong { bytes: bytes.len() });
        }
        if !bytes.iter().all(|byte| (b' '..=b'~').contains(byte)) {
            return Err(Unreadable::NotPrintable);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| Unreadable::NotPrintable)?;
        Ok(Self { words: text.split(' ') })
    }

    /// The next word.
    pub(super) fn word(&mut self, what: &'static str) -> Result<&'a str, Unreadable> {
        self.words.next().filter(|word| !word.is_empty()).ok_or(Unreadable::Missing(what))
    }

    /// The next word, as a number.
    pub(super) fn number<T: FromStr>(&mut self, what: &'static str) -> Result<T, Unreadable> {
        decimal(self.word(what)?).ok_or(Unreadable::Bad(what))
    }

    /// What is left, as `key=value`.
    pub(super) fn pairs(self) -> Pairs<'a> {
        Pairs(self.words.filter_map(|word| word.split_once('=')).collect())
    }

    /// What is left, as it is.
    pub(super) fn rest(self) -> String {
        self.words.collect::<Vec<_>>().join(" ")
    }
}

/// The keys of a node.
pub(super) struct Pairs<'a>(Vec<(&'a str, &'a str)>);

impl Pairs<'_> {
    /// A value, if its key is there.
    pub(super) fn text(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(name, _)| *name == key).map(|(_, value)| *value)
    }

    /// A number, if its key is there.
    pub(super) fn number<T: FromStr>(&self, key: &'static str) -> Result<Option<T>, Unreadable> {
        self.text(key).map(|text| decimal(text).ok_or(Unreadable::Bad(key))).transpose()
    }

    /// Yes or no; no if the key is not there.
    pub(super) fn flag(&self, key: &'static str) -> Result<bool, Unreadable> {
        match self.text(key) {
            None | Some("no") => Ok(false),
            Some("yes") => Ok(true),
            Some(_) => Err(Unreadable::Bad(key)),
        }
    }
}

/// A number in digits and nothing else: no sign, no space.
fn decimal<T: FromStr>(text: &str) -> Option<T> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// A flag, as it is written.
pub(super) fn yes_no(flag: bool) -> &'static str {
    if flag { "yes" } else { "no" }
}
