//! A guest into a file, and out of it: what `xl save` and `xl restore` do.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::Here;
use super::incoming::HereIncoming;
use crate::error_line::error_line;
use crate::hypervisor::types::Domid;
use crate::migration::progress::Progress;
use crate::migration::toolstack::{SourceToolstack, ToolstackError};
use crate::migration::{Cancel, RestoreReport, SaveError, SaveOptions, SaveReport, save};
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
    /// The guest.
    #[error(transparent)]
    Save(#[from] SaveError),
    /// This host.
    #[error(transparent)]
    Host(#[from] HostError),
}

/// Saves a guest to an open file, and leaves it suspended.
///
/// # Errors
/// Why not: the guest has been resumed then.
pub fn save_to_file(
    here: &Here<'_>,
    domid: Domid,
    config: &DomainConfig,
    file: File,
    control: &Control,
) -> Result<SaveReport, SaveFileError> {
    let durable = file.try_clone()?;
    let mut sink = FdSink::new(OwnedFd::from(file), control.asked.clone())?;
    let mut head = Vec::new();
    XlHeader::with_json(config.to_json()).write(&mut head)?;
    libxl::write::header(&mut head, &libxl::Header::default())?;
    libxl::write::libxc_context(&mut head)?;
    sink.write_all(&head)?;
    let mut guest = here.open_guest(domid)?;
    let options = SaveOptions { trailer: LIBXL_END, ..SaveOptions::stock(false) };
    let mut toolstack = Saver { here, domid, control, cancel: &control.asked };
    let report = save(&mut guest, &mut toolstack, &mut sink, &options, &control.asked)?;
    drop(guest);
    // The guest is about to be given up for the sake of this file.
    if let Err(error) = durable.sync_all() {
        put_back(here, domid)?;
        return Err(error.into());
    }
    Ok(report)
}

/// Lets a guest go on that has suspended, which a stock xl's monitor does not survive.
fn put_back(here: &Here<'_>, domid: Domid) -> Result<(), HostError> {
    if let Err(error) = here.start_monitor(domid) {
        log::error!("nothing watches over {domid}: {}", error_line(&error));
    }
    here.resume(domid)
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
    /// `cancel`.
    ///
    /// # Errors
    /// If it is no save file, or one of another version.
    pub fn open(path: &Path, cancel: &Cancel) -> Result<Self, StreamError> {
        let open = || {
            File::open(path).map_err(|source| {
                let kind = StreamErrorKind::Io { what: "the save file", source };
                StreamError { offset: 0, place: Place::Start, kind }
            })
        };
        let mut probed = Source::new(open()?);
        XlHeader::read(&mut probed, false)?;
        let mut stream = libxl::Reader::open(probed, Checks::RESTORE)?;
        if stream.next_record()? == Some(libxl::Record::LibxcContext) {
            libxc::Reader::new(stream.image())?;
        }
        let source = FdSource::new(OwnedFd::from(open()?), cancel.clone()).map_err(|source| {
            let kind = StreamErrorKind::Io { what: "the save file", source };
            StreamError { offset: 0, place: Place::Start, kind }
        })?;
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
