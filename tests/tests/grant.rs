//! The page of what a guest reaches is that of the tables which control blocks are made from.

use conformance::Tree;

#[test]
fn the_grants_page_is_what_the_command_prints() {
    assert_eq!(Tree::read().text("GRANT.md"), vmm_common::grant::page());
}
