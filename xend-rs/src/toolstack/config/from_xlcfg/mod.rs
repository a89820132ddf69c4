//! An xl.cfg's settings into a document, as stock `xl create` makes one of them.
//!
//! What stock xl says nothing about stays unsaid here. Where it warns and goes on without a
//! setting, here is an error: a guest that is not what its configuration says helps nobody.

mod boot;
pub(super) mod cpus;
mod disk;
mod keys;
mod nic;
mod processors;
mod rate;
mod simple;
#[cfg(test)]
mod tests;

use serde_json::{Value, json};

use super::tree::Object;
use super::types::{Action, TscMode};
use super::{
    ConfigError, DomainConfig, GuestKind, HostContext, MAX_DOCUMENT_BYTES, Uuid, Warning, schema,
};
use crate::toolstack::xlcfg::{Place, Setting, Settings, WrongSetting};
use keys::Use;

impl DomainConfig {
    /// Makes the document that stock `xl create` makes of this text on `host`. `name` is what the text is
    /// called in errors and warnings.
    ///
    /// # Errors
    /// If it is no xl.cfg, and as [`Self::from_xlcfg_on`].
    pub(in crate::toolstack) fn from_text(
        name: &str,
        text: &[u8],
        host: &HostContext,
    ) -> Result<(Self, Vec<Warning>), ConfigError> {
        Self::from_xlcfg_on(&Settings::parse(name, text)?, host)
    }

    /// Makes the document that stock `xl create` makes of these settings on `host`.
    ///
    /// # Errors
    /// If a setting makes no sense, or asks of a PV or PVH guest what xend has not. Unknown keys,
    /// and known ones that do nothing, are warnings.
    pub(in crate::toolstack) fn from_xlcfg_on(
        settings: &Settings,
        host: &HostContext,
    ) -> Result<(Self, Vec<Warning>), ConfigError> {
        let kind = kind(settings)?;
        let mut maker = Maker {
            settings,
            host,
            kind,
            warnings: Vec::new(),
            document: Object::new(),
            create_info: Object::new(),
            build_info: Object::new(),
            kind_info: Object::new(),
            arch_x86: Object::new(),
            sched_params: Object::new(),
        };
        maker.check_keys()?;
        maker.identity()?;
        maker.simple_settings()?;
        maker.vcpus()?;
        maker.affinity()?;
        maker.memory()?;
        maker.boot()?;
        maker.clock()?;
        maker.device_model()?;
        maker.devices()?;
        maker.actions()?;
        maker.warnings.sort_by_key(|warning| (warning.place.line, warning.place.column));
        maker.finish()
    }
}

struct Maker<'a> {
    settings: &'a Settings,
    host: &'a HostContext,
    kind: GuestKind,
    warnings: Vec<Warning>,
    document: Object,
    create_info: Object,
    build_info: Object,
    kind_info: Object,
    arch_x86: Object,
    sched_params: Object,
}

/// `type=`, or `builder=` as it was before Xen 4.10.
fn kind(settings: &Settings) -> Result<GuestKind, ConfigError> {
    let by_type = match settings.get("type") {
        None => None,
        Some(setting) => {
            let word = setting.text()?;
            let kind = GuestKind::from_word(word);
            Some(kind.ok_or_else(|| {
                setting.wrong(format!("'type' is '{}', not pv, pvh or hvm", short(word)))
            })?)
        }
    };
    let Some(setting) = settings.get("builder") else {
        return Ok(by_type.unwrap_or(GuestKind::Pv));
    };
    let by_builder = match setting.text()? {
        "generic" => GuestKind::Pv,
        "hvm" => GuestKind::Hvm,
        other => {
            let message = format!("'builder' is '{}', not generic or hvm", short(other));
            return Err(setting.wrong(message).into());
        }
    };
    match by_type {
        Some(kind) if kind != by_builder => {
            Err(setting.wrong("'builder' and 'type' contradict each other").into())
        }
        _ => Ok(by_builder),
    }
}

