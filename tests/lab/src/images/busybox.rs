//! Busybox and the names it answers to.

use std::fs;
use std::path::Path;

use super::cpio::Archive;
use crate::error::{LabError, Result};
use crate::program;

/// Puts busybox and a link for each of its applets into an image.
///
/// Call it after the programs that are to win over an applet of the same name.
pub(crate) fn add(archive: &mut Archive, root: &Path) -> Result<()> {
    let program = root.join("bin/busybox");
    let content = fs::read(&program).map_err(LabError::file("read", &program))?;
    archive.file("bin/busybox", 0o755, &content);
    let applets = program::text(&program.to_string_lossy(), &["--list-full"])?;
    for applet in applets.lines().filter(|applet| *applet != "bin/busybox") {
        archive.symlink(applet, "/bin/busybox");
    }
    Ok(())
}
