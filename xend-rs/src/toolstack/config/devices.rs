//! Disks and network interfaces of a configuration.

use super::types::MacAddress;

/// What serves a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskBackend {
    /// The kernel's blkback, on a block device.
    Phy,
    /// blktap.
    Tap,
    /// QEMU.
    Qdisk,
    /// Something that only needs the xenstore nodes.
    Standalone,
}

/// How a disk's contents are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskFormat {
    /// As they are.
    Raw,
    /// QEMU's first copy-on-write format.
    Qcow,
    /// QEMU's second.
    Qcow2,
    /// Microsoft's.
    Vhd,
    /// QEMU's enhanced disk.
    Qed,
    /// No medium in the drive.
    Empty,
}

/// A virtual block device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// The device in the guest, such as `xvda`.
    pub vdev: String,
    /// Path of the device or image in the backend's domain; `None` for an empty drive.
    pub target: Option<String>,
    /// What serves it; `None` if libxl is to choose.
    pub backend: Option<DiskBackend>,
    /// Its layout.
    pub format: DiskFormat,
    /// Domain id of the backend.
    pub backend_domid: u32,
    /// Name of the backend's domain, where that was given instead.
    pub backend_name: Option<String>,
    /// Hotplug script, a name in the script folder or a path.
    pub script: Option<String>,
    /// Whether the medium can be changed.
    pub removable: bool,
    /// Whether the guest may write.
    pub writable: bool,
    /// Whether the guest sees a CD-ROM drive.
    pub cdrom: bool,
    /// Whether the target may be opened with direct I/O though pages are shared with the guest.
    pub direct_io_safe: bool,
    /// Whether the guest may discard blocks; `None` if not said.
    pub discard: Option<bool>,
    /// Whether the guest trusts the backend; `None` if not said.
    pub trusted: Option<bool>,
    /// Whether it is a virtio device, not Xen's own block protocol.
    pub virtio: bool,
}

/// What the guest sees of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NicType {
    /// Xen's network protocol alone.
    Vif,
    /// An emulated card beside it, unplugged by guests that know how.
    VifIoemu,
}

/// How fast an interface may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NicRate {
    /// Bytes that may be sent in each interval.
    pub bytes_per_interval: u64,
    /// Length of the interval in microseconds.
    pub interval_us: u32,
}

/// A virtual network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nic {
    /// Its number in the guest.
    pub devid: u32,
    /// Its address; `None` until one is chosen at creation.
    pub mac: Option<MacAddress>,
    /// The bridge in the backend's domain; `None` for the host's default.
    pub bridge: Option<String>,
    /// IP addresses for the hotplug script.
    pub ip: Option<String>,
    /// Hotplug script, a name in the script folder or a path; `None` for `vif-bridge`.
    pub script: Option<String>,
    /// Name of the interface in Dom0; `None` for `vifDOMID.DEVID`.
    pub ifname: Option<String>,
    /// Largest packet, in bytes; `None` for 1492.
    pub mtu_bytes: Option<u32>,
    /// Emulated card, HVM only.
    pub model: Option<String>,
    /// What the guest sees; `None` if libxl is to choose.
    pub kind: Option<NicType>,
    /// Domain id of the backend.
    pub backend_domid: u32,
    /// Name of the backend's domain, where that was given instead.
    pub backend_name: Option<String>,
    /// Gateway device for routed and translated networks.
    pub gatewaydev: Option<String>,
    /// How fast it may send.
    pub rate: Option<NicRate>,
    /// Whether the guest trusts the backend; `None` if not said.
    pub trusted: Option<bool>,
}
