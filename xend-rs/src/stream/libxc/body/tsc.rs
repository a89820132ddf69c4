//! X86_TSC_INFO.

use crate::stream::bytes::Fields;
use crate::stream::error::Fault;

/// How the guest sees the time stamp counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TscInfo {
    /// `TSC_MODE_*`.
    pub mode: u32,
    /// Frequency the guest was told, in kHz.
    pub khz: u32,
    /// Guest time since boot, in nanoseconds.
    pub elapsed_ns: u64,
    /// How often the guest has moved.
    pub incarnation: u32,
}

impl TscInfo {
    pub(crate) fn decode(fields: &mut Fields<'_>) -> Result<TscInfo, Fault> {
        let info = TscInfo {
            mode: fields.u32()?,
            khz: fields.u32()?,
            elapsed_ns: fields.u64()?,
            incarnation: fields.u32()?,
        };
        fields.reserved::<4>("X86_TSC_INFO reserved field")?;
        Ok(info)
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.extend(self.mode.to_le_bytes());
        out.extend(self.khz.to_le_bytes());
        out.extend(self.elapsed_ns.to_le_bytes());
        out.extend(self.incarnation.to_le_bytes());
        out.extend([0; 4]);
    }
}
