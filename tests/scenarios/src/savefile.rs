//! Saving a guest to a file and bringing it back, and where in such a file what begins.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::{Guest, Host};

use crate::helper::Helper;

/// Dom0's own memory is where files lie.
pub const FILE: &str = "/dev/shm/saved";
const SAVE_TIMEOUT: Duration = Duration::from_secs(120);
const RESTORE_TIMEOUT: Duration = Duration::from_secs(120);
const FETCH_TIMEOUT: Duration = Duration::from_secs(120);
/// Xen's own checker of streams, a Python program.
const CHECKER: &str = "/usr/lib/xen-4.17/bin/verify-stream-v2";
/// Debian puts its modules where Python does not look.
const CHECKER_MODULES: &str = "/usr/lib/xen-4.17/lib/python";
const CHECKER_TIMEOUT_S: &str = "120";

/// Saves a guest to [`FILE`] with `xl save`, which ends it.
///
/// # Errors
/// What `xl` said.
pub fn save(host: &Host, guest: &Guest, helper: Helper) -> Result<()> {
    let command = format!("{} xl save {} {FILE}", helper.environment(), guest.name());
    host.run_ok(&command, SAVE_TIMEOUT)?;
    Ok(())
}

/// Brings a guest back from [`FILE`] with `xl restore`.
///
/// # Errors
/// What `xl` said.
pub fn restore(host: &Host, helper: Helper) -> Result<()> {
    let command = format!("{} xl restore {FILE}", helper.environment());
    host.run_ok(&command, RESTORE_TIMEOUT)?;
    Ok(())
}

/// Brings a saved file to this machine. Most of a guest's memory is empty: packed, it comes in half
/// the time.
///
/// # Errors
/// When the host does not answer, or the file cannot be written or unpacked here.
pub fn fetch(host: &Host, local: &Path) -> Result<()> {
    let packed = host.run_ok(&format!("gzip -1c {FILE}"), FETCH_TIMEOUT)?.stdout;
    let packed_path = local.with_extension("gz");
    fs::write(&packed_path, packed)
        .with_context(|| format!("cannot write {}", packed_path.display()))?;
    let status = Command::new("gzip")
        .args(["--decompress", "--force"])
        .arg(&packed_path)
        .status()
        .context("cannot run gzip")?;
    ensure!(status.success(), "cannot unpack {}", packed_path.display());
    Ok(())
}

/// Has Xen's own checker look at a saved file, on this machine.
///
/// # Errors
/// What the checker said against it, or that it is not there.
pub fn check_with_stock(file: &Path) -> Result<()> {
    ensure!(
        Path::new(CHECKER).exists(),
        "{CHECKER} is not there: install the Debian package xen-utils-4.17"
    );
    let output = Command::new("timeout")
        .args([CHECKER_TIMEOUT_S, CHECKER, "-i"])
        .arg(file)
        .args(["-f", "xl", "-v"])
        .env("PYTHONPATH", CHECKER_MODULES)
        .output()
        .context("cannot run verify-stream-v2")?;
    ensure!(
        output.status.success(),
        "verify-stream-v2 does not accept the file: {} {}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

/// Where the layers of a saved file begin, from its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Where the guest's configuration begins.
    pub config_at: u64,
    /// Where libxl's stream begins.
    pub libxl_at: u64,
    /// Where the libxc image begins.
    pub image_at: u64,
}

impl Head {
    /// Of a saved file, or the beginning of one.
    ///
    /// # Errors
    /// When it is not one.
    pub fn of(file: &[u8]) -> Result<Self> {
        ensure!(file.starts_with(b"Xen saved domain, xl format"), "this is no file of `xl save`");
        let optional_bytes = u64::from(u32_at(file, XL_HEADER_BYTES - 4)?);
        let libxl_at = XL_HEADER_BYTES + optional_bytes;
        let image_at = libxl_at + LIBXL_HEADER_BYTES + LIBXL_RECORD_BYTES;
        Ok(Self { config_at: XL_HEADER_BYTES + 4, libxl_at, image_at })
    }
}

/// Offsets in a saved file, all from its start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Where the guest's configuration begins.
    pub config_at: u64,
    /// Where libxl's stream begins.
    pub libxl_at: u64,
    /// Where the libxc image begins.
    pub image_at: u64,
    /// The records of the image, END included.
    pub records: Vec<LibxcRecord>,
    /// The file's length.
    pub length: u64,
}

