//! What Xen says a page of a guest is, as the four bits that travel with its pfn.

/// Type of a page, `XEN_DOMCTL_PFINFO_*`. Page tables of a PV guest differ from its other pages
/// because their entries hold machine frames, which change host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum PageType {
    /// A page like any other.
    Normal = 0x0,
    /// Page table, level 1.
    L1 = 0x1,
    /// Page table, level 2.
    L2 = 0x2,
    /// Page table, level 3.
    L3 = 0x3,
    /// Page table, level 4.
    L4 = 0x4,
    /// Page table, level 1, pinned by the guest.
    L1Pinned = 0x9,
    /// Page table, level 2, pinned by the guest.
    L2Pinned = 0xa,
    /// Page table, level 3, pinned by the guest.
    L3Pinned = 0xb,
    /// Page table, level 4, pinned by the guest.
    L4Pinned = 0xc,
    /// Lost to a memory error (`BROKEN`).
    Broken = 0xd,
    /// To be allocated, contents of no interest (`XALLOC`).
    AllocOnly = 0xe,
    /// No page here (`XTAB`).
    Invalid = 0xf,
}

impl PageType {
    /// Every type there is.
    pub const ALL: [PageType; 12] = [
        PageType::Normal,
        PageType::L1,
        PageType::L2,
        PageType::L3,
        PageType::L4,
        PageType::L1Pinned,
        PageType::L2Pinned,
        PageType::L3Pinned,
        PageType::L4Pinned,
        PageType::Broken,
        PageType::AllocOnly,
        PageType::Invalid,
    ];

    /// The type with these four bits, or `None` for 5 to 8, which are reserved.
    pub fn from_bits(bits: u8) -> Option<PageType> {
        PageType::ALL.into_iter().find(|t| t.bits() == bits)
    }

    /// The four bits.
    pub fn bits(self) -> u8 {
        self as u8
    }

    /// Whether 4096 bytes of contents travel with the pfn.
    pub fn has_data(self) -> bool {
        !matches!(self, PageType::Broken | PageType::AllocOnly | PageType::Invalid)
    }

    /// Level of a page table, 1 to 4; `None` for any other page.
    pub fn table_level(self) -> Option<u8> {
        match self {
            PageType::L1 | PageType::L1Pinned => Some(1),
            PageType::L2 | PageType::L2Pinned => Some(2),
            PageType::L3 | PageType::L3Pinned => Some(3),
            PageType::L4 | PageType::L4Pinned => Some(4),
            _ => None,
        }
    }

    /// Whether this is a page table the guest has pinned.
    pub fn is_pinned(self) -> bool {
        self.table_level().is_some() && self.bits() & 0x8 != 0
    }

    /// The name Xen's format description uses.
    pub fn name(self) -> &'static str {
        match self {
            PageType::Normal => "NOTAB",
            PageType::L1 => "L1TAB",
            PageType::L2 => "L2TAB",
            PageType::L3 => "L3TAB",
            PageType::L4 => "L4TAB",
            PageType::L1Pinned => "L1TAB_PIN",
            PageType::L2Pinned => "L2TAB_PIN",
            PageType::L3Pinned => "L3TAB_PIN",
            PageType::L4Pinned => "L4TAB_PIN",
            PageType::Broken => "BROKEN",
            PageType::AllocOnly => "XALLOC",
            PageType::Invalid => "XTAB",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_four_reserved_values_are_the_only_ones_refused() {
        let refused: Vec<u8> = (0..16).filter(|b| PageType::from_bits(*b).is_none()).collect();
        assert_eq!(refused, [5, 6, 7, 8]);
        for t in PageType::ALL {
            assert_eq!(PageType::from_bits(t.bits()), Some(t));
        }
    }

    #[test]
    fn pinned_is_bit_3_of_a_page_table_only() {
        let pinned: Vec<_> = PageType::ALL.into_iter().filter(|t| t.is_pinned()).collect();
        assert_eq!(
            pinned,
            [PageType::L1Pinned, PageType::L2Pinned, PageType::L3Pinned, PageType::L4Pinned]
        );
        assert!(pinned.into_iter().all(PageType::has_data));
    }
}
