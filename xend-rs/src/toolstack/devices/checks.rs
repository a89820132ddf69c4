//! What can be known to fail before anything is touched.

use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use nix::unistd::{AccessFlags, access};

use super::hotplug::script_path;
use super::{DeviceError, device_number, vbd, vif};
use crate::toolstack::config::{Disk, DiskBackend, DiskFormat, DomainConfig, Nic, NicType};

/// Checks that this host has what the devices of a guest stand on: disks, bridges, scripts.
///
/// # Errors
/// The first device that cannot be had, and why.
pub fn check(config: &DomainConfig) -> Result<(), DeviceError> {
    faults(config).into_iter().next().map_or(Ok(()), Err)
}

/// All devices of a guest that cannot be had on this host, and why.
pub fn faults(config: &DomainConfig) -> Vec<DeviceError> {
    let scripts = config.runs_hotplug_scripts();
    let disks = config.disks().into_iter().map(|d| (vbd::label(&d), disk_fault(&d, scripts)));
    let nics = config.nics().into_iter().map(|n| (vif::label(&n), nic_fault(&n, scripts)));
    let refuse = |(device, fault): (String, Option<String>)| {
        fault.map(|reason| DeviceError::Unusable { device, reason })
    };
    disks.chain(nics).filter_map(refuse).collect()
}

fn disk_fault(disk: &Disk, scripts: bool) -> Option<String> {
    if device_number(&disk.vdev).is_none() {
        return Some("no such device can be had in a guest".to_owned());
    }
    if matches!(disk.backend, Some(DiskBackend::Qdisk | DiskBackend::Tap | DiskBackend::Standalone))
        || disk.virtio
    {
        return Some("only backend phy can be had, which the kernel serves".to_owned());
    }
    if disk.format == DiskFormat::Empty {
        return Some("an empty drive needs a device model".to_owned());
    }
    if disk.format != DiskFormat::Raw {
        return Some("only format raw can be had".to_owned());
    }
    let Some(target) = &disk.target else { return Some("it names no device or file".to_owned()) };
    if scripts && let Some(fault) = script_fault(disk.script.as_deref(), vbd::DEFAULT_SCRIPT) {
        return Some(fault);
    }
    // A script of its own may make of the target what it likes; another domain's is not ours to see.
    if disk.script.is_some() || disk.backend_domid != 0 || disk.backend_name.is_some() {
        return None;
    }
    target_fault(target, disk.writable)
}

fn target_fault(target: &str, writable: bool) -> Option<String> {
    // What is no path is a device in /dev, as the block script has it.
    let path = if target.starts_with('/') { target.to_owned() } else { format!("/dev/{target}") };
    let metadata = match fs::metadata(&path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Some(format!("{path} does not exist"));
        }
        Err(error) => return Some(format!("{path}: {error}")),
    };
    let kind = metadata.file_type();
    if !kind.is_block_device() && !kind.is_file() {
        return Some(format!("{path} is neither a block device nor a file"));
    }
    if writable && metadata.permissions().readonly() && kind.is_file() {
        return Some(format!("{path} is read-only, and the guest shall write"));
    }
    None
}

fn nic_fault(nic: &Nic, scripts: bool) -> Option<String> {
    if nic.kind == Some(NicType::VifIoemu) {
        return Some("an emulated interface needs a device model".to_owned());
    }
    if !scripts {
        return None;
    }
    if let Some(fault) = script_fault(nic.script.as_deref(), vif::DEFAULT_SCRIPT) {
        return Some(fault);
    }
    let is_bridged =
        script_path(nic.script.as_deref().unwrap_or(vif::DEFAULT_SCRIPT)).ends_with("/vif-bridge");
    let is_ours = nic.backend_domid == 0 && nic.backend_name.is_none();
    let bridge = nic.bridge.as_deref().unwrap_or(vif::DEFAULT_BRIDGE);
    if is_bridged && is_ours { bridge_fault(bridge) } else { None }
}

fn bridge_fault(bridge: &str) -> Option<String> {
    let is_a_name = !bridge.is_empty() && !bridge.contains('/') && !bridge.starts_with('.');
    let folder = Path::new("/sys/class/net").join(bridge);
    if !is_a_name || !folder.exists() {
        return Some(format!("bridge {bridge} does not exist"));
    }
    (!folder.join("bridge").exists()).then(|| format!("{bridge} is not a bridge"))
}

fn script_fault(script: Option<&str>, default: &str) -> Option<String> {
    let path = script_path(script.unwrap_or(default));
    if !Path::new(&path).exists() {
        return Some(format!("script {path} does not exist"));
    }
    access(path.as_str(), AccessFlags::X_OK)
        .is_err()
        .then(|| format!("script {path} cannot be executed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_is_wrong_with_a_target() {
        assert_eq!(target_fault("/dev/nothing", true).unwrap(), "/dev/nothing does not exist");
        assert_eq!(target_fault("nothing", true).unwrap(), "/dev/nothing does not exist");
        assert_eq!(
            target_fault("/dev", false).unwrap(),
            "/dev is neither a block device nor a file"
        );
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(target_fault(file.path().to_str().unwrap(), true), None);
    }

    #[test]
    fn says_what_is_wrong_with_a_bridge() {
        assert_eq!(bridge_fault("xenbr77").unwrap(), "bridge xenbr77 does not exist");
        assert_eq!(bridge_fault("../net").unwrap(), "bridge ../net does not exist");
        assert_eq!(bridge_fault("lo").unwrap(), "lo is not a bridge");
    }

    #[test]
    fn says_what_is_wrong_with_a_script() {
        let missing = "/etc/xen/scripts/none-such";
        assert_eq!(
            script_fault(Some("none-such"), "block").unwrap(),
            format!("script {missing} does not exist")
        );
        assert_eq!(
            script_fault(Some("/etc/passwd"), "block").unwrap(),
            "script /etc/passwd cannot be executed"
        );
    }
}
