//! Making a domain, step by step.

use super::{DomainError, Result, checks, clock, destroy, domid_history, introduction, kernel};
use super::{names, scheduling, skeleton};
use crate::error_line::error_line;
use crate::hypervisor::types::Domid;
use crate::hypervisor::xen::host::info::Offers;
use crate::hypervisor::xen::host::lifecycle::{Birth, DomainKind};
use crate::hypervisor::xen::xenstore::Nodes;
use crate::hypervisor::{MissingPolicies, RingEnd, RingFrames, Rings};
use crate::toolstack::Host;
use crate::toolstack::config::{DomainConfig, GuestKind};
use crate::toolstack::devices::{self, Device};
use crate::toolstack::userdata::Userdata;

/// What a domain may have above its target: libxl's constant.
const EXTRA_MEMORY_KIB: u64 = 1024;
const KIB_PER_PAGE: u64 = 4;
/// How often another id is tried.
const MAX_ID_TRIES: u32 = 1000;

/// What is wanted of a new domain that is no part of its configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// The id that it must get; `None` for any.
    pub domid: Option<Domid>,
    /// Its memory and state come from a stream, with its CPU policy, and not from a kernel.
    pub restored: bool,
    /// It may run on processors that the host's `xl.conf` keeps from guests.
    pub ignores_masks: bool,
}

/// A domain that exists in Xen, paused, and in xenstore. Destroyed with all that belongs to it
/// when it is dropped, unless it was kept.
#[derive(Debug)]
pub struct NewDomain<'h> {
    host: &'h Host,
    config: DomainConfig,
    domid: Domid,
    rings: Rings,
    /// What the host's Xen can do.
    offers: Offers,
    is_restored: bool,
    is_kept: bool,
}

impl<'h> NewDomain<'h> {
    /// Makes a domain with its xenstore tree under `name`, which may differ from the name in the
    /// configuration while the guest arrives. It has no memory and no devices yet.
    ///
    /// # Errors
    /// What is in the way; nothing is left of it.
    pub fn create(host: &'h Host, config: &DomainConfig, name: &str, wish: Wish) -> Result<Self> {
        checks::check(host, config, name)?;
        if !wish.restored {
            checks::check_boot(config)?;
        }
        let config = config.clone().with_create_defaults()?;
        let offers = host.xen.phys_info()?.offers;
        let domid = make(host, &config, wish.domid, &offers)?;
        let nobody = RingEnd { port: crate::hypervisor::types::Port(0), peer: Domid(0) };
        let rings = Rings { store: nobody, console: nobody };
        // From here on, what fails is undone by the drop.
        let is_restored = wish.restored;
        let mut new = Self { host, config, domid, rings, offers, is_restored, is_kept: false };
        new.write_skeleton(name)?;
        new.set_limits(wish)?;
        new.rings = Rings { store: new.ring("xenstored")?, console: new.ring("xenconsoled")? };
        new.set_platform()?;
        Userdata::lock(domid, new.config.uuid())?.store(&new.config)?;
        Ok(new)
    }

    /// The domain.
    pub fn domid(&self) -> Domid {
        self.domid
    }

    /// Its rings, for the engine that fills its memory.
    pub fn rings(&self) -> Rings {
        self.rings
    }

    /// Its configuration, with what was left open filled in.
    pub fn config(&self) -> &DomainConfig {
        &self.config
    }

    /// Loads its kernel.
    pub fn build_kernel(&self) -> Result<RingFrames> {
        kernel::load(self.host, self.domid, &self.config, &self.rings)
    }

    /// Makes up the CPU policy that a stream of before Xen 4.14 does not carry.
    pub fn supply_policies(&self, missing: MissingPolicies) -> Result<()> {
        if missing.cpuid || missing.msr { self.apply_cpu_policy(true) } else { Ok(()) }
    }

    /// Makes its devices and brings their backends up, all at once, and writes what else xenstore has
    /// of it. It needs no memory for that. Must come before [`introduce`](Self::introduce).
    ///
    /// # Errors
    /// The first device's that failed.
    pub fn prepare_devices(&self) -> Result<()> {
        introduction::prepare(self.host, self.domid, &self.config, &self.rings)?;
        let devices = self.devices()?;
        self.host.store.transaction(|store| {
            devices.iter().try_for_each(|device| devices::write(store, device))
        })?;
        devices::bring_up(self.host, &devices, self.config.runs_hotplug_scripts())?;
        Ok(())
    }

    /// Tells xenstored and xenconsoled where its rings are. After this it may run.
    pub fn introduce(&self, frames: RingFrames) -> Result<()> {
        if self.is_restored {
            let has_kib = self.host.xen.domain_info(self.domid)?.total_pages * KIB_PER_PAGE;
            let kib = has_kib.max(self.config.memory().target_kib + EXTRA_MEMORY_KIB);
            self.host.xen.set_max_memory(self.domid, kib)?;
        }
        introduction::introduce(self.host, self.domid, &self.rings, frames)
    }

    /// Leaves the domain in the world, paused.
    pub fn keep(mut self) -> Domid {
        self.is_kept = true;
        self.domid
    }

    fn write_skeleton(&self, name: &str) -> Result<()> {
        let (host, domid) = (self.host, self.domid);
        host.store.transaction(|store| {
            // Somebody else may have taken it since it was looked at.
            names::require_free_in(store, host, name, Some(domid))?;
            skeleton::write(store, domid, &self.config, name)?;
            Ok(())
        })
    }

