//! The ACPI tables of a PVH guest: where it learns of its processors.
//!
//! What libxl gives such a guest, without what nobody reads there: tables of ACPI 1.0, and
//! processor objects for hotplug, which goes through xenstore. The fixed table is libxl's, byte for
//! byte but for addresses.

mod table;

use self::table::Table;
use crate::hypervisor::xen::host::build::{ACPI_BASE, Blob, KernelTraits};

/// The root pointer's place where a kernel looks for it that knows no better: the end of the BIOS.
const BIOS_ROOT_POINTER: u64 = 0x10_0000 - 64;
/// libxl keeps so many bytes for the root pointer.
const ROOT_POINTER_BYTES: usize = 64;
const PAGE_BYTES: usize = 4096;
const LAPIC_BASE: u32 = 0xfee0_0000;

const PM1A_EVENT_PORT: u32 = 0xb000;
const PM1A_CONTROL_PORT: u32 = 0xb004;
const GPE0_PORT: u32 = 0xafe0;
const RESET_PORT: u64 = 0xcf9;

/// The tables for a guest with these virtual processors.
pub(super) fn tables(max_vcpus: u32, online: &[u32], kernel: KernelTraits) -> Vec<Blob> {
    let mut memory = Memory { base: ACPI_BASE, bytes: Vec::new() };
    let facs = memory.place(&firmware_control(), 64);
    let dsdt = memory.place(&Table::new(b"DSDT", 5).finish(), 16);
    let fadt = memory.place(&fixed_description(facs, dsdt), 16);
    let madt = memory.place(&processors(max_vcpus, online), 16);
    let mut xsdt = Table::new(b"XSDT", 1);
    xsdt.u64(fadt).u64(madt);
    let xsdt = memory.place(&xsdt.finish(), 16);

    memory.bytes.resize(memory.bytes.len().next_multiple_of(PAGE_BYTES), 0);
    let after = memory.base + memory.bytes.len() as u64;
    let address = if kernel.finds_root_pointer_anywhere { after } else { BIOS_ROOT_POINTER };
    vec![
        Blob { address, bytes: root_pointer(xsdt) },
        Blob { address: memory.base, bytes: memory.bytes },
    ]
}

/// Guest memory that tables are laid out in.
struct Memory {
    base: u64,
    bytes: Vec<u8>,
}

impl Memory {
    /// Where the table is now.
    fn place(&mut self, table: &[u8], align: usize) -> u64 {
        self.bytes.resize(self.bytes.len().next_multiple_of(align), 0);
        let address = self.base + self.bytes.len() as u64;
        self.bytes.extend_from_slice(table);
        address
    }
}

fn root_pointer(xsdt: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(ROOT_POINTER_BYTES);
    bytes.extend_from_slice(b"RSD PTR \0Xen\0\0\0\x02");
    bytes.extend_from_slice(&0u32.to_le_bytes());
    bytes.extend_from_slice(&36u32.to_le_bytes());
    bytes.extend_from_slice(&xsdt.to_le_bytes());
    bytes.resize(36, 0);
    bytes[8] = table::checksum(&bytes[..20]);
    bytes[32] = table::checksum(&bytes);
    bytes.resize(ROOT_POINTER_BYTES, 0);
    bytes
}

fn firmware_control() -> Vec<u8> {
    let mut bytes = Vec::from(b"FACS");
    bytes.extend_from_slice(&64u32.to_le_bytes());
    bytes.resize(32, 0);
    bytes.push(1);
    bytes.resize(64, 0);
    bytes
}

fn fixed_description(facs: u64, dsdt: u64) -> Vec<u8> {
    const SYSTEM_INTERRUPT: u16 = 9;
    /// No deeper sleep than C1.
    const NO_SUCH_STATE: u16 = 0x0fff;
    /// No VGA (bit 2), no real-time clock (bit 5).
    const BOOT_ARCHITECTURE: u16 = 1 << 2 | 1 << 5;
    /// WBINVD, C1, no power button, no sleep button, RTC wake, 32-bit timer, platform clock.
    const FLAGS: u32 = 1 | 1 << 2 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 8 | 1 << 15;
    const RESET_VALUE: u8 = 6;
    let low = |address: u64| address as u32;
    let mut table = Table::new(b"FACP", 5);
    table.u32(low(facs)).u32(low(dsdt)).u8(0).u8(0).u16(SYSTEM_INTERRUPT).u32(0).zeros(4);
    table.u32(PM1A_EVENT_PORT).u32(0).u32(PM1A_CONTROL_PORT).u32(0).u32(0).u32(0);
    table.u32(GPE0_PORT).u32(0);
    // Lengths of those blocks in bytes; the timer has none.
    table.u8(4).u8(2).u8(0).u8(0).u8(4).u8(0).u8(0).u8(0);
    table.u16(NO_SUCH_STATE).u16(NO_SUCH_STATE).u16(0).u16(0).zeros(5);
    table.u16(BOOT_ARCHITECTURE).u8(0).u32(FLAGS);
    table.port(8, RESET_PORT).u8(RESET_VALUE).zeros(3);
    table.u64(facs).u64(dsdt);
    table.port(32, PM1A_EVENT_PORT.into()).zeros(12);
    table.port(16, PM1A_CONTROL_PORT.into()).zeros(12);
    // Control 2, timer, both general events, sleep control and status: none.
    table.zeros(6 * 12);
    table.finish()
}

