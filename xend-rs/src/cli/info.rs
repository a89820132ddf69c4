//! `xend info`: this host, its hypervisor, and where its parts are.

use std::fmt::{Display, Write};
use std::process::ExitCode;

use nix::sys::utsname::uname;

use super::args::Args;
use super::failure::Failure;
use super::options::Long;
use super::output;
use crate::hypervisor::types::PAGE_SIZE;
use crate::hypervisor::xen::host::info::{Offers, PhysInfo, VersionInfo};
use crate::hypervisor::xen::host::topology::{CpuPlace, Node, PciPlace};
use crate::toolstack::Host;

const LONG: &[Long] = &[Long::flag("numa", b'n')];

pub(super) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let mut numa = false;
    let mut options = args.options("n", LONG);
    while options.next()?.is_some() {
        numa = true;
    }
    let operands = options.operands(0)?;
    let wanted = if numa { None } else { operands.first().copied() };
    let host = Host::open()?;
    let mut sheet = Sheet { wanted, text: String::new() };
    let node = uname()?;
    sheet.line("host", node.nodename().display());
    sheet.line("release", node.release().display());
    sheet.line("version", node.version().display());
    sheet.line("machine", node.machine().display());
    let free_cpus = host.xen.free_cpus()?.iter().count();
    put_physical(&mut sheet, &host.xen.phys_info()?, free_cpus);
    if numa {
        put_cpus(&mut sheet.text, &host.xen.cpu_places()?);
        put_devices(&mut sheet.text, &host.xen.pci_places()?);
        put_nodes(&mut sheet.text, &host.xen.nodes()?);
    }
    let scheduler = host.xen.scheduler()?.name().unwrap_or("(null)");
    put_version(&mut sheet, &host.xen.version_info()?, scheduler);
    sheet.line("xend_config_format", 4);
    output::print(sheet.text)?;
    Ok(ExitCode::SUCCESS)
}

/// Lines of names and values; with `wanted`, only the values of those names that begin so.
struct Sheet<'a> {
    wanted: Option<&'a str>,
    text: String,
}

impl Sheet<'_> {
    fn line(&mut self, name: &str, value: impl Display) {
        self.raw(name, &format!(" {value}"));
    }

    /// `rest` is what follows the colon.
    fn raw(&mut self, name: &str, rest: &str) {
        let line = format!("{name:22} :{rest}\n");
        match self.wanted {
            None => self.text.push_str(&line),
            Some(wanted) if line.starts_with(wanted) => {
                // What has no blank after its colon has no value for xl.
                let value = line.split_once(':').and_then(|(_, rest)| rest.strip_prefix(' '));
                self.text.push_str(value.unwrap_or_default());
            }
            Some(_) => {}
        }
    }
}

fn put_physical(sheet: &mut Sheet<'_>, info: &PhysInfo, free_cpus: usize) {
    sheet.line("nr_cpus", info.cpus);
    sheet.line("max_cpu_id", info.max_cpu_id);
    sheet.line("nr_nodes", info.nodes);
    sheet.line("cores_per_socket", info.cores_per_socket);
    sheet.line("threads_per_core", info.threads_per_core);
    sheet.line("cpu_mhz", format_args!("{}.{:03}", info.cpu_khz / 1000, info.cpu_khz % 1000));
    let words: Vec<_> = info.feature_words.iter().map(|word| format!("{word:08x}")).collect();
    sheet.line("hw_caps", words.join(":"));
    sheet.raw("virt_caps", &offers(&info.offers));
    let mib = |pages: u64| pages / ((1 << 20) / PAGE_SIZE as u64);
    sheet.line("total_memory", mib(info.total_pages));
    sheet.line("free_memory", mib(info.free_pages - info.outstanding_pages));
    sheet.line("sharing_freed_memory", mib(info.sharing_freed_pages));
    sheet.line("sharing_used_memory", mib(info.sharing_used_frames));
    sheet.line("outstanding_claims", mib(info.outstanding_pages));
    sheet.line("free_cpus", free_cpus);
}

/// Each with a blank before it.
fn offers(offers: &Offers) -> String {
    [
        (offers.pv, "pv"),
        (offers.hvm, "hvm"),
        (offers.hvm && offers.direct_io, "hvm_directio"),
        (offers.pv && offers.direct_io, "pv_directio"),
        (offers.hap, "hap"),
        (offers.shadow, "shadow"),
        (offers.iommu_hap_sharing, "iommu_hap_pt_share"),
        (offers.vmtrace, "vmtrace"),
        (offers.vpmu, "vpmu"),
        (offers.grants_v1, "gnttab-v1"),
        (offers.grants_v2, "gnttab-v2"),
    ]
    .iter()
    .filter(|(offered, _)| *offered)
    .map(|(_, name)| format!(" {name}"))
    .collect()
}

