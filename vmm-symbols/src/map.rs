//! Symbols by address: of an ELF's table, or of a `System.map`.

/// A function or another label in code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Symbol {
    /// Where it begins.
    pub address: u64,
    /// Bytes; 0 where the table does not say.
    pub size: u64,
    /// Its name.
    pub name: String,
}

/// Symbols in the order of their addresses.
#[derive(Debug, Default)]
pub struct SymbolMap(Vec<Symbol>);

/// A label without a size names what follows, but not everything.
const FARTHEST: u64 = 1 << 20;

impl SymbolMap {
    pub fn new(mut symbols: Vec<Symbol>) -> Self {
        // Of those at one address the one with a size comes last, and is found.
        symbols.sort_by_key(|one| (one.address, one.size));
        Self(symbols)
    }

    /// Lines of an address, a letter and a name; None if these are something else.
    pub fn of_system_map(text: &str) -> Option<Self> {
        let symbol = |line: &str| {
            let mut words = line.split_ascii_whitespace();
            let address = u64::from_str_radix(words.next()?, 16).ok()?;
            let kind = words.next().filter(|kind| kind.len() == 1)?;
            let name = words.next()?.to_owned();
            Some((kind.to_owned(), Symbol { address, size: 0, name }))
        };
        let all: Vec<_> = text.lines().map(symbol).collect::<Option<_>>()?;
        let is_code = |kind: &str| matches!(kind, "t" | "T" | "w" | "W");
        let code = all.into_iter().filter(|(kind, _)| is_code(kind)).map(|(_, symbol)| symbol);
        Some(Self::new(code.collect())).filter(|map| !map.0.is_empty())
    }

    /// The symbol that `address` lies in.
    pub fn find(&self, address: u64) -> Option<&Symbol> {
        let behind = self.0.partition_point(|symbol| symbol.address <= address);
        let symbol = self.0[..behind].last()?;
        let bytes = if symbol.size == 0 { FARTHEST } else { symbol.size };
        (address - symbol.address < bytes).then_some(symbol)
    }
}
