//! What is written down of a guest that is being saved, for whoever has to let it go on if the process
//! that saves it is killed.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::FileTypeExt;
use std::path::{self, Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::file::put_back;
use crate::error_line::error_line;
use crate::hypervisor::types::Domid;
use crate::toolstack::domid_files::domids_in;
use crate::toolstack::durable;
use crate::toolstack::journal::Identity;
use crate::toolstack::migrate::host::{Domains, Found, HostError};

const FOLDER: &str = "/var/lib/xend/saving";
const MAX_BYTES: u64 = 64 << 10;

/// A guest that is being saved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saving {
    domid: u16,
    #[serde(flatten)]
    identity: Identity,
    /// The file, with its whole path.
    file: String,
    /// The file is whole and on disk, and the guest is about to be destroyed.
    is_saved: bool,
}

impl Saving {
    /// A guest that is to go to that file.
    pub fn of(domid: Domid, identity: Identity, file: &Path) -> Self {
        let whole = path::absolute(file).unwrap_or_else(|_| file.to_owned());
        let file = whole.display().to_string();
        Self { domid: domid.0, identity, file, is_saved: false }
    }

    /// The domain.
    pub fn domid(&self) -> Domid {
        Domid(self.domid)
    }

    /// Makes it durable, before the guest is asked to suspend.
    pub(super) fn note(&self) -> io::Result<()> {
        Notes::here().write(self)
    }

    /// The file is whole: from now on the guest is not needed any more.
    ///
    /// # Errors
    /// If that cannot be written down.
    pub fn note_saved(&mut self) -> io::Result<()> {
        self.is_saved = true;
        self.note()
    }

    /// The guest runs again, or is gone.
    pub fn forget(&self) {
        if let Err(error) = Notes::here().remove(self.domid()) {
            log::warn!("{}: a note that it is being saved stays: {error}", self.domid());
        }
    }
}

impl fmt::Display for Saving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.identity.name, self.file)
    }
}

/// The notes of a host: a file for each guest that is being saved.
struct Notes {
    folder: PathBuf,
}

impl Notes {
    fn here() -> Self {
        Self { folder: PathBuf::from(FOLDER) }
    }

    fn path(&self, domid: Domid) -> PathBuf {
        self.folder.join(format!("{}.json", domid.0))
    }

    fn write(&self, saving: &Saving) -> io::Result<()> {
        fs::create_dir_all(&self.folder)?;
        durable::write(&self.path(saving.domid()), &serde_json::to_vec(saving)?)
    }

    fn read(&self, domid: Domid) -> io::Result<Option<Saving>> {
        let file = match File::open(self.path(domid)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut text = Vec::new();
        file.take(MAX_BYTES).read_to_end(&mut text)?;
        Ok(Some(serde_json::from_slice(&text)?))
    }

    fn remove(&self, domid: Domid) -> io::Result<()> {
        let path = self.path(domid);
        if path.exists() { durable::remove(&path) } else { Ok(()) }
    }

    fn list(&self) -> io::Result<Vec<Domid>> {
        domids_in(&self.folder, "", ".json")
    }

    fn failed(&self, domid: Domid) -> impl FnOnce(io::Error) -> HostError {
        let what = format!("cannot use {}", self.path(domid).display());
        move |error| HostError::because(what, error)
    }
}

/// The guests that are being saved, or were when their processes were killed.
///
/// # Errors
/// If the notes cannot be read.
pub fn saves() -> io::Result<Vec<Saving>> {
    let notes = Notes::here();
    let mut found = Vec::new();
    for domid in notes.list()? {
        found.extend(notes.read(domid)?);
    }
    Ok(found)
}

/// Drops what a killed save has left of a guest that runs, and that something else is done with now.
pub(super) fn forget_stale(domid: Domid) {
    if let Err(error) = Notes::here().remove(domid) {
        log::warn!("{domid}: a note that it was being saved stays: {error}");
    }
}

/// What became of a guest whose save was cut short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Resumed,
    Destroyed,
    /// It ran already, or was gone.
    Forgotten,
}

/// A save that was cut short, and what was done about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndedSave {
    saving: Saving,
    fate: Fate,
}

impl fmt::Display for EndedSave {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, file) = (&self.saving.identity.name, &self.saving.file);
        match self.fate {
            Fate::Resumed => write!(
                f,
                "{name} runs again: it was being saved to {file}, which may be incomplete, by a \
                 process that is gone"
            ),
            Fate::Destroyed => {
                write!(f, "{name} is saved in {file}; what was left of it here is destroyed")
            }
            Fate::Forgotten => write!(
                f,
                "{name} is not being saved any more by a process that is gone; {file} may be \
                 incomplete"
            ),
        }
    }
}

/// Lets guests go on whose saves were killed, and says of each what came of it.
///
/// # Errors
/// If it cannot be found out which those are.
pub fn recover_saves<D: Domains>(host: &D) -> Result<Vec<Result<EndedSave, HostError>>, HostError> {
    recover_in(host, &Notes::here())
}

fn recover_in<D: Domains>(
    host: &D,
    notes: &Notes,
) -> Result<Vec<Result<EndedSave, HostError>>, HostError> {
    let listed = notes.list();
    let listed = listed.map_err(|e| HostError::because("cannot look for saves", e))?;
    Ok(listed.into_iter().filter_map(|domid| end(host, notes, domid).transpose()).collect())
}

