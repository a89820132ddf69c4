//! The specification of a disk, `phy:/dev/vg/root,xvda,w` or `vdev=xvda,target=/dev/vg/root`.
//!
//! libxlutil takes parameters by name and by position in one string. Names can stand anywhere;
//! what has no name is target, format, virtual device and access, in this order. After one of the
//! old prefixes, such as `phy:`, there is no format. `target=` takes the rest of the string, so that
//! a target may hold commas.

use serde_json::Value;

use super::super::tree::Object;

/// Reads one specification into the object that libxl makes of it.
///
/// # Errors
/// What is wrong with it, in words.
pub(super) fn parse(specification: &str) -> Result<Object, String> {
    let mut disk = Disk { readwrite: true, ..Disk::default() };
    let mut rest = specification;
    loop {
        rest = rest.trim_start_matches([' ', '\t', '\n']);
        if rest.is_empty() {
            return disk.finish();
        }
        rest = disk.take(rest)?;
    }
}

const FORMATS: [&str; 6] = ["raw", "qcow", "qcow2", "vhd", "empty", "qed"];
const BACKENDS: [&str; 4] = ["phy", "tap", "qdisk", "standalone"];
const SPECIFICATIONS: [&str; 2] = ["xen", "virtio"];
/// Prefixes from the days of xend that say no more than that no format follows.
const PLAIN_PREFIXES: [&str; 7] = ["tapdisk", "tap", "tap2", "aio", "ioemu", "file", "phy"];
const FORMAT_PREFIXES: [&str; 4] = ["raw", "qcow", "qcow2", "vhd"];
const SCRIPT_PREFIXES: [&str; 4] = ["iscsi", "nbd", "enbd", "drbd"];

#[derive(Default)]
struct Disk {
    target: Option<String>,
    format: Option<&'static str>,
    vdev: Option<String>,
    access_was_positional: bool,
    had_prefix: bool,
    backend_name: Option<String>,
    backend: Option<&'static str>,
    specification: Option<&'static str>,
    script: Option<String>,
    readwrite: bool,
    cdrom: bool,
    direct_io_safe: bool,
    discard: Option<bool>,
    trusted: Option<bool>,
}

