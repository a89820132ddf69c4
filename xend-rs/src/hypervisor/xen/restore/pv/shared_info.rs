//! The page that a PV guest and Xen share, as far as it moves with the guest.

use std::mem::offset_of;
use std::ops::Range;

use libxc_sys as sys;

use super::fields::put_u64;
use crate::hypervisor::xen::foreign::Page;

type SharedInfo = sys::shared_info_x86_64_t;

const VCPU_INFO_BYTES: usize = size_of::<sys::vcpu_info_x86_64>();
const LEGACY_VCPUS: usize = sys::XEN_LEGACY_MAX_VCPUS as usize;
const PENDING_SELECTOR: usize = offset_of!(sys::vcpu_info_x86_64, evtchn_pending_sel);
const EVENT_PENDING: Range<usize> =
    offset_of!(SharedInfo, evtchn_pending)..offset_of!(SharedInfo, evtchn_mask);
const EVENT_MASK: Range<usize> =
    offset_of!(SharedInfo, evtchn_mask)..offset_of!(SharedInfo, wc_version);
const ARCH: Range<usize> = offset_of!(SharedInfo, arch)..size_of::<SharedInfo>();
const FRAME_LIST_LIST: usize = offset_of!(SharedInfo, arch.pfn_to_mfn_frame_list_list);

/// What of the page comes from the old host. The wall clock in between is this host's.
pub(super) const RESTORED: [Range<usize>; 2] = [0..EVENT_MASK.end, ARCH];

/// Makes the page that the guest left (`saved`) fit its new domain. Events of the old host mean
/// nothing here: all are masked until the guest binds its channels again. The 3-level p2m list
/// names old frames; the guest makes a new one.
pub(super) fn adapt(saved: &mut Page) {
    put_u64(saved, FRAME_LIST_LIST, 0);
    saved[EVENT_PENDING].fill(0);
    saved[EVENT_MASK].fill(0xff);
    for vcpu in 0..LEGACY_VCPUS {
        put_u64(saved, vcpu * VCPU_INFO_BYTES + PENDING_SELECTOR, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hypervisor::types::PAGE_SIZE;

    #[test]
    fn keeps_vcpu_and_arch_info_and_forgets_events() {
        let mut page = [0x5a; PAGE_SIZE];
        adapt(&mut page);
        assert_eq!(page[0..8], [0x5a; 8], "upcall flags");
        assert_eq!(page[8..16], [0; 8], "pending selector of vCPU 0");
        assert_eq!(page[16..64], [0x5a; 48]);
        assert_eq!(page[31 * 64 + 8..31 * 64 + 16], [0; 8], "pending selector of vCPU 31");
        assert_eq!(page[2048..2560], [0; 512], "pending events");
        assert_eq!(page[2560..3072], [0xff; 512], "event mask");
        assert_eq!(page[3088..3096], [0x5a; 8], "max_pfn");
        assert_eq!(page[3096..3104], [0; 8], "frame list of lists");
        assert_eq!(page[3104..3136], [0x5a; 32]);
    }

    #[test]
    fn leaves_out_the_wall_clock_and_what_follows_the_structure() {
        assert_eq!(RESTORED, [0..3072, 3088..3136]);
    }
}
