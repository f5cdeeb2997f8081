//! Names of a group's objects, and what they tell.

/// Which attempt made an object: later owners and later checkpoints are greater.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Generation {
    /// The owner's term.
    pub term: u64,
    pub checkpoint: u64,
}

/// What a name below the group's folder stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Name {
    File(Generation),
    Manifest(Generation),
    /// Nothing that this version makes.
    Foreign,
}

/// The group's folder; also the name of its sequence.
pub(super) fn group(group: u64) -> String {
    format!("groups/{group}")
}

pub(super) fn files(group: u64) -> String {
    format!("groups/{group}/files")
}

pub(super) fn manifests(group: u64) -> String {
    format!("groups/{group}/manifests")
}

pub(super) fn file(group: u64, made: Generation, family: &str, number: u64) -> String {
    let Generation { term, checkpoint } = made;
    format!("groups/{group}/files/{term:010}-{checkpoint:020}-{family}-{number:06}.sst")
}

pub(super) fn manifest(group: u64, made: Generation) -> String {
    let Generation { term, checkpoint } = made;
    format!("groups/{group}/manifests/{checkpoint:020}-{term:010}")
}

pub(super) fn is_family(text: &str) -> bool {
    let ok = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    !text.is_empty() && text.bytes().all(ok)
}

/// Reads a path of the group `number`.
pub(super) fn parse(number: u64, path: &str) -> Name {
    let rest = path.strip_prefix(&group(number)).unwrap_or_default();
    let file = rest.strip_prefix("/files/").and_then(parse_file);
    let manifest = rest.strip_prefix("/manifests/").and_then(parse_manifest);
    match (file, manifest) {
        (Some((generation, _)), _) => Name::File(generation),
        (_, Some(generation)) => Name::Manifest(generation),
        _ => Name::Foreign,
    }
}

/// The generation and family that a file's path tells, if it is one of the group.
pub(super) fn file_of(number: u64, path: &str) -> Option<(Generation, &str)> {
    parse_file(path.strip_prefix(&files(number))?.strip_prefix('/')?)
}

fn parse_file(name: &str) -> Option<(Generation, &str)> {
    let mut parts = name.strip_suffix(".sst")?.split('-');
    let term = digits(parts.next()?, 10)?;
    let checkpoint = digits(parts.next()?, 20)?;
    let family = parts.next().filter(|family| is_family(family))?;
    digits(parts.next()?, 6)?;
    parts.next().is_none().then_some((Generation { term, checkpoint }, family))
}

fn parse_manifest(name: &str) -> Option<Generation> {
    let (checkpoint, term) = name.split_once('-')?;
    Some(Generation { term: digits(term, 10)?, checkpoint: digits(checkpoint, 20)? })
}

fn digits(text: &str, at_least: usize) -> Option<u64> {
    let all = text.bytes().all(|byte| byte.is_ascii_digit());
    if all && text.len() >= at_least { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_what_they_are_made_of() {
        let made = Generation { term: 3, checkpoint: 41 };
        let path = file(7, made, "agg_2", 5);
        assert_eq!(path, "groups/7/files/0000000003-00000000000000000041-agg_2-000005.sst");
        assert_eq!(file_of(7, &path), Some((made, "agg_2")));
        assert_eq!(parse(7, &path), Name::File(made));
        assert_eq!(parse(7, &manifest(7, made)), Name::Manifest(made));
        let long = file(7, made, "agg", 12_345_678);
        assert_eq!(parse(7, &long), Name::File(made));
        for foreign in [
            "groups/8/files/0000000003-00000000000000000041-agg-000005.sst",
            "groups/7/files/0000000003-00000000000000000041-agg-000005.sst.bak",
            "groups/7/files/3-41-agg-5.sst",
            "groups/7/manifests/readme",
            "groups/7/records/00000000000000000001",
            "groups/71/manifests/00000000000000000041-0000000003",
            "",
        ] {
            assert_eq!(parse(7, foreign), Name::Foreign, "{foreign}");
        }
        assert!(is_family("mv") && !is_family("a-b") && !is_family("") && !is_family("A"));
    }
}
