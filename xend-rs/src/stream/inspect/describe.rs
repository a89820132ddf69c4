//! One line on what a record says.

use serde::Deserialize;

use super::summary;
use crate::hypervisor::types::Pfn;
use crate::stream::libxc::{self, PAGE_BYTES, PageEntry};
use crate::stream::libxl;
use crate::stream::xl_header::XlHeader;

pub(super) fn libxc_record(record: &libxc::Record) -> String {
    use libxc::Record;
    match record {
        Record::PageData(head) => page_data(&head.entries),
        Record::PvInfo(width) => format!(
            "{}-bit guest, {} levels of page tables",
            u32::from(width.bytes()) * 8,
            width.page_table_levels()
        ),
        Record::PvP2mFrames(p2m) => format!(
            "pfns {:#x}-{:#x}, {} frames {}",
            p2m.start,
            p2m.end,
            p2m.frames.len(),
            pfn_range(p2m.frames.iter().copied())
        ),
        Record::PvVcpu(v) => format!("vCPU {}, {} bytes of state", v.vcpu, v.state.len()),
        Record::TscInfo(tsc) => format!(
            "mode {}, {} kHz, {} ns, incarnation {}",
            tsc.mode, tsc.khz, tsc.elapsed_ns, tsc.incarnation
        ),
        Record::HvmParams(params) => {
            let parts: Vec<_> =
                params.iter().take(4).map(|p| format!("{}={:#x}", p.index, p.value)).collect();
            let more = if params.len() > parts.len() { " .." } else { "" };
            format!("{} parameters: {}{more}", params.len(), parts.join(" "))
        }
        Record::CheckpointDirtyPfnList(pfns) => {
            format!("{} pfns {}", pfns.len(), pfn_range(pfns.iter().copied()))
        }
        Record::CpuidPolicy(leaves) => format!("{} leaves", leaves.len()),
        Record::MsrPolicy(entries) => format!("{} registers", entries.len()),
        Record::ZeroPages(runs) => format!(
            "{} pfns {} in {} runs",
            runs.iter().map(|run| run.pages).sum::<u64>(),
            pfn_range(runs.iter().flat_map(|run| run.pfns())),
            runs.len()
        ),
        Record::Optional { body: None, .. } => "skipped".to_owned(),
        Record::SharedInfo(_)
        | Record::HvmContext(_)
        | Record::Toolstack(_)
        | Record::Optional { .. }
        | Record::End
        | Record::Verify
        | Record::Checkpoint
        | Record::StaticDataEnd => String::new(),
    }
}

fn page_data(entries: &[PageEntry]) -> String {
    let data_pages = entries.iter().filter(|e| e.page_type.has_data()).count();
    format!(
        "{} pfns {}: {}; {} bytes of contents",
        entries.len(),
        pfn_range(entries.iter().map(|e| e.pfn)),
        summary::types(entries),
        data_pages * PAGE_BYTES
    )
}

fn pfn_range(pfns: impl Iterator<Item = Pfn> + Clone) -> String {
    match (pfns.clone().min(), pfns.max()) {
        (Some(min), Some(max)) => format!("{:#x}-{:#x}", min.0, max.0),
        _ => "none".to_owned(),
    }
}

pub(super) fn libxl_record(record: &libxl::Record) -> String {
    use libxl::Record;
    match record {
        Record::EmulatorXenstoreData { emulator, pairs } => {
            let keys: Vec<_> = pairs.iter().take(3).map(|p| p.key.as_str()).collect();
            let more = if pairs.len() > keys.len() { " .." } else { "" };
            format!("{}, {} nodes: {}{more}", name(*emulator), pairs.len(), keys.join(" "))
        }
        Record::EmulatorContext { emulator, context } => {
            format!("{}, {} bytes of state", name(*emulator), context.len())
        }
        Record::CheckpointState { control_id } => format!("control {control_id}"),
        Record::LibxcContext => "a libxc image follows".to_owned(),
        Record::End | Record::CheckpointEnd => String::new(),
    }
}

fn name(emulator: libxl::Emulator) -> String {
    format!("{} {}", emulator.id.name(), emulator.index)
}

/// The few keys of a domain configuration that tell one domain from another.
#[derive(Deserialize)]
pub(super) struct Config {
    #[serde(default)]
    c_info: CreateInfo,
    #[serde(default)]
    b_info: BuildInfo,
}

#[derive(Default, Deserialize)]
struct CreateInfo {
    name: Option<String>,
    uuid: Option<String>,
    r#type: Option<String>,
}

#[derive(Default, Deserialize)]
struct BuildInfo {
    max_memkb: Option<u64>,
    max_vcpus: Option<u64>,
}

pub(super) fn xl_header(header: &XlHeader, json: Option<&Config>) -> String {
    let Some(config) = &header.config else { return "no configuration".to_owned() };
    let kind = if header.config_is_json { "JSON" } else { "text" };
    let mut line = format!("configuration of {} bytes, {kind}", config.len());
    let Some(json) = json else { return line };
    let (c, b) = (&json.c_info, &json.b_info);
    // As JSON strings, so that no name can break out of the line.
    for (key, value) in [("name", &c.name), ("type", &c.r#type), ("uuid", &c.uuid)] {
        if let Some(value) = value {
            line += &format!(", {key} {value:?}");
        }
    }
    for (key, value) in [("max_memkb", b.max_memkb), ("max_vcpus", b.max_vcpus)] {
        if let Some(value) = value {
            line += &format!(", {key} {value}");
        }
    }
    line
}
