//! The guest's own nodes, through `xenstore-rs`; and waiting for changes of them.

use std::io;
use std::os::fd::AsFd;
use std::thread;
use std::time::Duration;

use guest_notifier::Store;
use guest_notifier::protocol::{GUEST_FOLDER, HOST_FOLDER};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use xenstore_rs::Xs;
use xenstore_rs::unix::XsUnix;

use crate::bell::Bell;
use crate::say::say;
use crate::watch::Watch;

/// Relative paths are the guest's own, so it need not know which domain it is.
pub struct GuestStore {
    store: Option<XsUnix>,
    watch: Option<Watch>,
    bell: Option<Bell>,
}

impl GuestStore {
    /// Connects.
    ///
    /// # Errors
    /// Outside of a Xen guest, or when the caller may not.
    pub fn open() -> io::Result<Self> {
        Ok(Self { store: Some(XsUnix::new()?), watch: Some(open_watch()?), bell: None })
    }

    fn call<T>(&mut self, call: impl FnOnce(&XsUnix) -> io::Result<T>) -> io::Result<T> {
        if self.store.is_none() {
            self.store = Some(XsUnix::new()?);
        }
        let Some(store) = &self.store else { return Err(io::ErrorKind::NotConnected.into()) };
        let result = call(store);
        // What xenstored itself refuses leaves the connection as it was. After anything else nobody
        // knows what comes next on it.
        let refused = |error: &io::Error| {
            matches!(
                error.kind(),
                io::ErrorKind::NotFound
                    | io::ErrorKind::PermissionDenied
                    | io::ErrorKind::OutOfMemory
                    | io::ErrorKind::InvalidInput
            )
        };
        if result.as_ref().is_err_and(|error| !refused(error)) {
            self.store = None;
        }
        result
    }
}

impl Store for GuestStore {
    fn read(&mut self, path: &str) -> io::Result<Option<Vec<u8>>> {
        match self.call(|store| store.read(path)) {
            Ok(value) => Ok(Some(value.as_bytes().to_vec())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn write(&mut self, path: &str, value: &str) -> io::Result<()> {
        self.call(|store| store.write(path, value))?;
        // One that is gone is not needed: the host has a watch.
        self.bell = self.bell.take().filter(|bell| bell.ring().is_ok());
        Ok(())
    }

    fn remove(&mut self, path: &str) -> io::Result<()> {
        match self.call(|store| store.rm(path)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn wait(&mut self, timeout: Duration) -> io::Result<()> {
        if self.watch.is_none() {
            self.watch = open_watch().ok();
        }
        let mut fds = Vec::with_capacity(2);
        fds.extend(self.watch.iter().map(|watch| PollFd::new(watch.as_fd(), PollFlags::POLLIN)));
        fds.extend(self.bell.iter().map(|bell| PollFd::new(bell.as_fd(), PollFlags::POLLIN)));
        if fds.is_empty() {
            thread::sleep(timeout);
            return Ok(());
        }
        let nap = PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX);
        match poll(&mut fds, nap) {
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        // Without one of them there is the other, and the look now and then.
        self.watch = self.watch.take().and_then(|mut watch| watch.drain().ok().map(|()| watch));
        self.bell = self.bell.take().and_then(|mut bell| bell.drain().ok().map(|()| bell));
        Ok(())
    }

    fn listen(&mut self, port: Option<u32>) {
        self.bell = None;
        if let Some(port) = port {
            match Bell::bind(port) {
                Ok(bell) => self.bell = Some(bell),
                Err(error) => say(format_args!("no event channel, xenstore will do: {error}")),
            }
        }
    }
}

fn open_watch() -> io::Result<Watch> {
    Watch::open(&[HOST_FOLDER, GUEST_FOLDER])
}
