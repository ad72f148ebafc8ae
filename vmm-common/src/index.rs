//! Which VM, which vCPU, which serial port: indices that cannot be taken for one another.
//!
//! A list with an element for each VM is indexed by [`VmIndex`], one with an element for each vCPU
//! of the core by [`VcpuIndex`], and one with an element for each serial port by [`Com`].

use core::fmt;
use core::ops::{Index, IndexMut};

/// A VM, by its position in the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct VmIndex(pub usize);

/// A vCPU, by its VM and its number within it.
///
/// From bit 32 on its position among all vCPUs of the core, VM by VM; its VM from bit 16 on; its
/// number: one register, because every step of an exit hands it on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct VcpuIndex(u64);

/// A serial port of a machine.
#[allow(missing_docs)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Com {
    Com1,
    Com2,
    Com3,
    Com4,
}

/// A port of a machine that may be an end of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LinkedPort {
    /// A serial port.
    Com(Com),
    /// This port of its virtio console.
    Hvc(usize),
}

/// As the config's key: `com2`, `hvc1`.
impl fmt::Display for LinkedPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Com(com) => write!(f, "com{}", com.number()),
            Self::Hvc(port) => write!(f, "hvc{port}"),
        }
    }
}

impl VcpuIndex {
    const fn new(vm: usize, id: u32, position: u64) -> Self {
        Self(position << 32 | (vm as u64 & 0xffff) << 16 | (id as u64 & 0xffff))
    }

    /// The first vCPU of each VM, where the VMs have `counts` vCPUs.
    pub fn firsts(counts: impl Iterator<Item = u32>) -> impl Iterator<Item = Self> {
        counts.enumerate().scan(0, |next, (vm, count)| {
            let position = *next;
            *next += u64::from(count);
            Some(Self::new(vm, 0, position))
        })
    }

    /// The vCPU of this VM, where every VM has one.
    #[must_use]
    #[inline]
    pub const fn only_of(vm: VmIndex) -> Self {
        Self::new(vm.0, 0, vm.0 as u64)
    }

    /// Its VM.
    #[must_use]
    #[inline]
    pub const fn vm(self) -> VmIndex {
        VmIndex((self.0 >> 16 & 0xffff) as usize)
    }

    /// Its number within the VM, which is the ID of its local APIC after reset.
    #[must_use]
    #[inline]
    pub const fn id(self) -> u32 {
        (self.0 & 0xffff) as u32
    }

    /// Its position among all vCPUs of the core.
    #[must_use]
    #[inline]
    pub const fn position(self) -> usize {
        (self.0 >> 32) as usize
    }

    /// The vCPU with this number of the same VM.
    #[must_use]
    pub const fn sibling(self, id: u32) -> Self {
        let position = self.position() as u64 - self.id() as u64 + id as u64;
        Self::new(self.vm().0, id, position)
    }
}

impl fmt::Debug for VcpuIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VcpuIndex({}, {} of VM {})", self.position(), self.id(), self.vm().0)
    }
}

impl VmIndex {
    /// The indices of `count` VMs.
    pub fn first(count: usize) -> impl Iterator<Item = Self> {
        (0..count).map(Self)
    }
}

impl Com {
    /// In the order of their numbers.
    pub const ALL: [Self; 4] = [Self::Com1, Self::Com2, Self::Com3, Self::Com4];

    /// 1 for COM1.
    #[must_use]
    pub const fn number(self) -> usize {
        self as usize + 1
    }
}

macro_rules! indexes {
    ($index:ty, $position:expr, $($list:ty),+) => {
        $(
            impl<T> Index<$index> for $list {
                type Output = T;

                #[inline]
                fn index(&self, index: $index) -> &T {
                    &self[$position(index)]
                }
            }

            impl<T> IndexMut<$index> for $list {
                #[inline]
                fn index_mut(&mut self, index: $index) -> &mut T {
                    &mut self[$position(index)]
                }
            }
        )+
    };
}

indexes!(VmIndex, |vm: VmIndex| vm.0, alloc::vec::Vec<T>, [T]);
indexes!(VcpuIndex, VcpuIndex::position, alloc::vec::Vec<T>, [T]);
indexes!(Com, |com: Com| com as usize, [T; Com::ALL.len()]);
