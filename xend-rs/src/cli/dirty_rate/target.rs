//! A file that is written in the end, and known from the start to be one that can be.

use std::fs::{File, OpenOptions};
use std::io;

use crate::cli::failure::Failure;

/// An open file. What was in it stays until there is something else to be in it.
#[derive(Debug)]
pub(super) struct Target<'a> {
    path: &'a str,
    file: File,
}

impl<'a> Target<'a> {
    /// Opens it, or makes it, if one is wanted.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(super) fn open(path: Option<&'a str>) -> Result<Option<Self>, Failure> {
        let Some(path) = path else { return Ok(None) };
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(path);
        Ok(Some(Self { path, file: file.map_err(|error| unwritten(path, &error))? }))
    }

    /// What it was called.
    pub(super) fn path(&self) -> &'a str {
        self.path
    }

    /// Puts in what `write` writes, instead of what was there.
    ///
    /// # Errors
    /// If it does not take all of it.
    pub(super) fn fill(&self, write: impl FnOnce(&File) -> io::Result<()>) -> Result<(), Failure> {
        self.empty().and_then(|()| write(&self.file)).map_err(|error| unwritten(self.path, &error))
    }

    fn empty(&self) -> io::Result<()> {
        // What is no file keeps nothing, and would refuse.
        if self.file.metadata()?.is_file() { self.file.set_len(0) } else { Ok(()) }
    }
}

fn unwritten(path: &str, error: &io::Error) -> Failure {
    Failure::line(format_args!("cannot write {path}: {error}"))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use super::*;

    #[test]
    fn what_was_there_stays_until_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "what was there").unwrap();
        let name = path.to_str().unwrap();
        let target = Target::open(Some(name)).unwrap().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "what was there");
        target.fill(|mut file| file.write_all(b"new")).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(target.path(), name);
    }

    #[test]
    fn what_cannot_be_written_is_told_at_once() {
        let failure = Target::open(Some("/nowhere/file")).unwrap_err();
        assert!(failure.text().starts_with("xend: cannot write /nowhere/file: "));
        assert!(Target::open(None).unwrap().is_none());
    }

    #[test]
    fn a_device_takes_it_as_well() {
        let target = Target::open(Some("/dev/null")).unwrap().unwrap();
        target.fill(|mut file| file.write_all(b"new")).unwrap();
    }
}