fn processors(max_vcpus: u32, online: &[u32]) -> Vec<u8> {
    const PC_COMPATIBLE: u32 = 1;
    const LOCAL_APIC: u8 = 0;
    const LOCAL_APIC_BYTES: u8 = 8;
    let mut table = Table::new(b"APIC", 2);
    table.u32(LAPIC_BASE).u32(PC_COMPATIBLE);
    for vcpu in 0..max_vcpus {
        // Xen numbers the controllers by twos.
        let (processor, apic) = (vcpu as u8, (vcpu * 2) as u8);
        let enabled = u32::from(online.contains(&vcpu));
        table.u8(LOCAL_APIC).u8(LOCAL_APIC_BYTES).u8(processor).u8(apic).u32(enabled);
    }
    table.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(blobs: &[Blob], address: u64) -> &[u8] {
        let blob = blobs
            .iter()
            .find(|blob| (blob.address..blob.address + blob.bytes.len() as u64).contains(&address))
            .unwrap();
        &blob.bytes[(address - blob.address) as usize..]
    }

    fn u32_at(bytes: &[u8], offset: usize) -> u32 {
        u32::from_le_bytes(bytes[offset..offset + 4].try_into().unwrap())
    }

    fn u64_at(bytes: &[u8], offset: usize) -> u64 {
        u64::from_le_bytes(bytes[offset..offset + 8].try_into().unwrap())
    }

    fn sound<'a>(bytes: &'a [u8], signature: &[u8]) -> &'a [u8] {
        assert_eq!(&bytes[..4], signature);
        let table = &bytes[..u32_at(bytes, 4) as usize];
        assert_eq!(table.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)), 0);
        table
    }

    const OLD: KernelTraits = KernelTraits { finds_root_pointer_anywhere: false };

    #[test]
    fn a_guest_can_walk_from_the_root_to_its_processors() {
        let blobs = tables(3, &[0, 2], OLD);
        let root = at(&blobs, BIOS_ROOT_POINTER);
        assert_eq!(&root[..8], b"RSD PTR ");
        for bytes in [&root[..20], &root[..36]] {
            assert_eq!(bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)), 0);
        }
        let xsdt = sound(at(&blobs, u64_at(root, 24)), b"XSDT");
        assert_eq!(xsdt.len(), 36 + 16);
        let fadt = sound(at(&blobs, u64_at(xsdt, 36)), b"FACP");
        assert_eq!((fadt.len(), fadt[8]), (268, 5));
        assert_eq!(u64_at(fadt, 140), u64::from(u32_at(fadt, 40)));
        sound(at(&blobs, u64_at(fadt, 140)), b"DSDT");
        assert_eq!(&at(&blobs, u64_at(fadt, 132))[..4], b"FACS");
        assert_eq!(u64_at(fadt, 132) % 64, 0);
        let madt = sound(at(&blobs, u64_at(xsdt, 44)), b"APIC");
        assert_eq!(
            &madt[44..],
            [0, 8, 0, 0, 1, 0, 0, 0, 0, 8, 1, 2, 0, 0, 0, 0, 0, 8, 2, 4, 1, 0, 0, 0]
        );
    }

    #[test]
    fn the_root_pointer_moves_out_of_the_bios_where_it_is_found_anywhere() {
        let blobs = tables(1, &[0], KernelTraits { finds_root_pointer_anywhere: true });
        assert_eq!(blobs[0].address, ACPI_BASE + PAGE_BYTES as u64);
        assert_eq!(blobs[1].bytes.len(), PAGE_BYTES);
    }
}
