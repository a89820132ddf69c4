//! What of the host goes into a configuration: its processors, and its administrator's defaults.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::from_xlcfg::cpus;
use super::{ConfigError, GuestKind};
use crate::toolstack::xlcfg::{Setting, Settings};

/// The administrator's defaults.
pub const XL_CONF: &str = "/etc/xen/xl.conf";

/// The host that a configuration is read on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostContext {
    /// Its processors; `None` if they are not known. `cpus="all"` and `nodes:` need them.
    pub cpus: Option<HostCpus>,
    /// Defaults of its administrator.
    pub defaults: Defaults,
}

/// The processors of a host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostCpus {
    /// One more than the highest number of a processor.
    pub count: u32,
    /// The processors of each NUMA node.
    pub nodes: Vec<Vec<u32>>,
}

/// What `/etc/xen/xl.conf` says about new domains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Defaults {
    /// Whether hotplug scripts are run by the toolstack, not by udev.
    pub run_hotplug_scripts: bool,
    /// Whether memory is claimed before a domain is built.
    pub claim_mode: bool,
    /// First virtual disk that a bootloader may use.
    pub blkdev_start: Option<String>,
    /// For network interfaces that say nothing else.
    pub nic: NicDefaults,
    /// Frames of grant tables.
    pub max_grant_frames: Option<u32>,
    /// Frames that track what others map.
    pub max_maptrack_frames: Option<u32>,
    /// Highest version of the grant table's interface.
    pub max_grant_version: Option<u32>,
}

/// What `/etc/xen/xl.conf` says about network interfaces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NicDefaults {
    /// Hotplug script.
    pub script: Option<String>,
    /// Bridge.
    pub bridge: Option<String>,
    /// Gateway device.
    pub gatewaydev: Option<String>,
    /// Name of the backend's domain.
    pub backend: Option<String>,
}

impl Default for Defaults {
    /// What holds where there is no `xl.conf`.
    fn default() -> Self {
        Self {
            run_hotplug_scripts: true,
            claim_mode: true,
            blkdev_start: None,
            nic: NicDefaults::default(),
            max_grant_frames: None,
            max_maptrack_frames: None,
            max_grant_version: None,
        }
    }
}

impl Defaults {
    /// Reads them from an `xl.conf`. One that cannot be read is none, as for `xl`.
    ///
    /// # Errors
    /// If it is not of that syntax, or one of its settings makes no sense.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        match fs::read(path) {
            Ok(text) => Self::from_xl_conf(&Settings::parse(&path.to_string_lossy(), &text)?),
            Err(_) => Ok(Self::default()),
        }
    }

    /// Takes them from the settings of an `xl.conf`, which has the syntax of an xl.cfg. Its other
    /// settings are not about configurations.
    ///
    /// # Errors
    /// If one of them makes no sense.
    pub fn from_xl_conf(settings: &Settings) -> Result<Self, ConfigError> {
        let text = |key| match settings.get(key) {
            Some(setting) => setting.text().map(|text| Some(text.to_owned())),
            None => Ok(None),
        };
        let flag = |key| match settings.get(key) {
            Some(setting) => setting.number().map(|number| number != 0),
            None => Ok(true),
        };
        let limit = |key| match settings.get(key) {
            Some(setting) => setting.number_in(0..=i32::MAX.into()).map(|number| {
                // The range has just been checked.
                u32::try_from(number).ok()
            }),
            None => Ok(None),
        };
        let either = |key, old_key| Ok::<_, ConfigError>(text(key)?.or(text(old_key)?));
        Ok(Self {
            run_hotplug_scripts: flag("run_hotplug_scripts")?,
            claim_mode: flag("claim_mode")?,
            blkdev_start: text("blkdev_start")?,
            nic: NicDefaults {
                script: either("vif.default.script", "vifscript")?,
                bridge: either("vif.default.bridge", "defaultbridge")?,
                gatewaydev: text("vif.default.gatewaydev")?,
                backend: text("vif.default.backend")?,
            },
            max_grant_frames: limit("max_grant_frames")?,
            max_maptrack_frames: limit("max_maptrack_frames")?,
            max_grant_version: limit("max_grant_version")?,
        })
    }
}

