//! Records of the libxl layer: types and contents.

use std::fmt;

use crate::stream::bytes::Fields;
use crate::stream::error::{Expected, Fault, StreamErrorKind};

/// Type of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RecordType {
    /// Last record of a stream.
    End,
    /// A libxc image follows.
    LibxcContext,
    /// Xenstore nodes of a device model.
    EmulatorXenstoreData,
    /// State of a device model.
    EmulatorContext,
    /// End of one state of a checkpointed stream.
    CheckpointEnd,
    /// Control message of COLO.
    CheckpointState,
}

impl RecordType {
    /// Every type there is, in the order of their numbers.
    pub const ALL: [RecordType; 6] = [
        RecordType::End,
        RecordType::LibxcContext,
        RecordType::EmulatorXenstoreData,
        RecordType::EmulatorContext,
        RecordType::CheckpointEnd,
        RecordType::CheckpointState,
    ];

    /// The type with this number.
    pub fn from_wire(number: u32) -> Option<RecordType> {
        RecordType::ALL.get(number as usize).copied()
    }

    /// The number.
    pub fn to_wire(self) -> u32 {
        match self {
            RecordType::End => 0,
            RecordType::LibxcContext => 1,
            RecordType::EmulatorXenstoreData => 2,
            RecordType::EmulatorContext => 3,
            RecordType::CheckpointEnd => 4,
            RecordType::CheckpointState => 5,
        }
    }

    /// The name Xen's format description uses.
    pub fn name(self) -> &'static str {
        match self {
            RecordType::End => "END",
            RecordType::LibxcContext => "LIBXC_CONTEXT",
            RecordType::EmulatorXenstoreData => "EMULATOR_XENSTORE_DATA",
            RecordType::EmulatorContext => "EMULATOR_CONTEXT",
            RecordType::CheckpointEnd => "CHECKPOINT_END",
            RecordType::CheckpointState => "CHECKPOINT_STATE",
        }
    }

    /// The longest body that is accepted.
    pub fn max_bytes(self) -> u32 {
        match self {
            RecordType::End | RecordType::LibxcContext | RecordType::CheckpointEnd => 0,
            RecordType::EmulatorXenstoreData => 1 << 20,
            // QEMU's device state without RAM: well under 1 MiB, but it is QEMU's to say.
            RecordType::EmulatorContext => 64 << 20,
            RecordType::CheckpointState => 8,
        }
    }
}

impl fmt::Display for RecordType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where a record is and what its header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHead {
    /// Position in the stream, from 0.
    pub index: u64,
    /// Offset of the record header.
    pub offset: u64,
    /// Type.
    pub record_type: RecordType,
    /// Length of the body without padding.
    pub body_bytes: u32,
}

/// Which program emulates devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmulatorId {
    /// Not known: the stream was converted.
    Unknown,
    /// Xen's own old QEMU.
    QemuTraditional,
    /// QEMU.
    QemuUpstream,
}

impl EmulatorId {
    /// The number.
    pub fn to_wire(self) -> u32 {
        match self {
            EmulatorId::Unknown => 0,
            EmulatorId::QemuTraditional => 1,
            EmulatorId::QemuUpstream => 2,
        }
    }

    fn from_wire(number: u32) -> Option<EmulatorId> {
        [EmulatorId::Unknown, EmulatorId::QemuTraditional, EmulatorId::QemuUpstream]
            .into_iter()
            .find(|id| id.to_wire() == number)
    }

    /// As people write it.
    pub fn name(self) -> &'static str {
        match self {
            EmulatorId::Unknown => "unknown emulator",
            EmulatorId::QemuTraditional => "qemu-traditional",
            EmulatorId::QemuUpstream => "qemu",
        }
    }
}

/// One emulator of a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Emulator {
    /// Which program.
    pub id: EmulatorId,
    /// Which of the domain's emulators; 0 for the only one.
    pub index: u32,
}

/// A xenstore node below the device model's own directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct XenstorePair {
    /// Relative path: letters, digits and `-/_@`, not starting with a slash.
    pub key: String,
    /// Value; anything without a NUL.
    pub value: Vec<u8>,
}

/// A record, decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Record {
    /// END.
    End,
    /// LIBXC_CONTEXT: the stream continues with a libxc image.
    LibxcContext,
    /// EMULATOR_XENSTORE_DATA.
    EmulatorXenstoreData {
        /// Whose nodes.
        emulator: Emulator,
        /// The nodes.
        pairs: Vec<XenstorePair>,
    },
    /// EMULATOR_CONTEXT.
    EmulatorContext {
        /// Whose state.
        emulator: Emulator,
        /// The state, in the emulator's own format.
        context: Vec<u8>,
    },
    /// CHECKPOINT_END.
    CheckpointEnd,
    /// CHECKPOINT_STATE.
    CheckpointState {
        /// The message.
        control_id: u32,
    },
}

