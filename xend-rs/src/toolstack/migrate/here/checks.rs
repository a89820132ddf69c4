//! Can a guest come to this host? Everything that is in the way is listed, not only the first.

use super::{failed, holder_of};
use crate::error_line::error_line;
use crate::hypervisor::types::PAGE_SIZE;
use crate::stream::xend::GuestNeeds;
use crate::toolstack::Host;
use crate::toolstack::config::{DomainConfig, GuestKind};
use crate::toolstack::devices;
use crate::toolstack::domain::names;
use crate::toolstack::migrate::host::{Findings, HostError};

const PAGE_KIB: u64 = PAGE_SIZE as u64 / 1024;
/// What Xen needs beside the guest's own memory.
const SLACK_KIB: u64 = 2048;

/// Xen's `TSC_MODE_*`.
const TSC_DEFAULT: u32 = 0;
const TSC_NATIVE: u32 = 2;

/// What stands against the guest, and what will be different.
pub(super) fn check(
    host: &Host,
    config: &DomainConfig,
    needs: Option<&GuestNeeds>,
) -> Result<Findings, HostError> {
    let mut findings = Findings::default();
    kind(host, config, &mut findings)?;
    name(host, config, &mut findings)?;
    findings.problems.extend(devices::faults(config).iter().map(|fault| error_line(fault)));
    memory(host, config, needs, &mut findings)?;
    if let Some(needs) = needs {
        processor(host, config, needs, &mut findings)?;
        clock(host, needs, &mut findings)?;
        version(host, config, needs, &mut findings);
    }
    Ok(findings)
}

fn kind(host: &Host, config: &DomainConfig, findings: &mut Findings) -> Result<(), HostError> {
    findings
        .problems
        .extend(config.immovable().into_iter().map(|what| format!("{what} cannot be migrated")));
    let offers = host.xen.phys_info().map_err(failed("cannot ask Xen about the host"))?.offers;
    let kind = config.kind();
    let can = match kind {
        GuestKind::Pv => offers.pv,
        GuestKind::Pvh => offers.hvm && (offers.hap || offers.shadow),
        GuestKind::Hvm => {
            findings.problems.push("HVM guests are not received yet: use stock xl".to_owned());
            return Ok(());
        }
    };
    if !can {
        findings.problems.push(format!("this host cannot run {kind} guests"));
    }
    Ok(())
}

fn name(host: &Host, config: &DomainConfig, findings: &mut Findings) -> Result<(), HostError> {
    let name = config.name();
    if let Some(holder) = holder_of(host, name, config.uuid())? {
        findings.problems.push(format!("a domain named {name} exists already: {holder}"));
    }
    let incoming = format!("{name}--incoming");
    let holder = names::find_by_name(host, &incoming).map_err(failed("cannot look for names"))?;
    if let Some(holder) = holder {
        findings.problems.push(format!(
            "{holder} is named {incoming}: the guest is on its way already, or an earlier attempt \
             left something behind (`xend recover`)"
        ));
    }
    Ok(())
}

fn memory(
    host: &Host,
    config: &DomainConfig,
    needs: Option<&GuestNeeds>,
    findings: &mut Findings,
) -> Result<(), HostError> {
    let memory = config.memory();
    let own_kib = match needs {
        Some(needs) => needs.total_pages.saturating_mul(PAGE_KIB),
        None => memory.target_kib,
    };
    let paging_kib = if config.kind() == GuestKind::Pv { 0 } else { memory.shadow_kib };
    let needed_kib = own_kib.saturating_add(paging_kib).saturating_add(SLACK_KIB);
    let info = host.xen.phys_info().map_err(failed("cannot ask Xen about the host's memory"))?;
    let free_kib = info.free_pages.saturating_sub(info.outstanding_pages) * PAGE_KIB;
    if needed_kib > free_kib {
        findings.problems.push(format!(
            "too little memory: {} MiB are needed, {} MiB are free",
            needed_kib.div_ceil(1024),
            free_kib / 1024
        ));
    }
    Ok(())
}

fn processor(
    host: &Host,
    config: &DomainConfig,
    needs: &GuestNeeds,
    findings: &mut Findings,
) -> Result<(), HostError> {
    if needs.cpuid.is_empty() && needs.msrs.is_empty() {
        return Ok(());
    }
    let is_hvm = config.kind() != GuestKind::Pv;
    let can = host
        .xen
        .can_offer_cpu(&needs.cpuid, &needs.msrs, is_hvm)
        .map_err(failed("cannot compare processors"))?;
    if !can {
        findings.problems.push(
            "this host's processors lack what the guest was promised (its CPU policy)".to_owned(),
        );
    }
    Ok(())
}

fn clock(host: &Host, needs: &GuestNeeds, findings: &mut Findings) -> Result<(), HostError> {
    let ours = host.xen.phys_info().map_err(failed("cannot ask Xen about the host"))?.cpu_khz;
    let theirs = needs.tsc_khz;
    // A thousandth is within what the same machine measures from one boot to the next.
    if theirs == 0 || ours.abs_diff(theirs) <= theirs / 1000 {
        return Ok(());
    }
    let what = match needs.tsc_mode {
        TSC_DEFAULT => "reads of it will be emulated unless the processor can scale it",
        TSC_NATIVE => "its clock will change pace",
        _ => return Ok(()),
    };
    findings
        .warnings
        .push(format!("time stamp counter: {ours} kHz here, {theirs} kHz there: {what}"));
    Ok(())
}

fn version(host: &Host, config: &DomainConfig, needs: &GuestNeeds, findings: &mut Findings) {
    let (ours, theirs) = (host.xen.version(), needs.xen);
    if theirs <= ours {
        return;
    }
    let text =
        format!("Xen {}.{} here is older than {}.{} there", ours.0, ours.1, theirs.0, theirs.1);
    if config.kind() == GuestKind::Pv {
        findings.warnings.push(text);
    } else {
        findings.problems.push(format!("{text}: it cannot take the state of a PVH guest"));
    }
}
