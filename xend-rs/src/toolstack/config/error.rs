//! What can be wrong with a configuration.

use std::fmt;

use thiserror::Error;

use crate::toolstack::xlcfg::{Place, SyntaxError, WrongSetting, one_line};

/// Something in an xl.cfg that its author should know, and that stops nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Where.
    pub place: Place,
    /// What, in words.
    pub message: String,
}

impl Warning {
    /// Something about `place`; what the message quotes may hold anything.
    pub(super) fn new(place: &Place, message: &str) -> Self {
        Self { place: place.clone(), message: one_line(message) }
    }
}

impl fmt::Display for Warning {
    /// `FILE:LINE: what`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.place.source, self.place.line, self.message)
    }
}

/// A configuration that cannot be used.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum ConfigError {
    /// The document is no JSON.
    #[error("domain configuration is not valid JSON: {reason}")]
    NotJson {
        /// What the parser says, with line and column.
        reason: String,
    },
    /// The document is longer than any real one.
    #[error("domain configuration of {bytes} bytes: at most {limit} are accepted")]
    TooLong {
        /// Its length.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// A key of the document has a value of another type than libxl gives it.
    #[error("domain configuration: {path} is {found}, not {expected}")]
    WrongType {
        /// The keys that lead to it, with dots.
        path: String,
        /// What it should be.
        expected: &'static str,
        /// The value, shortened.
        found: String,
    },
    /// A number that nothing in libxl holds.
    #[error("domain configuration: {number} is not an integer of 64 bits")]
    NotInteger {
        /// The number.
        number: String,
    },
    /// A key that every configuration has is not there.
    #[error("domain configuration: {path} is missing")]
    Missing {
        /// The keys that lead to it, with dots.
        path: &'static str,
    },
    /// A name with characters that would do harm elsewhere.
    #[error("'{name}' cannot be the name of a domain")]
    Name {
        /// The name, with such characters escaped.
        name: String,
    },
    /// The text of an xl.cfg.
    #[error(transparent)]
    Syntax(#[from] SyntaxError),
    /// A setting of an xl.cfg.
    #[error(transparent)]
    Setting(#[from] WrongSetting),
    /// An xl.cfg without `name=`.
    #[error("no domain name is given (name=)")]
    NoName,
    /// An xl.cfg without anything to boot.
    #[error("neither kernel nor bootloader is given")]
    NoKernel,
    /// Not a UUID.
    #[error("'{text}' is not a UUID")]
    Uuid {
        /// What was given.
        text: String,
    },
    /// Not a MAC address.
    #[error("'{text}' is not a MAC address")]
    Mac {
        /// What was given.
        text: String,
    },
    /// The system gave no random bytes.
    #[error("reading random bytes from /dev/urandom: {reason}")]
    NoRandomness {
        /// The system's reason.
        reason: String,
    },
}
