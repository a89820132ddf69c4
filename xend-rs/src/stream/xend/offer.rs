//! The sender's first word: who it is, what it wants, what the guest needs.

use super::text::check;
use super::{Token, Versions, decode_versions};
use crate::stream::bytes::Fields;
use crate::stream::error::{Fault, StreamErrorKind};
use crate::stream::libxc::{CpuidLeaf, MsrEntry};

/// What an offer starts with, behind the configuration in xl's header.
pub const OFFER_MAGIC: [u8; 8] = *b"XENDoffr";

/// Several times what any Xen serialises of a CPU policy.
const MAX_POLICY_ENTRIES: usize = 4096;

/// What the sender wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Request {
    /// To move the guest.
    #[default]
    Migrate,
    /// To know whether it could be moved.
    Check,
    /// To know who owns the guest of an earlier attempt, the one with this token.
    Settle,
}

impl Request {
    const ALL: [Self; 3] = [Self::Migrate, Self::Check, Self::Settle];

    fn to_wire(self) -> u32 {
        match self {
            Self::Migrate => 0,
            Self::Check => 1,
            Self::Settle => 2,
        }
    }
}

/// What the destination must have for the guest, beyond what its configuration says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GuestNeeds {
    /// Pages that it has.
    pub total_pages: u64,
    /// Pages that it may have.
    pub max_pages: u64,
    /// Xen's memory for its paging, in KiB.
    pub paging_kib: u64,
    /// How it sees the time stamp counter: Xen's `TSC_MODE_*`.
    pub tsc_mode: u32,
    /// The frequency of that counter.
    pub tsc_khz: u32,
    /// The source's Xen: major, minor.
    pub xen: (u32, u32),
    /// Its CPU policy: CPUID leaves.
    pub cpuid: Vec<CpuidLeaf>,
    /// Its CPU policy: MSRs.
    pub msrs: Vec<MsrEntry>,
}

/// What a xend sends behind the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Versions of the extended conversation that the sender understands.
    pub versions: Versions,
    /// What it wants.
    pub request: Request,
    /// The attempt that this is about.
    pub token: Token,
    /// What else it understands, a bit each: [`CAPABILITIES`](super::CAPABILITIES).
    pub capabilities: u64,
    /// What the guest needs. All zero with [`Request::Settle`].
    pub needs: GuestNeeds,
}

impl Offer {
    /// The bytes, with magic and length.
    pub fn encode(&self) -> Vec<u8> {
        let mut body = Vec::new();
        body.extend(self.versions.start().to_le_bytes());
        body.extend(self.versions.end().to_le_bytes());
        body.extend(self.request.to_wire().to_le_bytes());
        body.extend(self.token.bytes());
        body.extend(self.capabilities.to_le_bytes());
        self.needs.encode(&mut body);
        let mut out = OFFER_MAGIC.to_vec();
        out.extend((body.len() as u32).to_le_bytes());
        out.extend(body);
        out
    }

    /// Looks for an offer in what follows the configuration in xl's header. `None` where there is
    /// something else, or nothing.
    ///
    /// # Errors
    /// If it starts like an offer and is none.
    pub(crate) fn decode(beyond: &[u8]) -> Result<Option<Offer>, Fault> {
        let Some(rest) = beyond.strip_prefix(&OFFER_MAGIC) else { return Ok(None) };
        let head = OFFER_MAGIC.len() + 4;
        let mut fields = Fields::new("the peer's offer", rest, false);
        let length = fields.u32().map_err(|f| Fault::at(OFFER_MAGIC.len() + f.at, f.kind))?;
        // What is longer than said is somebody else's, or a newer version's.
        let body = fields.rest();
        let body = &body[..body.len().min(length as usize)];
        Self::decode_body(body).map(Some).map_err(|f| Fault::at(head + f.at, f.kind))
    }

    fn decode_body(body: &[u8]) -> Result<Offer, Fault> {
        let mut fields = Fields::new("the peer's offer", body, false);
        let versions = decode_versions(&mut fields)?;
        let number = fields.u32()?;
        let request =
            Request::ALL.into_iter().find(|r| r.to_wire() == number).ok_or_else(|| {
                let found = u64::from(number);
                fields.fault_before(
                    4,
                    StreamErrorKind::BadField { what: "the peer's request", found },
                )
            })?;
        let token = Token::from_bytes(fields.array()?);
        let capabilities = fields.u64()?;
        let needs = GuestNeeds::decode(&mut fields)?;
        Ok(Offer { versions, request, token, capabilities, needs })
    }
}

impl GuestNeeds {
    fn encode(&self, out: &mut Vec<u8>) {
        for word in [self.total_pages, self.max_pages, self.paging_kib] {
            out.extend(word.to_le_bytes());
        }
        for word in [self.tsc_mode, self.tsc_khz, self.xen.0, self.xen.1] {
            out.extend(word.to_le_bytes());
        }
        let cpuid = &self.cpuid[..self.cpuid.len().min(MAX_POLICY_ENTRIES)];
        let msrs = &self.msrs[..self.msrs.len().min(MAX_POLICY_ENTRIES)];
        out.extend((cpuid.len() as u16).to_le_bytes());
        out.extend((msrs.len() as u16).to_le_bytes());
        for leaf in cpuid {
            let [a, b, c, d] = leaf.registers;
            for word in [leaf.leaf, leaf.subleaf, a, b, c, d] {
                out.extend(word.to_le_bytes());
            }
        }
        for msr in msrs {
            out.extend(msr.index.to_le_bytes());
            out.extend(msr.value.to_le_bytes());
        }
    }

    fn decode(fields: &mut Fields<'_>) -> Result<GuestNeeds, Fault> {
        let (total_pages, max_pages, paging_kib) = (fields.u64()?, fields.u64()?, fields.u64()?);
        let (tsc_mode, tsc_khz) = (fields.u32()?, fields.u32()?);
        let xen = (fields.u32()?, fields.u32()?);
        let leaf_count = usize::from(fields.u16()?);
        check(fields, "number of CPUID leaves", leaf_count, MAX_POLICY_ENTRIES)?;
        let msr_count = usize::from(fields.u16()?);
        check(fields, "number of MSRs", msr_count, MAX_POLICY_ENTRIES)?;
        let (mut cpuid, mut msrs) = (Vec::new(), Vec::new());
        for _ in 0..leaf_count {
            let (leaf, subleaf) = (fields.u32()?, fields.u32()?);
            let registers = [fields.u32()?, fields.u32()?, fields.u32()?, fields.u32()?];
            cpuid.push(CpuidLeaf { leaf, subleaf, registers });
        }
        for _ in 0..msr_count {
            msrs.push(MsrEntry { index: fields.u32()?, value: fields.u64()? });
        }
        Ok(GuestNeeds { total_pages, max_pages, paging_kib, tsc_mode, tsc_khz, xen, cpuid, msrs })
    }
}
