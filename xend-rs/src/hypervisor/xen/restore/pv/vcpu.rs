//! The registers of a PV vCPU: the pfns in them become machine frames.
//!
//! Each is checked for what Xen will want of its frame, so that a wrong one is named rather than
//! answered with EINVAL.

use libxc_sys as sys;

use super::p2m::P2m;
use crate::hypervisor::types::Pfn;
use crate::hypervisor::xen::pv::page_table::PRESENT;
use crate::hypervisor::xen::pv::vcpu::Context;
use crate::hypervisor::xen::restore::guest::Check;

const FRAME_SHIFT: u32 = 12;

/// Replaces the pfns of descriptor table and page tables by machine frames and has the vCPU run.
pub(super) fn localise(context: &mut Context, p2m: &P2m) -> Check<()> {
    context.set_flags(context.flags() | u64::from(sys::VGCF_online));
    for index in 0..context.gdt_frame_count().map_err(|why| why.to_string())? {
        let what = format!("frame {index} of its GDT");
        let mfn = p2m.plain_page(Pfn(context.gdt_frame(index)), &what)?;
        context.set_gdt_frame(index, mfn.0);
    }

    let cr3 = p2m.top_table(Pfn(context.cr3() >> FRAME_SHIFT), "cr3")?;
    context.set_cr3(cr3.0 << FRAME_SHIFT);

    // The sender marks that the guest has page tables for its user mode. Xen wants no mark.
    let cr1 = context.cr1();
    if cr1 & PRESENT != 0 {
        let table = p2m.top_table(Pfn(cr1 >> FRAME_SHIFT), "cr1")?;
        context.set_cr1(table.0 << FRAME_SHIFT);
    } else if cr1 != 0 {
        // Would be taken for a machine frame of this host.
        return Err(format!("cr1 is {cr1:#x}, neither zero nor marked as holding a pfn"));
    }
    Ok(())
}