/// One record of the libxc image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LibxcRecord {
    /// Where its header begins.
    pub at: u64,
    /// Its type.
    pub record_type: u32,
    /// The length of its body in bytes, padding left out.
    pub body_bytes: u32,
}

/// The xl header up to the configuration.
const XL_HEADER_BYTES: u64 = 32 + 4 * 4;
const LIBXL_HEADER_BYTES: u64 = 16;
const LIBXL_RECORD_BYTES: u64 = 8;
/// Image header and domain header.
const IMAGE_HEADERS_BYTES: u64 = 24 + 16;
const RECORD_HEADER_BYTES: u64 = 8;
const END: u32 = 0;

impl Layout {
    /// Finds everything in a whole saved file.
    ///
    /// # Errors
    /// When the file is not one.
    pub fn of(file: &[u8]) -> Result<Self> {
        let Head { config_at, libxl_at, image_at } = Head::of(file)?;
        let mut records = Vec::new();
        let mut at = image_at + IMAGE_HEADERS_BYTES;
        loop {
            let record = LibxcRecord {
                at,
                record_type: u32_at(file, at)?,
                body_bytes: u32_at(file, at + 4)?,
            };
            records.push(record);
            if record.record_type == END {
                break;
            }
            at = record.end();
        }
        Ok(Self { config_at, libxl_at, image_at, records, length: file.len() as u64 })
    }

    /// The first record of a type, with its index in the image.
    ///
    /// # Errors
    /// When there is none.
    pub fn first(&self, record_type: u32) -> Result<(usize, LibxcRecord)> {
        let index = self.records.iter().position(|record| record.record_type == record_type);
        let index =
            index.with_context(|| format!("there is no record of type {record_type:#x}"))?;
        Ok((index, self.records[index]))
    }
}

impl LibxcRecord {
    /// Where its body begins.
    #[must_use]
    pub fn body_at(&self) -> u64 {
        self.at + RECORD_HEADER_BYTES
    }

    /// Where the next record begins.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.body_at() + u64::from(self.body_bytes).next_multiple_of(8)
    }
}

fn u32_at(file: &[u8], at: u64) -> Result<u32> {
    usize::try_from(at)
        .ok()
        .and_then(|at| file.get(at..)?.first_chunk())
        .map(|bytes| u32::from_le_bytes(*bytes))
        .with_context(|| format!("the file ends before byte {at}"))
}

#[cfg(test)]
mod tests {
    use super::{Layout, LibxcRecord};

    #[test]
    fn a_file_is_walked_to_its_end() {
        let mut file = b"Xen saved domain, xl format\n \0 \r".to_vec();
        for word in [0x0102_0304u32, 3, 0, 4 + 5, 5] {
            file.extend(word.to_le_bytes());
        }
        file.extend(b"{ }\n\0");
        file.extend([0; 16 + 8 + 24 + 16]);
        for (record_type, body) in [(2u32, &[7; 8][..]), (0x11, &[1; 3]), (0, &[])] {
            file.extend(record_type.to_le_bytes());
            file.extend((body.len() as u32).to_le_bytes());
            file.extend(body);
            file.extend(vec![0; body.len().next_multiple_of(8) - body.len()]);
        }
        let layout = Layout::of(&file).expect("a file");
        assert_eq!((layout.config_at, layout.libxl_at, layout.image_at), (52, 57, 81));
        let record = |at, record_type, body_bytes| LibxcRecord { at, record_type, body_bytes };
        assert_eq!(layout.records, [record(121, 2, 8), record(137, 0x11, 3), record(153, 0, 0)]);
        assert_eq!(layout.first(0x11).expect("there").0, 1);
        assert!(layout.first(1).is_err());
        file.truncate(140);
        assert!(Layout::of(&file).is_err());
    }
}
