//! Of a guest's pages those that hold something, or come to: the others need not travel.

use crate::pages::PageSet;
use crate::trace::Window;

/// Numbers the pages of a guest anew, so that there are `held` of them, or as many as it wrote if that
/// is more; gives how many. Which of the unwritten ones hold something is not known: they are taken to
/// lie evenly between the others.
pub(super) fn condense(pages: u32, held: u32, windows: &mut [Window]) -> u32 {
    let mut written = PageSet::empty(pages);
    windows.iter().flat_map(|window| &window.pages).for_each(|&page| written.insert(page));
    let unwritten = u64::from(pages) - written.len();
    let kept = u64::from(held).saturating_sub(written.len()).min(unwritten);
    let (mut numbers, mut next, mut seen) = (Vec::with_capacity(pages as usize), 0, 0);
    for page in 0..pages {
        numbers.push(next);
        if written.contains(page) {
            next += 1;
        } else {
            next += u32::from((seen + 1) * kept / unwritten > seen * kept / unwritten);
            seen += 1;
        }
    }
    let named = |page: &mut u32| *page = numbers[*page as usize];
    windows.iter_mut().flat_map(|window| &mut window.pages).for_each(named);
    next
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn condensed(pages: u32, held: u32, windows: &[&[u32]]) -> (u32, Vec<Vec<u32>>) {
        let length = Duration::from_millis(50);
        let mut windows: Vec<_> =
            windows.iter().map(|pages| Window { length, pages: pages.to_vec() }).collect();
        let pages = condense(pages, held, &mut windows);
        (pages, windows.into_iter().map(|window| window.pages).collect())
    }

    #[test]
    fn what_is_written_stays_and_of_the_rest_so_many() {
        // 8 are not written, and every second one of them goes.
        let (pages, windows) = condensed(10, 6, &[&[4, 9], &[], &[4]]);
        assert_eq!((pages, windows), (6, vec![vec![2, 5], vec![], vec![2]]));
    }

    #[test]
    fn with_all_pages_or_fewer_than_are_written_nothing_is_lost() {
        let all: &[&[u32]] = &[&[0, 3], &[7]];
        assert_eq!(condensed(8, 8, all), (8, vec![vec![0, 3], vec![7]]));
        assert_eq!(condensed(8, 99, all), (8, vec![vec![0, 3], vec![7]]));
        assert_eq!(condensed(8, 1, all), (3, vec![vec![0, 1], vec![2]]));
        assert_eq!(condensed(2, 1, &[&[0, 1]]), (2, vec![vec![0, 1]]));
    }
}
