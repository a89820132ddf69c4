//! Waiting for changes.

use std::ffi::{CStr, c_char};
use std::io;
use std::os::fd::BorrowedFd;
use std::slice;
use std::time::{Duration, Instant};

use libxc_sys as sys;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::nodes::{c_path, checked};
use super::{Result, Xenstore, XenstoreError};

/// Where the parts of an event are: `enum xs_watch_type` of xs_wire.h.
const WATCH_PATH: usize = 0;
const WATCH_TOKEN: usize = 1;

/// The longest single sleep, so that a caller's other conditions are looked at now and then.
const MAX_NAP: Duration = Duration::from_millis(200);

/// A connection that only waits.
#[derive(Debug)]
pub struct Watcher {
    store: Xenstore,
}

/// Something changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchEvent {
    /// The node, or a special path such as `@releaseDomain`.
    pub path: String,
    /// What the watch was set with.
    pub token: String,
}

impl Watcher {
    /// Connects to xenstored.
    ///
    /// # Errors
    /// As [`Xenstore::open`].
    pub fn open() -> Result<Self> {
        Xenstore::open().map(|store| Self { store })
    }

    /// Watches a node and all below it. One event comes at once.
    pub fn watch(&mut self, path: &str, token: &str) -> Result<()> {
        let (name, mark) = (c_path("watch", path)?, c_path("watch", token)?);
        // SAFETY: both are C strings.
        let good = unsafe { sys::xs_watch(self.store.raw(), name.as_ptr(), mark.as_ptr()) };
        checked(good, "watch", path)
    }

    /// Ends a watch. Events of it may still be in the queue.
    pub fn unwatch(&mut self, path: &str, token: &str) -> Result<()> {
        let (name, mark) = (c_path("unwatch", path)?, c_path("unwatch", token)?);
        // SAFETY: both are C strings.
        let good = unsafe { sys::xs_unwatch(self.store.raw(), name.as_ptr(), mark.as_ptr()) };
        checked(good, "unwatch", path)
    }

    /// The next event, if one comes within `timeout`.
    pub fn next(&mut self, timeout: Duration) -> Result<Option<WatchEvent>> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(event) = self.take()? {
                return Ok(Some(event));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.sleep_with(None, left.min(MAX_NAP))?;
        }
    }

    /// Waits until `check` has an answer, asking at once, after each event and now and then, for
    /// what is not in xenstore.
    ///
    /// # Errors
    /// What `check` says; [`XenstoreError::Timeout`] with `what` after `timeout`.
    pub fn wait_for<T, E>(
        &mut self,
        what: &str,
        timeout: Duration,
        mut check: impl FnMut() -> std::result::Result<Option<T>, E>,
    ) -> std::result::Result<T, E>
    where
        E: From<XenstoreError>,
    {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(answer) = check()? {
                return Ok(answer);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let seconds = timeout.as_secs();
                return Err(XenstoreError::Timeout { what: what.to_owned(), seconds }.into());
            }
            if self.next(left.min(MAX_NAP))?.is_some() {
                // What came in a burst is looked at once.
                while self.take()?.is_some() {}
            }
        }
    }

    /// Sleeps until there may be an event here, or something to read from `other`, at most so long.
    /// Takes no event.
    pub fn sleep_with(&self, other: Option<BorrowedFd<'_>>, time: Duration) -> Result<()> {
        // SAFETY: no pointer but the handle is passed.
        let fd = unsafe { sys::xs_fileno(self.store.raw()) };
        // It is a pipe that the first call makes, for which there may be no descriptor left.
        if fd < 0 {
            return Err(no_wait(io::Error::last_os_error()));
        }
        // SAFETY: the descriptor is the connection's and stays open while it does.
        let fd = unsafe { BorrowedFd::borrow_raw(fd) };
        let mut fds = vec![PollFd::new(fd, PollFlags::POLLIN)];
        fds.extend(other.map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
        let millis = u16::try_from(time.as_millis().max(1)).unwrap_or(u16::MAX);
        match poll(&mut fds, PollTimeout::from(millis)) {
            Ok(_) | Err(nix::Error::EINTR) => Ok(()),
            Err(errno) => Err(no_wait(errno.into())),
        }
    }

    /// An event that has come already.
    fn take(&mut self) -> Result<Option<WatchEvent>> {
        // SAFETY: no pointer but the handle is passed.
        let event = unsafe { sys::xs_check_watch(self.store.raw()) };
        if event.is_null() {
            let source = io::Error::last_os_error();
            return match source.raw_os_error() {
                Some(libc::EAGAIN) => Ok(None),
                _ => Err(XenstoreError::Call {
                    operation: "report",
                    path: "an event".to_owned(),
                    source,
                }),
            };
        }
        // SAFETY: an event is an array of two C strings.
        let strings = unsafe { slice::from_raw_parts(event, 2) };
        let path = text(strings[WATCH_PATH]);
        let token = text(strings[WATCH_TOKEN]);
        // SAFETY: array and strings are one allocation, made with malloc for us.
        unsafe { libc::free(event.cast()) };
        Ok(Some(WatchEvent { path, token }))
    }
}

fn no_wait(source: io::Error) -> XenstoreError {
    XenstoreError::Call { operation: "wait for", path: "an event".to_owned(), source }
}

fn text(pointer: *const c_char) -> String {
    // SAFETY: only called for the C strings of an event, which is alive.
    unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned()
}
