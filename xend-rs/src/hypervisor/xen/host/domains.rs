//! All domains of the host, as Xen lists them, and what can be done to one at any time.

use std::ffi::{CStr, c_char};

use libxc_sys as sys;

use crate::hypervisor::error::Result;
use crate::hypervisor::types::{Domid, PAGE_SIZE};
use crate::hypervisor::xen::Xen;
use crate::hypervisor::xen::handles::{check, check_host};

/// How many domains are asked for at once.
const BATCH: usize = 256;

/// A domain as Xen lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListedDomain {
    /// Its id.
    pub domid: Domid,
    /// Its UUID: Xen's handle.
    pub uuid: [u8; 16],
    /// HVM or PVH; if not set, PV.
    pub is_hvm: bool,
    /// A vCPU of it is running.
    pub is_running: bool,
    /// All its vCPUs wait for an event.
    pub is_blocked: bool,
    /// The toolstack has paused it.
    pub is_paused: bool,
    /// It is being destroyed.
    pub is_dying: bool,
    /// It is the domain that xenstored runs in: not to be stopped.
    pub is_xenstore: bool,
    /// Why it has stopped for good, if it has: `SHUTDOWN_*`.
    pub shutdown_reason: Option<u32>,
    /// Pages that it has.
    pub total_pages: u64,
    /// Pages that are claimed for it and not yet its own.
    pub outstanding_pages: u64,
    /// Pages that it may have.
    pub max_pages: u64,
    /// CPU time that it has had, in nanoseconds.
    pub cpu_time_ns: u64,
    /// vCPUs that are online.
    pub online_vcpus: u32,
    /// Its highest vCPU id; `None` if it has no vCPU.
    pub max_vcpu_id: Option<u32>,
    /// The CPU pool that it is in.
    pub cpupool: u32,
    /// Its security label, as Xen's security module numbers it.
    pub security_id: u32,
}

/// What a domain can be poked with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// A non-maskable interrupt.
    Nmi,
    /// The reset button.
    Reset,
    /// An INIT to a vCPU.
    Init,
    /// The power button.
    Power,
    /// The sleep button.
    Sleep,
}

impl ListedDomain {
    fn from_xen(info: &sys::xc_domaininfo_t) -> Self {
        let has = |flag| info.flags & flag != 0;
        let reason = (info.flags >> sys::XEN_DOMINF_shutdownshift) & sys::XEN_DOMINF_shutdownmask;
        Self {
            domid: Domid(info.domain),
            uuid: info.handle,
            is_hvm: has(sys::XEN_DOMINF_hvm_guest),
            is_running: has(sys::XEN_DOMINF_running),
            is_blocked: has(sys::XEN_DOMINF_blocked),
            is_paused: has(sys::XEN_DOMINF_paused),
            is_dying: has(sys::XEN_DOMINF_dying),
            is_xenstore: has(sys::XEN_DOMINF_xs_domain),
            shutdown_reason: has(sys::XEN_DOMINF_shutdown).then_some(reason),
            total_pages: info.tot_pages,
            outstanding_pages: info.outstanding_pages,
            max_pages: info.max_pages,
            cpu_time_ns: info.cpu_time,
            online_vcpus: info.nr_online_vcpus,
            max_vcpu_id: (info.max_vcpu_id != sys::XEN_INVALID_MAX_VCPU_ID as u32)
                .then_some(info.max_vcpu_id),
            cpupool: info.cpupool,
            security_id: info.ssidref,
        }
    }
}

impl Xen {
    /// All domains, by their ids.
    pub fn domains(&self) -> Result<Vec<ListedDomain>> {
        let mut all = Vec::new();
        let mut batch = vec![sys::xc_domaininfo_t::default(); BATCH];
        let mut first = 0;
        loop {
            // SAFETY: the array has as many entries as are asked for.
            let found = unsafe {
                sys::xc_domain_getinfolist(self.xch(), first, BATCH as u32, batch.as_mut_ptr())
            };
            let found = check_host(found, "list domains")? as usize;
            let Some(last) = batch[..found].last() else { return Ok(all) };
            first = u32::from(last.domain) + 1;
            all.extend(batch[..found].iter().map(ListedDomain::from_xen));
        }
    }

    /// One domain, or `None` where there is none with that id.
    pub fn listed_domain(&self, domid: Domid) -> Result<Option<ListedDomain>> {
        let mut info = sys::xc_domaininfo_t::default();
        // SAFETY: there is room for the one entry that is asked for.
        let found =
            unsafe { sys::xc_domain_getinfolist(self.xch(), u32::from(domid.0), 1, &mut info) };
        // The list starts at the first domain from `domid` on, which may be another one.
        let found = check(found, "get domain information", domid)? == 1 && info.domain == domid.0;
        Ok(found.then(|| ListedDomain::from_xen(&info)))
    }

    /// The name of a security label, where Xen has a security module that knows it.
    pub fn security_label(&self, security_id: u32) -> Option<String> {
        let mut text = [0 as c_char; PAGE_SIZE];
        // SAFETY: the buffer is as long as is said.
        let result = unsafe {
            sys::xc_flask_sid_to_context(
                self.xch(),
                security_id as i32,
                text.as_mut_ptr(),
                PAGE_SIZE as u32,
            )
        };
        if result < 0 {
            return None;
        }
        // Xen writes a terminated string; the last byte stays ours whatever it does.
        text[PAGE_SIZE - 1] = 0;
        // SAFETY: there is an end within the buffer.
        let text = unsafe { CStr::from_ptr(text.as_ptr()) };
        Some(text.to_string_lossy().into_owned())
    }

    /// Presses a button of a domain, or interrupts one of its vCPUs.
    pub fn send_trigger(&self, domid: Domid, trigger: Trigger, vcpu: u32) -> Result<()> {
        let trigger = match trigger {
            Trigger::Nmi => sys::XEN_DOMCTL_SENDTRIGGER_NMI,
            Trigger::Reset => sys::XEN_DOMCTL_SENDTRIGGER_RESET,
            Trigger::Init => sys::XEN_DOMCTL_SENDTRIGGER_INIT,
            Trigger::Power => sys::XEN_DOMCTL_SENDTRIGGER_POWER,
            Trigger::Sleep => sys::XEN_DOMCTL_SENDTRIGGER_SLEEP,
        };
        // SAFETY: it takes no pointer but the handle.
        let result =
            unsafe { sys::xc_domain_send_trigger(self.xch(), u32::from(domid.0), trigger, vcpu) };
        check(result, "send trigger", domid).map(drop)
    }

    /// Tells Xen how many pages a domain that is not PV is to end up with by its balloon.
    pub fn set_populate_on_demand_target(&self, domid: Domid, pages: u64) -> Result<()> {
        // SAFETY: what it reports is not asked for.
        let result = unsafe {
            sys::xc_domain_set_pod_target(
                self.xch(),
                u32::from(domid.0),
                pages,
                std::ptr::null_mut(),
                std::ptr::null_mut(),
                std::ptr::null_mut(),
            )
        };
        check(result, "set the memory target", domid).map(drop)
    }
}
