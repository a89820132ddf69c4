//! What a guest is made of: the libxl-json document, and typed views of it.
//!
//! libxl keeps this document for every domain and sends it ahead of a migration. Here it is the
//! one truth as well: what stock `xl` wrote and we do not know stays in it, and goes back out in
//! the place where it was.

mod change;
mod devices;
mod error;
mod from_xlcfg;
#[cfg(test)]
mod golden_tests;
mod host;
mod immovable;
pub mod json_text;
mod schema;
#[cfg(test)]
mod tests;
mod tree;
mod types;
mod view;

use serde_json::{Map, Value};

pub use devices::{Disk, DiskBackend, DiskFormat, Nic, NicRate, NicType};
pub use error::{ConfigError, Warning};
pub use host::{CpuMasks, Defaults, HostContext, HostCpus, NicDefaults, XL_CONF};
pub use types::{
    Action, Actions, Boot, Bootloader, GrantLimits, GuestKind, MacAddress, Memory, SchedulerParams,
    TscMode, Uuid,
};

/// Longer documents are refused. Real ones have a few KiB.
pub const MAX_DOCUMENT_BYTES: usize = 1 << 20;

/// The configuration of one guest.
#[derive(Clone, Debug, PartialEq)]
pub struct DomainConfig {
    document: Map<String, Value>,
}

impl DomainConfig {
    /// Reads a document, as libxl stores or sends it. A NUL at the end, which libxl writes after
    /// each, is no part of it.
    ///
    /// # Errors
    /// If it is longer than [`MAX_DOCUMENT_BYTES`], no JSON, or has a value of another type than
    /// libxl would read.
    pub fn from_json(text: &[u8]) -> Result<Self, ConfigError> {
        let text = text.strip_suffix(&[0]).unwrap_or(text);
        if text.len() > MAX_DOCUMENT_BYTES {
            return Err(ConfigError::TooLong { bytes: text.len(), limit: MAX_DOCUMENT_BYTES });
        }
        let document = serde_json::from_slice(text)
            .map_err(|error| ConfigError::NotJson { reason: error.to_string() })?;
        let config = Self { document };
        config.check()?;
        Ok(config)
    }

    /// The document as libxl writes it, byte for byte, with a newline and no NUL at the end.
    pub fn to_json(&self) -> String {
        json_text::print(&self.document)
    }

    /// What goes into the userdata file and into a save file's header: [`Self::to_json`] and a NUL.
    pub fn to_userdata(&self) -> Vec<u8> {
        let mut bytes = self.to_json().into_bytes();
        bytes.push(0);
        bytes
    }

    /// The document itself.
    pub fn document(&self) -> &Map<String, Value> {
        &self.document
    }
}
