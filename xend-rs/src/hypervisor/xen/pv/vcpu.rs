//! The machine frames in a PV vCPU's context, on their way to pfns.
//!
//! A context is kept as the bytes that travel, and not as a struct: the padding in it travels too.

use std::mem::offset_of;

use libxc_sys as sys;

use super::page_table;
use crate::hypervisor::types::{Mfn, Pfn};

type Layout = sys::vcpu_guest_context_x86_64_t;

/// Bytes in the context of a 64-bit PV vCPU.
pub const CONTEXT_BYTES: usize = size_of::<Layout>();

/// Descriptors in one frame of a GDT.
pub const GDT_ENTRIES_PER_FRAME: u64 = 512;

/// The general registers come in the order in which Xen pushes them, eight bytes each: r15 first,
/// rdx thirteenth.
const RDX: usize = offset_of!(Layout, user_regs) + 12 * size_of::<u64>();
const CR1: usize = offset_of!(Layout, ctrlreg) + size_of::<u64>();
const CR3: usize = offset_of!(Layout, ctrlreg) + 3 * size_of::<u64>();

/// A vCPU context whose frames do not hold together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContextError {
    /// A frame in it is not the guest's own.
    #[error("refers to {frame}, which is not the guest's, in {field}")]
    NotItsFrame {
        /// Which field.
        field: &'static str,
        /// The frame.
        frame: Mfn,
    },
    /// The GDT is longer than Xen allows.
    #[error("has a GDT of {entries} entries")]
    GdtTooLong {
        /// How long it says it is.
        entries: u64,
    },
}

/// A vCPU context as it travels, with its fields at hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context(Box<[u8; CONTEXT_BYTES]>);

impl Context {
    /// The context in `bytes`.
    pub fn new(bytes: Box<[u8; CONTEXT_BYTES]>) -> Self {
        Self(bytes)
    }

    /// The bytes of the context.
    pub fn into_bytes(self) -> Box<[u8; CONTEXT_BYTES]> {
        self.0
    }

    /// rdx: a suspended guest's first vCPU has the frame of its start info in it.
    pub fn rdx(&self) -> u64 {
        self.get(RDX)
    }

    /// Sets rdx.
    pub fn set_rdx(&mut self, value: u64) {
        self.set(RDX, value);
    }

    /// The page table of the guest's user mode in cr3 form, or 0.
    pub fn cr1(&self) -> u64 {
        self.get(CR1)
    }

    /// Sets the page table of the guest's user mode.
    pub fn set_cr1(&mut self, value: u64) {
        self.set(CR1, value);
    }

    /// The page table in cr3 form: the frame in bits 12 and up.
    pub fn cr3(&self) -> u64 {
        self.get(CR3)
    }

    /// Sets the page table.
    pub fn set_cr3(&mut self, value: u64) {
        self.set(CR3, value);
    }

    /// `VGCF_*`.
    pub fn flags(&self) -> u64 {
        self.get(offset_of!(Layout, flags))
    }

    /// Sets `VGCF_*`.
    pub fn set_flags(&mut self, value: u64) {
        self.set(offset_of!(Layout, flags), value);
    }

    /// How many frames the GDT takes.
    ///
    /// # Errors
    /// If it is longer than Xen allows.
    pub fn gdt_frame_count(&self) -> Result<usize, ContextError> {
        let entries = self.get(offset_of!(Layout, gdt_ents));
        if entries > u64::from(sys::FIRST_RESERVED_GDT_ENTRY) {
            return Err(ContextError::GdtTooLong { entries });
        }
        Ok(entries.div_ceil(GDT_ENTRIES_PER_FRAME) as usize)
    }

    /// A frame of the GDT.
    ///
    /// # Panics
    /// If `index` is not below 16.
    pub fn gdt_frame(&self, index: usize) -> u64 {
        self.get(Self::gdt_frame_at(index))
    }

    /// Sets a frame of the GDT.
    ///
    /// # Panics
    /// If `index` is not below 16.
    pub fn set_gdt_frame(&mut self, index: usize, frame: u64) {
        self.set(Self::gdt_frame_at(index), frame);
    }