impl<'a> Maker<'a> {
    fn get(&self, key: &str) -> Option<&'a Setting> {
        self.settings.get(key)
    }

    fn warn(&mut self, setting: &Setting, message: impl Into<String>) {
        self.warnings.push(Warning::new(&setting.place, &message.into()));
    }

    /// Says of each key that will do nothing that it will do nothing.
    fn check_keys(&mut self) -> Result<(), ConfigError> {
        for setting in self.settings.iter() {
            let key = &setting.key;
            let message = match keys::usage(key, self.kind) {
                Some(Use::Read) => continue,
                Some(Use::Kept) if is_off(setting) => continue,
                Some(Use::Kept) => {
                    format!("'{key}' is kept for stock xl: xend does not act on it")
                }
                None => format!("unknown key '{key}'"),
                Some(Use::NoEffect(reason)) => format!("'{key}' has no effect: {reason}"),
                Some(Use::Hvm) if self.kind == GuestKind::Hvm => {
                    format!("'{key}' is left out: xend knows HVM guests only in outline")
                }
                Some(Use::Hvm) => format!("'{key}' has no effect: it is for HVM guests"),
                Some(Use::Unsupported(_)) if is_off(setting) => continue,
                Some(Use::Unsupported(what)) => {
                    let message =
                        format!("'{key}' is not supported: xend has no {what}; stock xl may have");
                    if self.kind != GuestKind::Hvm {
                        return Err(setting.wrong(message).into());
                    }
                    message
                }
            };
            self.warn(setting, message);
        }
        Ok(())
    }

    fn identity(&mut self) -> Result<(), ConfigError> {
        self.create_info.insert("type".to_owned(), self.kind.word().into());
        let name = self.get("name").ok_or(ConfigError::NoName)?;
        if name.text()?.is_empty() || name.text()?.contains(|c: char| c == '/' || c.is_control()) {
            return Err(name.wrong("'name' cannot be the name of a domain").into());
        }
        self.create_info.insert("name".to_owned(), name.text()?.into());
        let uuid = match self.get("uuid") {
            None => Uuid::random()?,
            Some(setting) => setting
                .text()?
                .parse()
                .map_err(|error: ConfigError| setting.wrong(format!("'uuid': {error}")))?,
        };
        self.create_info.insert("uuid".to_owned(), uuid.to_string().into());
        let scripts = defbool(self.host.defaults.run_hotplug_scripts);
        self.create_info.insert("run_hotplug_scripts".to_owned(), scripts);
        let claim = defbool(self.host.defaults.claim_mode);
        self.build_info.insert("claim_mode".to_owned(), claim);
        if let Some(start) = &self.host.defaults.blkdev_start {
            self.build_info.insert("blkdev_start".to_owned(), start.as_str().into());
        }
        Ok(())
    }

    /// What is more than one setting's own matter about memory.
    fn memory(&mut self) -> Result<(), ConfigError> {
        let target = self.build_info.get("target_memkb").cloned();
        let max = self.build_info.get("max_memkb").cloned();
        match (target, max, self.get("maxmem")) {
            (Some(target), None, _) => {
                self.build_info.insert("max_memkb".to_owned(), target);
            }
            (Some(target), Some(max), Some(setting)) if max.as_u64() < target.as_u64() => {
                return Err(setting.wrong("'maxmem' is less than 'memory'").into());
            }
            _ => {}
        }
        Ok(())
    }

    fn clock(&mut self) -> Result<(), ConfigError> {
        if let Some(setting) = self.get("tsc_mode") {
            let word = self.word(setting, &TscMode::WORDS, 0)?;
            if word != TscMode::WORDS[0] {
                self.build_info.insert("tsc_mode".to_owned(), word.into());
            }
        }
        let Some(setting) = self.get("timer_mode") else { return Ok(()) };
        if self.kind == GuestKind::Pv {
            return Err(setting.wrong("'timer_mode' is not for PV guests").into());
        }
        let word = self.word(setting, &simple::TIMER_MODES, 1)?;
        if word != simple::TIMER_MODES[0] {
            self.build_info.insert("timer_mode".to_owned(), word.into());
        }
        Ok(())
    }

    /// One of several words, which used to be numbers; `skip` of them have none.
    fn word(
        &mut self,
        setting: &Setting,
        words: &[&'static str],
        skip: usize,
    ) -> Result<&'static str, ConfigError> {
        let key = &setting.key;
        let numbered = &words[skip..];
        if let Ok(number) = setting.number() {
            let word = usize::try_from(number).ok().and_then(|number| numbered.get(number));
            let word = word.ok_or_else(|| {
                setting.wrong(format!("'{key}' is {number}, not 0 to {}", numbered.len() - 1))
            })?;
            self.warn(setting, format!("'{key}' as a number is deprecated: write \"{word}\""));
            return Ok(word);
        }
        let text = setting.text()?;
        let word = words.iter().find(|word| word.eq_ignore_ascii_case(text)).ok_or_else(|| {
            setting.wrong(format!("'{key}' is '{}', not {}", short(text), words.join(", ")))
        })?;
        Ok(word)
    }

    fn device_model(&mut self) -> Result<(), ConfigError> {
        if let Some(setting) = self.get("device_model_version") {
            let word = match setting.text()? {
                "qemu-xen" => "qemu_xen",
                "qemu-xen-traditional" => "qemu_xen_traditional",
                other => {
                    let message = format!("'device_model_version' is '{}'", short(other));
                    let message = message + ", not qemu-xen or qemu-xen-traditional";
                    return Err(setting.wrong(message).into());
                }
            };
            self.build_info.insert("device_model_version".to_owned(), word.into());
        }
        for (key, name) in [
            ("device_model_args", "extra"),
            ("device_model_args_pv", "extra_pv"),
            ("device_model_args_hvm", "extra_hvm"),
        ] {
            let Some(setting) = self.get(key) else { continue };
            let arguments: Vec<&str> = setting.texts()?.into_iter().map(|(text, _)| text).collect();
            if !arguments.is_empty() {
                self.build_info.insert(name.to_owned(), arguments.into());
            }
        }
        Ok(())
    }

    fn devices(&mut self) -> Result<(), ConfigError> {
        let wrong = |place: &Place, message: String| {
            ConfigError::from(WrongSetting::new(place.clone(), &message))
        };
        if let Some(setting) = self.get("disk") {
            let disks = setting.texts()?.into_iter().map(|(text, place)| {
                let disk = disk::parse(text).map(Value::from);
                disk.map_err(|reason| wrong(place, format!("disk '{}': {reason}", short(text))))
            });
            let disks: Vec<Value> = disks.collect::<Result<_, _>>()?;
            if !disks.is_empty() {
                self.document.insert("disks".to_owned(), disks.into());
            }
        }
        let Some(setting) = self.get("vif") else { return Ok(()) };
        let mut nics: Vec<Value> = Vec::new();
        for (text, place) in setting.texts()? {
            let defaults = &self.host.defaults.nic;
            let nic = nic::parse(text, nics.len(), defaults, place, &mut self.warnings);
            let nic =
                nic.map_err(|reason| wrong(place, format!("vif '{}': {reason}", short(text))))?;
            nics.push(nic.into());
        }
        if !nics.is_empty() {
            self.document.insert("nics".to_owned(), nics.into());
        }
        Ok(())
    }

    fn actions(&mut self) -> Result<(), ConfigError> {
        for (key, default) in [
            ("on_poweroff", Action::Destroy),
            ("on_reboot", Action::Restart),
            ("on_watchdog", Action::Destroy),
            ("on_crash", Action::Destroy),
            ("on_soft_reset", Action::SoftReset),
        ] {
            let action = match self.get(key) {
                None => default,
                Some(setting) => {
                    let word = setting.text()?;
                    Action::from_xlcfg_word(word).ok_or_else(|| {
                        setting.wrong(format!("unknown {key} action '{}'", short(word)))
                    })?
                }
            };
            // libxl takes this for granted.
            if action != Action::Destroy {
                self.document.insert(key.to_owned(), action.word().into());
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Result<(DomainConfig, Vec<Warning>), ConfigError> {
        if self.kind == GuestKind::Hvm {
            for part in ["vga", "vnc", "sdl", "spice", "rdm"] {
                self.kind_info.insert(part.to_owned(), json!({}));
            }
        }
        self.build_info.insert("sched_params".to_owned(), self.sched_params.into());
        let kind_key = format!("type.{}", self.kind.word());
        self.build_info.insert(kind_key, self.kind_info.into());
        self.build_info.insert("arch_arm".to_owned(), json!({}));
        self.build_info.insert("arch_x86".to_owned(), self.arch_x86.into());
        self.document.insert("c_info".to_owned(), self.create_info.into());
        self.document.insert("b_info".to_owned(), self.build_info.into());
        let document = schema::in_order(self.document, schema::DOCUMENT);
        let config = DomainConfig { document };
        // No one could read it again: affinities of hundreds of vCPUs take that much.
        let bytes = config.to_json().len();
        if bytes > MAX_DOCUMENT_BYTES {
            return Err(ConfigError::TooLong { bytes, limit: MAX_DOCUMENT_BYTES });
        }
        Ok((config, self.warnings))
    }
}

/// Whether a setting says that there is to be none of what it is about.
fn is_off(setting: &Setting) -> bool {
    match (setting.list(), setting.text()) {
        (Ok(items), _) => items.is_empty(),
        (_, Ok(text)) => {
            let is_nothing = matches!(text, "" | "disabled" | "none");
            is_nothing || setting.number() == Ok(0) || (setting.key == "cpuid" && text == "host")
        }
        _ => false,
    }
}

fn defbool(value: bool) -> Value {
    if value { "True".into() } else { "False".into() }
}

/// The start of a text of the user's, for one line of an error message.
fn short(text: &str) -> String {
    crate::toolstack::xlcfg::shorten(text)
}
