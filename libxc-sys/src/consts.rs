//! Constants of Xen's public headers whose definitions bindgen cannot evaluate.

use std::mem::offset_of;

use crate::{__HVM_SAVE_TYPE_CPU, __HVM_SAVE_TYPE_END, __HVM_SAVE_TYPE_HEADER, domid_t, xen_pfn_t};

/// The first domain id that no ordinary domain has (`xen/xen.h`).
pub const DOMID_FIRST_RESERVED: domid_t = 0x7ff0;
/// The calling domain itself.
pub const DOMID_SELF: domid_t = 0x7ff0;
/// The owner of memory-mapped I/O.
pub const DOMID_IO: domid_t = 0x7ff1;
/// The owner of Xen's own pages, some of which Dom0 may map: the M2P.
pub const DOMID_XEN: domid_t = 0x7ff2;
/// No domain.
pub const DOMID_INVALID: domid_t = 0x7ff4;

/// A p2m entry without a frame. Xen's tools define it for themselves, no public header does.
pub const INVALID_MFN: xen_pfn_t = !0;

// The HVM save headers keep each record's type code as the length of an array in a struct.

/// Type code of the record that ends an HVM context.
pub const HVM_SAVE_CODE_END: u16 =
    (offset_of!(__HVM_SAVE_TYPE_END, cpt) - offset_of!(__HVM_SAVE_TYPE_END, c)) as u16;
/// Type code of the record that opens an HVM context.
pub const HVM_SAVE_CODE_HEADER: u16 =
    (offset_of!(__HVM_SAVE_TYPE_HEADER, cpt) - offset_of!(__HVM_SAVE_TYPE_HEADER, c)) as u16;
/// Type code of a vCPU's registers in an HVM context.
pub const HVM_SAVE_CODE_CPU: u16 =
    (offset_of!(__HVM_SAVE_TYPE_CPU, cpt) - offset_of!(__HVM_SAVE_TYPE_CPU, c)) as u16;

const _: () = assert!(HVM_SAVE_CODE_END == 0 && HVM_SAVE_CODE_HEADER == 1);
const _: () = assert!(HVM_SAVE_CODE_CPU == 2);
