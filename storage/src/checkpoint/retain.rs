//! Which checkpoints are kept.

use std::collections::BTreeSet;

use super::commits::CheckpointRef;

/// The last `count` of `history`, which is oldest first, and those that are held;
/// always the last one. In the order of `history`.
#[must_use]
pub fn retained<'a>(
    history: &'a [CheckpointRef],
    count: usize,
    held: &BTreeSet<u64>,
) -> Vec<&'a CheckpointRef> {
    let first = history.len().saturating_sub(count.max(1));
    let kept = |(index, commit): &(usize, &CheckpointRef)| {
        *index >= first || held.contains(&commit.checkpoint)
    };
    history.iter().enumerate().filter(kept).map(|(_, commit)| commit).collect()
}

#[cfg(test)]
mod tests {
    use super::super::manifest::Checksum;
    use super::*;

    #[test]
    fn the_last_ones_and_those_held() {
        let history: Vec<CheckpointRef> = [1, 2, 4, 5, 9]
            .map(|checkpoint| CheckpointRef {
                checkpoint,
                term: 1,
                epoch: checkpoint * 10,
                manifest: String::new(),
                length: 0,
                checksum: Checksum([0; 16]),
            })
            .to_vec();
        let numbers = |count, held: &[u64]| {
            let held = held.iter().copied().collect();
            retained(&history, count, &held).iter().map(|c| c.checkpoint).collect::<Vec<_>>()
        };
        assert_eq!(numbers(3, &[]), [4, 5, 9]);
        assert_eq!(numbers(0, &[]), [9]);
        assert_eq!(numbers(99, &[]), [1, 2, 4, 5, 9]);
        assert_eq!(numbers(1, &[2, 7]), [2, 9]);
        assert!(retained(&[], 3, &BTreeSet::new()).is_empty());
    }
}
