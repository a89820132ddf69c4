//! Calls that libxenctrl exports and that no public header declares.
//!
//! The prototypes are those of `tools/libs/ctrl/xc_private.h`, the same from Xen 4.14 to 4.20.

use std::ffi::{c_int, c_uint};

use crate::{xc_interface, xen_pfn_t};

unsafe extern "C" {
    /// Replaces each frame in `pfns` (`num` of them, at most 1024: `XEN_DOMCTL_getpageframeinfo3`)
    /// by its type, in the bits of [`XEN_DOMCTL_PFINFO_LTAB_MASK`](crate::consts).
    pub fn xc_get_pfn_type_batch(
        xch: *mut xc_interface,
        dom: u32,
        num: c_uint,
        pfns: *mut xen_pfn_t,
    ) -> c_int;
}
