//! HVM_PARAMS.

use super::wrong_length;
use crate::stream::bytes::Fields;
use crate::stream::error::{Expected, Fault};
use crate::stream::libxc::record::RecordType;

/// One parameter of an HVM guest, as `HVMOP_set_param` takes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HvmParam {
    /// `HVM_PARAM_*`.
    pub index: u64,
    /// Its value.
    pub value: u64,
}

impl HvmParam {
    /// Length of one entry.
    pub const BYTES: usize = 16;
    const HEADER_BYTES: usize = 8;

    /// An empty list is legal: old senders wrote it.
    pub(crate) fn decode_all(fields: &mut Fields<'_>) -> Result<Vec<HvmParam>, Fault> {
        let count = fields.u32()? as usize;
        fields.reserved::<4>("HVM_PARAMS reserved field")?;
        let (found, wanted) = (fields.left() as u64, count as u64 * HvmParam::BYTES as u64);
        if found != wanted {
            let header = HvmParam::HEADER_BYTES as u64;
            let expected = Expected::Exactly(wanted + header);
            return Err(wrong_length(RecordType::HvmParams, (found + header) as usize, expected));
        }
        (0..count).map(|_| Ok(HvmParam { index: fields.u64()?, value: fields.u64()? })).collect()
    }

    pub(crate) fn encode_all(params: &[HvmParam], out: &mut Vec<u8>) {
        out.extend((params.len() as u32).to_le_bytes());
        out.extend([0; 4]);
        for param in params {
            out.extend(param.index.to_le_bytes());
            out.extend(param.value.to_le_bytes());
        }
    }
}
