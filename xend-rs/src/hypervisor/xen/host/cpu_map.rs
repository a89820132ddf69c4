//! Sets of physical CPUs (or of NUMA nodes), as bitmaps.

/// A set of numbers from 0 on, one bit each, lowest first in each byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpuMap {
    bytes: Vec<u8>,
}

impl CpuMap {
    /// Of nothing, with room for as many bytes as Xen's maps have on this host.
    pub fn empty(size_bytes: usize) -> Self {
        Self { bytes: vec![0; size_bytes] }
    }

    /// Whether `number` is in it.
    pub fn contains(&self, number: usize) -> bool {
        self.bytes.get(number / 8).is_some_and(|byte| byte & 1 << (number % 8) != 0)
    }

    /// Puts `number` in or takes it out. Numbers beyond the map's room are left out.
    pub fn set(&mut self, number: usize, member: bool) {
        if let Some(byte) = self.bytes.get_mut(number / 8) {
            let bit = 1 << (number % 8);
            *byte = if member { *byte | bit } else { *byte & !bit };
        }
    }

    /// Puts in all that there is room for.
    pub fn set_all(&mut self) {
        self.bytes.fill(0xff);
    }

    /// Leaves in only what is in the other as well.
    pub fn intersect(&mut self, other: &Self) {
        for (number, byte) in self.bytes.iter_mut().enumerate() {
            *byte &= other.bytes.get(number).copied().unwrap_or(0);
        }
    }

    /// Its members, in order.
    pub fn iter(&self) -> impl Iterator<Item = usize> {
        (0..self.bytes.len() * 8).filter(|&number| self.contains(number))
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.bytes.iter().all(|&byte| byte == 0)
    }

    /// How many numbers there is room for.
    pub fn room(&self) -> usize {
        self.bytes.len() * 8
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_come_in_order_and_the_rest_is_left_out() {
        let mut map = CpuMap::empty(2);
        for number in [9, 0, 3, 16] {
            map.set(number, true);
        }
        assert_eq!(map.iter().collect::<Vec<_>>(), [0, 3, 9]);
        assert_eq!(map.bytes(), [0b1001, 0b10]);
        let mut both = CpuMap::empty(2);
        both.set_all();
        both.intersect(&map);
        assert_eq!(both, map);
        map.set(3, false);
        assert!(!map.contains(3) && !map.contains(16) && map.contains(9));
        assert!(CpuMap::empty(1).is_empty() && !map.is_empty());
    }
}