/// The settings of an `xl.conf` that keep guests of a kind off some of the host's processors.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CpuMasks {
    settings: Vec<Setting>,
}

impl CpuMasks {
    /// Reads those for guests of a kind from an `xl.conf`. One that cannot be read has none.
    ///
    /// # Errors
    /// If it is not of that syntax.
    pub fn read(path: &Path, kind: GuestKind) -> Result<Self, ConfigError> {
        match fs::read(path) {
            Ok(text) => {
                let settings = Settings::parse(&path.to_string_lossy(), &text)?;
                Ok(Self::from_xl_conf(&settings, kind))
            }
            Err(_) => Ok(Self::default()),
        }
    }

    /// Takes those for guests of a kind from the settings of an `xl.conf`. To xl a PVH guest is an
    /// HVM guest here.
    pub fn from_xl_conf(settings: &Settings, kind: GuestKind) -> Self {
        let of_kind = match kind {
            GuestKind::Pv => "vm.pv.cpumask",
            GuestKind::Pvh | GuestKind::Hvm => "vm.hvm.cpumask",
        };
        let found = ["vm.cpumask", of_kind].into_iter().filter_map(|key| settings.get(key));
        Self { settings: found.cloned().collect() }
    }

    /// Whether there are none: guests may run anywhere.
    pub fn is_empty(&self) -> bool {
        self.settings.is_empty()
    }

    /// The processors of `host` that all of them leave; `None` if there are none.
    ///
    /// # Errors
    /// If one of them is no set of processors.
    pub fn allowed(&self, host: &HostCpus) -> Result<Option<BTreeSet<u32>>, ConfigError> {
        let mut allowed: Option<BTreeSet<u32>> = None;
        for setting in &self.settings {
            let mask = cpus::parse(setting.text()?, Some(host));
            let mask = mask.map_err(|fault| setting.wrong(fault))?;
            allowed = Some(match allowed {
                Some(before) => &before & &mask,
                None => mask,
            });
        }
        Ok(allowed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> HostCpus {
        HostCpus { count: 8, nodes: vec![vec![0, 1], vec![2, 3]] }
    }

    fn allowed(text: &str, kind: GuestKind) -> Option<Vec<u32>> {
        let settings = Settings::parse("xl.conf", text.as_bytes()).unwrap();
        let masks = CpuMasks::from_xl_conf(&settings, kind);
        let allowed = masks.allowed(&host()).unwrap();
        assert_eq!(masks.is_empty(), allowed.is_none());
        allowed.map(|cpus| cpus.into_iter().collect())
    }

    #[test]
    fn masks_are_those_of_all_guests_and_of_the_kind() {
        let text = "vm.cpumask = '0-5'\nvm.hvm.cpumask = '4-7'\nvm.pv.cpumask = 'nodes:1'\n";
        assert_eq!(allowed(text, GuestKind::Pv), Some(vec![2, 3]));
        assert_eq!(allowed(text, GuestKind::Pvh), Some(vec![4, 5]));
        assert_eq!(allowed(text, GuestKind::Hvm), Some(vec![4, 5]));
        assert_eq!(allowed("vm.pv.cpumask = '1'\n", GuestKind::Pvh), None);
        assert_eq!(allowed("", GuestKind::Pv), None);
        assert_eq!(allowed("vm.cpumask='1'\nvm.pv.cpumask='2'\n", GuestKind::Pv), Some(vec![]));
    }

    #[test]
    fn a_mask_that_is_none_is_told_with_its_place() {
        let settings = Settings::parse("xl.conf", b"vm.cpumask = 'x'\n").unwrap();
        let masks = CpuMasks::from_xl_conf(&settings, GuestKind::Pv);
        let error = masks.allowed(&host()).unwrap_err().to_string();
        assert!(error.starts_with("xl.conf:1:"), "{error}");
    }

    #[test]
    fn without_an_xl_conf_there_are_no_masks() {
        let masks = CpuMasks::read(Path::new("/nowhere/xl.conf"), GuestKind::Pv).unwrap();
        assert!(masks.is_empty());
    }
}
