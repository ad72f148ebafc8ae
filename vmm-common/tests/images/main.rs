//! Images that are placed, and images that are not: every file in `tests/bad_images` gives exactly
//! the message it holds, and whatever is placed keeps the promises that the fuzz targets hold it
//! to.
//!
//! `TANDEM_BLESS=1 cargo test -p vmm-common --test images` writes the messages; read the difference
//! before keeping it.

mod case;
mod promises;
// The unit tests take the rest.
#[allow(dead_code)]
mod samples;
mod seeds;

use case::{Case, message};
use std::fs;
use vmm_common::plan::BootKind;

#[test]
fn every_bad_image_gives_the_message_in_its_file() {
    let is_blessing = std::env::var_os("TANDEM_BLESS").is_some();
    let mut wrong = Vec::new();
    for (loader, _) in seeds::LOADERS {
        let paths = seeds::bad_images(loader);
        assert!(paths.len() >= 8, "{loader} has {}", paths.len());
        for path in paths {
            let (case, expected) = seeds::read(&path);
            let message =
                case.place().map_or_else(|error| message(&error), |_| "it is placed".into());
            if is_blessing {
                let text = fs::read_to_string(&path).expect("it was just read");
                let old = format!("\nerror: {expected}\n");
                let new = text.replacen(&old, &format!("\nerror: {message}\n"), 1);
                fs::write(&path, new).expect("the message can be written");
            } else if message != expected {
                wrong.push(format!("{}:\n{message}\nexpected:\n{expected}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_valid_sample_is_placed() {
    for (loader, _) in seeds::LOADERS {
        for (index, case) in seeds::valid(loader).iter().enumerate() {
            assert!(case.place().is_ok(), "{loader} {index}: {:?}", case.place().err());
        }
    }
}

#[test]
fn whatever_a_fuzzer_starts_from_keeps_the_promises_in_every_loader() {
    for (loader, _) in seeds::LOADERS {
        let bad = seeds::bad_images(loader).into_iter().map(|path| seeds::read(&path).0);
        for case in bad.chain(seeds::valid(loader)) {
            for (_, kind) in seeds::LOADERS {
                promises::hold(&Case { kind, ..case.clone() });
                let replayed = Case::decode(kind, &case.encode()).expect("it has a head");
                promises::hold(&replayed);
            }
        }
    }
}

#[test]
fn a_fuzzers_bytes_are_the_case_they_were_made_of() {
    for (loader, kind) in seeds::LOADERS {
        for case in seeds::valid(loader) {
            let decoded = Case::decode(kind, &case.encode()).expect("it has a head");
            assert_eq!(decoded.kernel, case.kernel);
            assert_eq!((decoded.ram_bytes, decoded.bios), (case.ram_bytes, case.bios));
            assert_eq!(decoded.modules.len(), case.modules.len());
            assert_eq!(decoded.cmdline.len(), case.cmdline.len());
        }
    }
    assert!(Case::decode(BootKind::Flat, &[0; 10]).is_none());
}
