//! Which record may come when: a state machine over record types, without a stream.
//!
//! ```text
//! PV:   X86_PV_INFO, policies, STATIC_DATA_END, X86_PV_P2M_FRAMES, PAGE_DATA.., vCPUs.., END
//! HVM:  policies, STATIC_DATA_END, PAGE_DATA.., HVM_CONTEXT and HVM_PARAMS, END
//! ```
//!
//! X86_TSC_INFO and SHARED_INFO may come anywhere, optional records too. Version 2 has neither
//! policies nor STATIC_DATA_END: the first record after the static ones implies it. HVM_PARAMS
//! should come before HVM_CONTEXT, but Xen sends them the other way round, so either is accepted.
//! Where PAGE_DATA may come XEND_ZERO_PAGES may, too, but not to be compared, after VERIFY.

use std::collections::BTreeSet;

use crate::stream::libxc::body::{VcpuKind, VcpuState};
use crate::stream::libxc::header::{GuestType, ImageVersion};
use crate::stream::libxc::record::{Record, RecordType};

/// A record that may not come here, or one that is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// A PV record in an HVM image, or the other way round.
    #[error("{record} does not belong into an image of an {} guest", guest.name())]
    WrongGuest {
        /// The record.
        record: RecordType,
        /// The kind of guest the domain header names.
        guest: GuestType,
    },
    /// A record of a later version of the format.
    #[error("{record} does not belong into an image of version {}", version.number())]
    WrongVersion {
        /// The record.
        record: RecordType,
        /// Version of the image.
        version: ImageVersion,
    },
    /// A record of a checkpointed stream, or one that no Xen sends.
    #[error("{record} does not belong into the stream of a migration or a save")]
    NotPlain {
        /// The record.
        record: RecordType,
    },
    /// A record before one it depends on.
    #[error("{record} before {needs}")]
    TooEarly {
        /// The record.
        record: RecordType,
        /// What must have come first.
        needs: RecordType,
    },
    /// A record after one that ends its part of the image.
    #[error("{record} after {after}")]
    TooLate {
        /// The record.
        record: RecordType,
        /// What may only come later.
        after: RecordType,
    },
    /// A second record where one is all there can be.
    #[error("a second {record}")]
    Duplicate {
        /// The record.
        record: RecordType,
    },
    /// A second record of one kind for one vCPU.
    #[error("a second {} for vCPU {vcpu}", RecordType::PvVcpu(*kind))]
    DuplicateVcpu {
        /// The kind.
        kind: VcpuKind,
        /// The vCPU.
        vcpu: u32,
    },
    /// Extra state of a vCPU that has no basic state.
    #[error("vCPU {vcpu} has no {}", RecordType::PvVcpu(VcpuKind::Basic))]
    NoBasicState {
        /// The vCPU.
        vcpu: u32,
    },
    /// END without a record the guest cannot be without.
    #[error("END without {missing}")]
    Missing {
        /// What is not there.
        missing: RecordType,
    },
}

/// How far an image has come.
#[derive(Clone, Debug)]
pub struct Order {
    version: ImageVersion,
    guest: GuestType,
    /// Wire numbers of the types seen: Xen's are fewer than 31, and the last bit is for ours.
    seen: u32,
    static_data_ended: bool,
    vcpus: BTreeSet<(u32, VcpuKind)>,
}

impl Order {
    /// The state after the two headers.
    pub fn new(version: ImageVersion, guest: GuestType) -> Order {
        Order { version, guest, seen: 0, static_data_ended: false, vcpus: BTreeSet::new() }
    }

    /// Whether all that does not change while the guest runs has arrived, so that CPU policies
    /// can be applied. In version 2 this turns true with the record that implies it.
    pub fn static_data_ended(&self) -> bool {
        self.static_data_ended
    }

    /// Whether a record of this type has come.
    pub fn has_seen(&self, record: RecordType) -> bool {
        self.seen & bit(record) != 0
    }

    /// Takes the next record by its type, before its body is read.
    pub fn accept(&mut self, record: RecordType) -> Result<(), OrderError> {
        self.check_belongs(record)?;
        match record {
            RecordType::Optional(_) => return Ok(()),
            RecordType::PvInfo | RecordType::CpuidPolicy | RecordType::MsrPolicy => {
                self.check_not_after(record, self.static_data_ended, RecordType::StaticDataEnd)?;
            }
            RecordType::StaticDataEnd => self.end_static_data(record)?,
            RecordType::PvP2mFrames | RecordType::HvmContext | RecordType::HvmParams => {
                self.need_static_data(record)?;
            }
            RecordType::PageData => self.check_pages(record)?,
            RecordType::ZeroPages => {
                self.check_pages(record)?;
                let verify = RecordType::Verify;
                self.check_not_after(record, self.has_seen(verify), verify)?;
            }
            RecordType::PvVcpu(_) => self.need(record, RecordType::PvP2mFrames)?,
            RecordType::SharedInfo => self.need(record, RecordType::PvInfo)?,
            RecordType::Verify if self.has_seen(RecordType::ZeroPages) => {}
            RecordType::Verify => self.need(record, RecordType::PageData)?,
            RecordType::End => self.check_complete()?,
            RecordType::TscInfo
            | RecordType::Toolstack
            | RecordType::Checkpoint
            | RecordType::CheckpointDirtyPfnList => {}
        }
        let may_repeat =
            matches!(record, RecordType::PageData | RecordType::ZeroPages | RecordType::PvVcpu(_));
        if self.has_seen(record) && !may_repeat {
            return Err(OrderError::Duplicate { record });
        }
        self.seen |= bit(record);
        Ok(())
    }

