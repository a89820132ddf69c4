//! What the guest boots: kernel, command line, bootloader.

use super::super::{ConfigError, GuestKind};
use super::{Maker, short};

/// Where Debian's Xen 4.17 keeps the kernels that `firmware=` names.
const FIRMWARE_FOLDER: &str = "/usr/lib/xen-4.17/boot";

impl Maker<'_> {
    pub(super) fn boot(&mut self) -> Result<(), ConfigError> {
        let text = |key| match self.get(key) {
            Some(setting) => setting.text().map(Some),
            None => Ok(None),
        };
        let (root, extra) = (text("root")?, text("extra")?);
        let cmdline = match (text("cmdline")?, root, extra) {
            (Some(cmdline), ..) => Some(cmdline.to_owned()),
            (None, Some(root), Some(extra)) => Some(format!("root={root} {extra}")),
            (None, Some(root), None) => Some(format!("root={root}")),
            (None, None, extra) => extra.map(str::to_owned),
        };
        if let Some(cmdline) = cmdline {
            self.build_info.insert("cmdline".to_owned(), cmdline.into());
        }
        if self.get("cmdline").is_some() {
            for key in ["root", "extra"] {
                if let Some(setting) = self.get(key) {
                    self.warn(setting, format!("'{key}' has no effect beside 'cmdline'"));
                }
            }
        }
        self.bootloader_arguments()?;
        if self.kind != GuestKind::Hvm {
            self.firmware()?;
            if !["kernel", "bootloader"].iter().any(|key| self.build_info.contains_key(*key)) {
                return Err(ConfigError::NoKernel);
            }
        }
        Ok(())
    }

    /// A list of strings, or as it was once, one string with blanks.
    fn bootloader_arguments(&mut self) -> Result<(), ConfigError> {
        let Some(setting) = self.get("bootloader_args") else { return Ok(()) };
        let arguments: Vec<&str> = if setting.list().is_ok() {
            setting.texts()?.into_iter().map(|(text, _)| text).collect()
        } else {
            self.warn(setting, "'bootloader_args' as one string is deprecated: write a list");
            setting.text()?.split([' ', '\t', '\n']).filter(|word| !word.is_empty()).collect()
        };
        if !arguments.is_empty() {
            self.build_info.insert("bootloader_args".to_owned(), arguments.into());
        }
        Ok(())
    }

    /// A kernel that Xen brings along.
    fn firmware(&mut self) -> Result<(), ConfigError> {
        let Some(setting) = self.get("firmware") else { return Ok(()) };
        if self.build_info.contains_key("kernel") {
            return Err(setting.wrong("both 'kernel' and 'firmware' are given").into());
        }
        let name = setting.text()?;
        if !["pvgrub32", "pvgrub64"].contains(&name) {
            let message = format!("'firmware' is '{}', not pvgrub32 or pvgrub64", short(name));
            return Err(setting.wrong(message).into());
        }
        let path = format!("{FIRMWARE_FOLDER}/{name}.bin");
        self.build_info.insert("kernel".to_owned(), path.into());
        Ok(())
    }
}
