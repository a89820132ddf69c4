//! The page that tells a PV guest where its rings are.
//!
//! A suspending guest leaves pfns in the fields that hold machine frames.

use std::mem::offset_of;

use libxc_sys as sys;

use super::fields::{get_u64, put_u32, put_u64};
use super::p2m::P2m;
use crate::hypervisor::destination::{RingFrames, Rings};
use crate::hypervisor::types::{Mfn, PAGE_SIZE, Pfn};
use crate::hypervisor::xen::restore::guest::Check;

type StartInfo = sys::start_info_x86_64;

const NR_PAGES: usize = offset_of!(StartInfo, nr_pages);
const SHARED_INFO: usize = offset_of!(StartInfo, shared_info);
const FLAGS: usize = offset_of!(StartInfo, flags);
const STORE_MFN: usize = offset_of!(StartInfo, store_mfn);
const STORE_EVTCHN: usize = offset_of!(StartInfo, store_evtchn);
const CONSOLE_MFN: usize = offset_of!(StartInfo, console.domU.mfn);
const CONSOLE_EVTCHN: usize = offset_of!(StartInfo, console.domU.evtchn);

/// Makes the suspended guest's start info (in `page`) fit its new domain, and says which frames
/// the rings have.
pub(super) fn restore(
    page: &mut [u8],
    p2m: &P2m,
    rings: &Rings,
    shared_info: Mfn,
) -> Check<RingFrames> {
    let frame_at = |page: &[u8], at, what| p2m.plain_page(Pfn(get_u64(page, at)), what);
    let store = frame_at(page, STORE_MFN, "the xenstore ring in its start info")?;
    let console = frame_at(page, CONSOLE_MFN, "the console ring in its start info")?;

    put_u64(page, STORE_MFN, store.0);
    put_u32(page, STORE_EVTCHN, rings.store.port.0);
    put_u64(page, CONSOLE_MFN, console.0);
    put_u32(page, CONSOLE_EVTCHN, rings.console.port.0);
    put_u64(page, NR_PAGES, p2m.pfn_count());
    put_u64(page, SHARED_INFO, shared_info.0 * PAGE_SIZE as u64);
    put_u32(page, FLAGS, 0);
    Ok(RingFrames { store, console })
}
