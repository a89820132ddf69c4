//! A virtual block device.

use super::hotplug::script_path;
use super::{Address, Device, DeviceError, Kind};
use crate::hypervisor::types::Domid;
use crate::toolstack::config::Disk;

/// The script where none is named.
pub(super) const DEFAULT_SCRIPT: &str = "block";

const XEN_MAJOR: u32 = 202;
const SCSI_MAJOR: u32 = 8;
const IDE_MAJORS: [u32; 2] = [3, 22];
/// Numbers with this bit have more room for the disk and the partition.
const EXTENDED: u32 = 1 << 28;
const MAX_EXTENDED_DISK: u32 = (1 << 20) - 1;

/// What is written for a disk.
pub(in crate::toolstack) fn vbd(
    domid: Domid,
    backend: Domid,
    disk: &Disk,
    is_pv: bool,
) -> Result<Device, DeviceError> {
    let label = label(disk);
    let devid = device_number(&disk.vdev).ok_or_else(|| DeviceError::Unusable {
        device: label.clone(),
        reason: "no such device can be had in a guest".to_owned(),
    })?;
    let text = str::to_owned;
    let flag = |on: bool| text(if on { "1" } else { "0" });
    let device_type = text(if disk.cdrom { "cdrom" } else { "disk" });
    let script = script_path(disk.script.as_deref().unwrap_or(DEFAULT_SCRIPT));
    let mut entries = vec![
        ("params", disk.target.clone().unwrap_or_default()),
        ("script", script),
        ("frontend-id", domid.0.to_string()),
        ("online", text("1")),
        ("removable", flag(disk.removable)),
        ("bootable", text("1")),
        ("state", text("1")),
        ("dev", disk.vdev.clone()),
        ("type", text("phy")),
        ("mode", text(if disk.writable { "w" } else { "r" })),
        ("device-type", device_type.clone()),
    ];
    if disk.direct_io_safe {
        entries.push(("direct-io-safe", text("1")));
    }
    entries.push(("discard-enable", flag(disk.discard.unwrap_or(disk.writable))));
    entries.push(("specification", text("xen")));
    let mut frontend = vec![
        ("backend-id", backend.0.to_string()),
        ("state", text("1")),
        ("virtual-device", devid.to_string()),
        ("device-type", device_type),
        ("trusted", flag(disk.trusted.unwrap_or(true))),
    ];
    if is_pv {
        frontend.push(("protocol", text("x86_64-abi")));
    }
    Ok(Device {
        address: Address { kind: Kind::Vbd, domid, devid, backend },
        label,
        backend: entries,
        frontend,
        frontend_read_only: Vec::new(),
    })
}

/// What an administrator calls it.
pub(super) fn label(disk: &Disk) -> String {
    format!("disk {}", disk.vdev)
}

/// The number of a guest's block device, from its name: `xvda`, `sdb1`, `d2p3`, or the number
/// itself.
pub fn device_number(vdev: &str) -> Option<u32> {
    if let Some(number) = plain_number(vdev) {
        return Some(number);
    }
    if let Some((disk, partition)) = numbered(vdev) {
        return xen_number(disk, partition);
    }
    let (prefix, rest) = vdev.split_at_checked(if vdev.starts_with("xvd") { 3 } else { 2 })?;
    let (disk, partition) = lettered(rest)?;
    match prefix {
        "xvd" => xen_number(disk, partition),
        "sd" if disk <= 15 && partition <= 15 => Some(SCSI_MAJOR << 8 | disk << 4 | partition),
        "hd" if disk <= 3 && partition <= 63 => {
            Some(IDE_MAJORS[disk as usize / 2] << 8 | (disk & 1) << 6 | partition)
        }
        _ => None,
    }
}

fn xen_number(disk: u32, partition: u32) -> Option<u32> {
    if disk <= 15 && partition <= 15 {
        return Some(XEN_MAJOR << 8 | disk << 4 | partition);
    }
    (disk <= MAX_EXTENDED_DISK && partition <= 255).then_some(EXTENDED | disk << 8 | partition)
}

fn plain_number(vdev: &str) -> Option<u32> {
    match vdev.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => vdev.parse().ok(),
    }
}

/// `d2p3`: disk 2, partition 3.
fn numbered(vdev: &str) -> Option<(u32, u32)> {
    let (disk, partition) = vdev.strip_prefix('d')?.split_once('p')?;
    Some((disk.parse().ok()?, partition.parse().ok()?))
}

/// `ab3`: disk 27, counted in letters from `a`, partition 3.
fn lettered(rest: &str) -> Option<(u32, u32)> {
    let digits = rest.find(|c: char| !c.is_ascii_lowercase()).unwrap_or(rest.len());
    let (letters, partition) = rest.split_at(digits);
    if letters.is_empty() || letters.len() > 4 {
        return None;
    }
    let disk = letters.bytes().fold(0, |sum, letter| sum * 26 + u32::from(letter - b'a') + 1) - 1;
    let partition = if partition.is_empty() { 0 } else { partition.parse().ok()? };
    Some((disk, partition))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_linux_and_of_xen() {
        for (vdev, number) in [
            ("xvda", 51712),
            ("xvdb", 51728),
            ("xvda1", 51713),
            ("xvdq", 1 << 28 | 16 << 8),
            ("xvdaa", 1 << 28 | 26 << 8),
            ("d0p0", 51712),
            ("d1p2", 51730),
            ("sda", 2048),
            ("sdb1", 2065),
            ("hda", 768),
            ("hdb", 832),
            ("hdc", 5632),
            ("51712", 51712),
            ("0xca00", 51712),
        ] {
            assert_eq!(device_number(vdev), Some(number), "{vdev}");
        }
        for vdev in ["", "xvd", "xvdA", "foo", "hde", "xvda-1", "sdq", "é", "xé"] {
            assert_eq!(device_number(vdev), None, "{vdev}");
        }
    }
}
