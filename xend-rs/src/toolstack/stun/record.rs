//! What is written down of a stun before it begins, for whoever has to end it.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::hypervisor::types::Domid;
use crate::toolstack::config::Uuid;
use crate::toolstack::domid_files::domids_in;
use crate::toolstack::durable;

const FOLDER: &str = "/var/lib/xend/stun";
const MAX_BYTES: u64 = 64 << 10;

/// A stunned domain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// Its id, which may be another domain's by now.
    pub(super) domid: u16,
    /// Its UUID, in lower case with dashes.
    pub(super) uuid: String,
    /// The cap that an administrator gave it, in percent of one CPU; 0 is none.
    pub(super) cap: u16,
    /// The caps that it may have from us. Any other is somebody else's, and stays.
    pub(super) ours: Vec<u16>,
}

impl Record {
    pub(super) fn domid(&self) -> Domid {
        Domid(self.domid)
    }

    pub(super) fn is_of(&self, uuid: Uuid) -> bool {
        self.uuid == uuid.to_string()
    }

    /// What an administrator wants the cap to be if it is `now`.
    pub(super) fn wanted(&self, now: u16) -> u16 {
        if self.ours.contains(&now) { self.cap } else { now }
    }
}

/// The records of a host.
#[derive(Clone, Debug)]
pub(super) struct Records {
    folder: PathBuf,
}

impl Records {
    /// Those of this host.
    pub(super) fn here() -> Self {
        Self::at(Path::new(FOLDER))
    }

    /// Those in a folder, which is made with the first of them.
    pub(super) fn at(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// What went wrong, and with which file.
    pub(super) fn path(&self, domid: Domid) -> PathBuf {
        self.folder.join(format!("{}.json", domid.0))
    }

    /// Makes a record durable.
    pub(super) fn write(&self, record: &Record) -> io::Result<()> {
        fs::create_dir_all(&self.folder)?;
        durable::write(&self.path(record.domid()), &serde_json::to_vec(record)?)
    }

    pub(super) fn read(&self, domid: Domid) -> io::Result<Option<Record>> {
        let file = match File::open(self.path(domid)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut text = Vec::new();
        file.take(MAX_BYTES).read_to_end(&mut text)?;
        Ok(Some(serde_json::from_slice(&text)?))
    }

    pub(super) fn remove(&self, domid: Domid) -> io::Result<()> {
        durable::remove(&self.path(domid))
    }

    /// The domains that there are records of, by their ids.
    pub(super) fn list(&self) -> io::Result<Vec<Domid>> {
        domids_in(&self.folder, "", ".json")
    }
}