    /// Takes what only the body tells, once [`Order::accept`] took the type.
    pub fn accept_body(&mut self, record: &Record) -> Result<(), OrderError> {
        let Record::PvVcpu(VcpuState { kind, vcpu, state }) = record else { return Ok(()) };
        if !state.is_empty() && !self.vcpus.insert((*vcpu, *kind)) {
            return Err(OrderError::DuplicateVcpu { kind: *kind, vcpu: *vcpu });
        }
        Ok(())
    }

    fn check_belongs(&self, record: RecordType) -> Result<(), OrderError> {
        let guest = match record {
            RecordType::PvInfo
            | RecordType::PvP2mFrames
            | RecordType::PvVcpu(_)
            | RecordType::SharedInfo => GuestType::X86Pv,
            RecordType::HvmContext | RecordType::HvmParams => GuestType::X86Hvm,
            RecordType::StaticDataEnd
            | RecordType::CpuidPolicy
            | RecordType::MsrPolicy
            | RecordType::ZeroPages
                if self.version < ImageVersion::V3 =>
            {
                return Err(OrderError::WrongVersion { record, version: self.version });
            }
            RecordType::Toolstack | RecordType::Checkpoint | RecordType::CheckpointDirtyPfnList => {
                return Err(OrderError::NotPlain { record });
            }
            _ => self.guest,
        };
        if guest == self.guest {
            return Ok(());
        }
        Err(OrderError::WrongGuest { record, guest: self.guest })
    }

    fn end_static_data(&mut self, record: RecordType) -> Result<(), OrderError> {
        if self.guest == GuestType::X86Pv {
            self.need(record, RecordType::PvInfo)?;
        }
        self.static_data_ended = true;
        Ok(())
    }

    fn need_static_data(&mut self, record: RecordType) -> Result<(), OrderError> {
        if self.static_data_ended {
            return Ok(());
        }
        if self.version >= ImageVersion::V3 {
            return Err(OrderError::TooEarly { record, needs: RecordType::StaticDataEnd });
        }
        self.end_static_data(record)
    }

    fn check_pages(&mut self, record: RecordType) -> Result<(), OrderError> {
        self.need_static_data(record)?;
        if self.guest == GuestType::X86Pv {
            self.need(record, RecordType::PvP2mFrames)?;
        }
        // Memory must be complete before state that refers to it. HVM_PARAMS count as that: some
        // name pages which a restore clears.
        let last = [
            RecordType::PvVcpu(VcpuKind::Basic),
            RecordType::PvVcpu(VcpuKind::Extended),
            RecordType::PvVcpu(VcpuKind::Xsave),
            RecordType::PvVcpu(VcpuKind::Msrs),
            RecordType::HvmContext,
            RecordType::HvmParams,
        ];
        last.into_iter().try_for_each(|t| self.check_not_after(record, self.has_seen(t), t))
    }

    fn check_complete(&self) -> Result<(), OrderError> {
        let needed: &[RecordType] = match self.guest {
            GuestType::X86Pv => &[
                RecordType::PvInfo,
                RecordType::PvP2mFrames,
                RecordType::PageData,
                RecordType::SharedInfo,
                RecordType::PvVcpu(VcpuKind::Basic),
            ],
            GuestType::X86Hvm => {
                &[RecordType::PageData, RecordType::HvmContext, RecordType::HvmParams]
            }
        };
        // A guest may have no page that is not zero.
        let is_there = |t: RecordType| {
            let instead = t == RecordType::PageData && self.has_seen(RecordType::ZeroPages);
            self.has_seen(t) || instead
        };
        if let Some(missing) = needed.iter().copied().find(|t| !is_there(*t)) {
            return Err(OrderError::Missing { missing });
        }
        if self.guest == GuestType::X86Pv {
            let vcpus = [0].into_iter().chain(self.vcpus.iter().map(|(vcpu, _)| *vcpu));
            let has_basic = |vcpu: &u32| self.vcpus.contains(&(*vcpu, VcpuKind::Basic));
            if let Some(vcpu) = vcpus.into_iter().find(|v| !has_basic(v)) {
                return Err(OrderError::NoBasicState { vcpu });
            }
        }
        Ok(())
    }

    fn need(&self, record: RecordType, needs: RecordType) -> Result<(), OrderError> {
        if self.has_seen(needs) { Ok(()) } else { Err(OrderError::TooEarly { record, needs }) }
    }

    fn check_not_after(
        &self,
        record: RecordType,
        is_after: bool,
        after: RecordType,
    ) -> Result<(), OrderError> {
        if is_after && record != after && !self.is_repeated_static(record) {
            return Err(OrderError::TooLate { record, after });
        }
        Ok(())
    }

    /// A second static record is told of as the repetition it is.
    fn is_repeated_static(&self, record: RecordType) -> bool {
        !matches!(record, RecordType::PageData | RecordType::ZeroPages) && self.has_seen(record)
    }
}

fn bit(record: RecordType) -> u32 {
    match record {
        RecordType::Optional(_) => 0,
        RecordType::ZeroPages => 1 << 31,
        known => 1 << known.to_wire(),
    }
}

#[cfg(test)]
#[path = "order_tests.rs"]
mod tests;
