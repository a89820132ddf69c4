//! Reading and writing nodes, inside a transaction or not.

use std::ffi::{CStr, CString, c_uint};
use std::{io, slice};

use libxc_sys as sys;
use nix::libc;

use super::{Result, Transaction, Xenstore, XenstoreError};
use crate::hypervisor::types::Domid;

/// What a domain may do with a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Nothing.
    None,
    /// Read it.
    Read,
    /// Write it.
    Write,
    /// Both.
    Both,
}

/// One entry of a node's permissions. The first of a node's list names its owner, with what all
/// those not in the list may do; the others name domains with what each may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permission {
    /// The domain.
    pub domid: Domid,
    /// What it (for the owner: everybody else) may do.
    pub access: Access,
}

impl Permission {
    fn to_raw(self) -> sys::xs_permissions {
        let perms = match self.access {
            Access::None => sys::XS_PERM_NONE,
            Access::Read => sys::XS_PERM_READ,
            Access::Write => sys::XS_PERM_WRITE,
            Access::Both => sys::XS_PERM_READ | sys::XS_PERM_WRITE,
        };
        sys::xs_permissions { id: c_uint::from(self.domid.0), perms }
    }
}

/// Operations on nodes.
pub trait Nodes: Sealed {
    /// What a node holds; `None` where there is none.
    fn read_bytes(&self, path: &str) -> Result<Option<Vec<u8>>> {
        let (handle, transaction) = self.raw();
        let name = c_path("read", path)?;
        let mut length: c_uint = 0;
        // SAFETY: the path is a C string, and the length goes to a variable of ours.
        let value = unsafe { sys::xs_read(handle, transaction, name.as_ptr(), &mut length) };
        if value.is_null() {
            return absent_or_error("read", path);
        }
        // SAFETY: the answer has as many bytes as were said, and is ours.
        let bytes = unsafe { slice::from_raw_parts(value.cast::<u8>(), length as usize) }.to_vec();
        // SAFETY: it was allocated with malloc for us, and nothing refers to it any more.
        unsafe { libc::free(value) };
        Ok(Some(bytes))
    }

    /// What a node holds, as text; `None` where there is none. Bytes that are no UTF-8 are
    /// replaced: a guest may have written them.
    fn read(&self, path: &str) -> Result<Option<String>> {
        Ok(self.read_bytes(path)?.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// The names below a node, without order; `None` where there is no such node.
    fn list(&self, path: &str) -> Result<Option<Vec<String>>> {
        let (handle, transaction) = self.raw();
        let name = c_path("list", path)?;
        let mut count: c_uint = 0;
        // SAFETY: the path is a C string, and the count goes to a variable of ours.
        let entries = unsafe { sys::xs_directory(handle, transaction, name.as_ptr(), &mut count) };
        if entries.is_null() {
            return absent_or_error("list", path);
        }
        // SAFETY: the answer has as many pointers as were said, and is ours.
        let pointers = unsafe { slice::from_raw_parts(entries, count as usize) };
        let text = |pointer: &*mut _| {
            // SAFETY: each points to a C string within the answer.
            unsafe { CStr::from_ptr(*pointer) }.to_string_lossy().into_owned()
        };
        let names = pointers.iter().map(text).collect();
        // SAFETY: pointers and strings are one allocation, made with malloc for us.
        unsafe { libc::free(entries.cast()) };
        Ok(Some(names))
    }

    /// Writes a node. It and what is missing above it are created with the permissions of the
    /// node above.
    fn write(&self, path: &str, value: impl AsRef<[u8]>) -> Result<()> {
        let (handle, transaction) = self.raw();
        let (name, value) = (c_path("write", path)?, value.as_ref());
        // SAFETY: the path is a C string, and the value has the length that is said.
        let good = unsafe {
            sys::xs_write(
                handle,
                transaction,
                name.as_ptr(),
                value.as_ptr().cast(),
                value.len() as c_uint,
            )
        };
        checked(good, "write", path)
    }

    /// Creates an empty node if it is not there.
    fn mkdir(&self, path: &str) -> Result<()> {
        let (handle, transaction) = self.raw();
        let name = c_path("create", path)?;
        // SAFETY: the path is a C string.
        let good = unsafe { sys::xs_mkdir(handle, transaction, name.as_ptr()) };
        checked(good, "create", path)
    }

    /// Removes a node with all that is below. One that is not there is removed already.
    fn remove(&self, path: &str) -> Result<()> {
        let (handle, transaction) = self.raw();
        let name = c_path("remove", path)?;
        // SAFETY: the path is a C string.
        let good = unsafe { sys::xs_rm(handle, transaction, name.as_ptr()) };
        match checked(good, "remove", path) {
            Err(error) if error.errno() == Some(libc::ENOENT) => Ok(()),
            other => other,
        }
    }

    /// Sets who may do what with a node, owner first.
    fn set_permissions(&self, path: &str, permissions: &[Permission]) -> Result<()> {
        let (handle, transaction) = self.raw();
        let name = c_path("set permissions of", path)?;
        let mut raw: Vec<_> = permissions.iter().map(|p| p.to_raw()).collect();
        // SAFETY: the path is a C string, and the array has the length that is said.
        let good = unsafe {
            sys::xs_set_permissions(
                handle,
                transaction,
                name.as_ptr(),
                raw.as_mut_ptr(),
                raw.len() as c_uint,
            )
        };
        checked(good, "set permissions of", path)
    }
}

impl Nodes for Xenstore {}
impl Nodes for Transaction<'_> {}

/// Where operations go to: only the two in this room.
pub trait Sealed {
    /// The connection and the transaction, 0 for none.
    fn raw(&self) -> (*mut sys::xs_handle, sys::xs_transaction_t);
}

impl Sealed for Xenstore {
    fn raw(&self) -> (*mut sys::xs_handle, sys::xs_transaction_t) {
        (Self::raw(self), 0)
    }
}

/// A path that xenstored can be sent.
pub(super) fn c_path(operation: &'static str, path: &str) -> Result<CString> {
    CString::new(path).map_err(|error| XenstoreError::Call {
        operation,
        path: path.replace('\0', "\\0"),
        source: io::Error::new(io::ErrorKind::InvalidInput, error),
    })
}

/// The outcome of a call that says only whether it worked.
pub(super) fn checked(good: bool, operation: &'static str, path: &str) -> Result<()> {
    if good {
        return Ok(());
    }
    let source = io::Error::last_os_error();
    Err(XenstoreError::Call { operation, path: path.to_owned(), source })
}

fn absent_or_error<T>(operation: &'static str, path: &str) -> Result<Option<T>> {
    match checked(false, operation, path) {
        Err(error) if error.errno() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
        Ok(()) => Ok(None),
    }
}
