//! Delta debugging: which few of many parts does a failure need?

/// A part of `all`, in their order, that still fails and of which no single one can be left out, by the algorithm ddmin (Zeller
/// and Hildebrandt: "Simplifying and Isolating Failure-Inducing Input", 2002): halves first, then ever smaller pieces.
///
/// `all` together is taken to fail. A `fails` that gives up, and says no to everything, is soon done with.
pub fn ddmin<T: Clone>(all: &[T], mut fails: impl FnMut(&[T]) -> bool) -> Vec<T> {
    let mut kept = all.to_vec();
    // Often none of them matters.
    if kept.is_empty() || fails(&[]) {
        return Vec::new();
    }
    let mut pieces = 2;
    while kept.len() >= 2 {
        let size = kept.len().div_ceil(pieces);
        let one = kept.chunks(size).map(<[T]>::to_vec).find(|piece| fails(piece));
        if let Some(piece) = one {
            (kept, pieces) = (piece, 2);
            continue;
        }
        // With two pieces, all but one is the other, which has been tried.
        let rest = (0..kept.len().div_ceil(size)).filter(|_| pieces > 2);
        let rest = rest.map(|at| without(&kept, at * size, size)).find(|rest| fails(rest));
        if let Some(rest) = rest {
            (kept, pieces) = (rest, (pieces - 1).max(2));
        } else if size == 1 {
            break;
        } else {
            pieces = (2 * pieces).min(kept.len());
        }
    }
    kept
}

/// All but a piece.
fn without<T: Clone>(all: &[T], from: usize, size: usize) -> Vec<T> {
    let to = (from + size).min(all.len());
    [&all[..from], &all[to..]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is left of 0 to `count` − 1 if `needed` are needed for a failure, and how many tries it took.
    fn left(count: u32, needed: &[u32]) -> (Vec<u32>, u32) {
        let (all, mut tries) = ((0..count).collect::<Vec<_>>(), 0);
        let left = ddmin(&all, |part| {
            tries += 1;
            needed.iter().all(|need| part.contains(need))
        });
        (left, tries)
    }

    #[test]
    fn what_is_needed_is_left() {
        for needed in [&[][..], &[0], &[7], &[15], &[3, 4], &[0, 15], &[1, 6, 11], &[0, 5, 6, 7, 13]] {
            for count in [16, 17, 23] {
                assert_eq!(left(count, needed).0, needed);
            }
        }
        assert_eq!(left(1, &[0]).0, [0]);
        assert_eq!(left(0, &[]), (Vec::new(), 0));
        let all: Vec<u32> = (0..9).collect();
        assert_eq!(left(9, &all).0, all);
    }

    #[test]
    fn few_of_many_take_few_tries() {
        assert_eq!(left(64, &[]).1, 1);
        assert!(left(64, &[40]).1 <= 15, "{}", left(64, &[40]).1);
        assert!(left(64, &[3, 40]).1 <= 80, "{}", left(64, &[3, 40]).1);
    }

    #[test]
    fn a_part_that_does_without_any_one_of_it_is_found_whatever_fails() {
        // Fails with any two that lie three apart.
        let fails = |part: &[u32]| part.iter().any(|one| part.contains(&(one + 3)));
        let left = ddmin(&(0..20).collect::<Vec<u32>>(), fails);
        assert!(fails(&left));
        assert!((0..left.len()).all(|at| !fails(&without(&left, at, 1))));
    }

    #[test]
    fn who_gives_up_keeps_what_failed_last() {
        let mut tries = 0;
        let left = ddmin(&(0..16).collect::<Vec<u32>>(), |part| {
            tries += 1;
            tries <= 2 && part.contains(&3)
        });
        assert_eq!(left, (0..8).collect::<Vec<u32>>());
    }
}
