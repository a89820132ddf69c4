//! What can be wrong with a configuration.

use thiserror::Error;

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
    /// A key that every configuration has is not there.
    #[error("domain configuration: {path} is missing")]
    Missing {
        /// The keys that lead to it, with dots.
        path: &'static str,
    },
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
