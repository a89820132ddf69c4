//! Write tracking: Xen notes each page that a guest writes to (*log-dirty mode*).

use std::error::Error;
use std::ffi::c_uint;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{ptr, thread};

use libxc_sys as sys;

use super::handles::{Xen, check, error_from, last_error};
use super::hypercall_buffer::HypercallBuffer;
use crate::hypervisor::error::{HypervisorError, Result};
use crate::hypervisor::types::Domid;
use crate::hypervisor::{DirtyStats, Liveness, LogDirtySupport, PfnSet};

/// How long another caller's unfinished operation on the same domain is waited for.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);
const BUSY_PAUSE: Duration = Duration::from_millis(10);

/// The dirty log of one domain. Dropping it turns tracking off if it was turned on here.
#[derive(Debug)]
pub struct LogDirty {
    xen: Arc<Xen>,
    domid: Domid,
    bitmap: HypercallBuffer,
    pfn_count: u64,
    is_on: bool,
}

impl LogDirty {
    /// A dirty log, still off, for the pfns `0..pfn_count`.
    pub fn new(xen: &Arc<Xen>, domid: Domid, pfn_count: u64) -> Result<Self> {
        const WHAT: &str = "allocate dirty bitmap";
        // Whole words, for that is how it is read.
        let bytes = usize::try_from(pfn_count.div_ceil(64) * 8)
            .map_err(|_| error_from(std::io::ErrorKind::OutOfMemory.into(), WHAT, domid, None))?;
        let bitmap = HypercallBuffer::alloc(xen, bytes, WHAT, domid)?;
        Ok(Self { xen: Arc::clone(xen), domid, bitmap, pfn_count, is_on: false })
    }

    /// Starts tracking with every page clean.
    pub fn enable(&mut self) -> Result<()> {
        // From here on drop must turn it off, whatever comes back.
        self.is_on = true;
        let enable = sys::XEN_DOMCTL_SHADOW_OP_ENABLE_LOGDIRTY;
        let Err(first) = self.control(enable, "start write tracking") else { return Ok(()) };
        // It may be on already: for a frame buffer, or left behind by a toolstack that was killed.
        // That state is of no use, for nobody knows what was clean when it began.
        let off = self.control(sys::XEN_DOMCTL_SHADOW_OP_OFF, "clear old write tracking");
        let second = match off {
            Ok(()) => self.control(enable, "start write tracking"),
            // A Xen that cannot track cannot stop tracking either, but only the first of the two
            // says so.
            Err(_) => Err(first),
        };
        second.map_err(|error| {
            self.is_on = false;
            self.explain(error)
        })
    }

    /// Starts tracking with every page clean, unless somebody has started it before.
    pub fn enable_unless_on(&mut self) -> Result<()> {
        const WHY: &str = "either somebody tracks them already (a stock xl that migrates it; or one \
                           that was killed: `xend recover`), or a device is passed through to it";
        let enable = sys::XEN_DOMCTL_SHADOW_OP_ENABLE_LOGDIRTY;
        let result = self.control(enable, "start write tracking");
        // Only then is it ours to turn off.
        self.is_on |= result.is_ok();
        result.map_err(|error| match error {
            HypervisorError::Call { domid, source, .. }
                if source.raw_os_error() == Some(libc::EINVAL) =>
            {
                HypervisorError::NoTracking { domid, why: WHY.to_owned(), source }
            }
            error => self.explain(error),
        })
    }

