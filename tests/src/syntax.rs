//! What the parser finds in a Rust file: its functions with their lengths, its enums, and matches
//! that end in a wildcard.

use std::collections::{BTreeMap, BTreeSet};
use syn::visit::{self, Visit};
use syn::{
    Block, ExprMatch, ImplItemFn, ItemEnum, ItemFn, ItemImpl, ItemMod, Pat, Path, Signature,
};

/// What was found.
#[derive(Debug, Default)]
pub struct Syntax {
    /// Every function with a body.
    pub functions: Vec<Function>,
    /// The enums defined here, with the number of their variants.
    pub enums: BTreeMap<String, usize>,
    /// Matches with an arm `_ =>` that has no guard, but for those in a module `tests`.
    pub wildcards: Vec<Wildcard>,
}

/// A function.
#[derive(Debug, PartialEq, Eq)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// From `fn` to the closing brace.
    pub lines: usize,
}

/// A match with an arm `_ =>`.
#[derive(Debug, PartialEq, Eq)]
pub struct Wildcard {
    /// The arm's line, from 1.
    pub line: usize,
    /// The enums whose variants the other arms name: `E` of `E::Variant`.
    pub enums: BTreeSet<String>,
}

impl Syntax {
    /// Of a file's text.
    ///
    /// # Errors
    /// The parser's message.
    pub fn of(text: &str) -> Result<Self, String> {
        let file = syn::parse_file(text).map_err(|error| error.to_string())?;
        let mut visitor = Visitor::default();
        visitor.visit_file(&file);
        Ok(visitor.found)
    }
}

#[derive(Default)]
struct Visitor {
    found: Syntax,
    /// The types whose `impl` blocks lie around this place, the innermost last.
    self_types: Vec<String>,
}

impl Visitor {
    fn function(&mut self, signature: &Signature, body: &Block) {
        let first = signature.fn_token.span.start().line;
        let last = body.brace_token.span.close().end().line;
        let name = signature.ident.to_string();
        self.found.functions.push(Function { name, lines: last - first + 1 });
    }

    /// The enums that an arm's pattern names at its top, `|` and `&` looked through.
    fn enums_of(&self, pattern: &Pat, enums: &mut BTreeSet<String>) {
        let mut path = |path: &Path| {
            let names: Vec<String> =
                path.segments.iter().map(|segment| segment.ident.to_string()).collect();
            if let [.., name, _] = &names[..] {
                let of_impl = if name == "Self" { self.self_types.last() } else { None };
                enums.insert(of_impl.unwrap_or(name).clone());
            }
        };
        match pattern {
            Pat::Path(pattern) => path(&pattern.path),
            Pat::Struct(pattern) => path(&pattern.path),
            Pat::TupleStruct(pattern) => path(&pattern.path),
            Pat::Or(pattern) => pattern.cases.iter().for_each(|case| self.enums_of(case, enums)),
            Pat::Reference(pattern) => self.enums_of(&pattern.pat, enums),
            Pat::Paren(pattern) => self.enums_of(&pattern.pat, enums),
            Pat::Ident(pattern) => {
                if let Some((_, pattern)) = &pattern.subpat {
                    self.enums_of(pattern, enums);
                }
            }
            _ => {}
        }
    }
}

impl<'ast> Visit<'ast> for Visitor {
    fn visit_item_fn(&mut self, item: &'ast ItemFn) {
        self.function(&item.sig, &item.block);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast ImplItemFn) {
        self.function(&item.sig, &item.block);
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        let found_before = self.found.wildcards.len();
        visit::visit_item_mod(self, item);
        if item.ident == "tests" {
            self.found.wildcards.truncate(found_before);
        }
    }

    fn visit_item_enum(&mut self, item: &'ast ItemEnum) {
        self.found.enums.insert(item.ident.to_string(), item.variants.len());
    }

    fn visit_item_impl(&mut self, item: &'ast ItemImpl) {
        let name = match &*item.self_ty {
            syn::Type::Path(of) => of.path.segments.last().map(|name| name.ident.to_string()),
            _ => None,
        };
        self.self_types.push(name.unwrap_or_default());
        visit::visit_item_impl(self, item);
        self.self_types.pop();
    }

    fn visit_expr_match(&mut self, item: &'ast ExprMatch) {
        // One with a guard is another kind of pattern.
        let wildcard = item.arms.iter().find_map(|arm| match &arm.pat {
            Pat::Wild(wildcard) => Some(wildcard.underscore_token.span.start().line),
            _ => None,
        });
        if let Some(line) = wildcard {
            let mut enums = BTreeSet::new();
            item.arms.iter().for_each(|arm| self.enums_of(&arm.pat, &mut enums));
            self.found.wildcards.push(Wildcard { line, enums });
        }
        visit::visit_expr_match(self, item);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Syntax {
        Syntax::of(text).expect("the sample is Rust")
    }

    #[test]
    fn a_functions_length_is_from_fn_to_its_brace() {
        let found = of("/// Doc.\n#[inline]\npub fn a(\n    b: u8,\n) {\n    c();\n}\n");
        assert_eq!(found.functions, [Function { name: "a".into(), lines: 5 }]);
        let methods = of("impl A {\n    fn b() {}\n    const fn c() {\n    }\n}\n").functions;
        let lengths: Vec<_> = methods.iter().map(|f| (f.name.as_str(), f.lines)).collect();
        assert_eq!(lengths, [("b", 1), ("c", 2)]);
    }

    #[test]
    fn a_wildcard_is_found_with_the_enums_beside_it() {
        let check = |arms: &str, line: usize, enums: &[&str]| {
            let found = of(&format!("impl Own {{ fn f() {{ match x {{\n{arms} }} }} }}")).wildcards;
            let enums = enums.iter().map(ToString::to_string).collect();
            assert_eq!(found, [Wildcard { line, enums }], "{arms}");
        };
        check("a::B::C => 1,\n_ => 2", 3, &["B"]);
        check("B::C { .. } | D::E(_) => 1, _ => 2", 2, &["B", "D"]);
        check("Self::C => 1, _ => 2", 2, &["Own"]);
        check("&B::C => 1, whole @ D::E(_) => 2, _ => 3", 2, &["B", "D"]);
        check("1 => 1, _ => 2", 2, &[]);
        check("Some(B::C) => 1, _ => 2", 2, &[]);
    }

    #[test]
    fn a_guard_leaves_the_match_exhaustive_and_tests_may_pick() {
        let text = "fn f() { match x { _ if y => 1, B::C => 2, B::D => 3 } }";
        assert_eq!(of(text).wildcards, []);
        let in_tests = "mod tests { fn f() { match x { B::C => 1, _ => 2 } } }";
        assert_eq!(of(in_tests).wildcards, []);
        let enums = of("fn f() { enum E { A, B(u8) } }").enums;
        assert_eq!(enums, BTreeMap::from([("E".to_string(), 2)]));
    }
}
