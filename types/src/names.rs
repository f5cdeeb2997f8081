//! The nearest name to a misspelt one, for hints.
//!
//! Distance is the number of inserted, deleted or replaced characters. A name is
//! suggested only where it is near enough to be meant; a wrong suggestion is
//! worse than none.

/// The candidate with the smallest edit distance to `given` (the first of
/// several), ignoring case; `None` where none is closer than half of its length.
#[must_use]
pub fn nearest<'a>(given: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let given = given.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| (distance(&given, &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| 2 * distance <= candidate.chars().count().max(2))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `Did you mean "x"? Valid: a, b, c.` or only the second sentence.
#[must_use]
pub fn hint(given: &str, what: &str, candidates: &[&str]) -> String {
    let list = candidates.join(", ");
    match nearest(given, candidates.iter().copied()) {
        Some(name) => format!("Did you mean \"{name}\"? Valid {what}: {list}."),
        None => format!("Valid {what}: {list}."),
    }
}

/// Whether two names are the same but for case and underscores: `dateTime` is
/// `date_time`.
#[must_use]
pub fn same(a: &str, b: &str) -> bool {
    let letters = |name: &str| {
        name.chars().filter(|c| *c != '_').flat_map(char::to_lowercase).collect::<String>()
    };
    letters(a) == letters(b)
}

/// Levenshtein's distance in characters, by rows of the dynamic programme.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (a, b, expected) in
            [("", "", 0), ("abc", "abc", 0), ("kitten", "sitting", 3), ("", "ab", 2), ("ä", "a", 1)]
        {
            assert_eq!(distance(a, b), expected, "{a} {b}");
        }
    }

    #[test]
    fn only_near_names_are_suggested() {
        let names = ["nexmark.event.num", "nexmark.event.rate", "path"];
        assert_eq!(nearest("nexmark.event.nmu", names), Some("nexmark.event.num"));
        assert_eq!(nearest("NEXMARK.EVENT.RAT", names), Some("nexmark.event.rate"));
        assert_eq!(nearest("zzz", names), None);
    }
}
