//! Writing an initramfs: the kernel's "newc" cpio format.
//!
//! Written here rather than by the `cpio` program so that an image needs no staging tree on disk,
//! and owners, modes and device nodes come out the same on every machine.

use std::collections::BTreeSet;
use std::path::{Component, Path};

const REGULAR: u32 = 0o100_000;
const DIRECTORY: u32 = 0o040_000;
const SYMLINK: u32 = 0o120_000;
const CHARACTER_DEVICE: u32 = 0o020_000;

/// An initramfs under construction, in memory.
#[derive(Debug, Default)]
pub(crate) struct Archive {
    bytes: Vec<u8>,
    names: BTreeSet<String>,
    next_inode: u32,
}

impl Archive {
    /// Adds a directory and the directories above it. Adding one twice does nothing.
    pub(crate) fn directory(&mut self, path: &str) {
        let mut name = String::new();
        for part in Path::new(path).components() {
            let Component::Normal(part) = part else { continue };
            if !name.is_empty() {
                name.push('/');
            }
            name.push_str(&part.to_string_lossy());
            if !self.names.contains(&name) {
                self.entry(&name, DIRECTORY | 0o755, (0, 0), &[]);
            }
        }
    }

    /// Adds a regular file. The first one of a path wins.
    pub(crate) fn file(&mut self, path: &str, mode: u32, content: &[u8]) {
        self.parent_of(path);
        self.entry(path, REGULAR | mode, (0, 0), content);
    }

    /// Adds a symbolic link at `path` that points to `target`.
    pub(crate) fn symlink(&mut self, path: &str, target: &str) {
        self.parent_of(path);
        self.entry(path, SYMLINK | 0o777, (0, 0), target.as_bytes());
    }

    /// Adds a character device.
    pub(crate) fn character_device(&mut self, path: &str, major: u32, minor: u32) {
        self.parent_of(path);
        self.entry(path, CHARACTER_DEVICE | 0o600, (major, minor), &[]);
    }

    /// Ends the archive and hands it out.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, (0, 0), &[]);
        self.bytes
    }

    fn parent_of(&mut self, path: &str) {
        if let Some(parent) = Path::new(path).parent() {
            self.directory(&parent.to_string_lossy());
        }
    }

    fn entry(&mut self, path: &str, mode: u32, device: (u32, u32), content: &[u8]) {
        let name = path.trim_start_matches('/');
        if !self.names.insert(name.to_owned()) {
            return;
        }
        self.next_inode += 1;
        let links = if mode & DIRECTORY == DIRECTORY { 2 } else { 1 };
        let fields = [
            self.next_inode,
            mode,
            0,
            0,
            links,
            0,
            u32::try_from(content.len()).expect("no file of 4 GiB in an initramfs"),
            0,
            0,
            device.0,
            device.1,
            u32::try_from(name.len() + 1).expect("a path is short"),
            0,
        ];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    /// Header with name, and content, each end on a multiple of four bytes.
    fn pad(&mut self) {
        while !self.bytes.len().is_multiple_of(4) {
            self.bytes.push(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Archive;
    use std::io::Write;
    use std::process::{Command, Stdio};

    #[test]
    fn the_cpio_program_reads_back_what_was_written() {
        let mut archive = Archive::default();
        archive.file("/etc/deep/file", 0o640, b"hello");
        archive.symlink("/etc/link", "deep/file");
        let bytes = archive.finish();
        let mut child = Command::new("cpio")
            .args(["-tv", "--quiet"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("cpio is installed");
        child.stdin.take().expect("piped").write_all(&bytes).expect("cpio reads");
        let listing = child.wait_with_output().expect("cpio ends");
        let listing = String::from_utf8(listing.stdout).expect("text");
        let lines: Vec<&str> = listing.lines().collect();
        assert_eq!(lines.len(), 4, "{listing}");
        assert!(lines[2].starts_with("-rw-r-----") && lines[2].ends_with("etc/deep/file"));
        assert!(lines[3].ends_with("etc/link -> deep/file"));
    }
}
