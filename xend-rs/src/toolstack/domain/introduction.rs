//! What xenstore says of a domain once its rings are known, and telling xenstored.

use std::time::{SystemTime, UNIX_EPOCH};

use super::{Result, home};
use crate::hypervisor::types::Domid;
use crate::hypervisor::xen::xenstore::{self, Nodes};
use crate::hypervisor::{RingFrames, Rings};
use crate::toolstack::Host;
use crate::toolstack::config::{DomainConfig, GuestKind};
use crate::toolstack::devices;

/// Writes all of it that can be known before the domain has memory.
pub(super) fn prepare(
    host: &Host,
    domid: Domid,
    config: &DomainConfig,
    rings: &Rings,
) -> Result<()> {
    let console = devices::console(domid, rings.console.peer, rings.console.port);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let start_time = format!("{}.{:02}", now.as_secs(), now.subsec_millis() / 10);
    host.store.transaction(|store| {
        write_all(store, &home(domid), &domain_entries(domid, config, rings))?;
        write_all(store, &format!("/vm/{}", config.uuid()), &vm_entries(config, &start_time))?;
        devices::write(store, &console)
    })?;
    Ok(())
}

/// Says where the rings are and introduces the domain to xenstored; xenconsoled follows by itself.
/// A guest that arrives stands still meanwhile.
pub(super) fn introduce(
    host: &Host,
    domid: Domid,
    rings: &Rings,
    frames: RingFrames,
) -> Result<()> {
    let store = &host.store;
    store.write(&format!("{}/store/ring-ref", home(domid)), frames.store.0.to_string())?;
    devices::write_console_ring(store, domid, rings.console.peer, frames.console)?;
    store.introduce(domid, frames.store, rings.store.port)?;
    Ok(())
}

fn domain_entries(domid: Domid, config: &DomainConfig, rings: &Rings) -> Vec<(String, String)> {
    let memory = config.memory();
    let entry = |key: &str, value: u64| (key.to_owned(), value.to_string());
    let mut entries = vec![
        entry("memory/static-max", memory.max_kib),
        entry("memory/target", memory.target_kib.saturating_sub(memory.video_kib)),
        entry("memory/videoram", memory.video_kib),
        entry("domid", u64::from(domid.0)),
        entry("store/port", u64::from(rings.store.port.0)),
    ];
    let online = config.online_vcpus();
    for vcpu in 0..config.max_vcpus() {
        let word = if online.contains(&vcpu) { "online" } else { "offline" };
        entries.push((format!("cpu/{vcpu}/availability"), word.to_owned()));
    }
    entries
}

fn vm_entries(config: &DomainConfig, start_time: &str) -> Vec<(String, String)> {
    let entry = |key: &str, value: String| (key.to_owned(), value);
    if config.kind() != GuestKind::Pv {
        return vec![entry("start_time", start_time.to_owned())];
    }
    let boot = config.boot();
    let mut entries = vec![
        entry("start_time", start_time.to_owned()),
        entry("image/ostype", "linux".to_owned()),
        entry("image/kernel", boot.kernel.unwrap_or_default()),
    ];
    entries.extend(boot.ramdisk.map(|ramdisk| entry("image/ramdisk", ramdisk)));
    entries.extend(boot.cmdline.map(|cmdline| entry("image/cmdline", cmdline)));
    entries
}

fn write_all(
    store: &impl Nodes,
    folder: &str,
    entries: &[(String, String)],
) -> xenstore::Result<()> {
    entries.iter().try_for_each(|(key, value)| store.write(&format!("{folder}/{key}"), value))
}
