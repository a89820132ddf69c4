//! How many vCPUs, and where they run.

use serde_json::Value;

use super::super::ConfigError;
use super::{Maker, cpus, defbool, short};

/// What fits into the bitmap of vCPUs that libxl accepts.
const MAX_VCPUS: i64 = 1024;

impl Maker<'_> {
    pub(super) fn vcpus(&mut self) -> Result<(), ConfigError> {
        let number = |key| match self.get(key) {
            Some(setting) => setting.number_in(1..=MAX_VCPUS).map(Some),
            None => Ok(None),
        };
        let (online, max) = (number("vcpus")?, number("maxvcpus")?);
        if let (Some(online), Some(max), Some(setting)) = (online, max, self.get("maxvcpus"))
            && max < online
        {
            return Err(setting.wrong(format!("'maxvcpus' is {max}, less than 'vcpus'")).into());
        }
        if let Some(online) = online {
            self.build_info.insert("avail_vcpus".to_owned(), (0..online).collect());
        }
        if let Some(max) = max.or(online) {
            self.build_info.insert("max_vcpus".to_owned(), max.into());
        }
        Ok(())
    }

    /// `cpus=` and `cpus_soft=`: one set for all vCPUs, or a list with one for each.
    pub(super) fn affinity(&mut self) -> Result<(), ConfigError> {
        let max_vcpus = self.build_info.get("max_vcpus").and_then(Value::as_u64).unwrap_or(0);
        let max_vcpus = usize::try_from(max_vcpus).unwrap_or(0);
        for (key, name) in [("cpus", "vcpu_hard_affinity"), ("cpus_soft", "vcpu_soft_affinity")] {
            let Some(setting) = self.get(key) else { continue };
            if max_vcpus == 0 {
                self.warn(setting, format!("'{key}' has no effect without 'vcpus' or 'maxvcpus'"));
                continue;
            }
            let host = self.host.cpus.as_ref();
            let set = |text: &str| -> Result<Value, ConfigError> {
                let cpus = cpus::parse(text, host);
                let cpus = cpus.and_then(|cpus| match cpus.is_empty() {
                    true => Err(format!("no processor is left in '{}'", short(text))),
                    false => Ok(cpus),
                });
                let cpus = cpus.map_err(|reason| setting.wrong(format!("'{key}': {reason}")))?;
                Ok(cpus.into_iter().collect())
            };
            let is_list = setting.list().is_ok();
            let sets: Vec<Value> = if is_list {
                let texts = setting.texts()?;
                texts
                    .into_iter()
                    .take(max_vcpus)
                    .map(|(text, _)| set(text))
                    .collect::<Result<_, _>>()?
            } else {
                vec![set(setting.text()?)?; max_vcpus]
            };
            if !sets.is_empty() {
                self.build_info.insert(name.to_owned(), sets.into());
            }
            // libxl places a guest by itself only where nobody else did.
            if is_list || key == "cpus_soft" {
                self.build_info.insert("numa_placement".to_owned(), defbool(false));
            }
        }
        Ok(())
    }
}
