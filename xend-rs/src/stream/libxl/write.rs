//! Writing a libxl stream: the header, and one function per record. Each writes with one call of
//! [`Write::write_all`].

use std::io::{self, Write};

use super::{Emulator, Header, Record, RecordType, XenstorePair};

/// The header.
pub fn header(out: &mut impl Write, header: &Header) -> io::Result<()> {
    out.write_all(&header.encode())
}

/// LIBXC_CONTEXT; a libxc image must be written next.
pub fn libxc_context(out: &mut impl Write) -> io::Result<()> {
    encode(out, RecordType::LibxcContext, |_| {})
}

/// EMULATOR_XENSTORE_DATA.
pub fn emulator_xenstore_data(
    out: &mut impl Write,
    emulator: Emulator,
    pairs: &[XenstorePair],
) -> io::Result<()> {
    encode(out, RecordType::EmulatorXenstoreData, |body| {
        encode_emulator(emulator, body);
        for pair in pairs {
            body.extend_from_slice(pair.key.as_bytes());
            body.push(0);
            body.extend_from_slice(&pair.value);
            body.push(0);
        }
    })
}

/// EMULATOR_CONTEXT.
pub fn emulator_context(
    out: &mut impl Write,
    emulator: Emulator,
    context: &[u8],
) -> io::Result<()> {
    encode(out, RecordType::EmulatorContext, |body| {
        encode_emulator(emulator, body);
        body.extend_from_slice(context);
    })
}

/// CHECKPOINT_END.
pub fn checkpoint_end(out: &mut impl Write) -> io::Result<()> {
    encode(out, RecordType::CheckpointEnd, |_| {})
}

/// CHECKPOINT_STATE.
pub fn checkpoint_state(out: &mut impl Write, control_id: u32) -> io::Result<()> {
    encode(out, RecordType::CheckpointState, |body| {
        body.extend(control_id.to_le_bytes());
        body.extend([0; 4]);
    })
}

/// END.
pub fn end(out: &mut impl Write) -> io::Result<()> {
    encode(out, RecordType::End, |_| {})
}

/// Any record. LIBXC_CONTEXT needs a libxc image after it.
pub fn record(out: &mut impl Write, record: &Record) -> io::Result<()> {
    match record {
        Record::End => end(out),
        Record::LibxcContext => libxc_context(out),
        Record::EmulatorXenstoreData { emulator, pairs } => {
            emulator_xenstore_data(out, *emulator, pairs)
        }
        Record::EmulatorContext { emulator, context } => emulator_context(out, *emulator, context),
        Record::CheckpointEnd => checkpoint_end(out),
        Record::CheckpointState { control_id } => checkpoint_state(out, *control_id),
    }
}

fn encode_emulator(emulator: Emulator, body: &mut Vec<u8>) {
    body.extend(emulator.id.to_wire().to_le_bytes());
    body.extend(emulator.index.to_le_bytes());
}

fn encode(
    out: &mut impl Write,
    record_type: RecordType,
    encode_body: impl FnOnce(&mut Vec<u8>),
) -> io::Result<()> {
    crate::stream::bytes::write_record(
        out,
        record_type.to_wire(),
        record_type.name(),
        record_type.max_bytes(),
        encode_body,
    )
}
