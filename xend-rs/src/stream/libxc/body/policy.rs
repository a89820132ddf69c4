//! X86_CPUID_POLICY and X86_MSR_POLICY: the CPU the guest was promised.

use super::entry_count;
use crate::stream::bytes::Fields;
use crate::stream::error::{Fault, StreamErrorKind};
use crate::stream::libxc::record::RecordType;

/// One CPUID leaf, `xen_cpuid_leaf_t`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuidLeaf {
    /// EAX of the query.
    pub leaf: u32,
    /// ECX of the query; [`CpuidLeaf::NO_SUBLEAF`] where the leaf has none.
    pub subleaf: u32,
    /// The answer: EAX, EBX, ECX, EDX.
    pub registers: [u32; 4],
}

impl CpuidLeaf {
    /// In [`CpuidLeaf::subleaf`]: this leaf has no subleaves.
    pub const NO_SUBLEAF: u32 = u32::MAX;
    /// Length of one entry.
    pub const BYTES: usize = 24;

    pub(crate) fn decode_all(fields: &mut Fields<'_>) -> Result<Vec<CpuidLeaf>, Fault> {
        let count = entry_count(RecordType::CpuidPolicy, fields.left(), CpuidLeaf::BYTES)?;
        (0..count)
            .map(|_| {
                let (leaf, subleaf) = (fields.u32()?, fields.u32()?);
                let registers = [fields.u32()?, fields.u32()?, fields.u32()?, fields.u32()?];
                Ok(CpuidLeaf { leaf, subleaf, registers })
            })
            .collect()
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.extend(self.leaf.to_le_bytes());
        out.extend(self.subleaf.to_le_bytes());
        out.extend(self.registers.iter().flat_map(|r| r.to_le_bytes()));
    }
}

/// One model-specific register, `xen_msr_entry_t`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MsrEntry {
    /// Number of the register.
    pub index: u32,
    /// Its value.
    pub value: u64,
}

impl MsrEntry {
    /// Length of one entry.
    pub const BYTES: usize = 16;

    pub(crate) fn decode_all(fields: &mut Fields<'_>) -> Result<Vec<MsrEntry>, Fault> {
        let count = entry_count(RecordType::MsrPolicy, fields.left(), MsrEntry::BYTES)?;
        (0..count)
            .map(|_| {
                let index = fields.u32()?;
                let flags = fields.u32()?;
                if flags != 0 {
                    // Not a reserved field: Xen refuses an entry with flags it does not know.
                    let kind = StreamErrorKind::BadField {
                        what: "X86_MSR_POLICY entry flags",
                        found: u64::from(flags),
                    };
                    return Err(fields.fault_before(4, kind));
                }
                Ok(MsrEntry { index, value: fields.u64()? })
            })
            .collect()
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.extend(self.index.to_le_bytes());
        out.extend([0; 4]);
        out.extend(self.value.to_le_bytes());
    }
}