    /// Stops tracking. Harmless where it is off.
    pub fn disable(&mut self) -> Result<()> {
        if !self.is_on {
            return Ok(());
        }
        match self.control(sys::XEN_DOMCTL_SHADOW_OP_OFF, "stop write tracking") {
            // A domain that is gone is not tracked.
            Ok(()) | Err(HypervisorError::NoSuchDomain { .. }) => {
                self.is_on = false;
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Adds the pages written since the last call to `into`, and marks them clean.
    pub fn take(&mut self, into: &mut PfnSet, liveness: Liveness) -> Result<DirtyStats> {
        let mode = match liveness {
            Liveness::Running => 0,
            // Xen then adds the frames that it keeps mapped for itself.
            Liveness::Suspended => sys::XEN_DOMCTL_SHADOW_LOGDIRTY_FINAL,
        };
        self.read(sys::XEN_DOMCTL_SHADOW_OP_CLEAN, mode, "read dirty bitmap", into)
    }

    /// Adds the pages written since the last [`take`](Self::take) to `into`, and leaves them dirty.
    pub fn peek(&mut self, into: &mut PfnSet) -> Result<()> {
        self.read(sys::XEN_DOMCTL_SHADOW_OP_PEEK, 0, "look at dirty bitmap", into).map(drop)
    }

    /// Has Xen copy its bitmap, for which it stops the domain, and adds that to `into`.
    fn read(
        &mut self,
        op: c_uint,
        mode: u32,
        what: &'static str,
        into: &mut PfnSet,
    ) -> Result<DirtyStats> {
        let mut stats = sys::xc_shadow_op_stats_t::default();
        let pages = retry_busy(|| {
            // SAFETY: the buffer has a bit for each of `pfn_count` pages, which is all that Xen
            // writes.
            let pages = unsafe {
                sys::xc_logdirty_control(
                    self.xen.xch(),
                    u32::from(self.domid.0),
                    op,
                    self.bitmap.descriptor(),
                    self.pfn_count,
                    mode,
                    &mut stats,
                )
            };
            u64::try_from(pages).map_err(|_| last_error(what, self.domid))
        })?;
        // Whatever else, bits that did come may be clean in Xen now, and must not be lost.
        into.union_with_words(self.bitmap.words());
        if pages != self.pfn_count {
            let short = format!("Xen gave {pages} of {} bits", self.pfn_count);
            return Err(error_from(std::io::Error::other(short), what, self.domid, None));
        }
        Ok(DirtyStats {
            dirty_pages: u64::from(stats.dirty_count),
            faults: u64::from(stats.fault_count),
        })
    }

    fn control(&self, op: c_uint, operation: &'static str) -> Result<()> {
        retry_busy(|| {
            // SAFETY: this operation takes no memory argument.
            let result = unsafe {
                sys::xc_shadow_control(
                    self.xen.xch(),
                    u32::from(self.domid.0),
                    op,
                    ptr::null_mut(),
                    0,
                )
            };
            check(result, operation, self.domid).map(drop)
        })
    }

    /// What an administrator can do about a guest whose writes cannot be tracked.
    fn explain(&self, error: HypervisorError) -> HypervisorError {
        let HypervisorError::Call { domid, source, .. } = error else { return error };
        let why = match source.raw_os_error() {
            Some(libc::EOPNOTSUPP) => {
                "this Xen is built without CONFIG_SHADOW_PAGING, which log-dirty tracking of a PV \
                 guest needs. Track it by digest, suspend it first, or boot a Xen with shadow paging"
            }
            Some(libc::EINVAL) => {
                "a device is passed through to it, or the domain has no vCPU. Detach the device"
            }
            Some(libc::ENOMEM) => {
                "Xen has no memory left for tracking. Free some, by ballooning Dom0 down for \
                 example"
            }
            Some(libc::EBUSY) => {
                "Xen still works on an earlier paging operation for it, or a device model has \
                 claimed pages of it. Try again later"
            }
            _ => "Xen refused",
        };
        HypervisorError::NoTracking { domid, why: why.to_owned(), source }
    }
}

impl Drop for LogDirty {
    fn drop(&mut self) {
        if let Err(error) = self.disable() {
            let source = error.source().map(ToString::to_string).unwrap_or_default();
            log::warn!("{error}: {source}");
        }
    }
}

impl Xen {
    /// Whether this Xen says that it can track the writes of such a guest: by shadow paging for a
    /// PV guest, for an HVM guest by that or by hardware-assisted paging.
    pub fn log_dirty_support(&self, is_hvm: bool) -> Result<LogDirtySupport> {
        let offers = self.phys_info()?.offers;
        if offers.shadow || is_hvm && offers.hap {
            return Ok(LogDirtySupport::Available);
        }
        let guest = match is_hvm {
            true => "an HVM guest without hardware-assisted paging",
            false => "a PV guest",
        };
        let why = format!(
            "this Xen is built without CONFIG_SHADOW_PAGING and cannot track the writes of {guest}"
        );
        Ok(LogDirtySupport::Missing(why))
    }

    /// Ends write tracking that a killed process left on. Harmless where it is off, or where Xen
    /// cannot track at all.
    pub fn end_write_tracking(&self, domid: Domid) -> Result<()> {
        let result = retry_busy(|| {
            // SAFETY: this operation takes no memory argument.
            let result = unsafe {
                sys::xc_shadow_control(
                    self.xch(),
                    u32::from(domid.0),
                    sys::XEN_DOMCTL_SHADOW_OP_OFF,
                    ptr::null_mut(),
                    0,
                )
            };
            check(result, "stop write tracking", domid).map(drop)
        });
        match result {
            Err(HypervisorError::NoSuchDomain { .. }) => Ok(()),
            // EINVAL is what a Xen without shadow paging says of a PV guest.
            Err(error) if matches!(error.errno(), Some(libc::EOPNOTSUPP | libc::EINVAL)) => Ok(()),
            other => other,
        }
    }
}

/// Xen lets one paging operation on a domain finish before it begins another one.
fn retry_busy<T>(mut call: impl FnMut() -> Result<T>) -> Result<T> {
    let deadline = Instant::now() + BUSY_TIMEOUT;
    loop {
        match call() {
            Err(error) if error.errno() == Some(libc::EBUSY) && Instant::now() < deadline => {
                thread::sleep(BUSY_PAUSE);
            }
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn failed_with(code: i32) -> HypervisorError {
        error_from(io::Error::from_raw_os_error(code), "test", Domid(1), None)
    }

    #[test]
    fn a_busy_domain_is_waited_for_and_other_errors_are_not() {
        let mut calls = 0;
        let result = retry_busy(|| {
            calls += 1;
            if calls < 4 { Err(failed_with(libc::EBUSY)) } else { Ok(calls) }
        });
        assert_eq!(result.ok(), Some(4));

        let mut calls = 0;
        let result: Result<()> = retry_busy(|| {
            calls += 1;
            Err(failed_with(libc::EINVAL))
        });
        assert_eq!(result.err().and_then(|error| error.errno()), Some(libc::EINVAL));
        assert_eq!(calls, 1);
    }
}
