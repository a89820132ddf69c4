//! Whether a page is zero.

/// Bytes that are looked at in one step: what the compiler makes a few vector instructions of.
const STEP_BYTES: usize = 128;

/// Whether all of `bytes` are zero. Most pages that are not say so in their first bytes.
pub fn is_zero(bytes: &[u8]) -> bool {
    let (steps, rest) = bytes.as_chunks::<STEP_BYTES>();
    steps.iter().all(|step| words(step).fold(0, |all, word| all | word) == 0)
        && rest.iter().all(|&byte| byte == 0)
}

fn words(step: &[u8; STEP_BYTES]) -> impl Iterator<Item = u64> + '_ {
    step.as_chunks().0.iter().map(|word| u64::from_ne_bytes(*word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hypervisor::types::PAGE_SIZE;

    #[test]
    fn one_bit_anywhere_is_not_zero() {
        let mut page = [0; PAGE_SIZE];
        assert!(is_zero(&page) && is_zero(&[]) && is_zero(&[0; 200]));
        for at in 0..PAGE_SIZE {
            page[at] = 1 << (at % 8);
            assert!(!is_zero(&page), "{at}");
            page[at] = 0;
        }
        assert!(!is_zero(&[0, 0, 1]));
    }
}
