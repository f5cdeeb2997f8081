//! The house rules that a compiler does not check.
//!
//! * A crate depends only on the crates below it in the picture of
//!   `ARCHITECTURE.md`.
//! * Every source file opens by saying what it is for.
//! * The server builds with the same features alone and with everything else.
//! * Links in the documents lead somewhere.

// A test that panics has failed: that is what it should do.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Selects features for all and is no part of the picture.
const UNIFY: &str = "types/unify";

/// Who may depend on whom: the edges of the picture.
const EDGES: [(&str, &[&str]); 7] = [
    ("types", &[]),
    ("planner", &["types"]),
    ("connectors", &["types"]),
    ("storage", &["types"]),
    ("runtime", &["types", "storage", "connectors"]),
    ("server", &["types", "planner", "connectors", "storage", "runtime"]),
    ("sql-tests", &[]),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

fn manifest(directory: &str) -> toml::Table {
    let path = root().join(directory).join("Cargo.toml");
    std::fs::read_to_string(&path).unwrap().parse().unwrap()
}

/// Every Tidemill crate that a manifest names, in whatever kind of dependency.
fn own_dependencies(table: &toml::Table, found: &mut BTreeSet<String>) {
    for (key, value) in table {
        let Some(inner) = value.as_table() else { continue };
        if key.ends_with("dependencies") {
            let names = inner.iter().map(|(name, spec)| {
                // `other = { package = "tidemill-x" }` counts as x.
                spec.get("package").and_then(|p| p.as_str()).unwrap_or(name).to_owned()
            });
            found.extend(names.filter_map(|n| n.strip_prefix("tidemill-").map(str::to_owned)));
        } else {
            own_dependencies(inner, found);
        }
    }
}

/// The packages behind `selection`, on this platform, with their features: more than
/// one set where a package serves programs and build scripts.
fn features(selection: &[&str]) -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--locked", "--prefix", "none", "--format", "{p}|{f}"])
        .args(["--edges", "normal,build,dev"])
        .args(selection)
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (package, features) in text.lines().filter_map(|line| line.split_once('|')) {
        let sets = found.entry(package.to_owned()).or_default();
        sets.insert(features.trim_end_matches(" (*)").to_owned());
    }
    found
}

fn source_files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            source_files(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

fn all_source_files() -> Vec<PathBuf> {
    let mut files = Vec::new();
    for member in EDGES.iter().map(|(name, _)| *name).chain([UNIFY]) {
        for part in ["src", "tests", "examples", "benches"] {
            let directory = root().join(member).join(part);
            if directory.is_dir() {
                source_files(&directory, &mut files);
            }
        }
    }
    files
}

#[test]
fn the_picture_names_every_member() {
    let workspace = manifest(".");
    let members: BTreeSet<&str> = workspace["workspace"]["members"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| m.as_str().unwrap())
        .collect();
    assert_eq!(members, EDGES.iter().map(|(name, _)| *name).chain([UNIFY]).collect());
}

#[test]
fn dependencies_follow_the_picture() {
    for (member, allowed) in EDGES {
        let mut found = BTreeSet::new();
        own_dependencies(&manifest(member), &mut found);
        found.remove("unify");
        for dependency in found {
            assert!(
                allowed.contains(&dependency.as_str()),
                "{member} depends on {dependency}, which is not in the picture of ARCHITECTURE.md"
            );
        }
    }
}

#[test]
fn versions_are_in_one_table() {
    for (member, _) in EDGES {
        let table = manifest(member);
        for kind in ["dependencies", "dev-dependencies", "build-dependencies"] {
            for (name, spec) in table.get(kind).and_then(|d| d.as_table()).into_iter().flatten() {
                let inherits = spec.get("workspace").and_then(toml::Value::as_bool) == Some(true);
                assert!(inherits, "{member}: {name} has its own version");
            }
        }
        let lints = table.get("lints").and_then(|l| l.get("workspace"));
        assert_eq!(lints.and_then(toml::Value::as_bool), Some(true), "{member}: lints");
    }
}

/// Building the server alone and building everything must agree on the features of
/// what both need, or the dependencies compile twice.
#[test]
fn the_server_alone_selects_the_features_of_all() {
    let all = features(&["--workspace"]);
    let server = features(&["--package", "tidemill-server"]);
    assert!(server.len() > 100, "found only {} packages", server.len());
    for (package, features) in server {
        let wanted = &all[&package];
        assert!(
            features.is_subset(wanted),
            "{package}: name its features in {UNIFY}/Cargo.toml: {features:?}, all: {wanted:?}"
        );
    }
}

#[test]
fn every_source_file_opens_with_its_purpose() {
    let files = all_source_files();
    assert!(files.len() > 30, "found only {} source files", files.len());
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let first = text.lines().next().unwrap_or_default();
        let rest = first.strip_prefix("//!").map(str::trim).unwrap_or_default();
        assert!(!rest.is_empty(), "{} does not open with a module doc", file.display());
        assert_ne!(rest, "placeholder", "{}", file.display());
    }
}

#[test]
fn links_in_the_documents_lead_somewhere() {
    let mut documents = vec![root().join("README.md"), root().join("ARCHITECTURE.md")];
    for directory in ["docs", "docs/decisions"] {
        for entry in std::fs::read_dir(root().join(directory)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|e| e == "md") {
                documents.push(path);
            }
        }
    }
    for document in documents {
        let text = std::fs::read_to_string(&document).unwrap();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = target.split('#').next().unwrap_or_default();
            if target.is_empty() || target.contains("://") {
                continue;
            }
            let path = document.parent().unwrap().join(target);
            assert!(path.exists(), "{}: {target} is not there", document.display());
        }
    }
}
