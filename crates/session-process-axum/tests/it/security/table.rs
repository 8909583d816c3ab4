//! The guide's table and these tests say the same.

const GUIDE: &str = include_str!("../../../docs/security.md");

const TESTS: [&str; 13] = [
    include_str!("at_rest.rs"),
    include_str!("cookie.rs"),
    include_str!("guesses.rs"),
    include_str!("ids.rs"),
    include_str!("keys.rs"),
    include_str!("lifetime.rs"),
    include_str!("renewal.rs"),
    include_str!("requests.rs"),
    include_str!("revocation.rs"),
    include_str!("step_up.rs"),
    // Those of live pages.
    include_str!("../live/limits.rs"),
    include_str!("../live/security.rs"),
    include_str!("../live/socket.rs"),
];

/// The rows of the table: number, requirement, what it is met by.
fn rows() -> Vec<(u32, &'static str, &'static str)> {
    let rows = GUIDE.lines().filter_map(|line| {
        let cells: Vec<_> = line.strip_prefix("| ")?.trim_end_matches('|').split(" | ").collect();
        Some((cells[0].trim().parse().ok()?, *cells.get(1)?, *cells.get(2)?))
    });
    rows.collect()
}

#[test]
fn every_line_of_the_table_is_in_the_guide_once() {
    let numbers: Vec<_> = rows().iter().map(|(number, ..)| *number).collect();
    assert_eq!(numbers, (1..=42).collect::<Vec<_>>());
    for (number, what, how) in rows() {
        assert!(!what.trim().is_empty() && how.trim().len() > 10, "{number}");
    }
}

#[test]
fn every_line_has_a_test_named_after_it() {
    for number in 1..=42 {
        let test = format!("fn line_{number:02}_");
        let there = TESTS.iter().any(|tests| tests.contains(&test));
        assert!(there, "{test}");
    }
}
