//! Configurations as they are given on a command line: a file, and settings after it.

use std::fs;
use std::path::Path;

use super::failure::Failure;
use crate::toolstack::config::DomainConfig;
use crate::toolstack::{Host, domain};

/// Stands for no file: all settings are on the command line.
const NO_FILE: &str = "/dev/null";

/// Exit statuses of `xl create`: libxl's codes, negated.
pub(super) const FAILED: u8 = 3;
/// What was asked for makes no sense.
pub(super) const INVALID: u8 = 6;

/// A configuration's text, as one would write it into a file.
#[derive(Debug, Default)]
pub(super) struct ConfigSource {
    /// The file.
    pub(super) file: Option<String>,
    /// Settings from the command line.
    pub(super) settings: Vec<String>,
}

impl ConfigSource {
    /// Takes a file that comes before the options, as `xl` allows it here. True if there is one.
    pub(super) fn take_first(&mut self, word: Option<&String>) -> bool {
        let file = word.filter(|word| !word.starts_with('-') && !word.contains('='));
        self.file = file.cloned();
        file.is_some()
    }

    /// Takes operands: settings have an equals sign. False for one too many.
    pub(super) fn take(&mut self, operand: &str) -> bool {
        if operand.contains('=') {
            self.settings.push(operand.to_owned());
        } else if self.file.is_none() {
            self.file = Some(operand.to_owned());
        } else {
            return false;
        }
        true
    }

    /// The file's text with the settings after it.
    ///
    /// # Errors
    /// In `xl`'s words if the file cannot be read.
    pub(super) fn text(&self, file: &str) -> Result<Vec<u8>, Failure> {
        let mut text = if file == NO_FILE {
            Vec::new()
        } else {
            fs::read(Path::new(file)).map_err(|error| {
                let reason = nix::errno::Errno::from_raw(error.raw_os_error().unwrap_or(0)).desc();
                Failure::said(format!("Failed to read config file: {file}: {reason}\n"))
                    .with_status(FAILED)
            })?
        };
        if !self.settings.is_empty() {
            text.extend_from_slice(format!("\n{}\n\n", self.settings.join("\n")).as_bytes());
        }
        Ok(text)
    }
}

/// Makes a configuration of a text. What is doubtful in it is said on standard error.
///
/// # Errors
/// What is wrong with it, and where.
pub(super) fn parse(host: &Host, name: &str, text: &[u8]) -> Result<DomainConfig, Failure> {
    let (config, warnings) = domain::config_from_text(host, name, text)?;
    for warning in warnings {
        eprintln!("{warning}");
    }
    Ok(config)
}
