//! The journal in the file system: one small file per attempt.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Claim, DestinationRecord, DestinationState, Journal, Side, SourceRecord, now_s};
use crate::stream::xend::Token;
use crate::toolstack::durable;

/// How long a decided attempt is remembered.
pub const KEPT_DAYS: u64 = 30;

/// Records that must outlive a restart of the host.
const RECORDS: &str = "/var/lib/xend/migrations";
/// Locks, which must not.
const LOCKS: &str = "/run/xend/migrations";

/// Far more than any record has.
const MAX_RECORD_BYTES: u64 = 1 << 20;

/// Records in one directory, locks in another.
#[derive(Clone, Debug)]
pub struct FileJournal {
    records: PathBuf,
    locks: PathBuf,
}

impl FileJournal {
    /// The host's journal.
    ///
    /// # Errors
    /// If its directories cannot be made.
    pub fn open() -> io::Result<Self> {
        Self::at(Path::new(RECORDS), Path::new(LOCKS))
    }

    /// A journal somewhere else.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn at(records: &Path, locks: &Path) -> io::Result<Self> {
        fs::create_dir_all(records)?;
        fs::create_dir_all(locks)?;
        Ok(Self { records: records.to_owned(), locks: locks.to_owned() })
    }

    fn path(&self, side: Side, token: Token) -> PathBuf {
        self.records.join(format!("{token}-{side}.json"))
    }

    /// Writes a record so that either the old or the new one is there, whatever happens, and the
    /// new one once this has returned.
    fn write(&self, side: Side, token: Token, record: &impl Serialize) -> io::Result<()> {
        durable::write(&self.path(side, token), &serde_json::to_vec_pretty(record)?)
    }

    fn read<T: DeserializeOwned>(&self, side: Side, token: Token) -> io::Result<Option<T>> {
        let file = match File::open(self.path(side, token)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut text = Vec::new();
        file.take(MAX_RECORD_BYTES).read_to_end(&mut text)?;
        Ok(Some(serde_json::from_slice(&text)?))
    }

    fn lock_file(&self, name: &str) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        options.open(self.locks.join(name))
    }

    /// Keeps others from deciding at the same time.
    fn exclusive(&self) -> io::Result<Flock<File>> {
        let file = self.lock_file("decide.lock")?;
        Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| errno.into())
    }
}

impl Journal for FileJournal {
    fn claim(&self, side: Side, token: Token) -> io::Result<Option<Claim>> {
        let name = format!("{token}-{side}.lock");
        let path = self.locks.join(&name);
        loop {
            match Flock::lock(self.lock_file(&name)?, FlockArg::LockExclusiveNonblock) {
                // Who held it before may have removed the file under us.
                Ok(lock) if is_at(&lock, &path)? => {
                    return Ok(Some(Claim::new(Held { _lock: lock, path })));
                }
                Ok(_) => {}
                Err((_, Errno::EWOULDBLOCK)) => return Ok(None),
                Err((_, errno)) => return Err(errno.into()),
            }
        }
    }

    fn write_source(&self, record: &SourceRecord) -> io::Result<()> {
        self.write(Side::Source, record.token, record)
    }

    fn source(&self, token: Token) -> io::Result<Option<SourceRecord>> {
        self.read(Side::Source, token)
    }

    fn write_destination(&self, record: &DestinationRecord) -> io::Result<()> {
        let _exclusive = self.exclusive()?;
        // A decision stands.
        let mut record = record.clone();
        if let Some(old) = self.read::<DestinationRecord>(Side::Destination, record.token)? {
            record.state = old.state;
        }
        self.write(Side::Destination, record.token, &record)
    }

    fn destination(&self, token: Token) -> io::Result<Option<DestinationRecord>> {
        self.read(Side::Destination, token)
    }

    fn decide(
        &self,
        token: Token,
        from: &[DestinationState],
        to: DestinationState,
    ) -> io::Result<Option<DestinationRecord>> {
        let _exclusive = self.exclusive()?;
        let Some(mut record) = self.read::<DestinationRecord>(Side::Destination, token)? else {
            return Ok(None);
        };
        if from.contains(&record.state) {
            record.state = to;
            record.since_s = now_s();
            self.write(Side::Destination, token, &record)?;
        }
        Ok(Some(record))
    }

