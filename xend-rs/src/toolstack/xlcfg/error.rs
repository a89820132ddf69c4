//! What can be wrong with the text of an xl.cfg, and where.

use std::fmt;
use std::sync::Arc;

use thiserror::Error;

/// A place in a text: the text's name, line and column, both from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file's name, or what else the text is.
    pub source: Arc<str>,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.source, self.line, self.column)
    }
}

/// A text that is no xl.cfg.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{place}: {reason}")]
pub struct SyntaxError {
    /// Where.
    pub place: Place,
    /// What is wrong.
    pub reason: Reason,
}

/// What is wrong with a text.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Reason {
    /// The text is longer than any real one.
    #[error("{bytes} bytes of configuration: at most {limit} are accepted")]
    TooLong {
        /// Its length.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// Lists in lists in lists.
    #[error("lists are nested more than {limit} deep")]
    TooDeep {
        /// The limit.
        limit: usize,
    },
    /// Not text.
    #[error("not UTF-8")]
    NotUtf8,
    /// A character that starts nothing.
    #[error("unexpected character {0:?}")]
    Character(char),
    /// The same, where Python expressions have such characters.
    #[error("unexpected character {0:?}; Python code in configurations is no longer supported")]
    Python(char),
    /// No closing quote on the line.
    #[error("the string that starts here has no closing {0}")]
    OpenString(char),
    /// A backslash before something that means nothing.
    #[error("'\\{}' is no escape; there are \\a \\b \\f \\n \\r \\t \\v \\\" \\' and \\\\", .0.escape_debug())]
    Escape(char),
    /// Something in the wrong place.
    #[error("unexpected {found}, expecting {expected}")]
    Unexpected {
        /// What is there.
        found: String,
        /// What could be.
        expected: &'static str,
    },
    /// `+=` between a list and a string.
    #[error("'{key}' is {was}: += cannot add {added} to it")]
    Mixed {
        /// The key.
        key: String,
        /// What it was.
        was: &'static str,
        /// What should be added.
        added: &'static str,
    },
}

/// A setting that does not make sense.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{place}: {message}")]
pub struct WrongSetting {
    /// Where its value is.
    pub place: Place,
    /// What is wrong, in words.
    pub message: String,
}

impl WrongSetting {
    /// Something wrong at `place`; what the message quotes may hold anything.
    pub fn new(place: Place, message: &str) -> Self {
        Self { place, message: one_line(message) }
    }
}

/// `message` as one line that is not too long, whatever it quotes.
pub(in crate::toolstack) fn one_line(message: &str) -> String {
    const MOST_CHARS: usize = 300;
    let mut line = String::new();
    for c in message.chars().take(MOST_CHARS) {
        if c.is_control() { line.extend(c.escape_debug()) } else { line.push(c) }
    }
    if message.chars().nth(MOST_CHARS).is_some() {
        line.push_str("...");
    }
    line
}
