//! The files in which libxl keeps what it knows of a domain, found by id and UUID.
//!
//! `userdata-d.DOMID.UUID.libxl-json` holds the configuration. Whoever reads or writes it holds
//! the lock of the domain, an exclusive `flock` on `userdata-l.DOMID.UUID.domain-userdata-lock`,
//! which its holder removes when it is done.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::config::{ConfigError, DomainConfig, MAX_DOCUMENT_BYTES, Uuid};
use super::file_lock::FileLock;
use crate::hypervisor::types::Domid;

/// Where libxl keeps its files.
const FOLDER: &str = "/var/lib/xen";
const CONFIG: &str = "libxl-json";
/// The text of an xl.cfg, which `xl config-update` left for the next start.
const TEXT: &str = "xl";
const LOCK: &str = "domain-userdata-lock";

/// The stored configuration cannot be had or kept.
#[derive(Debug, thiserror::Error)]
pub enum UserdataError {
    /// A file of it.
    #[error("cannot {operation} {}", path.display())]
    File {
        /// What was attempted ("read").
        operation: &'static str,
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// What the file holds.
    #[error("the configuration that is stored for {domid} cannot be used")]
    Config {
        /// Whose.
        domid: Domid,
        /// What is wrong with it.
        source: ConfigError,
    },
}

/// The files of one domain, locked against others until this is dropped.
#[derive(Debug)]
pub struct Userdata {
    domid: Domid,
    uuid: Uuid,
    folder: PathBuf,
    /// Held until this is dropped.
    lock: Option<FileLock>,
}

impl Userdata {
    /// Locks the files of a domain, waiting for others to be done with them.
    ///
    /// # Errors
    /// If the lock's file cannot be made.
    pub fn lock(domid: Domid, uuid: Uuid) -> Result<Self, UserdataError> {
        Self::lock_in(Path::new(FOLDER), domid, uuid)
    }

    fn lock_in(folder: &Path, domid: Domid, uuid: Uuid) -> Result<Self, UserdataError> {
        let mut files = Self { domid, uuid, folder: folder.to_owned(), lock: None };
        let path = files.path('l', LOCK);
        files.lock = Some(FileLock::take(&path).map_err(failed("lock", &path))?);
        Ok(files)
    }

    /// The configuration; `None` where none is stored.
    ///
    /// # Errors
    /// If it cannot be read or understood.
    pub fn config(&self) -> Result<Option<DomainConfig>, UserdataError> {
        let path = self.path('d', CONFIG);
        let file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(failed("open", &path))?,
        };
        let mut text = Vec::new();
        let limit = MAX_DOCUMENT_BYTES as u64 + 2;
        file.take(limit).read_to_end(&mut text).map_err(failed("read", &path))?;
        DomainConfig::from_json(&text)
            .map(Some)
            .map_err(|source| UserdataError::Config { domid: self.domid, source })
    }

    /// The text of an xl.cfg that is to be used in place of the configuration when the guest is
    /// started anew, if there is one.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn text(&self) -> Result<Option<Vec<u8>>, UserdataError> {
        let path = self.path('d', TEXT);
        match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            other => Ok(Some(other.map_err(failed("read", &path))?)),
        }
    }

    /// Stores such a text.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn store_text(&self, text: &[u8]) -> Result<(), UserdataError> {
        self.put(TEXT, text)
    }

    /// Stores the configuration in place of what was stored.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn store(&self, config: &DomainConfig) -> Result<(), UserdataError> {
        self.put(CONFIG, &config.to_userdata())
    }

    fn put(&self, user: &str, content: &[u8]) -> Result<(), UserdataError> {
        let (new, path) = (self.path('n', user), self.path('d', user));
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)
            .map_err(failed("write", &new))?;
        file.write_all(content).map_err(failed("write", &new))?;
        fs::rename(&new, &path).map_err(failed("write", &path))
    }

    /// Removes all files of the domain but the lock, which goes when this is dropped.
    ///
    /// # Errors
    /// If one cannot be removed.
    pub fn remove_all(&self) -> Result<(), UserdataError> {
        let folder = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other.map_err(failed("list", &self.folder))?,
        };
        let middle = format!(".{}.{}.", self.domid.0, self.uuid);
        for entry in folder.flatten() {
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            let ours = name.strip_prefix("userdata-").and_then(|rest| rest.get(1..));
            if ours.is_some_and(|rest| rest.starts_with(&middle)) && !name.ends_with(LOCK) {
                let path = entry.path();
                fs::remove_file(&path).map_err(failed("remove", &path))?;
            }
        }
        Ok(())
    }

    fn path(&self, kind: char, user: &str) -> PathBuf {
        let (domid, uuid) = (self.domid.0, self.uuid);
        self.folder.join(format!("userdata-{kind}.{domid}.{uuid}.{user}"))
    }
}

fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> UserdataError {
    let path = path.to_owned();
    move |source| UserdataError::File { operation, path, source }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    const JSON: &[u8] = br#"{"c_info":{"name":"g"},"b_info":{}}"#;

    #[test]
    fn keeps_a_configuration_where_libxl_looks_and_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let uuid: Uuid = "00112233-4455-6677-8899-aabbccddeeff".parse().unwrap();
        let config = DomainConfig::from_json(JSON).unwrap();
        let file = folder.path().join(format!("userdata-d.7.{uuid}.libxl-json"));
        {
            let userdata = Userdata::lock_in(folder.path(), Domid(7), uuid).unwrap();
            assert_eq!(userdata.config().unwrap(), None);
            userdata.store(&config).unwrap();
            assert_eq!(userdata.config().unwrap(), Some(config.clone()));
            assert_eq!(fs::read(&file).unwrap(), config.to_userdata());
            assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        let userdata = Userdata::lock_in(folder.path(), Domid(7), uuid).unwrap();
        userdata.remove_all().unwrap();
        drop(userdata);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn leaves_the_files_of_others() {
        let folder = tempfile::tempdir().unwrap();
        let uuid = Uuid([1; 16]);
        let other = folder.path().join(format!("userdata-d.17.{uuid}.libxl-json"));
        fs::write(&other, b"x").unwrap();
        Userdata::lock_in(folder.path(), Domid(7), uuid).unwrap().remove_all().unwrap();
        assert!(other.exists());
    }
}