impl Record {
    /// Its type.
    pub fn record_type(&self) -> RecordType {
        match self {
            Record::End => RecordType::End,
            Record::LibxcContext => RecordType::LibxcContext,
            Record::EmulatorXenstoreData { .. } => RecordType::EmulatorXenstoreData,
            Record::EmulatorContext { .. } => RecordType::EmulatorContext,
            Record::CheckpointEnd => RecordType::CheckpointEnd,
            Record::CheckpointState { .. } => RecordType::CheckpointState,
        }
    }

    pub(crate) fn decode(
        record_type: RecordType,
        bytes: &[u8],
        zero_fill: bool,
    ) -> Result<Record, Fault> {
        let mut fields = Fields::new(record_type.name(), bytes, zero_fill);
        let record = match record_type {
            RecordType::End => Record::End,
            RecordType::LibxcContext => Record::LibxcContext,
            RecordType::CheckpointEnd => Record::CheckpointEnd,
            RecordType::EmulatorXenstoreData => {
                let emulator = Emulator::decode(&mut fields)?;
                let at = fields.at();
                let pairs =
                    decode_pairs(fields.rest()).map_err(|f| Fault::at(at + f.at, f.kind))?;
                Record::EmulatorXenstoreData { emulator, pairs }
            }
            RecordType::EmulatorContext => {
                let emulator = Emulator::decode(&mut fields)?;
                Record::EmulatorContext { emulator, context: fields.rest().to_vec() }
            }
            RecordType::CheckpointState => {
                let control_id = fields.u32()?;
                fields.reserved::<4>("CHECKPOINT_STATE padding")?;
                Record::CheckpointState { control_id }
            }
        };
        fields.end()?;
        Ok(record)
    }
}

impl Emulator {
    fn decode(fields: &mut Fields<'_>) -> Result<Emulator, Fault> {
        let number = fields.u32()?;
        let id = EmulatorId::from_wire(number).ok_or_else(|| {
            let kind = StreamErrorKind::BadField { what: "emulator id", found: u64::from(number) };
            fields.fault_before(4, kind)
        })?;
        Ok(Emulator { id, index: fields.u32()? })
    }
}

/// `key NUL value NUL` as often as it takes.
fn decode_pairs(bytes: &[u8]) -> Result<Vec<XenstorePair>, Fault> {
    let mut pairs = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let key = string_at(bytes, at)?;
        let value = string_at(bytes, at + key.len() + 1)?;
        check_key(key, at)?;
        let key = String::from_utf8_lossy(key).into_owned();
        at += key.len() + value.len() + 2;
        pairs.push(XenstorePair { key, value: value.to_vec() });
    }
    Ok(pairs)
}

fn string_at(bytes: &[u8], at: usize) -> Result<&[u8], Fault> {
    let rest = &bytes[at..];
    let length = rest.iter().position(|b| *b == 0).ok_or_else(|| {
        let kind = StreamErrorKind::BadLength {
            what: "xenstore keys and values",
            found: bytes.len() as u64,
            expected: Expected::AtLeast(bytes.len() as u64 + 1),
        };
        Fault::at(at, kind)
    })?;
    Ok(&rest[..length])
}

/// The key becomes a path on the destination, so it must stay below where it is put.
fn check_key(key: &[u8], at: usize) -> Result<(), Fault> {
    let is_good = |b: &u8| b.is_ascii_alphanumeric() || b"-/_@".contains(b);
    let bad = match key.first() {
        None => Some((0, 0)),
        Some(b'/') => Some((0, b'/')),
        Some(_) => key.iter().position(|b| !is_good(b)).map(|i| (i, key[i])),
    };
    let Some((i, byte)) = bad else { return Ok(()) };
    let kind = StreamErrorKind::BadField { what: "xenstore key character", found: u64::from(byte) };
    Err(Fault::at(at + i, kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_types_are_a_bijection() {
        for (number, t) in RecordType::ALL.into_iter().enumerate() {
            assert_eq!(t.to_wire(), number as u32);
            assert_eq!(RecordType::from_wire(number as u32), Some(t));
        }
        assert_eq!(RecordType::from_wire(6), None);
        assert_eq!(RecordType::from_wire(0x8000_0000), None);
    }

    fn pairs(bytes: &[u8]) -> Result<Vec<(String, Vec<u8>)>, usize> {
        let pairs = decode_pairs(bytes).map_err(|f| f.at)?;
        Ok(pairs.into_iter().map(|p| (p.key, p.value)).collect())
    }

    #[test]
    fn xenstore_pairs_are_taken_apart_and_checked() {
        assert_eq!(pairs(b""), Ok(vec![]));
        let two = pairs(b"physmap/f0/size\x0010\0a\0\0");
        assert_eq!(two, Ok(vec![("physmap/f0/size".into(), b"10".into()), ("a".into(), vec![])]));
        assert_eq!(pairs(b"a\0b"), Err(2), "value without an end");
        assert_eq!(pairs(b"a\0"), Err(2), "key without a value");
        assert_eq!(pairs(b"\0b\0"), Err(0), "no key");
        assert_eq!(pairs(b"/a\0b\0"), Err(0), "absolute path");
        assert_eq!(pairs(b"a\0b\0a..b\0c\0"), Err(5), "a dot");
        assert_eq!(pairs(b"a\xff\0b\0"), Err(1), "not ASCII");
    }
}
