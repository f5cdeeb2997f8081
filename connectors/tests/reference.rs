//! The reference page says what the connectors' tables say.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use tidemill_connectors::Connectors;

#[test]
fn the_page_is_up_to_date() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/connectors.md");
    let expected = Connectors::options_reference();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&page, &expected).unwrap();
    }
    let written = std::fs::read_to_string(&page).unwrap();
    assert!(written == expected, "docs/connectors.md is out of date: run with UPDATE_DOCS=1");
}
