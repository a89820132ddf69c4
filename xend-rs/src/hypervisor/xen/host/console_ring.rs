//! The hypervisor's own log.

use std::ffi::{c_char, c_int};

use libxc_sys as sys;

use crate::hypervisor::error::Result;
use crate::hypervisor::xen::Xen;
use crate::hypervisor::xen::handles::check_host;

const CHUNK_BYTES: usize = 16384;

impl Xen {
    /// What the hypervisor has logged and still holds, oldest first, in pieces that `take` gets.
    /// With `clear` it holds it no more afterwards.
    ///
    /// # Errors
    /// What Xen says, or what `take` says.
    pub fn read_console<E>(
        &self,
        clear: bool,
        mut take: impl FnMut(&[u8]) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E>
    where
        E: From<crate::hypervisor::HypervisorError>,
    {
        let mut index = 0;
        loop {
            let text = self.console_chunk(clear, &mut index)?;
            if text.is_empty() {
                return Ok(());
            }
            take(&text)?;
        }
    }

    fn console_chunk(&self, clear: bool, index: &mut u32) -> Result<Vec<u8>> {
        let mut text = vec![0u8; CHUNK_BYTES];
        let mut count = CHUNK_BYTES as u32;
        let incremental = 1;
        // SAFETY: the buffer is as long as is said, and the counts are variables of ours.
        let result = unsafe {
            sys::xc_readconsolering(
                self.xch(),
                text.as_mut_ptr().cast::<c_char>(),
                &mut count,
                c_int::from(clear),
                incremental,
                index,
            )
        };
        check_host(result, "read the hypervisor's console ring")?;
        text.truncate(count as usize);
        Ok(text)
    }
}