/// Ends what a killed process has left of one save; `None` if it is not gone.
fn end<D: Domains>(host: &D, notes: &Notes, domid: Domid) -> Result<Option<EndedSave>, HostError> {
    let Some(_turn) = host.hold(domid)? else { return Ok(None) };
    let saving = notes.read(domid).map_err(notes.failed(domid))?;
    let Some(saving) = saving else { return Ok(None) };
    let fate = end_guest(host, &saving)?;
    notes.remove(domid).map_err(notes.failed(domid))?;
    Ok(Some(EndedSave { saving, fate }))
}

fn end_guest<D: Domains>(host: &D, saving: &Saving) -> Result<Fate, HostError> {
    let found = host.find(&saving.identity.uuid)?;
    // A guest of that name has been handed over since, and belongs to its migration.
    let away = saving.identity.away_name();
    let is_left = |f: &Found| f.domid == saving.domid() && f.suspended && f.name != away;
    if !found.iter().any(is_left) {
        return Ok(Fate::Forgotten);
    }
    // Its devices may be gone already.
    if saving.is_saved && is_stored(Path::new(&saving.file)) {
        host.destroy(saving.domid())?;
        return Ok(Fate::Destroyed);
    }
    if let Some(other) = found.iter().find(|f| f.domid != saving.domid()) {
        return Err(HostError::new(format!(
            "{} stays suspended: its save was cut short, and {} is the same guest",
            saving.domid(),
            other.domid
        )));
    }
    put_back(host, saving.domid())?;
    Ok(Fate::Resumed)
}

/// Whether what was written there is still to be had: not if it went through a pipe.
fn is_stored(file: &Path) -> bool {
    let kind = fs::metadata(file).map(|found| found.file_type());
    kind.is_ok_and(|kind| kind.is_file() || kind.is_block_device())
}

/// A guest that could not be resumed after a failed save is left to the next recovery.
pub(super) fn forget_unless_suspended(saving: &Saving, suspended: Result<bool, HostError>) {
    match suspended {
        Ok(false) => saving.forget(),
        Ok(true) => log::error!("{} is still suspended: try `xend recover`", saving.domid()),
        Err(error) => log::error!("{}: {}", saving.domid(), error_line(&error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toolstack::migrate::fake::{Fake, found, identity};

    fn saving(file: &Path) -> Saving {
        Saving::of(Domid(7), identity(), file)
    }

    /// What is said and done where a save was killed, and whether it is noted still.
    fn recovered(host: &Fake, saving: &Saving) -> (Vec<String>, Vec<&'static str>, bool) {
        let folder = tempfile::tempdir().unwrap();
        let notes = Notes { folder: folder.path().join("saving") };
        notes.write(saving).unwrap();
        assert_eq!(notes.read(Domid(7)).unwrap().as_ref(), Some(saving));
        let ended = recover_in(host, &notes).unwrap();
        let told = ended.into_iter().map(|ended| match ended {
            Ok(ended) => ended.to_string(),
            Err(error) => error_line(&error),
        });
        let is_noted = !notes.list().unwrap().is_empty();
        (told.collect(), host.done.take(), is_noted)
    }

    #[test]
    fn a_guest_whose_save_was_killed_goes_on() {
        let saving = saving(Path::new("/var/save/web"));
        let (told, done, is_noted) = recovered(&Fake::with(vec![found(7, "web", true)]), &saving);
        assert_eq!((done, is_noted), (vec!["watch", "resume"], false));
        assert!(told[0].starts_with("web runs again") && told[0].contains("/var/save/web"));
    }

    #[test]
    fn nothing_is_done_to_one_that_runs_or_is_gone_or_was_handed_over() {
        for left in [
            vec![],
            vec![found(7, "web", false)],
            vec![found(9, "web", true)],
            vec![found(7, "web--migratedaway", true)],
        ] {
            let host = Fake::with(left);
            let (told, done, is_noted) = recovered(&host, &saving(Path::new("web.save")));
            assert_eq!((told.len(), done.len(), is_noted), (1, 0, false));
        }
    }

    #[test]
    fn a_save_under_way_is_left_alone() {
        let host = Fake { is_busy: true, ..Fake::with(vec![found(7, "web", true)]) };
        let (told, done, is_noted) = recovered(&host, &saving(Path::new("web.save")));
        assert_eq!((told.len(), done.len(), is_noted), (0, 0, true));
    }

    #[test]
    fn a_guest_that_was_restored_since_does_not_run_twice() {
        let host = Fake::with(vec![found(7, "web", true), found(8, "web", false)]);
        let (told, done, is_noted) = recovered(&host, &saving(Path::new("web.save")));
        assert_eq!((done.len(), is_noted), (0, true));
        assert!(told[0].contains("stays suspended"), "{told:?}");
    }

    #[test]
    fn a_whole_file_is_as_good_as_the_guest_while_it_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("web.save");
        let saving = Saving { is_saved: true, ..saving(&file) };
        let host = Fake::with(vec![found(7, "", true)]);
        assert_eq!(recovered(&host, &saving).1, ["watch", "resume"]);
        fs::write(&file, "").unwrap();
        assert_eq!(recovered(&host, &saving).1, ["destroy"]);
    }

    #[test]
    fn notes_of_a_host_without_any_are_none() {
        let folder = tempfile::tempdir().unwrap();
        let notes = Notes { folder: folder.path().join("nothing") };
        assert!(notes.list().unwrap().is_empty());
        notes.remove(Domid(7)).unwrap();
    }
}