impl Disk {
    /// Takes the first parameter of `rest`, and returns what follows.
    fn take<'a>(&mut self, rest: &'a str) -> Result<&'a str, String> {
        if let Some(value) = rest.strip_prefix("target=") {
            let end = value.find('\n').unwrap_or(value.len());
            let target = value[..end].strip_suffix(',').unwrap_or(&value[..end]);
            set(&mut self.target, "target", target)?;
            return Ok(&value[end..]);
        }
        let end = rest.find(',').unwrap_or(rest.len());
        let (parameter, after) = (&rest[..end], rest.get(end + 1..).unwrap_or_default());
        if let Some((key, value)) = parameter.split_once('=')
            && !key.contains(':')
        {
            self.named(key, value)?;
            return Ok(after);
        }
        if let Some(target) = self.prefix(rest)? {
            return Ok(target);
        }
        if parameter.contains('=') {
            return Err(format!("bad syntax near '{parameter}': a target with = needs target="));
        }
        if !self.switch(parameter) {
            self.positional(parameter)?;
        }
        Ok(after)
    }

    fn named(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key {
            "format" => choose(&mut self.format, key, or(value, "raw"), &FORMATS),
            "backendtype" => choose(&mut self.backend, key, value, &BACKENDS),
            "specification" => choose(&mut self.specification, key, value, &SPECIFICATIONS),
            "backend" => set(&mut self.backend_name, key, value),
            "vdev" => set(&mut self.vdev, key, value),
            "script" => set(&mut self.script, key, value),
            "access" => self.access(value),
            "devtype" => self.devtype(value),
            "colo-host" | "colo-port" | "colo-export" | "active-disk" | "hidden-disk" => {
                Err(format!("{key}: COLO is not supported"))
            }
            _ => Err(format!("unknown parameter '{key}={value}'")),
        }
    }

    /// A parameter that is only a word; false if it is none of them.
    fn switch(&mut self, word: &str) -> bool {
        match word {
            "cdrom" => self.cdrom = true,
            "direct-io-safe" => self.direct_io_safe = true,
            "discard" => self.discard = Some(true),
            "no-discard" => self.discard = Some(false),
            "trusted" => self.trusted = Some(true),
            "untrusted" => self.trusted = Some(false),
            // What a disk is without being told.
            "no-colo" => {}
            _ => return false,
        }
        true
    }

    /// Takes a prefix with its colon, and returns what follows; `None` if there is none.
    fn prefix<'a>(&mut self, rest: &'a str) -> Result<Option<&'a str>, String> {
        let Some((word, after)) = rest.split_once(':') else { return Ok(None) };
        let known = |words: &[&str]| words.contains(&word);
        if known(&FORMAT_PREFIXES) {
            choose(&mut self.format, "format", word, &FORMATS)?;
        } else if known(&SCRIPT_PREFIXES) {
            set(&mut self.script, "script", &format!("block-{word}"))?;
        } else if !known(&PLAIN_PREFIXES) {
            // `xvda:cdrom` is a virtual device with its type.
            let is_word = word.starts_with(|c: char| c.is_ascii_lowercase())
                && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
            let is_type = after.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
            return if is_word && !is_type {
                Err(format!("unknown prefix '{word}:'"))
            } else {
                Ok(None)
            };
        }
        self.had_prefix = true;
        Ok(Some(after))
    }

    fn positional(&mut self, value: &str) -> Result<(), String> {
        if self.target.is_none() {
            self.target = Some(value.to_owned());
        } else if !self.had_prefix && self.format.is_none() {
            let is_empty = self.target.as_deref() == Some("");
            if is_empty && value.contains(':') {
                self.vdev_with_type(value)?;
                self.format = Some("empty");
            } else {
                choose(&mut self.format, "format", or(value, "raw"), &FORMATS)?;
            }
        } else if self.vdev.is_none() {
            self.vdev_with_type(value)?;
        } else if !self.access_was_positional {
            self.access_was_positional = true;
            self.access(value)?;
        } else {
            return Err(format!("too many positional parameters: '{value}'"));
        }
        Ok(())
    }

    /// `xvda`, or `xvda:cdrom`.
    fn vdev_with_type(&mut self, value: &str) -> Result<(), String> {
        let (vdev, kind) = value.rsplit_once(':').unwrap_or((value, "disk"));
        if value.contains(':') {
            self.devtype(kind)?;
        }
        set(&mut self.vdev, "vdev", vdev)
    }

    fn devtype(&mut self, value: &str) -> Result<(), String> {
        self.cdrom = match value {
            "cdrom" => true,
            "disk" => false,
            _ => return Err(format!("unknown value for devtype: '{value}'")),
        };
        Ok(())
    }

    fn access(&mut self, value: &str) -> Result<(), String> {
        self.readwrite = match value {
            "r" | "ro" => false,
            "rw" | "w" | "" => true,
            _ => return Err(format!("unknown value for access: '{value}'")),
        };
        Ok(())
    }

    fn finish(mut self) -> Result<Object, String> {
        let mut format = self.format.unwrap_or("raw");
        if self.cdrom {
            self.readwrite = false;
            if self.target.as_deref().is_none_or(str::is_empty) {
                format = "empty";
            }
        }
        let vdev = self.vdev.ok_or("no vdev specified")?;
        if self.target.is_none() && !self.cdrom {
            return Err("no target specified (and device not removable)".to_owned());
        }
        let one = |set: bool| set.then(|| Value::from(1));
        let word =
            |set: Option<bool>| set.map(|set| Value::from(if set { "True" } else { "False" }));
        let fields = [
            ("backend_domname", self.backend_name.map(Value::from)),
            ("pdev_path", self.target.map(Value::from)),
            ("vdev", Some(vdev.into())),
            ("backend", self.backend.map(Value::from)),
            ("format", Some(format.into())),
            ("script", self.script.map(Value::from)),
            ("removable", one(self.cdrom)),
            ("readwrite", one(self.readwrite)),
            ("is_cdrom", one(self.cdrom)),
            ("direct_io_safe", self.direct_io_safe.then(|| Value::from(true))),
            ("discard_enable", word(self.discard)),
            ("specification", self.specification.map(Value::from)),
            ("trusted", word(self.trusted)),
        ];
        let present = fields.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
        Ok(present.collect())
    }
}

fn or<'a>(value: &'a str, default: &'a str) -> &'a str {
    if value.is_empty() { default } else { value }
}

/// Sets what must not be set twice. An empty string counts as not set.
fn set(slot: &mut Option<String>, what: &str, value: &str) -> Result<(), String> {
    if slot.as_deref().is_some_and(|old| !old.is_empty()) {
        return Err(format!("{what} given twice: '{value}'"));
    }
    *slot = Some(value.to_owned());
    Ok(())
}

/// Sets one of several words, which may be set again to the same.
fn choose(
    slot: &mut Option<&'static str>,
    what: &str,
    value: &str,
    words: &'static [&'static str],
) -> Result<(), String> {
    let Some(word) = words.iter().find(|word| **word == value) else {
        return Err(format!("unknown value for {what}: '{value}'"));
    };
    match slot {
        Some(old) if old != word => Err(format!("{what} given twice: '{old}' and '{value}'")),
        _ => {
            *slot = Some(word);
            Ok(())
        }
    }
}