    /// Turns the machine frames of a suspended vCPU into pfns. `pfn_of` gives the pfn of a frame
    /// that is the guest's own; `is_first` is for vCPU 0, which has the start info.
    pub fn normalise(
        &mut self,
        is_first: bool,
        mut pfn_of: impl FnMut(Mfn) -> Option<Pfn>,
    ) -> Result<(), ContextError> {
        let mut translate = |frame: u64, field| {
            let frame = Mfn(frame);
            pfn_of(frame).map(|pfn| pfn.0).ok_or(ContextError::NotItsFrame { field, frame })
        };
        if is_first {
            self.set_rdx(translate(self.rdx(), "rdx (start info)")?);
        }
        for index in 0..self.gdt_frame_count()? {
            self.set_gdt_frame(index, translate(self.gdt_frame(index), "the GDT")?);
        }
        self.set_cr3(translate(self.cr3() >> 12, "cr3")? << 12);
        if self.cr1() != 0 {
            // The stream's mark for "there is one" is the present bit.
            self.set_cr1(translate(self.cr1() >> 12, "cr1")? << 12 | page_table::PRESENT);
        }
        Ok(())
    }

    fn gdt_frame_at(index: usize) -> usize {
        assert!(index < 16, "a GDT has at most 16 frames");
        offset_of!(Layout, gdt_frames) + index * size_of::<u64>()
    }

    fn get(&self, offset: usize) -> u64 {
        let (word, _) =
            self.0[offset..].split_first_chunk().expect("fields are within the context");
        u64::from_le_bytes(*word)
    }

    fn set(&mut self, offset: usize, value: u64) {
        self.0[offset..][..size_of::<u64>()].copy_from_slice(&value.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(words: &[(usize, u64)]) -> Context {
        let mut context = Context::new(Box::new([0; CONTEXT_BYTES]));
        for &(offset, value) in words {
            context.set(offset, value);
        }
        context
    }

    fn pfn_of(mfn: Mfn) -> Option<Pfn> {
        (mfn.0 >= 0x1000).then(|| Pfn(mfn.0 - 0x1000))
    }

    /// The offsets that the stream's format fixes.
    #[test]
    fn fields_are_where_the_stream_has_them() {
        assert_eq!(CONTEXT_BYTES, 5168);
        assert_eq!((RDX, CR1, CR3), (616, 4992, 5008));
        assert_eq!(Context::gdt_frame_at(0), 4832);
        assert_eq!(offset_of!(Layout, gdt_ents), 4960);
        assert_eq!(offset_of!(Layout, flags), 512);
    }

    #[test]
    fn every_frame_becomes_a_pfn_and_nothing_else_changes() {
        let mut it = context(&[
            (512, 0x25),
            (616, 0x1005),
            (4832, 0x1006),
            (4840, 0x1007),
            (4848, 0xdead),
            (4960, 513),
            (4992, 0x1008 << 12),
            (5008, 0x1009 << 12),
            (5144, 0x7f),
        ]);
        assert_eq!(it.normalise(true, pfn_of), Ok(()));
        let expected = context(&[
            (512, 0x25),
            (616, 5),
            (4832, 6),
            (4840, 7),
            (4848, 0xdead),
            (4960, 513),
            (4992, 8 << 12 | 1),
            (5008, 9 << 12),
            (5144, 0x7f),
        ]);
        assert_eq!(it, expected);
    }

    #[test]
    fn only_the_first_vcpu_has_a_start_info_and_cr1_may_be_empty() {
        let mut it = context(&[(616, 0x42), (5008, 0x1009 << 12)]);
        assert_eq!(it.normalise(false, pfn_of), Ok(()));
        assert_eq!((it.rdx(), it.cr1(), it.cr3()), (0x42, 0, 9 << 12));
    }

    #[test]
    fn hostile_contexts_are_refused() {
        let bad_frame = |field, frame| Err(ContextError::NotItsFrame { field, frame: Mfn(frame) });
        let cases = [
            (context(&[(616, 7), (5008, 0x1009 << 12)]), bad_frame("rdx (start info)", 7)),
            (context(&[(616, 0x1000), (5008, 9 << 12)]), bad_frame("cr3", 9)),
            (context(&[(616, 0x1000), (5008, 0x1009 << 12), (4992, 1 << 12)]), bad_frame("cr1", 1)),
            (context(&[(616, 0x1000), (4960, 1)]), bad_frame("the GDT", 0)),
            (context(&[(616, 0x1000), (4960, !0)]), Err(ContextError::GdtTooLong { entries: !0 })),
            (
                context(&[(616, 0x1000), (4960, 14 * 512 + 1)]),
                Err(ContextError::GdtTooLong { entries: 7169 }),
            ),
        ];
        for (mut it, expected) in cases {
            assert_eq!(it.normalise(true, pfn_of), expected);
        }
    }
}