fn put_cpus(text: &mut String, cpus: &[CpuPlace]) {
    text.push_str("cpu_topology           :\ncpu:    core    socket     node\n");
    for (number, place) in cpus.iter().enumerate() {
        if let Some(core) = place.core {
            let shown = |number: Option<u32>| number.map_or(-1, i64::from);
            let (socket, node) = (shown(place.socket), shown(place.node));
            let _ = writeln!(text, "{number:3}:    {core:4}     {socket:4}     {node:4}");
        }
    }
}

fn put_devices(text: &mut String, devices: &[PciPlace]) {
    text.push_str("device topology        :\ndevice           node\n");
    let known = devices.iter().filter_map(|device| Some((device, device.node?)));
    let mut any = false;
    for (PciPlace { segment, bus, devfn, .. }, node) in known {
        any = true;
        let (device, function) = (devfn >> 3 & 0x1f, devfn & 7);
        let _ = writeln!(text, "{segment:04x}:{bus:02x}:{device:02x}.{function:x}      {node}");
    }
    if !any {
        text.push_str("No device topology data available\n");
    }
}

fn put_nodes(text: &mut String, nodes: &[Option<Node>]) {
    text.push_str("numa_info              :\nnode:    memsize    memfree    distances\n");
    for (number, node) in nodes.iter().enumerate() {
        if let Some(Node { total_bytes, free_bytes, distances }) = node {
            // xl takes the mark for an unknown distance as a number.
            let distances: Vec<_> = distances.iter().map(|&d| (d as i32).to_string()).collect();
            let (total_mib, free_mib) = (total_bytes >> 20, free_bytes >> 20);
            let distances = distances.join(",");
            let _ =
                writeln!(text, "{number:4}:    {total_mib:6}     {free_mib:6}      {distances}");
        }
    }
}

fn put_version(sheet: &mut Sheet<'_>, version: &VersionInfo, scheduler: &str) {
    let VersionInfo { major, minor, extra, .. } = version;
    sheet.line("xen_major", major);
    sheet.line("xen_minor", minor);
    sheet.line("xen_extra", extra);
    sheet.line("xen_version", format_args!("{major}.{minor}{extra}"));
    sheet.line("xen_caps", &version.capabilities);
    sheet.line("xen_scheduler", scheduler);
    sheet.line("xen_pagesize", version.page_bytes);
    sheet.line("platform_params", format_args!("virt_start={:#x}", version.virt_start));
    sheet.line("xen_changeset", &version.changeset);
    sheet.line("xen_commandline", &version.command_line);
    sheet.line("cc_compiler", &version.compiler);
    sheet.line("cc_compile_by", &version.compile_by);
    sheet.line("cc_compile_domain", &version.compile_domain);
    sheet.line("cc_compile_date", &version.compile_date);
    sheet.line("build_id", &version.build_id);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sheet(wanted: Option<&str>) -> String {
        let mut sheet = Sheet { wanted, text: String::new() };
        sheet.line("xen_major", 4);
        sheet.line("xen_minor", 17);
        sheet.raw("virt_caps", " pv hvm");
        sheet.raw("nothing", "");
        sheet.text
    }

    #[test]
    fn all_lines_or_the_values_of_those_wanted() {
        assert_eq!(
            sheet(None),
            "xen_major              : 4\nxen_minor              : 17\n\
             virt_caps              : pv hvm\nnothing                :\n"
        );
        assert_eq!(sheet(Some("xen_m")), "4\n17\n");
        assert_eq!(sheet(Some("virt_caps ")), "pv hvm\n");
        assert_eq!(sheet(Some("nothing")), "");
        assert_eq!(sheet(Some("free")), "");
    }

    #[test]
    fn capabilities_depend_on_each_other() {
        let some = Offers { hvm: true, direct_io: true, hap: true, ..Offers::default() };
        assert_eq!(offers(&some), " hvm hvm_directio hap");
        assert_eq!(offers(&Offers::default()), "");
    }

    #[test]
    fn topology_comes_in_tables() {
        let mut text = String::new();
        let place = CpuPlace { core: Some(1), socket: Some(0), node: Some(2) };
        put_cpus(&mut text, &[place, CpuPlace { core: None, ..place }]);
        put_devices(&mut text, &[PciPlace { segment: 0, bus: 0x1f, devfn: 0xfa, node: None }]);
        let distances = vec![10, 21];
        put_nodes(
            &mut text,
            &[Some(Node { total_bytes: 3 << 20, free_bytes: 1 << 20, distances })],
        );
        assert_eq!(
            text,
            "cpu_topology           :\ncpu:    core    socket     node\n\
             \x20 0:       1        0        2\n\
             device topology        :\ndevice           node\nNo device topology data available\n\
             numa_info              :\nnode:    memsize    memfree    distances\n\
             \x20  0:         3          1      10,21\n"
        );
    }
}
