//! Sorting byte strings that lie in one buffer.
//!
//! Keys of a delta begin alike (table, slice) and differ soon after, so eight
//! bytes from the first difference decide nearly always: those are sorted as
//! numbers beside the position, without following a pointer per comparison. Only
//! strings equal in them are looked at again, from their own first difference.

/// Strings equal so far that are compared whole instead.
const FEW: usize = 16;

/// How often a range of strings is cut by eight bytes before it is compared
/// whole; reached only by long strings with much in common.
const MAX_DEPTH: usize = 8;

/// The positions `0 .. count` in the order of their strings; of equal strings only
/// the last position.
pub(super) fn sorted_positions<'a>(count: usize, string: impl Fn(usize) -> &'a [u8]) -> Vec<usize> {
    let mut items: Vec<(u64, usize)> = (0..count).map(|position| (0, position)).collect();
    let mut sorted = Vec::with_capacity(count);
    sort(&mut items, 0, &string, &mut sorted);
    sorted
}

fn sort<'a>(
    items: &mut [(u64, usize)],
    depth: usize,
    string: &impl Fn(usize) -> &'a [u8],
    sorted: &mut Vec<usize>,
) {
    let cut =
        if items.len() <= FEW || depth == MAX_DEPTH { None } else { first_cut(items, string) };
    let Some(cut) = cut else {
        items.sort_unstable_by(|a, b| string(a.1).cmp(string(b.1)).then(a.1.cmp(&b.1)));
        for equal in items.chunk_by(|a, b| string(a.1) == string(b.1)) {
            sorted.extend(equal.last().map(|(_, position)| *position));
        }
        return;
    };
    for (number, position) in items.iter_mut() {
        *number = eight_bytes(&string(*position)[cut..]);
    }
    items.sort_unstable();
    for equal in items.chunk_by_mut(|a, b| a.0 == b.0) {
        match equal {
            [(_, position)] => sorted.push(*position),
            several => sort(several, depth + 1, string, sorted),
        }
    }
}

/// How many bytes all strings have in common; `None` where one ends there: zeros
/// in place of missing bytes would hide that.
fn first_cut<'a>(items: &[(u64, usize)], string: &impl Fn(usize) -> &'a [u8]) -> Option<usize> {
    let first = string(items.first()?.1);
    let (mut common, mut shortest) = (first.len(), first.len());
    for (_, position) in items {
        let other = string(*position);
        shortest = shortest.min(other.len());
        common = common_prefix(&first[..common], other);
    }
    (common < shortest).then_some(common)
}

fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

fn eight_bytes(rest: &[u8]) -> u64 {
    match rest.first_chunk::<8>() {
        Some(bytes) => u64::from_be_bytes(*bytes),
        None => {
            let mut bytes = [0; 8];
            bytes[..rest.len()].copy_from_slice(rest);
            u64::from_be_bytes(bytes)
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    /// Strings over few letters: many are equal, many begin others.
    fn strings(rng: &mut StdRng) -> Vec<Vec<u8>> {
        let (letters, length) =
            (rng.random_range(1..4u8), [1, 4, 12, 40, 300][rng.random_range(0..5)]);
        let start = vec![7; rng.random_range(0..20)];
        let count = rng.random_range(0..400);
        let string = |rng: &mut StdRng| {
            let mut string = start.clone();
            string.extend((0..rng.random_range(0..=length)).map(|_| rng.random_range(0..letters)));
            string
        };
        (0..count).map(|_| string(rng)).collect()
    }

    #[test]
    fn the_order_is_that_of_a_plain_sort_and_the_last_of_equals_stays() {
        for seed in 0..200 {
            let strings = strings(&mut StdRng::seed_from_u64(seed));
            let mut expected: Vec<usize> = (0..strings.len()).collect();
            expected.sort_by_key(|position| (&strings[*position], std::cmp::Reverse(*position)));
            expected.dedup_by_key(|position| &strings[*position]);
            let found = sorted_positions(strings.len(), |position| &strings[position]);
            assert_eq!(found, expected, "seed {seed}");
        }
    }
}
