//! In which order services are stopped.

/// Groups services into waves: each is stopped once everything that needs it has stopped. `needs[i]` lists what
/// service `i` needs. What needs each other in a circle goes together, in the last wave.
pub(crate) fn stop_waves(needs: &[Vec<usize>]) -> Vec<Vec<usize>> {
    let mut waves: Vec<Vec<usize>> = Vec::new();
    let mut left: Vec<usize> = (0..needs.len()).collect();
    while !left.is_empty() {
        let is_needed =
            |service: &usize| left.iter().any(|other| other != service && needs[*other].contains(service));
        let (later, now): (Vec<usize>, Vec<usize>) = left.iter().copied().partition(is_needed);
        if now.is_empty() {
            waves.push(later);
            break;
        }
        waves.push(now);
        left = later;
    }
    waves
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_stop_before_what_they_need() {
        let cases = [
            (vec![], vec![]),
            (vec![vec![], vec![]], vec![vec![0, 1]]),
            (vec![vec![1], vec![2], vec![]], vec![vec![0], vec![1], vec![2]]),
            (vec![vec![2], vec![2], vec![]], vec![vec![0, 1], vec![2]]),
            (vec![vec![1], vec![0], vec![]], vec![vec![2], vec![0, 1]]),
            (vec![vec![0]], vec![vec![0]]),
        ];
        for (needs, expected) in cases {
            assert_eq!(stop_waves(&needs), expected, "{needs:?}");
        }
    }
}
