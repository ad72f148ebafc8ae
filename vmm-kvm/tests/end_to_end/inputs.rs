//! What a config types, and who gets the rest of a pipe.

use crate::harness::Tandem;

#[test]
fn a_file_is_typed_and_an_input_whose_text_does_not_come_is_told_of() {
    let text = "vms: [{name: left, cmdline: '', input: [{after: '$ ', file: keys.txt}, \
                {after: never, text: abc}]}]";
    let run = Tandem::run_text(text);
    run.scratch().file("keys.txt", "echo from a file\npoweroff\n");
    let run = run.finish().ended_with(0).adds_up();
    assert!(run.lines_of("left").iter().any(|line| line == "from a file"), "{}", run.shown());
    run.complains("3 bytes of left's input were not typed: it did not print never\n");
}

#[test]
fn the_rest_of_a_pipe_goes_to_the_next_vm() {
    let text = "vms: [{name: one, cmdline: ''}, {name: two, cmdline: ''}, \
                {name: three, cmdline: ''}]";
    let keys = "echo first\npoweroff\necho second\npoweroff\necho third\npoweroff\n";
    let run = Tandem::run_text(text).typing(keys).finish().ended_with(0).adds_up();
    for (vm, line) in [("one", "first"), ("two", "second"), ("three", "third")] {
        assert!(run.lines_of(vm).iter().any(|shown| shown == line), "{vm}: {}", run.shown());
    }
    assert!(run.output.contains("[the keyboard is three's]"), "{}", run.shown());
}