    fn set_limits(&self, wish: Wish) -> Result<()> {
        let (xen, domid) = (&self.host.xen, self.domid);
        xen.set_max_vcpus(domid, self.config.max_vcpus())?;
        scheduling::bind(self.host, domid, &self.config, !wish.ignores_masks)?;
        scheduling::set_share(self.host, domid, &self.config)?;
        let memory = self.config.memory();
        // One that arrives may still have more than it is to have in the end.
        let kib = if self.is_restored { memory.max_kib } else { memory.target_kib };
        xen.set_max_memory(domid, kib.max(memory.target_kib) + EXTRA_MEMORY_KIB)?;
        Ok(())
    }

    fn ring(&self, daemon: &str) -> Result<RingEnd> {
        let peer = self.host.store.read(&format!("/tool/{daemon}/domid"))?;
        let peer = Domid(peer.and_then(|text| text.parse().ok()).unwrap_or(0));
        let port = self.host.xen.alloc_unbound_port(self.domid, peer)?;
        Ok(RingEnd { port, peer })
    }

    fn set_platform(&self) -> Result<()> {
        let (xen, domid, config) = (&self.host.xen, self.domid, &self.config);
        let memory = config.memory_on(self.offers.hap);
        let is_pv = config.kind() == GuestKind::Pv;
        if is_pv {
            xen.set_memory_map_limit(domid, memory.max_kib)?;
        } else {
            xen.set_pvh_platform(domid)?;
        }
        xen.set_tsc_mode(domid, config.tsc_mode().number())?;
        let offset_s = clock::offset_s(config);
        if offset_s != 0 {
            xen.set_time_offset(domid, offset_s)?;
        }
        if !is_pv {
            xen.set_paging_pool(domid, memory.shadow_kib << 10)?;
        }
        if self.is_restored { Ok(()) } else { self.apply_cpu_policy(false) }
    }

    fn apply_cpu_policy(&self, restored: bool) -> Result<()> {
        use crate::toolstack::config::TscMode;
        let config = &self.config;
        // What never moves, or reads an emulated counter wherever it is, may rely on its frequency.
        let invariant_tsc =
            config.is_migration_forbidden() || config.tsc_mode() == TscMode::AlwaysEmulate;
        Ok(self.host.xen.apply_default_cpu_policy(self.domid, restored, invariant_tsc, false)?)
    }

    fn devices(&self) -> Result<Vec<Device>> {
        let (domid, config) = (self.domid, &self.config);
        let is_pv = config.kind() == GuestKind::Pv;
        let mut devices = Vec::new();
        for disk in config.disks() {
            let backend = self.backend(disk.backend_domid, disk.backend_name.as_deref())?;
            devices.push(devices::vbd(domid, backend, &disk, is_pv)?);
        }
        for nic in config.nics() {
            let backend = self.backend(nic.backend_domid, nic.backend_name.as_deref())?;
            devices.push(devices::vif(domid, backend, &nic)?);
        }
        Ok(devices)
    }

    fn backend(&self, domid: u32, name: Option<&str>) -> Result<Domid> {
        match name {
            Some(name) => Ok(names::find(self.host, name)?),
            None => u16::try_from(domid).map(Domid).map_err(|_| DomainError::Senseless {
                what: format!("{domid} is no domain that could serve a device"),
            }),
        }
    }
}

impl Drop for NewDomain<'_> {
    fn drop(&mut self) {
        if self.is_kept {
            return;
        }
        if let Err(error) = destroy(self.host, self.domid) {
            log::error!("{}", error_line(&error));
        }
    }
}

/// Makes the domain in Xen, with an id that nobody used a moment ago.
fn make(
    host: &Host,
    config: &DomainConfig,
    wanted: Option<Domid>,
    offers: &Offers,
) -> Result<Domid> {
    let cpupool = scheduling::pool(host, config)?;
    let birth = Birth { domid: wanted, cpupool, ..birth(config, offers) };
    for _ in 0..MAX_ID_TRIES {
        let domid = host.xen.create_domain(&birth)?;
        let recent = domid_history::is_recent(domid);
        if let Ok(false) = recent {
            return Ok(domid);
        }
        // Xen gives the next one next time.
        host.xen.destroy_domain(domid)?;
        recent?;
        if wanted.is_some() {
            let seconds = domid_history::timeout().as_secs();
            return Err(DomainError::RecentDomid { domid, seconds });
        }
    }
    Err(DomainError::Senseless { what: "all domain ids were used a moment ago".to_owned() })
}

fn birth(config: &DomainConfig, offers: &Offers) -> Birth {
    let limits = config.grant_limits();
    let frames =
        |wanted: Option<u32>| wanted.and_then(|frames| i32::try_from(frames).ok()).unwrap_or(-1);
    let kind = match config.kind() {
        GuestKind::Pv => DomainKind::Pv,
        GuestKind::Pvh | GuestKind::Hvm => {
            DomainKind::Pvh { nested: false, hap: config.hap(offers.hap), out_of_sync: false }
        }
    };
    Birth {
        kind,
        domid: None,
        uuid: config.uuid().0,
        max_vcpus: config.max_vcpus(),
        max_port: config.max_event_channels().cast_signed(),
        max_grant_frames: frames(limits.grant_frames),
        max_maptrack_frames: frames(limits.maptrack_frames),
        max_grant_version: limits.version.unwrap_or(if offers.grants_v2 { 2 } else { 1 }),
        cpupool: 0,
        vpmu: wants_vpmu(config),
        msr_relaxed: config.msr_relaxed(),
        ssidref: 0,
    }
}

fn wants_vpmu(config: &DomainConfig) -> bool {
    let info = config.document().get("b_info");
    info.and_then(|info| info.get("vpmu")).and_then(|wish| wish.as_str()) == Some("True")
}
