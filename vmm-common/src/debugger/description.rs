//! The target description, which tells gdb of the registers (gdb manual, "Target Descriptions").

use super::places::{Feature, Place, Width, places};
use alloc::string::String;
use core::fmt::Write;

/// Bits of a register that gdb shows by name.
type Bits = &'static [(&'static str, u8)];

const EFLAGS: Bits = &[
    ("CF", 0),
    ("PF", 2),
    ("AF", 4),
    ("ZF", 6),
    ("SF", 7),
    ("TF", 8),
    ("IF", 9),
    ("DF", 10),
    ("OF", 11),
    ("NT", 14),
    ("RF", 16),
    ("VM", 17),
    ("AC", 18),
    ("VIF", 19),
    ("VIP", 20),
    ("ID", 21),
];
const MXCSR: Bits = &[
    ("IE", 0),
    ("DE", 1),
    ("ZE", 2),
    ("OE", 3),
    ("UE", 4),
    ("PE", 5),
    ("DAZ", 6),
    ("IM", 7),
    ("DM", 8),
    ("ZM", 9),
    ("OM", 10),
    ("UM", 11),
    ("PM", 12),
    ("FZ", 15),
];
const CR0: Bits = &[
    ("PE", 0),
    ("MP", 1),
    ("EM", 2),
    ("TS", 3),
    ("ET", 4),
    ("NE", 5),
    ("WP", 16),
    ("AM", 18),
    ("NW", 29),
    ("CD", 30),
    ("PG", 31),
];
const CR4: Bits = &[
    ("VME", 0),
    ("PVI", 1),
    ("TSD", 2),
    ("DE", 3),
    ("PSE", 4),
    ("PAE", 5),
    ("MCE", 6),
    ("PGE", 7),
    ("PCE", 8),
    ("OSFXSR", 9),
    ("OSXMMEXCPT", 10),
    ("UMIP", 11),
    ("LA57", 12),
    ("FSGSBASE", 16),
    ("PCIDE", 17),
    ("OSXSAVE", 18),
    ("SMEP", 20),
    ("SMAP", 21),
    ("PKE", 22),
];
const EFER: Bits = &[("SCE", 0), ("LME", 8), ("LMA", 10), ("NXE", 11), ("SVME", 12), ("FFXSR", 14)];

/// Names that gdb gives the elements of a vector register.
const VECTORS: &str = "<vector id=\"v4f\" type=\"ieee_single\" count=\"4\"/>\
    <vector id=\"v2d\" type=\"ieee_double\" count=\"2\"/>\
    <vector id=\"v16i8\" type=\"int8\" count=\"16\"/>\
    <vector id=\"v8i16\" type=\"int16\" count=\"8\"/>\
    <vector id=\"v4i32\" type=\"int32\" count=\"4\"/>\
    <vector id=\"v2i64\" type=\"int64\" count=\"2\"/>\
    <union id=\"vec128\"><field name=\"v4_float\" type=\"v4f\"/>\
    <field name=\"v2_double\" type=\"v2d\"/><field name=\"v16_int8\" type=\"v16i8\"/>\
    <field name=\"v8_int16\" type=\"v8i16\"/><field name=\"v4_int32\" type=\"v4i32\"/>\
    <field name=\"v2_int64\" type=\"v2i64\"/>\
    <field name=\"uint128\" type=\"uint128\"/></union>";

/// The description.
#[must_use]
pub fn description(width: Width) -> String {
    let (architecture, bytes) = match width {
        Width::Bits64 => ("i386:x86-64", 8),
        Width::Bits32 => ("i386", 4),
    };
    let mut xml =
        String::from("<?xml version=\"1.0\"?><!DOCTYPE target SYSTEM \"gdb-target.dtd\">");
    add(&mut xml, format_args!("<target><architecture>{architecture}</architecture>"));
    let mut open = None;
    for (number, place) in places(width).into_iter().enumerate() {
        if open != Some(place.feature) {
            if open.is_some() {
                xml.push_str("</feature>");
            }
            open = Some(place.feature);
            begin(&mut xml, place.feature, bytes);
        }
        let Place { name, bytes, kind, .. } = place;
        let bits = bytes * 8;
        let attributes = format_args!("bitsize=\"{bits}\" type=\"{kind}\" regnum=\"{number}\"");
        add(&mut xml, format_args!("<reg name=\"{name}\" {attributes}/>"));
    }
    xml.push_str("</feature></target>");
    xml
}

/// A feature, with the types that its registers have.
fn begin(xml: &mut String, feature: Feature, bytes: usize) {
    let name = match feature {
        Feature::Core => "org.gnu.gdb.i386.core",
        Feature::Sse => "org.gnu.gdb.i386.sse",
        Feature::Segments => "org.gnu.gdb.i386.segments",
        Feature::System => "org.tandem.i386.system",
    };
    add(xml, format_args!("<feature name=\"{name}\">"));
    match feature {
        Feature::Core => flags(xml, "i386_eflags", 4, EFLAGS),
        Feature::Sse => {
            xml.push_str(VECTORS);
            flags(xml, "i386_mxcsr", 4, MXCSR);
        }
        Feature::Segments => {}
        Feature::System => {
            flags(xml, "x86_cr0", bytes, CR0);
            flags(xml, "x86_cr4", bytes, CR4);
            flags(xml, "x86_efer", bytes, EFER);
        }
    }
}

fn flags(xml: &mut String, id: &str, bytes: usize, bits: Bits) {
    add(xml, format_args!("<flags id=\"{id}\" size=\"{bytes}\">"));
    for (name, at) in bits {
        add(xml, format_args!("<field name=\"{name}\" start=\"{at}\" end=\"{at}\"/>"));
    }
    xml.push_str("</flags>");
}

fn add(xml: &mut String, text: core::fmt::Arguments<'_>) {
    // Writing to a string does not fail.
    let _ = xml.write_fmt(text);
}
