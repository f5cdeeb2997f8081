//! Statements made to be too much: an answer, never a crash. That it comes soon is
//! seen to by the test runner, which ends what takes minutes.

use super::*;

/// The code that parsing ends with; `00000`: it is fine. Runs on a stack of the
/// size that threads which parse are promised.
fn state(sql: String) -> &'static str {
    let parse = move || {
        match one(&sql) {
            Ok(statement) => {
                // Walking and dropping are as deep as parsing.
                let shown = statement.query().map(ToString::to_string);
                drop((shown, statement));
                "00000"
            }
            Err(error) => error.state().code(),
        }
    };
    std::thread::Builder::new()
        .stack_size(crate::STACK_BYTES_MIN)
        .spawn(parse)
        .unwrap()
        .join()
        .unwrap()
}

/// `open` n times, `middle`, `close` n times.
fn nest(prefix: &str, open: &str, middle: &str, close: &str, n: usize) -> String {
    format!("{prefix}{}{middle}{}", open.repeat(n), close.repeat(n))
}

#[test]
fn a_thousand_levels_are_too_complex() {
    assert_eq!(state(nest("SELECT ", "(", "1", ")", 1000)), "54001");
    assert_eq!(state(nest("SELECT ", "f(", "1", ")", 1000)), "54001");
    assert_eq!(state(nest("SELECT ", "- ", "1", "", 1000)), "54001");
    assert_eq!(state(nest("SELECT ", "NOT ", "a", "", 1000)), "54001");
    assert_eq!(state(nest("SELECT ", "CASE WHEN ", "a", " THEN 1 END", 1000)), "54001");
    assert_eq!(state(nest("SELECT 1", " + 1", "", "", 1000)), "54001");
    assert_eq!(state(nest("SELECT a", " OR a", "", "", 1000)), "54001");
    assert_eq!(state(nest("SELECT 1", " UNION SELECT 1", "", "", 1000)), "54001");
    assert_eq!(state(nest("SELECT 1", "::int", "", "", 1000)), "54001");
    assert_eq!(state(nest("SELECT a", "[1]", "", "", 1000)), "54001");
    assert_eq!(state(nest("", "SELECT * FROM (", "SELECT 1", ") x", 1000)), "54001");
    assert_eq!(state(nest("SELECT * FROM ", "(", "a", ")", 1000)), "54001");
    assert_eq!(state(nest("", "(", "SELECT 1", ")", 1000)), "54001");
    assert_eq!(state(nest("SELECT ", "ARRAY[", "1", "]", 1000)), "54001");
    assert_eq!(state(nest("", "EXPLAIN ", "SELECT 1", "", 1000)), "0A000");
}

#[test]
fn what_people_write_is_not() {
    assert_eq!(state(nest("SELECT ", "(", "1", ")", 60)), "00000");
    assert_eq!(state(nest("SELECT ", "f(", "1", ")", 60)), "00000");
    assert_eq!(state(nest("SELECT a = 1", " OR a = 1", "", "", 200)), "00000");
    assert_eq!(state(nest("", "SELECT * FROM (", "SELECT 1", ") x", 40)), "00000");
    assert_eq!(state(nest("SELECT * FROM t WHERE a IN (1", ", 1", ")", "", 100_000)), "00000");
    assert_eq!(state(nest("VALUES (1, -2 + 3)", ", (1, -2 + 3)", "", "", 20_000)), "00000");
    assert_eq!(state(nest("SELECT a + 1 AS b", ", a + 1 AS b", "", "", 10_000)), "00000");
}

#[test]
fn wrong_and_nested_is_answered_soon() {
    for open in [
        "CAST(",
        "CASE WHEN ",
        "f(",
        "(",
        "NOT (",
        "EXTRACT(",
        "SELECT * FROM (",
        "- (",
        "INTERVAL (",
        "a IN (",
    ] {
        for n in [20, 45, 90] {
            let code = state(nest("SELECT ", open, "= =", ")", n));
            assert!(matches!(code, "42601" | "54001"), "{open} {n}: {code}");
        }
    }
    assert_eq!(state(nest("SELECT * FROM ", "(", "a JOIN", ")", 40)), "42601");
}

#[test]
fn a_megabyte_is_read() {
    assert_eq!(state(format!("SELECT '{}'", "x".repeat(1 << 20))), "00000");
    assert_eq!(state("(".repeat(1 << 20)), "54001");
    assert_eq!(state(format!("SELECT {}", "+".repeat(1 << 20))), "54001");
    assert_eq!(state(format!("SELECT {}", "a ".repeat(1 << 19))), "42601");
    assert_eq!(state(format!("SELECT a{}", ".a".repeat(1 << 19))), "54001");
    assert_eq!(state(format!("SELECT {}1", "1, ".repeat(1 << 18))), "00000");
}