    fn remove(&self, side: Side, token: Token) -> io::Result<()> {
        durable::remove(&self.path(side, token))
    }

    fn list(&self) -> io::Result<Vec<(Side, Token)>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.records)? {
            let name = entry?.file_name();
            let Some(stem) = name.to_str().and_then(|n| n.strip_suffix(".json")) else { continue };
            let Some((token, side)) = stem.split_once('-') else { continue };
            let side =
                [Side::Source, Side::Destination].into_iter().find(|s| s.to_string() == side);
            if let (Some(side), Ok(token)) = (side, token.parse()) {
                found.push((side, token));
            }
        }
        Ok(found)
    }
}

/// A lock and its file, which goes with it.
struct Held {
    _lock: Flock<File>,
    path: PathBuf,
}

impl Drop for Held {
    fn drop(&mut self) {
        // Still locked; a file that stays is locked again by the next.
        let _ = fs::remove_file(&self.path);
    }
}

/// Whether `file` is the one that is found at `path`.
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    match fs::metadata(path) {
        Ok(found) => Ok(found.ino() == file.metadata()?.ino()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toolstack::journal::Identity;
    use crate::transport::Peer;

    fn journal() -> (tempfile::TempDir, FileJournal) {
        let directory = tempfile::tempdir().unwrap();
        let (records, locks) = (directory.path().join("r"), directory.path().join("l"));
        let journal = FileJournal::at(&records, &locks).unwrap();
        (directory, journal)
    }

    fn arriving(token: Token) -> DestinationRecord {
        DestinationRecord {
            token,
            state: DestinationState::Receiving,
            domid: None,
            identity: Identity { name: "web".into(), uuid: "0".into() },
            paused: false,
            monitor: true,
            since_s: 0,
        }
    }

    #[test]
    fn an_attempt_is_decided_once() {
        use DestinationState::*;
        let (_directory, journal) = journal();
        let token = Token::random().unwrap();
        assert_eq!(journal.decide(token, &[Receiving], Declined).unwrap(), None);
        journal.write_destination(&arriving(token)).unwrap();
        let decided = journal.decide(token, &[Receiving], Declined).unwrap().unwrap();
        assert_eq!(decided.state, Declined);
        let too_late = journal.decide(token, &[Receiving], Owned).unwrap().unwrap();
        assert_eq!(too_late.state, Declined);
        // Neither does a late note of the domid change it.
        journal
            .write_destination(&DestinationRecord { domid: Some(4), ..arriving(token) })
            .unwrap();
        let record = journal.destination(token).unwrap().unwrap();
        assert_eq!((record.state, record.domid), (Declined, Some(4)));
        assert_eq!(journal.list().unwrap(), [(Side::Destination, token)]);
        journal.remove(Side::Destination, token).unwrap();
        journal.remove(Side::Destination, token).unwrap();
        assert_eq!(journal.list().unwrap(), []);
    }

    #[test]
    fn an_attempt_has_one_process() {
        let (_directory, journal) = journal();
        let token = Token::random().unwrap();
        let first = journal.claim(Side::Source, token).unwrap();
        assert!(first.is_some());
        assert!(journal.claim(Side::Source, token).unwrap().is_none());
        assert!(journal.claim(Side::Destination, token).unwrap().is_some());
        drop(first);
        assert!(journal.claim(Side::Source, token).unwrap().is_some());
    }

    #[test]
    fn a_sources_record_comes_back() {
        let (_directory, journal) = journal();
        let record = SourceRecord {
            token: Token::random().unwrap(),
            state: crate::toolstack::journal::SourceState::Given,
            domid: 7,
            identity: Identity { name: "web".into(), uuid: "0-1".into() },
            peer: Peer::Tcp("hostb:8002".into()),
            peer_is_xend: true,
            started_s: now_s(),
        };
        assert_eq!(journal.source(record.token).unwrap(), None);
        journal.write_source(&record).unwrap();
        assert_eq!(journal.source(record.token).unwrap(), Some(record));
    }
}
