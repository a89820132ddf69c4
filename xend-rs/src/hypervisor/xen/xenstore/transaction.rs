//! Several operations that take effect together or not at all.

use std::io;

use libxc_sys as sys;
use nix::libc;

use super::nodes::{Sealed, checked};
use super::{Result, Xenstore, XenstoreError};

/// How often one is tried that others keep getting in the way of. Each try is a few round trips.
const MAX_TRIES: u32 = 1000;

/// A transaction under way. It sees its own writes, and nobody else does until it is through.
#[derive(Debug)]
pub struct Transaction<'a> {
    store: &'a Xenstore,
    id: sys::xs_transaction_t,
    open: bool,
}

impl Xenstore {
    /// Runs `body` in a transaction, again from the start as often as somebody else got in the way.
    /// If `body` fails, nothing of it has happened.
    ///
    /// # Errors
    /// What `body` says, or what xenstored says of the transaction.
    pub fn transaction<T, E>(
        &self,
        mut body: impl FnMut(&Transaction<'_>) -> std::result::Result<T, E>,
    ) -> std::result::Result<T, E>
    where
        E: From<XenstoreError>,
    {
        let mut tries = 0;
        loop {
            let transaction = Transaction::start(self)?;
            let value = body(&transaction)?;
            tries += 1;
            match transaction.commit() {
                Ok(()) => return Ok(value),
                Err(error) if error.errno() == Some(libc::EAGAIN) && tries < MAX_TRIES => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl<'a> Transaction<'a> {
    fn start(store: &'a Xenstore) -> Result<Self> {
        // SAFETY: no pointer but the handle is passed.
        let id = unsafe { sys::xs_transaction_start(store.raw()) };
        if id == 0 {
            return Err(XenstoreError::Call {
                operation: "start",
                path: "a transaction".to_owned(),
                source: io::Error::last_os_error(),
            });
        }
        Ok(Self { store, id, open: true })
    }

    fn commit(mut self) -> Result<()> {
        self.end(false)
    }

    fn end(&mut self, abort: bool) -> Result<()> {
        self.open = false;
        // SAFETY: the transaction is open on this connection.
        let good = unsafe { sys::xs_transaction_end(self.store.raw(), self.id, abort) };
        checked(good, "commit", "a transaction")
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        if self.open {
            // What is abandoned needs no answer.
            let _ = self.end(true);
        }
    }
}

impl Sealed for Transaction<'_> {
    fn raw(&self) -> (*mut sys::xs_handle, sys::xs_transaction_t) {
        (self.store.raw(), self.id)
    }
}
