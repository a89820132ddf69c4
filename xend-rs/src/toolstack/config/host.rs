//! What of the host goes into a configuration: its processors, and its administrator's defaults.

use std::fs;
use std::path::Path;

use super::ConfigError;
use crate::toolstack::xlcfg::Settings;

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
