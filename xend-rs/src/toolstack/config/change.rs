//! Changes to the document, and what libxl adds to it when it creates a domain.

use serde_json::{Map, Value};

use super::schema::{self, Field};
use super::tree::{self, Object};
use super::types::{GuestKind, MacAddress, SchedulerParams, Uuid};
use super::{ConfigError, DomainConfig};

/// What libxl writes as a domain id that is yet to be chosen.
const ANY_DOMID: u32 = u32::MAX;

impl DomainConfig {
    /// Gives the guest another name.
    pub fn set_name(&mut self, name: &str) {
        self.put("c_info", schema::CREATE_INFO, "name", name.into());
    }

    /// Gives the guest another identity.
    pub fn set_uuid(&mut self, uuid: Uuid) {
        self.put("c_info", schema::CREATE_INFO, "uuid", uuid.to_string().into());
    }

    /// Says which vCPUs are online.
    pub fn set_online_vcpus(&mut self, vcpus: &[u32]) {
        let vcpus = vcpus.iter().copied().collect();
        self.put("b_info", schema::BUILD_INFO, "avail_vcpus", vcpus);
    }

    /// Says how much memory the guest may have and how much it is to have.
    pub fn set_memory(&mut self, max_kib: u64, target_kib: u64) {
        self.put("b_info", schema::BUILD_INFO, "max_memkb", max_kib.into());
        self.put("b_info", schema::BUILD_INFO, "target_memkb", target_kib.into());
    }

    /// Says what the scheduler, by libxl's name for it, is told.
    pub fn set_scheduler(&mut self, scheduler: &str, params: &SchedulerParams) {
        let numbers = [
            ("weight", params.weight),
            ("cap", params.cap),
            ("period", params.period_us),
            ("budget", params.budget_us),
            ("extratime", params.extratime),
        ];
        let numbers = numbers.into_iter().filter_map(|(key, number)| Some((key, number?.into())));
        let all = std::iter::once(("sched", scheduler.into())).chain(numbers);
        let object: Object = all.map(|(key, value)| (key.to_owned(), value)).collect();
        self.put("b_info", schema::BUILD_INFO, "sched_params", object.into());
    }

    /// Takes out the domain id, as `xl` does before a configuration travels.
    pub fn remove_domid(&mut self) {
        if let Some(info) = self.document.get_mut("c_info").and_then(Value::as_object_mut) {
            info.shift_remove("domid");
        }
    }

    /// Keeps only the disks that `is_there`, told by their virtual device.
    pub fn retain_disks(&mut self, mut is_there: impl FnMut(&str) -> bool) {
        self.retain("disks", |disk, _| {
            tree::text(disk, "vdev").is_some_and(|vdev| is_there(&vdev))
        });
    }

    /// Keeps only the network interfaces that `is_there`, told by their numbers.
    pub fn retain_nics(&mut self, mut is_there: impl FnMut(u32) -> bool) {
        self.retain("nics", |nic, index| is_there(tree::u32(nic, "devid").unwrap_or(index)));
    }

    /// Fills in what libxl fills in when it creates a domain from this document, and then stores
    /// with the domain: MAC addresses above all. What libxl merely takes for granted stays unsaid.
    ///
    /// # Errors
    /// If the system gives no random bytes for an address.
    pub fn with_create_defaults(mut self) -> Result<Self, ConfigError> {
        if !self.create_info().contains_key("domid") {
            self.put("c_info", schema::CREATE_INFO, "domid", ANY_DOMID.into());
        }
        let kind = self.kind();
        if kind != GuestKind::Hvm && !self.build_info().contains_key("video_memkb") {
            self.put("b_info", schema::BUILD_INFO, "video_memkb", 0.into());
        }
        self.fill_msr_relaxed();
        for disk in objects_mut(&mut self.document, "disks") {
            schema::insert(disk, schema::DISK, "colo_restore_enable", "False".into());
        }
        let mut next_devid = 0;
        let nictype = if kind == GuestKind::Hvm { "vif_ioemu" } else { "vif" };
        for nic in objects_mut(&mut self.document, "nics") {
            let devid = tree::u32(nic, "devid").unwrap_or(next_devid);
            next_devid = next_devid.max(devid.saturating_add(1));
            schema::insert(nic, schema::NIC, "devid", devid.into());
            if !nic.contains_key("nictype") {
                schema::insert(nic, schema::NIC, "nictype", nictype.into());
            }
            if !nic.contains_key("mac") {
                let mac = MacAddress::random()?.to_string();
                schema::insert(nic, schema::NIC, "mac", mac.into());
            }
        }
        Ok(self)
    }

    /// libxl always says this one, so that the host a guest moves to need not guess.
    fn fill_msr_relaxed(&mut self) {
        let is_relaxed = if self.msr_relaxed() { "True" } else { "False" };
        if !self.build_info().get("arch_x86").is_some_and(Value::is_object) {
            self.put("b_info", schema::BUILD_INFO, "arch_x86", Map::new().into());
        }
        let build_info = self.document.get_mut("b_info").and_then(Value::as_object_mut);
        let arch = build_info.and_then(|info| info.get_mut("arch_x86"));
        if let Some(arch) = arch.and_then(Value::as_object_mut) {
            schema::insert(arch, schema::ARCH_X86, "msr_relaxed", is_relaxed.into());
        }
    }

    fn put(&mut self, part: &str, fields: &[Field], key: &str, value: Value) {
        if let Some(part) = self.document.get_mut(part).and_then(Value::as_object_mut) {
            schema::insert(part, fields, key, value);
        }
    }

    /// Keeps the items of a list that `is_kept`, given the item and its index. Without items there
    /// is no list, as libxl has it.
    fn retain(&mut self, list: &str, mut is_kept: impl FnMut(&Object, u32) -> bool) {
        let Some(Value::Array(items)) = self.document.get_mut(list) else { return };
        let mut index = 0;
        items.retain(|item| {
            index += 1;
            item.as_object().is_some_and(|item| is_kept(item, index - 1))
        });
        if items.is_empty() {
            self.document.shift_remove(list);
        }
    }
}

fn objects_mut<'a>(map: &'a mut Object, key: &str) -> impl Iterator<Item = &'a mut Object> {
    let items = map.get_mut(key).and_then(Value::as_array_mut);
    items.into_iter().flatten().filter_map(Value::as_object_mut)
}
