//! A guest into a file, and out of it: what `xl save` and `xl restore` do.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::Here;
use super::incoming::HereIncoming;
use super::saving::{Saving, forget_unless_suspended};
use crate::error_line::error_line;
use crate::hypervisor::types::Domid;
use crate::migration::progress::Progress;
use crate::migration::toolstack::{SourceToolstack, ToolstackError};
use crate::migration::{
    Cancel, RestoreReport, SaveError, SaveFailure, SaveOptions, SaveReport, save,
};
use crate::stream::xl_header::XlHeader;
use crate::stream::{Checks, Place, Source, StreamError, StreamErrorKind, libxc, libxl};
use crate::toolstack::Host;
use crate::toolstack::config::DomainConfig;
use crate::toolstack::migrate::control::{Control, Event};
use crate::toolstack::migrate::destination::restore_file;
use crate::toolstack::migrate::error::ReceiveError;
use crate::toolstack::migrate::host::{Domains, HostError, Incoming, SourceHost};
use crate::transport::{FdSink, FdSource};

/// libxl's END record.
const LIBXL_END: &[u8] = &[0; 8];

/// A guest was not saved. It runs as before.
#[derive(Debug, thiserror::Error)]
pub enum SaveFileError {
    /// The file.
    #[error("cannot write the file")]
    File(#[from] io::Error),
    /// The file, once some of the guest was to go there.
    #[error("cannot write {} (after {sent_bytes} bytes of the guest)", path.display())]
    Unwritten {
        /// Where it is.
        path: PathBuf,
        /// What it has taken before.
        sent_bytes: u64,
        /// What the system says.
        source: io::Error,
    },
    /// Nobody could let the guest go on if this process were killed.
    #[error("cannot write down that it is being saved")]
    Note(#[source] io::Error),
    /// The guest.
    #[error(transparent)]
    Save(#[from] SaveError),
    /// This host.
    #[error(transparent)]
    Host(#[from] HostError),
}

/// Saves the guest of `saving` to an open file, and leaves it suspended, which stays written down
/// until the caller [forgets](Saving::forget) it.
///
/// # Errors
/// Why not: the guest has been resumed then.
pub fn save_to_file(
    here: &Here<'_>,
    saving: &Saving,
    config: &DomainConfig,
    file: File,
    control: &Control,
) -> Result<SaveReport, SaveFileError> {
    let saved = write_file(here, saving, config, file, control);
    if saved.is_err() {
        forget_unless_suspended(saving, here.is_suspended(saving.domid()));
    }
    saved
}

fn write_file(
    here: &Here<'_>,
    saving: &Saving,
    config: &DomainConfig,
    file: File,
    control: &Control,
) -> Result<SaveReport, SaveFileError> {
    let domid = saving.domid();
    let durable = file.try_clone()?;
    let mut sink = FdSink::new(OwnedFd::from(file), control.asked.clone())?;
    let mut head = Vec::new();
    XlHeader::with_json(config.to_json()).write(&mut head)?;
    libxl::write::header(&mut head, &libxl::Header::default())?;
    libxl::write::libxc_context(&mut head)?;
    sink.write_all(&head)?;
    let mut guest = here.open_guest(domid)?;
    saving.note().map_err(SaveFileError::Note)?;
    let options = SaveOptions { trailer: LIBXL_END, ..SaveOptions::stock(false) };
    let mut toolstack = Saver { here, domid, control, cancel: &control.asked };
    let report = save(&mut guest, &mut toolstack, &mut sink, &options, &control.asked)
        .map_err(|error| told_of_file(error, &durable))?;
    drop(guest);
    // The guest is about to be given up for the sake of this file.
    if let Err(error) = sync(&durable) {
        put_back(here, domid)?;
        return Err(error.into());
    }
    Ok(report)
}

/// Lets a guest go on that has suspended, which a stock xl's monitor does not survive.
pub(super) fn put_back<D: Domains>(host: &D, domid: Domid) -> Result<(), HostError> {
    if let Err(error) = host.start_monitor(domid) {
        log::error!("nothing watches over {domid}: {}", error_line(&error));
    }
    host.resume(domid)
}

/// To the engine whatever it sends to is a receiver: where that failed, names the file.
fn told_of_file(error: SaveError, file: &File) -> SaveFileError {
    let SaveError { phase, cause } = error;
    match cause {
        SaveFailure::Send { sent_bytes, source } => {
            SaveFileError::Unwritten { path: path_of(file), sent_bytes, source }
        }
        cause => SaveError { phase, cause }.into(),
    }
}

/// Where an open file is, as far as the system knows.
fn path_of(file: &File) -> PathBuf {
    let link = format!("/proc/self/fd/{}", file.as_raw_fd());
    fs::read_link(link).unwrap_or_else(|_| PathBuf::from("the file"))
}

/// Waits until what was written is on the disk. A pipe has none, and would refuse.
fn sync(file: &File) -> io::Result<()> {
    if is_stored(file)? { file.sync_all() } else { Ok(()) }
}

/// Whether what is written there stays there, to be read from the start again.
fn is_stored(file: &File) -> io::Result<bool> {
    let kind = file.metadata()?.file_type();
    Ok(kind.is_file() || kind.is_block_device())
}

/// Opens a file to save to, as xl does. Says whether it has been made by that.
///
/// # Errors
/// If it cannot be written.
pub fn create_file(path: &Path) -> io::Result<(File, bool)> {
    let is_new = !path.exists();
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o644).open(path)?;
    Ok((file, is_new))
}

/// A saved guest.
#[derive(Debug)]
pub struct Saved {
    /// The header, with the configuration.
    pub header: XlHeader,
    source: Source<FdSource>,
}

impl Saved {
    /// Reads the headers of all layers, and then the first one again, to go on from there until
    /// `cancel`. Of a pipe only the first one: what is read of it does not come again.
    ///
    /// # Errors
    /// If it is no save file, or one of another version.
    pub fn open(path: &Path, cancel: &Cancel) -> Result<Self, StreamError> {
        let mut file = File::open(path).map_err(unreadable)?;
        if is_stored(&file).map_err(unreadable)? {
            probe(&file)?;
            file.rewind().map_err(unreadable)?;
        }
        let source = FdSource::new(OwnedFd::from(file), cancel.clone()).map_err(unreadable)?;
        let mut source = Source::new(source);
        let header = XlHeader::read(&mut source, false)?;
        Ok(Self { header, source })
    }

    /// Makes a domain of it, paused.
    ///
    /// # Errors
    /// What is in the way. Nothing is left of it then.
    pub fn restore(
        mut self,
        host: &Host,
        config: &DomainConfig,
        control: &Control,
    ) -> Result<(Domid, RestoreReport), ReceiveError> {
        let mut incoming = HereIncoming::create(host, config, config.name())?;
        let report = restore_file(&mut incoming, &mut self.source, control)?;
        let domid = incoming.domid();
        incoming.keep();
        Ok((domid, report))
    }
}

/// Reads the headers of all layers.
fn probe(file: &File) -> Result<(), StreamError> {
    let mut probed = Source::new(file);
    XlHeader::read(&mut probed, false)?;
    let mut stream = libxl::Reader::open(probed, Checks::RESTORE)?;
    if stream.next_record()? == Some(libxl::Record::LibxcContext) {
        libxc::Reader::new(stream.image())?;
    }
    Ok(())
}

fn unreadable(source: io::Error) -> StreamError {
    let kind = StreamErrorKind::Io { what: "the save file", source };
    StreamError { offset: 0, place: Place::Start, kind }
}

struct Saver<'a, 'h> {
    here: &'a Here<'h>,
    domid: Domid,
    control: &'a Control,
    cancel: &'a Cancel,
}

impl SourceToolstack for Saver<'_, '_> {
    fn suspend(&mut self) -> Result<(), ToolstackError> {
        self.here
            .suspend(self.domid, self.cancel)
            .map_err(|e| ToolstackError::Failed { request: "suspend the guest", source: e.into() })
    }

    fn resume(&mut self) -> Result<(), ToolstackError> {
        let failed =
            |e: HostError| ToolstackError::Failed { request: "resume the guest", source: e.into() };
        if self.here.is_suspended(self.domid).map_err(failed)? {
            put_back(self.here, self.domid).map_err(failed)
        } else {
            self.here.call_off_suspend(self.domid).map_err(failed)
        }
    }

    fn set_device_model_log_dirty(&mut self, _: bool) -> Result<(), ToolstackError> {
        Ok(())
    }

    fn progress(&mut self, progress: &Progress) {
        (self.control.show)(&Event::Progress(*progress));
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;

    use super::*;
    use crate::migration::Phase;

    #[test]
    fn only_what_has_a_disk_is_synced() {
        let (_read_end, write_end) = nix::unistd::pipe().unwrap();
        let pipe = File::from(write_end);
        assert!(pipe.sync_all().is_err() && !is_stored(&pipe).unwrap());
        sync(&pipe).unwrap();
        sync(&OpenOptions::new().write(true).open("/dev/null").unwrap()).unwrap();
        let file = tempfile::tempfile().unwrap();
        assert!(is_stored(&file).unwrap());
        sync(&file).unwrap();
    }

    #[test]
    fn a_saved_guest_may_come_out_of_a_pipe() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
        let mut head = Vec::new();
        XlHeader::with_json("{}").write(&mut head).unwrap();
        let to = path.clone();
        let writer = thread::spawn(move || fs::write(to, head).unwrap());
        let saved = Saved::open(&path, &Cancel::default()).unwrap();
        writer.join().unwrap();
        assert!(saved.header.config_is_json);
    }

    #[test]
    fn a_full_disk_is_told_with_the_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let source = io::Error::from_raw_os_error(nix::libc::ENOSPC);
        let cause = SaveFailure::Send { sent_bytes: 7, source };
        let error = SaveError { phase: Phase::StopAndCopy, cause };
        let told = told_of_file(error, file.as_file()).to_string();
        let path = file.path().display();
        assert_eq!(told, format!("cannot write {path} (after 7 bytes of the guest)"));
        let error = SaveError { phase: Phase::PreCopy, cause: SaveFailure::Cancelled };
        assert_eq!(told_of_file(error, file.as_file()).to_string(), "pre-copy");
    }
}
