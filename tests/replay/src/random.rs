//! Random numbers that are the same on every machine and in every year.

/// SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A sequence of its own for each seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Any number.
    pub fn any(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 to 1, evenly.
    pub fn unit(&mut self) -> f64 {
        (self.any() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Less than `end`.
    pub fn below(&mut self, end: u32) -> u32 {
        (((self.any() >> 32) * u64::from(end)) >> 32) as u32
    }

    /// A whole number that is `mean` on average: the one below or the one above.
    pub fn round(&mut self, mean: f64) -> u32 {
        mean.floor() as u32 + u32::from(self.unit() < mean.fract())
    }
}
